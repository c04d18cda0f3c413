// Images -> canvases: scale, pad, mirror, channel order, for a whole batch in one launch.
//
// A thread has one column of its canvas and kRows rows of it. The arithmetic is OpenCV's, operation by operation
// (modules/imgproc/src/resize.cpp): fixed point for bilinear, floats in the order of its loops for areas. So no
// multiplication and addition may be contracted into one: the intrinsics below forbid it to nvcc. Bilinear of floats is
// the other way round: what OpenCV calls for it on x86 (IPP) fuses the two, columns before rows.
//
// The descriptors travel as arguments of the kernel: no copy, no memory of which somebody must know when it is free.
#include "place_views.h"

#include <cfloat>
#include <cstdlib>

#include "block.h"
#include "place_axis.h"

namespace cornernet::placing {
namespace {

constexpr int kViewsPerLaunch = 32;
constexpr int kLanes = 32, kWarps = 8, kRows = 4;
constexpr int kTileRows = kWarps * kRows;
constexpr int kLargestSide = 1 << 24;  // floats count pixels exactly up to here

enum Method { kCopy, kBilinear, kBilinearOfAreas, kBilinearFloats, kMean, kArea };

struct View {
    uint8_t const* pixels;
    int64_t row_stride, pixel_stride, channel_stride;
    double down, across;  // source pixels per pixel of the canvas
    int rows, columns, resized_rows, resized_columns, top, left, shown_rows, shown_columns;
    Method method;
    bool mirrored;
};
struct Views {
    View view[kViewsPerLaunch];
};
static_assert(sizeof(Views) <= 4096 - 64, "all arguments of a launch must fit into 4 KB");

// Level: uint8_t or float. whole: levels are rounded, whatever holds them.
template <typename Level>
struct Canvases {
    Level* pixels;
    int height, width;
    uint8_t fill[3];
    bool whole;

    __device__ bool rounds() const { return sizeof(Level) == 1 || whole; }
};

__device__ uint8_t saturated(float value) { return static_cast<uint8_t>(fminf(fmaxf(rintf(value), 0.f), 255.f)); }

struct Source {
    View const& view;

