// Corner pooling of maps whose channels lie side by side; called by cornernet_corner_pool, which has checked the arguments.
#pragma once
#include "numbers.h"

namespace cornernet {

template <typename T> cudaError_t pool_channels_last(void const* first, void const* second, void* pooled, int images,
    int channels, int height, int width, int corner, cudaStream_t stream);

extern template cudaError_t pool_channels_last<Half>(
    void const*, void const*, void*, int, int, int, int, int, cudaStream_t);
extern template cudaError_t pool_channels_last<BFloat16>(
    void const*, void const*, void*, int, int, int, int, int, cudaStream_t);

}  // namespace cornernet
