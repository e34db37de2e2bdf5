// Stands in for libnccl: processes that share a folder exchange what is on their devices through files in it.
#include <atomic>
#include <memory>
#include <cstring>
#include <fstream>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

#include "state.hpp"

using namespace standin;

enum { OK = 0, SYSTEM = 2, ARGUMENT = 4, USAGE = 5 };
enum { FLOAT32 = 7 };

struct UniqueId {
    char internal[128];
};

struct Communicator {
    std::string folder;
    int size, rank;
    u64 calls = 0;
    std::shared_ptr<std::atomic<bool>> aborted = std::make_shared<std::atomic<bool>>(false);
};

static bool exists(const std::string& path) { return access(path.c_str(), R_OK) == 0; }

static void put(const std::string& path, const void* bytes, size_t size) {
    const std::string own = path + ".new";
    std::ofstream(own, std::ios::binary).write((const char*)bytes, (std::streamsize)size);
    rename(own.c_str(), path.c_str());
}

static Communicator* communicator_of(void* handle) {
    return state().communicators.count(handle) ? (Communicator*)handle : nullptr;
}

extern "C" {

int ncclGetVersion(int* version) {
    *version = (int)setting("STANDIN_NCCL", 22203);
    return OK;
}

const char* ncclGetErrorString(int error) {
    switch (error) {
        case OK: return "no error";
        case SYSTEM: return "unhandled system error";
        case ARGUMENT: return "invalid argument";
        case USAGE: return "invalid usage";
        default: return "unknown result code";
    }
}

int ncclGetUniqueId(UniqueId* id) {
    memset(id, 0, sizeof *id);
    char path[] = FOLDER "/nccl-XXXXXX";
    if (!mkdtemp(path) || strlen(path) >= sizeof id->internal) return refuse(SYSTEM, "ncclGetUniqueId", "no folder");
    strcpy(id->internal, path);
    return OK;
}

// Returns once all have come.
int ncclCommInitRank(void** result, int size, UniqueId id, int rank) {
    if (!is_current()) return refuse(USAGE, "ncclCommInitRank", "no context is current in this thread");
    if (!result || size < 1 || rank < 0 || rank >= size) return refuse(ARGUMENT, "ncclCommInitRank", "rank or size");
    id.internal[127] = 0;
    if (!exists(id.internal)) return refuse(ARGUMENT, "ncclCommInitRank", "nobody has made this name");
    Communicator* communicator = new Communicator{id.internal, size, rank};
    const std::string own = communicator->folder + "/gpu-";
    const u64 gpu = setting("STANDIN_GPU", 1);
    put(own + std::to_string(rank), &gpu, sizeof gpu);
    for (int other = 0; other < size; other++) {
        for (int i = 0; i < 200000 && !exists(own + std::to_string(other)); i++) usleep(100);
        u64 theirs = 0;
        std::ifstream(own + std::to_string(other), std::ios::binary).read((char*)&theirs, sizeof theirs);
        if (other != rank && theirs == gpu) return refuse(USAGE, "ncclCommInitRank", "two ranks have one GPU");
        if (!theirs) return refuse(SYSTEM, "ncclCommInitRank", "a rank has not come");
    }
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    state().communicators.insert(communicator);
    *result = communicator;
    return OK;
}

int ncclAllGather(const void* send, void* receive, size_t count, int type, void* handle, void* queue) {
    ENTER("ncclAllGather");
    Communicator* communicator = communicator_of(handle);
    if (!communicator) return refuse(ARGUMENT, "ncclAllGather", "there is no such communicator");
    if (type != FLOAT32) return refuse(ARGUMENT, "ncclAllGather", "the type");
    Stream* stream = stream_of(queue);
    if (!queue || !stream) return refuse(ARGUMENT, "ncclAllGather", "there is no such stream");
    const size_t bytes = 4 * count, size = (size_t)communicator->size, rank = (size_t)communicator->rank;
    const u64 from = (u64)send, to = (u64)receive;
    if (!block(from, bytes) || !block(to, bytes * size)) return refuse(ARGUMENT, "ncclAllGather", "not in one block");
    // In place means in its own place; whatever else overlaps is undefined.
    if (from < to + bytes * size && to < from + bytes && from != to + bytes * rank)
        return refuse(ARGUMENT, "ncclAllGather", "in place, and not where this rank's part belongs");
    const std::string name = communicator->folder + "/" + std::to_string(communicator->calls++) + "-";
    auto aborted = communicator->aborted;
    auto sent = std::make_shared<bool>(false);
    Work work{"ncclAllGather", {{from, bytes, false}, {to, bytes * size, true}}, nullptr};
    // It sends when the queue has come to it, and ends when all others have sent.
    work.ready = [=] {
        if (*aborted) return true;
        if (!*sent) {
            Open memory;
            put(name + std::to_string(rank), (const void*)from, bytes);
            *sent = true;
        }
        for (size_t other = 0; other < size; other++)
            if (!exists(name + std::to_string(other))) return false;
        return true;
    };
    work.run = [=] {
        for (size_t other = 0; other < size && !*aborted; other++) {
            std::ifstream file(name + std::to_string(other), std::ios::binary);
            std::stringstream text;
            text << file.rdbuf();
            if (text.str().size() != bytes) return false; // another count there
            memcpy((void*)(to + bytes * other), text.str().data(), bytes);
        }
        return true;
    };
    enqueue(*stream, std::move(work));
    return OK;
}

int ncclCommGetAsyncError(void* handle, int* result) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (!communicator_of(handle)) return refuse(ARGUMENT, "ncclCommGetAsyncError", "there is no such communicator");
    *result = OK;
    return OK;
}

// What is queued ends, with whatever it has.
int ncclCommAbort(void* handle) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    Communicator* communicator = communicator_of(handle);
    if (!communicator) return refuse(ARGUMENT, "ncclCommAbort", "there is no such communicator");
    *communicator->aborted = true;
    state().communicators.erase(handle);
    delete communicator;
    return OK;
}

int ncclCommDestroy(void* handle) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    Communicator* communicator = communicator_of(handle);
    if (!communicator) return refuse(ARGUMENT, "ncclCommDestroy", "there is no such communicator");
    for (Stream* stream : state().streams)
        for (const Work& work : stream->pending)
            if (work.ready) return refuse(USAGE, "ncclCommDestroy", "what it gathers is still queued");
    state().communicators.erase(handle);
    delete communicator;
    return OK;
}

} // extern "C"
