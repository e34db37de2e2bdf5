// Stands in for libcuda: device, context, memory.
#include <cstring>
#include <sys/mman.h>

#include "state.hpp"

using namespace standin;

namespace standin { u64 place_for(size_t bytes); }

static int context;

// All of them have one memory and one context.
static int devices() { return (int)setting("STANDIN_GPUS", 1); }

extern "C" {

int cuInit(unsigned flags) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (flags != 0) return refuse(INVALID_VALUE, "cuInit", "flags");
    state().is_initialized = true;
    return SUCCESS;
}

// 13000 is CUDA 13.0. It needs no cuInit.
int cuDriverGetVersion(int* version) {
    *version = (int)setting("STANDIN_DRIVER", 13000);
    return SUCCESS;
}

int cuDeviceGetCount(int* count) {
    if (!state().is_initialized) return refuse(NOT_INITIALIZED, "cuDeviceGetCount", "cuInit was not called");
    *count = devices();
    return SUCCESS;
}

int cuDeviceTotalMem_v2(size_t* bytes, int device) {
    if (device >= devices()) return refuse(INVALID_DEVICE, "cuDeviceTotalMem", "device");
    *bytes = setting("STANDIN_MEMORY", 256u << 20);
    return SUCCESS;
}

int cuDeviceGet(int* device, int ordinal) {
    if (!state().is_initialized) return refuse(NOT_INITIALIZED, "cuDeviceGet", "cuInit was not called");
    if (ordinal < 0 || ordinal >= devices()) return refuse(INVALID_DEVICE, "cuDeviceGet", "ordinal");
    *device = ordinal;
    return SUCCESS;
}

int cuDeviceGetName(char* name, int length, int device) {
    if (device >= devices() || length <= 0) return refuse(INVALID_VALUE, "cuDeviceGetName", "arguments");
    snprintf(name, (size_t)length, "Stand-in");
    return SUCCESS;
}

int cuDeviceGetUuid_v2(void* uuid, int device) {
    if (device != 0) return refuse(INVALID_DEVICE, "cuDeviceGetUuid", "device");
    memset(uuid, (int)setting("STANDIN_GPU", 1), 16);
    return SUCCESS;
}

int cuDeviceGetAttribute(int* value, int attribute, int device) {
    if (device >= devices()) return refuse(INVALID_DEVICE, "cuDeviceGetAttribute", "device");
    switch (attribute) {
        case 75: *value = (int)capability() / 10; return SUCCESS; // COMPUTE_CAPABILITY_MAJOR
        case 76: *value = (int)capability() % 10; return SUCCESS; // COMPUTE_CAPABILITY_MINOR
        case 115: *value = 1; return SUCCESS; // MEMORY_POOLS_SUPPORTED
        default: return refuse(INVALID_VALUE, "cuDeviceGetAttribute", "attribute " + std::to_string(attribute));
    }
}

int cuDevicePrimaryCtxRetain(void** result, int device) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (!state().is_initialized) return refuse(NOT_INITIALIZED, "cuDevicePrimaryCtxRetain", "cuInit was not called");
    if (device >= devices()) return refuse(INVALID_DEVICE, "cuDevicePrimaryCtxRetain", "device");
    if (device < (int)setting("STANDIN_FULL_GPUS", 0)) return OUT_OF_MEMORY;
    if (!state().arena) {
        state().memory = setting("STANDIN_MEMORY", 256u << 20);
        void* arena = mmap(nullptr, state().memory, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (arena == MAP_FAILED) return OUT_OF_MEMORY;
        state().arena = (u64)arena;
    }
    state().retained++;
    *result = &context;
    return SUCCESS;
}

int cuDevicePrimaryCtxRelease_v2(int device) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (device >= devices()) return refuse(INVALID_DEVICE, "cuDevicePrimaryCtxRelease", "device");
    if (state().retained == 0) return refuse(INVALID_CONTEXT, "cuDevicePrimaryCtxRelease", "it was not retained");
    if (--state().retained == 0) report_leaks("the context was released");
    return SUCCESS;
}

