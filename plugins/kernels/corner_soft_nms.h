// C entry point of the soft-NMS kernel: plain pointers, usable from ctypes, PyCUDA or a TensorRT plugin.
#pragma once
#include <cstdint>

#include "entry_points.h"

namespace cornernet {
enum SoftNms { kNoSoftNms = 0, kGaussian = 1, kLinear = 2, kHard = 3 };  // as in engine/native
constexpr int kPlacementFields = 9;
}  // namespace cornernet

// The rows of cornernet_corner_group, one view per image, to the final boxes of a picture: to image pixels, clipped, then
// soft-NMS (Bodla et al. 2017) within each class. Take the box with the highest current score (ties: the lower row),
// multiply the scores of the others of its class by a weight, until `limit` are taken or none reaches min_score. The same
// as engine/native/suppress.cpp, operation by operation.
//
//   inputs      5 device pointers: boxes (images, candidates, 4) f32 [px, canvas], scores (images, candidates) f32 best
//               first, labels (images, candidates) i32, counts (images) i32, placements (images, 9) f32:
//                 left, top           where the image begins on the canvas [px]
//                 right, bottom       far sides to clip to [px, resized image], infinity for none
//                 across, image_width; down, image_height     a canvas pixel is image_width / across image pixels wide
//                 mirror_axis         x -> mirror_axis - x first; NaN for none
//   outputs     4 device pointers: boxes (images, limit, 4) f32 [px, image], scores (images, limit) f32, labels (images,
//               limit) i32, counts (images) i32, best first. Unused rows are written too: box 0, score -1, label -1.
//   method      0 none, 1 gaussian exp(-v^2 / sigma), 2 linear 1 - v above iou_threshold, 3 hard 0 above it
//   min_score   above 0;  iou_pixel: added to widths and heights in IoU;  drop_empty: boxes without extent do not count
//   candidates  1 to 3840;  limit 1 to 3840
// Enqueues on `stream`, allocates nothing, never waits. Returns a cudaError_t.
CORNERNET_API int32_t cornernet_corner_soft_nms(void const* const* inputs, void* const* outputs, int32_t images,
    int32_t candidates, int32_t limit, int32_t method, float sigma, float iou_threshold, float min_score, float iou_pixel,
    int32_t drop_empty, void* stream);
