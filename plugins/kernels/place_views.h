// C entry point of the placing kernel: images in device memory -> canvases, the network's input.
#pragma once
#include <cstddef>
#include <cstdint>

#include "entry_points.h"

// How a rectangle is scaled to its size on the canvas.
enum CornernetScaling {
    CORNERNET_BILINEAR = 0,  // cv2.resize(uint8, INTER_LINEAR): in whole numbers
    CORNERNET_AREAS = 1,  // cv2.resize(uint8, INTER_AREA): each pixel the mean of what it covers, where both sides shrink
    // cv2.resize(float32, INTER_LINEAR) with positions in double: levels between the whole ones
    CORNERNET_BILINEAR_FLOATS = 2
};

// One view of an image: a rectangle of source pixels, what it is scaled to, and where that lies on its canvas.
//
//   pixels           device: channel 0, as the canvas has it, of the first pixel of the source rectangle
//   *_stride         [bytes] from a row, a pixel, a channel to the next; any sign, so that any order of axes and
//                    channels is read as it lies (the other channel order: the address of the last, and -1)
//   rows, columns    of the source rectangle [px]; what lies around it is not read
//   resized_*        [px] what the rectangle is scaled to
//   top, left        [px] where that begins on the canvas; may be outside
//   shown_*          [px] how much of it is copied, from its top left corner
//   mirrored         1: the whole canvas is mirrored, left to right
//   scaling          one of CornernetScaling
typedef struct CornernetView {
    uint8_t const* pixels;
    int64_t row_stride, pixel_stride, channel_stride;
    int32_t rows, columns, resized_rows, resized_columns, top, left, shown_rows, shown_columns, mirrored, scaling;
} CornernetView;

// Writes every pixel of every canvas: the rectangle as scaled, `fill` around it. Whole numbers and areas are the same
// bits as OpenCV 4.12 and 5.0 on x86; levels between are rounded to even.
//
//   views     host, (count); read before the call returns
//   canvases  device, (count, height, width, 3)
//   fill      host, 3 bytes in the canvas's channel order
// Enqueues on `stream`, a launch for every 32 views; allocates nothing, never waits. Returns a cudaError_t.
CORNERNET_API int32_t cornernet_place_views(CornernetView const* views, int32_t count, uint8_t* canvases,
    int32_t height, int32_t width, uint8_t const* fill, void* stream);

// The same in float32. whole: 1: the values that uint8 canvases would have; 0: levels are not rounded.
CORNERNET_API int32_t cornernet_place_float_views(CornernetView const* views, int32_t count, float* canvases,
    int32_t height, int32_t width, int32_t whole, uint8_t const* fill, void* stream);

// Number of the device whose memory `address` lies in; -1 for host memory, and for what is no memory (any more).
CORNERNET_API int32_t cornernet_device_of(void const* address);
