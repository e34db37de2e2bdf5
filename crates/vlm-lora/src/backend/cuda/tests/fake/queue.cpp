// Stands in for libcuda: streams, events, modules, launches.
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <unistd.h>

#include "state.hpp"

using namespace standin;

typedef int (*Emulate)(const char*, const u32*, u32, const u64*, size_t, int);
// The sizes of a kernel's arguments; how many there are, or -1. `kinds`: 0 a number, 1 a pointer to what is read, 2 to what is written.
typedef int (*Describe)(const char*, size_t* sizes, int* kinds);

struct Function {
    std::string name;
    Emulate emulate;
    std::vector<size_t> sizes;
    std::vector<int> kinds;
};

struct Module {
    void* library;
    Emulate emulate;
    Describe describe;
    std::set<Function*> functions;
};

static Function* function_of(void* handle) {
    for (void* module : state().modules)
        if (((Module*)module)->functions.count((Function*)handle)) return (Function*)handle;
    return nullptr;
}

extern "C" {

int cuStreamCreate(void** result, unsigned flags) {
    ENTER("cuStreamCreate");
    // Streams that wait for the default one are not modelled.
    if (flags != 1) return refuse(NOT_SUPPORTED, "cuStreamCreate", "the stream is a blocking one");
    Stream* stream = new Stream;
    state().streams.insert(stream);
    *result = stream;
    return SUCCESS;
}

int cuStreamDestroy_v2(void* handle) {
    ENTER("cuStreamDestroy");
    Stream* stream = stream_of(handle);
    if (!handle || !stream) return refuse(INVALID_HANDLE, "cuStreamDestroy", "there is no such stream");
    // What is queued is still done, at some time; the object stays, because events may name it.
    run_until(*stream, stream->issued);
    state().streams.erase(stream);
    return SUCCESS;
}

int cuStreamSynchronize(void* handle) {
    ENTER("cuStreamSynchronize");
    Stream* stream = stream_of(handle);
    if (!stream) return refuse(INVALID_HANDLE, "cuStreamSynchronize", "there is no such stream");
    run_until(*stream, stream->issued);
    return state().broken;
}

int cuStreamWaitEvent(void* handle, void* which, unsigned flags) {
    ENTER("cuStreamWaitEvent");
    Stream* stream = stream_of(handle);
    Event* event = (Event*)which;
    if (!stream || !state().events.count(event)) return refuse(INVALID_HANDLE, "cuStreamWaitEvent", "no such handle");
    if (flags > 1) return refuse(INVALID_VALUE, "cuStreamWaitEvent", "flags");
    if (!event->stream) return SUCCESS; // which was never recorded
    for (auto& known : event->known) {
        u64& place = stream->known[known.first];
        place = place < known.second ? known.second : place;
    }
    Work work{"cuStreamWaitEvent", {}, nullptr};
    work.after = event->stream;
    work.place = event->place;
    enqueue(*stream, std::move(work));
    return SUCCESS;
}

int cuEventCreate(void** result, unsigned flags) {
    ENTER("cuEventCreate");
    if (flags > 3) return refuse(INVALID_VALUE, "cuEventCreate", "flags");
    Event* event = new Event;
    event->times = (flags & 2) == 0;
    state().events.insert(event);
    *result = event;
    return SUCCESS;
}

int cuEventRecord(void* which, void* handle) {
    ENTER("cuEventRecord");
    Stream* stream = stream_of(handle);
    Event* event = (Event*)which;
    if (!stream || !state().events.count(event)) return refuse(INVALID_HANDLE, "cuEventRecord", "no such handle");
    event->stream = stream;
    event->place = stream->issued;
    event->known = stream->known;
    event->known[stream] = stream->issued;
    return SUCCESS;
}

int cuEventQuery(void* which) {
    ENTER("cuEventQuery");
    Event* event = (Event*)which;
    if (!state().events.count(event)) return refuse(INVALID_HANDLE, "cuEventQuery", "there is no such event");
    if (event->stream) run_ready(*event->stream, event->place);
    return !event->stream || event->stream->done >= event->place ? SUCCESS : NOT_READY;
}

int cuEventSynchronize(void* which) {
    ENTER("cuEventSynchronize");
    Event* event = (Event*)which;
    if (!state().events.count(event)) return refuse(INVALID_HANDLE, "cuEventSynchronize", "there is no such event");
    if (event->stream) run_until(*event->stream, event->place);
    return state().broken;
}

// A millisecond for each piece of work between the two.
int cuEventElapsedTime(float* milliseconds, void* from, void* to) {
    ENTER("cuEventElapsedTime");
    Event *start = (Event*)from, *end = (Event*)to;
    if (!state().events.count(start) || !state().events.count(end))
        return refuse(INVALID_HANDLE, "cuEventElapsedTime", "there is no such event");
    if (!start->times || !end->times || !start->stream || start->stream != end->stream)
        return refuse(INVALID_HANDLE, "cuEventElapsedTime", "it was not recorded, or times nothing");
    if (end->stream->done < end->place) return NOT_READY;
    *milliseconds = (float)(end->place - start->place);
    return SUCCESS;
}

int cuEventDestroy_v2(void* which) {
    ENTER("cuEventDestroy");
    if (!state().events.erase((Event*)which)) return refuse(INVALID_HANDLE, "cuEventDestroy", "there is no such event");
    delete (Event*)which;
    return SUCCESS;
}

int cuModuleLoadData(void** result, const void* image) {
    ENTER("cuModuleLoadData");
    const Elf64_Ehdr* header = (const Elf64_Ehdr*)image;
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return refuse(INVALID_IMAGE, "cuModuleLoadData", "no ELF file");
    const size_t size = header->e_shoff + (size_t)header->e_shentsize * header->e_shnum;
    char path[] = FOLDER "/module-XXXXXX";
    const int file = mkstemp(path);
    const bool is_written = file >= 0 && write(file, image, size) == (ssize_t)size;
    if (file >= 0) close(file);
    void* library = is_written ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
    unlink(path);
    if (!library) return refuse(INVALID_IMAGE, "cuModuleLoadData", "it cannot be opened");
    const u32* built_for = (const u32*)dlsym(library, "architecture");
    Emulate emulate = (Emulate)dlsym(library, "emulate");
    Describe describe = (Describe)dlsym(library, "describe");
    if (!built_for || !emulate || !describe) return refuse(INVALID_IMAGE, "cuModuleLoadData", "it has no kernels");
    const bool is_translated = dlsym(library, "ptx") != nullptr;
    if ((!is_translated && *built_for / 10 != capability() / 10) || *built_for > capability())
        return refuse(NO_BINARY_FOR_GPU, "cuModuleLoadData", "it is machine code for sm_" + std::to_string(*built_for));
    Module* module = new Module{library, emulate, describe, {}};
    state().modules.insert(module);
    *result = module;
    return SUCCESS;
}

int cuModuleUnload(void* handle) {
    ENTER("cuModuleUnload");
    if (!state().modules.erase(handle)) return refuse(INVALID_HANDLE, "cuModuleUnload", "there is no such module");
    Module* module = (Module*)handle;
    for (Function* function : module->functions) delete function;
    dlclose(module->library);
    delete module;
    return SUCCESS;
}

int cuModuleGetFunction(void** result, void* handle, const char* name) {
    ENTER("cuModuleGetFunction");
    if (!state().modules.count(handle)) return refuse(INVALID_HANDLE, "cuModuleGetFunction", "there is no such module");
    Module* module = (Module*)handle;
    const int count = module->describe(name, nullptr, nullptr);
    if (count < 0) return refuse(NOT_FOUND, "cuModuleGetFunction", std::string("no kernel ") + name);
    Function* function = new Function{name, module->emulate, {}, {}};
    function->sizes.resize((size_t)count);
    function->kinds.resize((size_t)count);
    module->describe(name, function->sizes.data(), function->kinds.data());
    module->functions.insert(function);
    *result = function;
    return SUCCESS;
}

int cuLaunchKernel(void* which, u32 x, u32 y, u32 z, u32 threads_x, u32 threads_y, u32 threads_z, u32 shared, void* handle,
                   void** parameters, void** extra) {
    ENTER("cuLaunchKernel");
    Function* function = function_of(which);
    Stream* stream = stream_of(handle);
    if (!function || !stream) return refuse(INVALID_HANDLE, "cuLaunchKernel", "no such function or stream");
    const char* name = function->name.c_str();
    // The kernels count on whole warps in one dimension.
    if (!x || !y || !z || x > 0x7fffffffu || y > 65535 || z > 65535) return refuse(INVALID_VALUE, name, "the grid");
    if (!threads_x || threads_x > 1024 || threads_x % 32 || threads_y != 1 || threads_z != 1)
        return refuse(INVALID_VALUE, name, "the block");
    if (shared > 48u << 10 || extra || !parameters) return refuse(INVALID_VALUE, name, "the parameters");
    // Of each argument as many bytes as the kernel declares are read, before the call returns.
    std::vector<u64> words(function->sizes.size(), 0xffffffffffffffffull);
    Work work{name, {}, nullptr};
    for (size_t i = 0; i < words.size(); i++) {
        memcpy(&words[i], parameters[i], function->sizes[i]);
        if (function->kinds[i] == 0 || words[i] == 0) continue;
        auto* whole = block(words[i], 1);
        if (!whole) return refuse(INVALID_VALUE, name, "argument " + std::to_string(i) + " is in no block");
        work.ranges.push_back({whole->first, whole->second, function->kinds[i] == 2});
    }
    work.run = [=, emulate = function->emulate, name = function->name] {
        const u32 grid[3] = {x, y, z};
        return emulate(name.c_str(), grid, threads_x, words.data(), words.size(), 0) == 0;
    };
    enqueue(*stream, std::move(work));
    return SUCCESS;
}

} // extern "C"
