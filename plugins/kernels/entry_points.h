// What every C entry point shares: visibility and the numbers of the element types.
#pragma once
#include <cstdint>

#define CORNERNET_API extern "C" __attribute__((visibility("default")))

// Version of the CUDA runtime that the library brings, as CUDA writes it: 13000 is 13.0.
CORNERNET_API int32_t cornernet_cuda_version();

namespace cornernet {

enum Type { kFloat32 = 0, kFloat16 = 1, kBFloat16 = 2 };
enum Layout { kPlanes = 0, kChannelsLast8 = 1 };
enum Corner { kTopLeft = 0, kBottomRight = 1 };

}  // namespace cornernet
