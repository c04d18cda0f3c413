// Element types of TensorRT as the launchers number them.
#pragma once
#include <NvInferRuntime.h>

#include "../kernels/entry_points.h"

namespace cornernet {

// -1 for a type without a kernel.
inline int32_t launcher_type(nvinfer1::DataType type) {
    switch (type) {
    case nvinfer1::DataType::kFLOAT: return kFloat32;
    case nvinfer1::DataType::kHALF: return kFloat16;
    case nvinfer1::DataType::kBF16: return kBFloat16;
    default: return -1;
    }
}

inline bool is_linear(nvinfer1::PluginTensorDesc const& tensor, nvinfer1::DataType type) {
    return tensor.format == nvinfer1::TensorFormat::kLINEAR && tensor.type == type;
}

}  // namespace cornernet
