// C entry point of the window kernel: plain pointers, usable from ctypes, PyCUDA or a TensorRT plugin.
#pragma once
#include <cstdint>

#include "entry_points.h"

// What a size x size convolution sees at selected cells, zeros beyond the border: the heads that are read at the strongest
// corners only (embedding and offset, Law & Deng 2018, sections 3.2 and 3.3) are computed there and nowhere else.
//
//   features   device, (images, channels, height, width), type 0 float32, 1 float16, 2 bfloat16
//   cells      device, (images, slots) int32, row * width + column; one outside the map is no error, its window is undefined
//   windows    device, (images, channels * size * size, slots, 1), same type and layout: channel c, window row i, window
//              column j at (c * size + i) * size + j, the order of a convolution's flattened weight. Bits are copied.
//   columns    device, (images, slots) float32, cell % width [cell];  rows: cell / width [cell]
//   layout     of features and windows: 0 contiguous;  1 channels last, (N,h,w,C rounded up to 8), 16-bit types only
//              (TensorRT kHWC8), 16-byte aligned; padding channels of windows are 0
//   size       1, 3, 5 or 7;  height * width below 2^31, channels and slots up to 65535
// Enqueues on `stream`, allocates nothing, never waits. Returns a cudaError_t.
CORNERNET_API int32_t cornernet_corner_windows(void const* features, int32_t const* cells, void* windows, float* columns,
    float* rows, int32_t images, int32_t channels, int32_t height, int32_t width, int32_t slots, int32_t size, int32_t type,
    int32_t layout, void* stream);
