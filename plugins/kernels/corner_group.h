// C entry points of the grouping kernel: plain pointers, usable from ctypes, PyCUDA or a TensorRT plugin.
#pragma once
#include <cstddef>
#include <cstdint>

#include "entry_points.h"

// Joins top-left with bottom-right corners of the same object (Law & Deng 2018, section 3.3). A pair is kept when
// both labels are equal and >= 0, the embeddings differ by at most max_distance, and x2 >= x1, y2 >= y1 (strictly
// with reject_zero_size); a NaN anywhere rejects. Its score is the mean of the two corner scores.
// Order: higher score, then lower top-left slot, then lower bottom-right slot; the best num_dets are written.
//
//   inputs    10 device pointers, each (images, corners): scores f32, labels i32, embeddings f32, x f32, y f32 of the
//             top-left corners, then the same five of the bottom-right corners
//   outputs   5 device pointers: boxes (images, num_dets, 4) f32, scores (images, num_dets) f32,
//             corner_scores (images, num_dets, 2) f32, labels (images, num_dets) i32, counts (images) i32
//             Unused rows are written too: box 0, score -1, corner scores 0, label -1.
//   workspace device, 16-byte aligned, cornernet_corner_group_workspace(...) bytes with any content
//   corners   1 to 1000;  num_dets 1 to 3840
// Enqueues on `stream`, allocates nothing, never waits. Returns a cudaError_t.
CORNERNET_API int32_t cornernet_corner_group(void const* const* inputs, void* const* outputs, void* workspace,
    int32_t images, int32_t corners, int32_t num_dets, float max_distance, int32_t reject_zero_size, void* stream);

// Bytes of workspace; 0 for arguments that the call above refuses. Grows with both arguments.
CORNERNET_API size_t cornernet_corner_group_workspace(int32_t images, int32_t corners);
