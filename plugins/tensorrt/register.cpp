// libcornernet_register.so: registers libcornernet_plugins.so, which lies beside it, as soon as it is opened.
//
// Programs that take plugins as libraries to open (Polygraphy's --plugins, Triton's plugins=, LD_PRELOAD) call nothing in
// them. This one finds the registry of the TensorRT in the process and lets it load the library, as a program that
// knows TensorRT would. It is a library of its own, so that the other keeps to be free of TensorRT.
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <initializer_list>

namespace {

// IPluginRegistry changed between TensorRT 10 and 11 (TensorRT-RTX has that of 11): a call through the wrong table would
// crash. Only a TensorRT that the headers describe is spoken to.
constexpr bool kNewLayout = NV_TENSORRT_MAJOR >= 11;
constexpr char const* kRuntimes[] = {kNewLayout ? "libnvinfer.so.11" : "libnvinfer.so.10", "libtensorrt_rtx.so.1"};
constexpr char const* kOthers = kNewLayout ? "libnvinfer.so.10" : "libnvinfer.so.11";
constexpr int kRuntimeCount = kNewLayout ? 2 : 1;

nvinfer1::IPluginRegistry* find_registry() {
    using GetRegistry = nvinfer1::IPluginRegistry* (*)();
    // What the process has already opened comes first, then what the loader finds on its paths.
    for (int flags : {RTLD_NOW | RTLD_NOLOAD, RTLD_NOW}) {
        for (int i = 0; i < kRuntimeCount; ++i) {
            void* const runtime = dlopen(kRuntimes[i], flags);
            void* const function = runtime != nullptr ? dlsym(runtime, "getPluginRegistry") : nullptr;
            if (function == nullptr) continue;
            GetRegistry get_registry;
            memcpy(&get_registry, &function, sizeof(get_registry));
            return get_registry();
        }
        if (dlopen(kOthers, RTLD_NOW | RTLD_NOLOAD) != nullptr) return nullptr;  // do not start a second TensorRT
    }
    return nullptr;
}

__attribute__((constructor)) void register_operators() {
    Dl_info self = {};
    dladdr(reinterpret_cast<void*>(&register_operators), &self);
    char path[4096];
    char const* const slash = self.dli_fname != nullptr ? strrchr(self.dli_fname, '/') : nullptr;
    int const folder = slash != nullptr ? static_cast<int>(slash - self.dli_fname + 1) : 0;
    snprintf(path, sizeof(path), "%.*slibcornernet_plugins.so", folder, self.dli_fname != nullptr ? self.dli_fname : "");

    nvinfer1::IPluginRegistry* const registry = find_registry();
    if (registry == nullptr) {
        fprintf(stderr,
            "cornernet plugins: not registered: no TensorRT of the layout this library was built for (%d) is loaded. "
            "Open it after TensorRT, or build it with the headers of the TensorRT you run.\n",
            NV_TENSORRT_MAJOR);
        return;
    }
    if (registry->getCreator("CornerPeaks", "1", "cornernet") != nullptr) return;  // somebody was faster
    if (registry->loadLibrary(path) == nullptr) fprintf(stderr, "cornernet plugins: TensorRT refuses %s\n", path);
}

}  // namespace
