// Messages through TensorRT's logger.
#pragma once
#include <NvInferRuntime.h>

namespace cornernet {

// printf-style. Falls back to stderr while TensorRT has given no logger. Never throws.
__attribute__((format(printf, 2, 3))) void log(nvinfer1::ILogger::Severity severity, char const* format, ...) noexcept;

inline constexpr auto kError = nvinfer1::ILogger::Severity::kERROR;

}  // namespace cornernet
