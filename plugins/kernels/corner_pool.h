// C entry point of the corner pooling kernel: plain pointers, usable from ctypes, PyCUDA or a TensorRT plugin.
#pragma once
#include <cstdint>

#include "entry_points.h"

// pooled = running maximum of `first` along columns + running maximum of `second` along rows
//
//     corner 0, top left:      from the bottom row upwards, from the right column leftwards   (Law & Deng 2018, Eq. 6 and 7)
//     corner 1, bottom right:  from the top row downwards, from the left column rightwards
//
//   first, second, pooled   device memory, images x channels x height x width elements; pooled overlaps neither input
//   type                    0 float32, 1 float16, 2 bfloat16
//   layout                  0 (N,C,h,w) contiguous;  1 channels last, (N,h,w,C rounded up to 8), 16-bit types only (TensorRT kHWC8)
//   height, width           1 to 1024
// NaN: what a cell gets that looks towards one is undefined, because runtimes differ: this kernel, torch and numpy give NaN,
// the MaxPool of the definition in standard operators may skip it. All other cells are exact, in all of them. Guards stand
// around: weights with NaN are refused, training stops at one, and CornerPeaks and CornerGroup make no box of any.
// Enqueues on `stream`, allocates nothing, never waits.
// Returns a cudaError_t: 0, cudaErrorInvalidValue for arguments outside the ranges above, or the launch error.
CORNERNET_API int32_t cornernet_corner_pool(void const* first, void const* second, void* pooled, int32_t images,
    int32_t channels, int32_t height, int32_t width, int32_t type, int32_t layout, int32_t corner, void* stream);
