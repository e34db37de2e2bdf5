// Stands in for libnvrtc: kernels become a library for the processor, by way of the emulation.
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <sstream>
#include <unistd.h>

#include "state.hpp"

using namespace standin;

enum { OK = 0, BAD_INPUT = 3, BAD_PROGRAM = 4, BAD_OPTION = 5, COMPILATION = 6, BUILTINS = 7 };

struct Program {
    std::string source, log, image;
    bool is_ptx = false;
};

static std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

// The GPUs that CUDA 13 compiles for, or the older of them.
static std::vector<int> architectures() {
    std::vector<int> known;
    for (int one : {75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121})
        if (one <= (int)setting("STANDIN_NEWEST_KNOWN", 121)) known.push_back(one);
    return known;
}

static bool is_known(int architecture) {
    for (int known : architectures())
        if (architecture == known) return true;
    return false;
}

static Program* program_of(void* handle) {
    return state().programs.count(handle) ? (Program*)handle : nullptr;
}

extern "C" {

int nvrtcVersion(int* major, int* minor) {
    *major = 13;
    *minor = 0;
    return OK;
}

int nvrtcGetNumSupportedArchs(int* count) {
    *count = (int)architectures().size();
    return OK;
}

int nvrtcGetSupportedArchs(int* known) {
    for (int architecture : architectures()) *known++ = architecture;
    return OK;
}

int nvrtcCreateProgram(void** result, const char* source, const char*, int headers, const char* const*, const char* const*) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (!result || !source || headers != 0) return refuse(BAD_INPUT, "nvrtcCreateProgram", "arguments");
    Program* program = new Program{source, "", ""};
    state().programs.insert(program);
    *result = program;
    return OK;
}

int nvrtcDestroyProgram(void** handle) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (!state().programs.erase(*handle)) return refuse(BAD_PROGRAM, "nvrtcDestroyProgram", "there is no such program");
    delete (Program*)*handle;
    *handle = nullptr;
    return OK;
}

int nvrtcCompileProgram(void* handle, int count, const char* const* options) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    Program* program = program_of(handle);
    if (!program) return refuse(BAD_PROGRAM, "nvrtcCompileProgram", "there is no such program");
    // As the library does: by a name that the loader must find.
    if (getenv("STANDIN_BUILTINS") && !dlopen("libnvrtc-builtins.so.13.0", RTLD_LAZY)) {
        program->log = "nvrtc: error: failed to open libnvrtc-builtins.so.13.0.";
        return BUILTINS;
    }
    int architecture = 0;
    std::string definitions;
    for (int i = 0; i < count; i++) {
        const std::string option = options[i];
        if (sscanf(options[i], "--gpu-architecture=sm_%d", &architecture) == 1) continue;
        if (sscanf(options[i], "--gpu-architecture=compute_%d", &architecture) == 1) {
            program->is_ptx = true;
            continue;
        }
        if (option.rfind("-D", 0) == 0) definitions += " '" + option + "'";
        else if (option != "--std=c++17") return refuse(BAD_OPTION, "nvrtcCompileProgram", option);
    }
    if (!is_known(architecture)) return refuse(BAD_OPTION, "nvrtcCompileProgram", "the architecture");
    // The same program is compiled once by all processes that share the folder.
    const std::string end = "\n#include \"" FOLDER "/emulation.cpp\"\nextern \"C\" const u32 architecture = " +
                            std::to_string(architecture) + ";\n" +
                            (program->is_ptx ? "extern \"C\" const u32 ptx = 1;\n" : "");
    const std::string key = std::to_string(std::hash<std::string>()(program->source + end + definitions));
    const std::string path = FOLDER "/" + key, own = path + "-" + std::to_string(getpid());
    program->image = read(path + ".so");
    if (!program->image.empty()) return OK;
    std::ofstream(own + ".cpp") << program->source << end;
    const std::string command = "'" COMPILER "' -std=c++17 -O1 -U_FORTIFY_SOURCE -fno-strict-aliasing -fPIC -shared -w -include '" FOLDER
                                "/emulation.hpp'" + definitions + " -o '" + own + ".so' '" + own + ".cpp' 2>'" + own + ".log'";
    const int status = system(command.c_str());
    program->log = read(own + ".log");
    if (status != 0) return COMPILATION;
    rename((own + ".so").c_str(), (path + ".so").c_str());
    program->image = read(path + ".so");
    return OK;
}

int nvrtcGetProgramLogSize(void* handle, size_t* size) {
    if (!program_of(handle)) return refuse(BAD_PROGRAM, "nvrtcGetProgramLogSize", "there is no such program");
    *size = program_of(handle)->log.size() + 1;
    return OK;
}

int nvrtcGetProgramLog(void* handle, char* log) {
    if (!program_of(handle)) return refuse(BAD_PROGRAM, "nvrtcGetProgramLog", "there is no such program");
    memcpy(log, program_of(handle)->log.c_str(), program_of(handle)->log.size() + 1);
    return OK;
}

int nvrtcGetCUBINSize(void* handle, size_t* size) {
    Program* program = program_of(handle);
    if (!program || program->image.empty() || program->is_ptx)
        return refuse(BAD_PROGRAM, "nvrtcGetCUBINSize", "no program that was compiled to machine code");
    *size = program->image.size();
    return OK;
}

int nvrtcGetCUBIN(void* handle, char* image) {
    Program* program = program_of(handle);
    if (!program || program->image.empty()) return refuse(BAD_PROGRAM, "nvrtcGetCUBIN", "no compiled program");
    memcpy(image, program->image.data(), program->image.size());
    return OK;
}

int nvrtcGetPTXSize(void* handle, size_t* size) {
    Program* program = program_of(handle);
    if (!program || program->image.empty() || !program->is_ptx)
        return refuse(BAD_PROGRAM, "nvrtcGetPTXSize", "no program that was compiled to PTX");
    *size = program->image.size() + 1;
    return OK;
}

int nvrtcGetPTX(void* handle, char* ptx) {
    Program* program = program_of(handle);
    if (!program || program->image.empty()) return refuse(BAD_PROGRAM, "nvrtcGetPTX", "no compiled program");
    memcpy(ptx, program->image.c_str(), program->image.size() + 1);
    return OK;
}

} // extern "C"