    __device__ uint8_t const* at(int row, int column) const {
        return view.pixels + row * view.row_stride + column * view.pixel_stride;
    }
    __device__ int channel(uint8_t const* pixel, int c) const { return pixel[c * view.channel_stride]; }
};

template <typename Level>
__device__ void bilinear(Source const& source, Neighbours const& down, Neighbours const& across, Level* out) {
    uint8_t const* const above[2] = {source.at(down.first, across.first), source.at(down.first, across.second)};
    uint8_t const* const below[2] = {source.at(down.second, across.first), source.at(down.second, across.second)};
    for (int c = 0; c < 3; ++c) {
        int const high
            = source.channel(above[0], c) * across.weight_first() + source.channel(above[1], c) * across.weight_second();
        int const low
            = source.channel(below[0], c) * across.weight_first() + source.channel(below[1], c) * across.weight_second();
        int const sum = ((high >> 4) * down.weight_first() >> 16) + ((low >> 4) * down.weight_second() >> 16);
        out[c] = static_cast<uint8_t>(max(0, min((sum + 2) >> 2, 255)));
    }
}

__device__ float mixed(int first, int second, float share) {
    return fmaf(static_cast<float>(second - first), share, static_cast<float>(first));
}

template <typename Level>
__device__ void bilinear_floats(
    Source const& source, Neighbours const& down, Neighbours const& across, bool whole, Level* out) {
    uint8_t const* const above[2] = {source.at(down.first, across.first), source.at(down.first, across.second)};
    uint8_t const* const below[2] = {source.at(down.second, across.first), source.at(down.second, across.second)};
    for (int c = 0; c < 3; ++c) {
        float const high = mixed(source.channel(above[0], c), source.channel(above[1], c), across.share);
        float const low = mixed(source.channel(below[0], c), source.channel(below[1], c), across.share);
        float const level = fmaf(low - high, down.share, high);
        out[c] = static_cast<Level>(whole ? static_cast<float>(saturated(level)) : level);
    }
}

template <typename Level>
__device__ void area(Source const& source, Cover const& down, Cover const& across, Level* out) {
    float total[3] = {};
    for (int row = down.first; row <= down.last; ++row) {
        float line[3] = {};
        for (int column = across.first; column <= across.last; ++column) {
            uint8_t const* const pixel = source.at(row, column);
            for (int c = 0; c < 3; ++c)
                line[c] = __fadd_rn(
                    line[c], __fmul_rn(static_cast<float>(source.channel(pixel, c)), across.weight(column)));
        }
        for (int c = 0; c < 3; ++c) total[c] = __fadd_rn(total[c], __fmul_rn(down.weight(row), line[c]));
    }
    for (int c = 0; c < 3; ++c) out[c] = saturated(total[c]);
}

// Areas of whole pixels: sums of integers.
template <typename Level>
__device__ void mean(Source const& source, int y, int x, Level* out) {
    int const down = source.view.rows / source.view.resized_rows,
              across = source.view.columns / source.view.resized_columns;
    int64_t total[3] = {};
    for (int row = y * down; row < (y + 1) * down; ++row)
        for (int column = x * across; column < (x + 1) * across; ++column)
            for (int c = 0; c < 3; ++c) total[c] += source.channel(source.at(row, column), c);
    for (int c = 0; c < 3; ++c)
        out[c] = down == 2 && across == 2
                     ? static_cast<uint8_t>((total[c] + 2) >> 2)
                     : saturated(__fmul_rn(static_cast<float>(total[c]), 1.f / static_cast<float>(down * across)));
}

template <typename Level>
__global__ void __launch_bounds__(kLanes* kWarps) place_views_kernel(
    __grid_constant__ Views const views, Canvases<Level> const canvases, int tiles_across, int tiles) {
    int const number = static_cast<int>(blockIdx.x) / tiles, tile = static_cast<int>(blockIdx.x) % tiles;
    View const& view = views.view[number];
    int const lane = static_cast<int>(threadIdx.x) % kLanes, warp = static_cast<int>(threadIdx.x) / kLanes;
    int const column = tile % tiles_across * kLanes + lane, first_row = tile / tiles_across * kTileRows + warp;
    if (column >= canvases.width) return;

    int const x = (view.mirrored ? canvases.width - 1 - column : column) - view.left;
    bool const beside = x < 0 || x >= view.shown_columns;
    bool const of_areas = view.method == kBilinearOfAreas;
    Source const source = {view};
    Neighbours pair = {};
    Cover span = {};
    if (!beside && (view.method == kBilinear || of_areas))
        pair = neighbours(x, view.across, view.columns, view.resized_columns, of_areas, true);
    if (!beside && view.method == kBilinearFloats) pair = neighbours_of_floats(x, view.across, view.columns);
    if (!beside && view.method == kArea) span = cover(x, view.across, view.columns);

    for (int row = first_row; row < min(first_row + kTileRows, canvases.height); row += kWarps) {
        int const y = row - view.top;
        Level* const out
            = canvases.pixels + ((static_cast<int64_t>(number) * canvases.height + row) * canvases.width + column) * 3;
        if (beside || y < 0 || y >= view.shown_rows) {
            for (int c = 0; c < 3; ++c) out[c] = canvases.fill[c];
        } else if (view.method == kCopy) {
            for (int c = 0; c < 3; ++c) out[c] = static_cast<uint8_t>(source.channel(source.at(y, x), c));
        } else if (view.method == kBilinearFloats) {
            bilinear_floats(source, neighbours_of_floats(y, view.down, view.rows), pair, canvases.rounds(), out);
        } else if (view.method == kMean) {
            mean(source, y, x, out);
        } else if (view.method == kArea) {
            area(source, cover(y, view.down, view.rows), span, out);
        } else {
            bilinear(source, neighbours(y, view.down, view.rows, view.resized_rows, of_areas, false), pair, out);
        }
    }
}

bool is_valid(CornernetView const& view) {
    auto const is_side = [](int32_t side) { return side >= 1 && side <= kLargestSide; };
    return view.pixels != nullptr && is_side(view.rows) && is_side(view.columns) && is_side(view.resized_rows)
           && is_side(view.resized_columns) && view.shown_rows >= 0 && view.shown_rows <= view.resized_rows
           && view.shown_columns >= 0 && view.shown_columns <= view.resized_columns
           && std::abs(static_cast<int64_t>(view.top)) <= kLargestSide
           && std::abs(static_cast<int64_t>(view.left)) <= kLargestSide && view.scaling >= CORNERNET_BILINEAR
           && view.scaling <= CORNERNET_BILINEAR_FLOATS;
}

// Which of OpenCV's loops it would be.
Method method_of(CornernetView const& view, double down, double across) {
    if (view.rows == view.resized_rows && view.columns == view.resized_columns) return kCopy;
    if (view.scaling == CORNERNET_BILINEAR_FLOATS) return kBilinearFloats;
    double const whole_down = std::rint(down), whole_across = std::rint(across);
    bool const whole = std::fabs(down - whole_down) < DBL_EPSILON && std::fabs(across - whole_across) < DBL_EPSILON;
    bool const halves = whole && whole_down == 2 && whole_across == 2;
    if (view.scaling == CORNERNET_BILINEAR && !halves) return kBilinear;
    if (down < 1 || across < 1) return kBilinearOfAreas;
    return whole ? kMean : kArea;
}

View prepared(CornernetView const& view) {
    double down = static_cast<double>(view.rows) / view.resized_rows;
    double across = static_cast<double>(view.columns) / view.resized_columns;
    if (view.scaling != CORNERNET_BILINEAR_FLOATS) {
        // As OpenCV has them: the reciprocal of a quotient, which may differ from the quotient in its last bit.
        down = 1. / (static_cast<double>(view.resized_rows) / view.rows);
        across = 1. / (static_cast<double>(view.resized_columns) / view.columns);
    }
    return {view.pixels, view.row_stride, view.pixel_stride, view.channel_stride, down, across, view.rows, view.columns,
        view.resized_rows, view.resized_columns, view.top, view.left, view.shown_rows, view.shown_columns,
        method_of(view, down, across), view.mirrored != 0};
}

template <typename Level>
int32_t place(CornernetView const* views, int32_t count, Level* canvases, int32_t height, int32_t width, bool whole,
    uint8_t const* fill, void* stream) {
    int64_t const across = (static_cast<int64_t>(width) + kLanes - 1) / kLanes;
    int64_t const tiles = across * ((static_cast<int64_t>(height) + kTileRows - 1) / kTileRows);
    if (count < 0 || height < 1 || width < 1 || tiles > INT32_MAX / kViewsPerLaunch) return cudaErrorInvalidValue;
    if (count == 0) return cudaSuccess;
    if (views == nullptr || canvases == nullptr || fill == nullptr) return cudaErrorInvalidValue;
    for (int32_t i = 0; i < count; ++i)
        if (!is_valid(views[i])) return cudaErrorInvalidValue;
    for (int32_t begin = 0; begin < count; begin += kViewsPerLaunch) {
        int const now = min(kViewsPerLaunch, count - begin);
        Views some = {};
        for (int i = 0; i < now; ++i) some.view[i] = prepared(views[begin + i]);
        Canvases<Level> const target = {canvases + static_cast<int64_t>(begin) * height * width * 3, height, width,
            {fill[0], fill[1], fill[2]}, whole};
        cudaError_t const status
            = launch_plain(place_views_kernel<Level>, dim3(static_cast<unsigned>(tiles * now)), dim3(kLanes * kWarps),
                0, static_cast<cudaStream_t>(stream), some, target, static_cast<int>(across), static_cast<int>(tiles));
        if (status != cudaSuccess) return status;
    }
    return cudaSuccess;
}

}  // namespace
}  // namespace cornernet::placing

int32_t cornernet_place_views(CornernetView const* views, int32_t count, uint8_t* canvases, int32_t height,
    int32_t width, uint8_t const* fill, void* stream) {
    return cornernet::placing::place(views, count, canvases, height, width, true, fill, stream);
}

int32_t cornernet_place_float_views(CornernetView const* views, int32_t count, float* canvases, int32_t height,
    int32_t width, int32_t whole, uint8_t const* fill, void* stream) {
    return cornernet::placing::place(views, count, canvases, height, width, whole != 0, fill, stream);
}

int32_t cornernet_device_of(void const* address) {
    cudaPointerAttributes found = {};
    if (cudaPointerGetAttributes(&found, address) != cudaSuccess) {
        cudaGetLastError();  // an address that CUDA never saw is an answer, not a failure of the next call
        return -1;
    }
    bool const on_device = found.type == cudaMemoryTypeDevice || found.type == cudaMemoryTypeManaged;
    return on_device ? found.device : -1;
}