int cuCtxGetCurrent(void** result) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (!state().is_initialized) return refuse(NOT_INITIALIZED, "cuCtxGetCurrent", "cuInit was not called");
    *result = is_current() ? &context : nullptr;
    return SUCCESS;
}

int cuCtxSetCurrent(void* which) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (which && (which != &context || state().retained == 0))
        return refuse(INVALID_CONTEXT, "cuCtxSetCurrent", "there is no such context");
    set_current(which != nullptr);
    return SUCCESS;
}

int cuCtxSynchronize() {
    ENTER("cuCtxSynchronize");
    run_all();
    return state().broken;
}

int cuMemAlloc_v2(u64* result, size_t bytes) {
    ENTER("cuMemAlloc");
    if (bytes == 0) return refuse(INVALID_VALUE, "cuMemAlloc", "no bytes");
    const u64 at = place_for(bytes);
    if (at == 0) return OUT_OF_MEMORY;
    state().blocks[at] = bytes;
    *result = at;
    return SUCCESS;
}

// "May perform implicit synchronization": nobody may count on it.
int cuMemFree_v2(u64 at) {
    ENTER("cuMemFree");
    auto found = state().blocks.find(at);
    if (found == state().blocks.end()) return refuse(INVALID_VALUE, "cuMemFree", "no block begins there");
    if (const std::string* user = pending_at(at, found->second))
        return refuse(INVALID_VALUE, "cuMemFree", *user + " is queued and uses it");
    state().blocks.erase(found);
    return SUCCESS;
}

int cuMemHostAlloc(void** result, size_t bytes, unsigned flags) {
    ENTER("cuMemHostAlloc");
    if (bytes == 0 || flags > 7) return refuse(INVALID_VALUE, "cuMemHostAlloc", "arguments");
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return OUT_OF_MEMORY;
    state().pinned[(u64)at] = bytes;
    *result = at;
    return SUCCESS;
}

int cuMemFreeHost(void* at) {
    ENTER("cuMemFreeHost");
    auto found = state().pinned.find((u64)at);
    if (found == state().pinned.end()) return refuse(INVALID_VALUE, "cuMemFreeHost", "no block begins there");
    if (const std::string* user = pending_at((u64)at, found->second))
        return refuse(INVALID_VALUE, "cuMemFreeHost", *user + " is queued and uses it");
    munmap(at, found->second);
    state().pinned.erase(found);
    return SUCCESS;
}

int cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
    ENTER("cuMemGetInfo");
    size_t used = 0;
    for (auto& block : state().blocks) used += block.second;
    *total = state().memory;
    *free_bytes = state().memory - used;
    return SUCCESS;
}

static int copy_to_device(const char* call, Stream* stream, u64 to, const void* from, size_t bytes) {
    if (!stream) return refuse(INVALID_HANDLE, call, "there is no such stream");
    if (!block(to, bytes)) return refuse(INVALID_VALUE, call, "the destination is not in one block");
    if (is_device(from, bytes)) return refuse(INVALID_VALUE, call, "the source is not in the host's memory");
    Work work{call, {{to, bytes, true}}, nullptr};
    if (is_pinned(from, bytes)) {
        work.ranges.push_back({(u64)from, bytes, false});
        work.run = [=] { memcpy((void*)to, from, bytes); return true; };
    } else {
        // Pageable memory is copied away before the call returns; it is on its way to the device still.
        std::string own((const char*)from, bytes);
        work.run = [=] { memcpy((void*)to, own.data(), own.size()); return true; };
    }
    enqueue(*stream, std::move(work));
    return SUCCESS;
}

int cuMemcpyHtoDAsync_v2(u64 to, const void* from, size_t bytes, void* stream) {
    ENTER("cuMemcpyHtoDAsync");
    return copy_to_device("cuMemcpyHtoDAsync", stream_of(stream), to, from, bytes);
}

