#include "state.hpp"

#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

namespace standin {

static const size_t ZONE = 256;
static const size_t MOST_POISON = 4 << 20;
static const unsigned char MARK = 0xA5;
static thread_local bool current = false;
static thread_local int current_generation = 0;
static int generation = 0;

State& state() {
    static State* one = new State;
    return *one;
}

u64 setting(const char* name, u64 otherwise) {
    const char* value = getenv(name);
    return value ? strtoull(value, nullptr, 10) : otherwise;
}

u32 capability() { return (u32)setting("STANDIN_CAPABILITY", 90); }

int refuse(int error, const char* call, const std::string& why) {
    fprintf(stderr, "fake: %s refused with %d: %s\n", call, error, why.c_str());
    return error;
}

Open::Open() {
    if (state().open++ == 0) mprotect((void*)state().arena, state().memory, PROT_READ | PROT_WRITE);
}

Open::~Open() {
    if (--state().open == 0) mprotect((void*)state().arena, state().memory, PROT_NONE);
}

const std::pair<const u64, size_t>* block(u64 at, size_t bytes) {
    auto next = state().blocks.upper_bound(at);
    if (next == state().blocks.begin()) return nullptr;
    --next;
    return at + bytes <= next->first + next->second && at + bytes >= at ? &*next : nullptr;
}

bool is_device(const void* at, size_t bytes) {
    const u64 start = (u64)at;
    return start < state().arena + state().memory && start + bytes > state().arena;
}

bool is_pinned(const void* at, size_t bytes) {
    auto next = state().pinned.upper_bound((u64)at);
    if (next == state().pinned.begin()) return false;
    --next;
    return (u64)at + bytes <= next->first + next->second;
}

bool is_current() { return current && current_generation == generation && state().retained > 0; }

void set_current(bool now) {
    current = now;
    current_generation = generation;
}

int check_context(const char* call) {
    if (!state().is_initialized) return refuse(NOT_INITIALIZED, call, "cuInit was not called");
    if (!is_current()) return refuse(INVALID_CONTEXT, call, "no context is current in this thread");
    return state().broken;
}

Stream* stream_of(void* handle) {
    if (!handle) return &state().legacy;
    Stream* stream = (Stream*)handle;
    return state().streams.count(stream) ? stream : nullptr;
}

static bool overlap(const Range& one, const Range& other) {
    return one.at < other.at + other.bytes && other.at < one.at + one.bytes;
}

static void all_streams(const std::function<void(Stream&)>& each) {
    each(state().legacy);
    for (Stream* stream : state().streams) each(*stream);
}

// Work of another queue that may run at the same time must not touch what this one writes, nor write what it touches.
static void check_races(const Stream& stream, const Work& work) {
    all_streams([&](Stream& other) {
        if (&other == &stream) return;
        auto known = stream.known.find(&other);
        u64 place = other.done;
        for (const Work& theirs : other.pending) {
            place++;
            if (known != stream.known.end() && place <= known->second) continue;
            for (const Range& a : work.ranges)
                for (const Range& b : theirs.ranges)
                    if ((a.is_written || b.is_written) && overlap(a, b))
                        refuse(LAUNCH_FAILED, work.name.c_str(), "it races with " + theirs.name + " in another queue");
        }
    });
}

void enqueue(Stream& stream, Work work) {
    check_races(stream, work);
    stream.issued++;
    stream.pending.push_back(std::move(work));
}

// Nobody may write behind a block.
static void check_zones(const std::string& after) {
    for (auto& block : state().blocks) {
        const unsigned char* zone = (const unsigned char*)(block.first + block.second);
        for (size_t i = 0; i < ZONE; i++) {
            if (zone[i] == MARK) continue;
            state().broken = LAUNCH_FAILED;
            refuse(LAUNCH_FAILED, after.c_str(), "it wrote behind a block of " + std::to_string(block.second) + " bytes");
            return;
        }
    }
}

void run_ready(Stream& stream, u64 place) {
    bool waits = false;
    for (const Work& work : stream.pending) waits |= (bool)work.ready;
    while (waits && stream.done < place && (!stream.pending.front().ready || stream.pending.front().ready()))
        run_until(stream, stream.done + 1);
}

void run_until(Stream& stream, u64 place) {
    Open memory;
    while (stream.done < place) {
        Work work = std::move(stream.pending.front());
        for (int i = 0; work.ready && !work.ready() && i < 200000; i++) usleep(100);
        stream.pending.pop_front();
        stream.done++;
        if (work.after) run_until(*work.after, work.place);
        if (!work.run || state().broken) continue;
        if (!work.run()) {
            state().broken = LAUNCH_FAILED;
            refuse(LAUNCH_FAILED, work.name.c_str(), "it failed while it ran");
        }
        check_zones(work.name);
    }
}

void run_all() {
    all_streams([](Stream& stream) { run_until(stream, stream.issued); });
}

const std::string* pending_at(u64 at, size_t bytes) {
    const std::string* found = nullptr;
    all_streams([&](Stream& stream) {
        for (const Work& work : stream.pending)
            for (const Range& range : work.ranges)
                if (overlap(range, Range{at, bytes, true})) found = &work.name;
    });
    return found;
}

void report_leaks(const char* when) {
    State& s = state();
    const size_t counts[] = {s.blocks.size(), s.pinned.size(), s.streams.size(), s.events.size(), s.modules.size(),
                             s.blas.size(), s.programs.size(), s.communicators.size(), s.descriptors.size(), s.handles.size()};
    const char* names[] = {"blocks", "pinned blocks", "streams", "events", "modules", "cuBLAS objects", "programs",
                           "communicators", "cuDNN descriptors", "cuDNN handles"};
    bool clean = true;
    for (int i = 0; i < 10; i++) {
        if (counts[i] == 0) continue;
        clean = false;
        fprintf(stderr, "fake: %s: %zu %s were not given back\n", when, counts[i], names[i]);
    }
    if (clean) fprintf(stderr, "fake-closed: everything was given back\n");
    fprintf(stderr, "fake-closed: %zu products with a bias, attention by cuDNN %zu times\n", s.biased, s.attended);
    generation++;
}

// The first gap that is large enough; 0 where there is none.
u64 place_for(size_t bytes) {
    const size_t size = (bytes + ZONE + 511) / 512 * 512;
    u64 at = state().arena;
    for (auto& block : state().blocks) {
        if (block.first - at >= size) break;
        at = block.first + (block.second + ZONE + 511) / 512 * 512;
    }
    if (at + size > state().arena + state().memory) return 0;
    Open memory;
    // NaNs, so that nobody gets away with reading what was never written.
    memset((void*)at, 0xff, bytes < MOST_POISON ? bytes : MOST_POISON);
    memset((void*)(at + bytes), MARK, ZONE);
    return at;
}

} // namespace standin
