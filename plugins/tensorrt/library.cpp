// The two functions TensorRT looks for in a plugin library. No other symbol of TensorRT is needed or offered, so the
// library loads into any process, with TensorRT, TensorRT-RTX or neither.
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>

#include "log.h"
#include "plugin.h"

namespace cornernet {
namespace {

std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};

// ILoggerFinder is the one interface here whose layout changed between TensorRT 10 and 11 (TensorRT-RTX 1.7 has that of
// 11). Calling it with the wrong layout would crash, so it is only called when the process runs a TensorRT that this
// library's headers describe.
bool finder_has_our_layout() noexcept {
    constexpr bool kNewLayout = NV_TENSORRT_MAJOR >= 11;
    for (char const* name :
        {kNewLayout ? "libnvinfer.so.11" : "libnvinfer.so.10", kNewLayout ? "libtensorrt_rtx.so.1" : ""}) {
        void* const runtime = *name != 0 ? dlopen(name, RTLD_LAZY | RTLD_NOLOAD) : nullptr;
        if (runtime == nullptr) continue;
        dlclose(runtime);
        return true;
    }
    return false;
}

}  // namespace

void log(nvinfer1::ILogger::Severity severity, char const* format, ...) noexcept {
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    nvinfer1::ILoggerFinder* const finder = logger_finder.load();
    nvinfer1::ILogger* const logger = finder != nullptr && finder_has_our_layout() ? finder->findLogger() : nullptr;
    if (logger != nullptr) logger->log(severity, message);
    else fprintf(stderr, "cornernet plugins: %s\n", message);
}

}  // namespace cornernet

#define CORNERNET_EXPORT extern "C" __attribute__((visibility("default")))

CORNERNET_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
    static nvinfer1::IPluginCreatorInterface* const creators[]
        = {cornernet::corner_pool_top_left_creator(), cornernet::corner_pool_bottom_right_creator(),
            cornernet::corner_peaks_creator(), cornernet::corner_windows_creator(), cornernet::corner_group_creator(),
            cornernet::corner_soft_nms_creator()};
    count = static_cast<int32_t>(sizeof(creators) / sizeof(creators[0]));
    return creators;
}

CORNERNET_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { cornernet::logger_finder = finder; }
