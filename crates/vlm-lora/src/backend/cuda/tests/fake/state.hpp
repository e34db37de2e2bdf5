// What the stand-ins for the driver and its libraries share: one device whose memory the host cannot touch, and queues whose
// work runs only when somebody waits for it, as late as it may. What the documentation forbids is refused with the error that
// it names, and said on stderr; so is what it leaves to luck.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace standin {

typedef uint32_t u32;
typedef unsigned long long u64;

// Results of the driver.
enum Result {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, INVALID_DEVICE = 101, INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201, NO_BINARY_FOR_GPU = 209, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600,
    LAUNCH_FAILED = 719, NOT_SUPPORTED = 801,
};

// Bytes that work reads or writes.
struct Range {
    u64 at;
    size_t bytes;
    bool is_written;
};

struct Stream;
// How far each queue is known to have come.
typedef std::map<const Stream*, u64> Clock;

struct Work {
    std::string name;
    std::vector<Range> ranges;
    std::function<bool()> run;
    // Whether it could come to its end now, where that is not for this process to decide.
    std::function<bool()> ready = nullptr;
    // Runs this queue up to this place first.
    Stream* after = nullptr;
    u64 place = 0;
};

struct Stream {
    std::deque<Work> pending;
    u64 issued = 0, done = 0;
    Clock known;
};

struct Event {
    bool times = false;
    Stream* stream = nullptr;
    u64 place = 0;
    Clock known;
};

struct State {
    std::recursive_mutex lock;
    bool is_initialized = false;
    int retained = 0;
    Result broken = SUCCESS;
    u64 memory = 0, arena = 0;
    int open = 0;
    std::map<u64, size_t> blocks, pinned;
    Stream legacy;
    std::set<Stream*> streams;
    std::set<Event*> events;
    std::set<void*> modules, blas, programs, communicators, descriptors;
    std::map<void*, void*> handles; // of cuDNN, and the queue of each
    size_t biased = 0, attended = 0; // products with a bias, and attention by cuDNN
};

State& state();

// The number in the environment, or another one.
u64 setting(const char* name, u64 otherwise);
// Compute capability: 90 is 9.0.
u32 capability();

// Says what was refused, and passes the error on.
int refuse(int error, const char* call, const std::string& why);

// Makes the device's memory readable and writable while it lives.
struct Open {
    Open();
    ~Open();
};

// The block that a range lies in; null where it lies in none.
const std::pair<const u64, size_t>* block(u64 at, size_t bytes);
// Whether host memory is that of the device, in part.
bool is_device(const void* at, size_t bytes);
// Memory from the host's allocator that the device reads by itself.
bool is_pinned(const void* at, size_t bytes);

// Whether a context is current in this thread; the error otherwise.
int check_context(const char* call);
bool is_current();
void set_current(bool current);
// Null is the default queue; a null result is a handle that nobody has.
Stream* stream_of(void* handle);

void enqueue(Stream& stream, Work work);
void run_until(Stream& stream, u64 place);
// As far as work that waits for other processes goes by itself.
void run_ready(Stream& stream, u64 place);
void run_all();
// The name of pending work that a range belongs to.
const std::string* pending_at(u64 at, size_t bytes);
// What has not been given back.
void report_leaks(const char* when);

} // namespace standin

// Takes the lock and checks that a context is current.
#define ENTER(call)                                                                   \
    std::lock_guard<std::recursive_mutex> guard(standin::state().lock);               \
    if (int error = standin::check_context(call)) return error
