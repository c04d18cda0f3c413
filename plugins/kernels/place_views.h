// C entry point of the placing kernel: images in device memory -> canvases, the network's input.
#pragma once
#include <cstddef>
#include <cstdint>

#include "entry_points.h"

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
//   area             0: bilinear; 1: each pixel is the mean of what it covers, where both sides shrink
typedef struct CornernetView {
    uint8_t const* pixels;
    int64_t row_stride, pixel_stride, channel_stride;
    int32_t rows, columns, resized_rows, resized_columns, top, left, shown_rows, shown_columns, mirrored, area;
} CornernetView;

// Writes every pixel of every canvas: cv2.resize(..., INTER_LINEAR or INTER_AREA) of the rectangle, `fill` around it.
// The same bits as OpenCV 4.12 and 5.0 on x86.
//
//   views     host, (count); read before the call returns
//   canvases  device, (count, height, width, 3)
//   fill      host, 3 bytes in the canvas's channel order
// Enqueues on `stream`, a launch for every 32 views; allocates nothing, never waits. Returns a cudaError_t.
CORNERNET_API int32_t cornernet_place_views(CornernetView const* views, int32_t count, uint8_t* canvases,
    int32_t height, int32_t width, uint8_t const* fill, void* stream);

// Number of the device whose memory `address` lies in; -1 for host memory, and for what is no memory (any more).
CORNERNET_API int32_t cornernet_device_of(void const* address);