// Waits for the default queue, in which from pageable memory the copy may still be when the call returns.
int cuMemcpyHtoD_v2(u64 to, const void* from, size_t bytes) {
    ENTER("cuMemcpyHtoD");
    Stream& legacy = state().legacy;
    run_until(legacy, legacy.issued);
    const int result = copy_to_device("cuMemcpyHtoD", &legacy, to, from, bytes);
    if (is_pinned(from, bytes)) run_until(legacy, legacy.issued);
    return result;
}

int cuMemcpyDtoHAsync_v2(void* to, u64 from, size_t bytes, void* handle) {
    ENTER("cuMemcpyDtoHAsync");
    Stream* stream = stream_of(handle);
    if (!stream) return refuse(INVALID_HANDLE, "cuMemcpyDtoHAsync", "there is no such stream");
    if (!block(from, bytes)) return refuse(INVALID_VALUE, "cuMemcpyDtoHAsync", "the source is not in one block");
    if (is_device(to, bytes)) return refuse(INVALID_VALUE, "cuMemcpyDtoHAsync", "the destination is the device's");
    Work work{"cuMemcpyDtoHAsync", {{from, bytes, false}, {(u64)to, bytes, true}}, nullptr};
    work.run = [=] { memcpy(to, (const void*)from, bytes); return true; };
    enqueue(*stream, std::move(work));
    // "Might be synchronous": from pageable memory that returns only when the copy is done.
    if (!is_pinned(to, bytes)) run_until(*stream, stream->issued);
    return state().broken;
}

int cuMemcpyDtoDAsync_v2(u64 to, u64 from, size_t bytes, void* handle) {
    ENTER("cuMemcpyDtoDAsync");
    Stream* stream = stream_of(handle);
    if (!stream) return refuse(INVALID_HANDLE, "cuMemcpyDtoDAsync", "there is no such stream");
    if (!block(from, bytes) || !block(to, bytes)) return refuse(INVALID_VALUE, "cuMemcpyDtoDAsync", "not in one block");
    Work work{"cuMemcpyDtoDAsync", {{from, bytes, false}, {to, bytes, true}}, nullptr};
    work.run = [=] { memcpy((void*)to, (const void*)from, bytes); return true; };
    enqueue(*stream, std::move(work));
    return SUCCESS;
}

int cuMemsetD8Async(u64 at, unsigned char value, size_t bytes, void* handle) {
    ENTER("cuMemsetD8Async");
    Stream* stream = stream_of(handle);
    if (!stream) return refuse(INVALID_HANDLE, "cuMemsetD8Async", "there is no such stream");
    if (!block(at, bytes)) return refuse(INVALID_VALUE, "cuMemsetD8Async", "not in one block");
    Work work{"cuMemsetD8Async", {{at, bytes, true}}, nullptr};
    work.run = [=] { memset((void*)at, value, bytes); return true; };
    enqueue(*stream, std::move(work));
    return SUCCESS;
}

int cuGetErrorName(int error, const char** name) {
    static const std::map<int, const char*> NAMES = {
        {0, "CUDA_SUCCESS"}, {1, "CUDA_ERROR_INVALID_VALUE"}, {2, "CUDA_ERROR_OUT_OF_MEMORY"}, {3, "CUDA_ERROR_NOT_INITIALIZED"},
        {200, "CUDA_ERROR_INVALID_IMAGE"}, {201, "CUDA_ERROR_INVALID_CONTEXT"}, {400, "CUDA_ERROR_INVALID_HANDLE"},
        {500, "CUDA_ERROR_NOT_FOUND"}, {719, "CUDA_ERROR_LAUNCH_FAILED"},
    };
    auto found = NAMES.find(error);
    *name = found == NAMES.end() ? nullptr : found->second;
    return *name ? SUCCESS : INVALID_VALUE;
}

int cuGetErrorString(int error, const char** text) { return cuGetErrorName(error, text); }

} // extern "C"
