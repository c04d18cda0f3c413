// C entry points of the peak kernels: plain pointers, usable from ctypes, PyCUDA or a TensorRT plugin.
#pragma once
#include <cstddef>
#include <cstdint>

#include "entry_points.h"

// The top_k strongest peaks of each image's heatmap. A peak is a logit above -inf that nothing in its 3 x 3
// window (one class, cut at the border) exceeds; on a plateau every cell is one; NaN counts as -inf.
// Order: higher logit, then lower index in (label, row, column). The same input gives the same bits every time.
//
//   logits      device, (images, classes, height, width), type 0 float32, 1 float16, 2 bfloat16
//   scores      device, (images, top_k) float32, sigmoid of the logit, 0 in a slot without a peak
//   labels      device, (images, top_k) int32, class from 0, -1 in a slot without a peak
//   cells       device, (images, top_k) int32, row * width + column, 0 in a slot without a peak
//   workspace   device, 16-byte aligned, cornernet_corner_peaks_workspace(...) bytes with any content
//   top_k       1 to 1000;  classes * height * width below 2^31
// Enqueues on `stream`, allocates nothing, never waits. Returns a cudaError_t.
CORNERNET_API int32_t cornernet_corner_peaks(void const* logits, float* scores, int32_t* labels, int32_t* cells,
    void* workspace, int32_t images, int32_t classes, int32_t height, int32_t width, int32_t top_k, int32_t type,
    void* stream);

// Bytes of workspace; 0 for arguments that the call above refuses. Grows with every argument.
CORNERNET_API size_t cornernet_corner_peaks_workspace(
    int32_t images, int32_t classes, int32_t height, int32_t width, int32_t top_k);
