// Images -> canvases: scale, pad, mirror, channel order, for a whole batch in one launch.
//
// A thread has one column of its canvas and kRows rows of it. The arithmetic is OpenCV's, operation by operation
// (modules/imgproc/src/resize.cpp): fixed point for bilinear, floats in the order of its loops for areas. So no
// multiplication and addition may be contracted into one: the intrinsics below forbid it to nvcc.
//
// The descriptors travel as arguments of the kernel: no copy, no memory of which somebody must know when it is free.
#include "place_views.h"

#include <cfloat>
#include <cstdlib>

#include "block.h"

namespace cornernet::placing {
namespace {

constexpr int kViewsPerLaunch = 32;
constexpr int kLanes = 32, kWarps = 8, kRows = 4;
constexpr int kTileRows = kWarps * kRows;
constexpr int kWeightBits = 11;        // OpenCV's INTER_RESIZE_COEF_BITS
constexpr double kThinnest = 1e-3;     // OpenCV leaves out what a pixel covers less of
constexpr int kLargestSide = 1 << 24;  // floats count pixels exactly up to here

enum Method { kCopy, kBilinear, kBilinearOfAreas, kMean, kArea };

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

struct Canvases {
    uint8_t* pixels;
    int height, width;
    uint8_t fill[3];
};

// Two neighbours and their weights in 1 / 2048.
struct Neighbours {
    int first, second, weight_first, weight_second;
};

__device__ int fixed_point(float weight) {
    return static_cast<int>(rintf(weight * static_cast<float>(1 << kWeightBits)));
}

// OpenCV clamps the fraction of columns beyond the border, and only the index of rows: other roundings there.
__device__ Neighbours neighbours(int at, double scale, int size, int resized, bool of_areas, bool of_columns) {
    int low;
    float fraction;
    if (of_areas) {
        low = static_cast<int>(floor(__dmul_rn(at, scale)));
        double const share = __dadd_rn(at + 1, -__dmul_rn(low + 1, static_cast<double>(resized) / size));
        fraction = static_cast<float>(share);
        fraction = fraction <= 0 ? 0.f : fraction - floorf(fraction);
    } else {
        float const position = static_cast<float>(__dadd_rn(__dmul_rn(at + 0.5, scale), -0.5));
        low = static_cast<int>(floorf(position));
        fraction = position - static_cast<float>(low);
    }
    if (of_columns && (low < 0 || low >= size - 1)) fraction = 0, low = max(0, min(low, size - 1));
    return {
        max(0, min(low, size - 1)), max(0, min(low + 1, size - 1)), fixed_point(1.f - fraction), fixed_point(fraction)};
}

// What one pixel covers along an axis: first .. last, the outermost two in part.
struct Cover {
    int first, last, whole_first, whole_last;  // whole pixels: whole_first .. whole_last - 1
    float head, body, tail;

    __device__ float weight(int at) const { return at < whole_first ? head : at < whole_last ? body : tail; }
};

__device__ Cover cover(int at, double scale, int size) {
    double const begin = __dmul_rn(at, scale), end = __dadd_rn(begin, scale);
    double const covered = fmin(scale, __dadd_rn(size, -begin));
    int const whole_last = min(static_cast<int>(floor(end)), size - 1);
    int const whole_first = min(static_cast<int>(ceil(begin)), whole_last);
    double const head = __dadd_rn(whole_first, -begin), tail = __dadd_rn(end, -whole_last);
    bool const has_head = head > kThinnest, has_tail = tail > kThinnest;
    return {has_head ? whole_first - 1 : whole_first, has_tail ? whole_last : whole_last - 1, whole_first, whole_last,
        static_cast<float>(head / covered), static_cast<float>(1.0 / covered),
        static_cast<float>(fmin(fmin(tail, 1.0), covered) / covered)};
}

__device__ uint8_t saturated(float value) { return static_cast<uint8_t>(fminf(fmaxf(rintf(value), 0.f), 255.f)); }

struct Source {
    View const& view;

    __device__ uint8_t const* at(int row, int column) const {
        return view.pixels + row * view.row_stride + column * view.pixel_stride;
    }
    __device__ int channel(uint8_t const* pixel, int c) const { return pixel[c * view.channel_stride]; }
};

__device__ void bilinear(Source const& source, Neighbours const& down, Neighbours const& across, uint8_t* out) {
    uint8_t const* const above[2] = {source.at(down.first, across.first), source.at(down.first, across.second)};
    uint8_t const* const below[2] = {source.at(down.second, across.first), source.at(down.second, across.second)};
    for (int c = 0; c < 3; ++c) {
        int const high
            = source.channel(above[0], c) * across.weight_first + source.channel(above[1], c) * across.weight_second;
        int const low
            = source.channel(below[0], c) * across.weight_first + source.channel(below[1], c) * across.weight_second;
        int const sum = ((high >> 4) * down.weight_first >> 16) + ((low >> 4) * down.weight_second >> 16);
        out[c] = static_cast<uint8_t>(max(0, min((sum + 2) >> 2, 255)));
    }
}

__device__ void area(Source const& source, Cover const& down, Cover const& across, uint8_t* out) {
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
__device__ void mean(Source const& source, int y, int x, uint8_t* out) {
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

__global__ void __launch_bounds__(kLanes* kWarps)
    place_views_kernel(__grid_constant__ Views const views, Canvases const canvases, int tiles_across, int tiles) {
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
    if (!beside && view.method == kArea) span = cover(x, view.across, view.columns);

    for (int row = first_row; row < min(first_row + kTileRows, canvases.height); row += kWarps) {
        int const y = row - view.top;
        uint8_t* const out
            = canvases.pixels + ((static_cast<int64_t>(number) * canvases.height + row) * canvases.width + column) * 3;
        if (beside || y < 0 || y >= view.shown_rows) {
            for (int c = 0; c < 3; ++c) out[c] = canvases.fill[c];
        } else if (view.method == kCopy) {
            for (int c = 0; c < 3; ++c) out[c] = static_cast<uint8_t>(source.channel(source.at(y, x), c));
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
           && std::abs(static_cast<int64_t>(view.left)) <= kLargestSide;
}

// Which of OpenCV's loops it would be.
Method method_of(CornernetView const& view, double down, double across) {
    if (view.rows == view.resized_rows && view.columns == view.resized_columns) return kCopy;
    double const whole_down = std::rint(down), whole_across = std::rint(across);
    bool const whole = std::fabs(down - whole_down) < DBL_EPSILON && std::fabs(across - whole_across) < DBL_EPSILON;
    bool const halves = whole && whole_down == 2 && whole_across == 2;
    if (view.area == 0 && !halves) return kBilinear;
    if (down < 1 || across < 1) return kBilinearOfAreas;
    return whole ? kMean : kArea;
}

View prepared(CornernetView const& view) {
    // As OpenCV has them: the reciprocal of a quotient, which may differ from the quotient in its last bit.
    double const down = 1. / (static_cast<double>(view.resized_rows) / view.rows);
    double const across = 1. / (static_cast<double>(view.resized_columns) / view.columns);
    return {view.pixels, view.row_stride, view.pixel_stride, view.channel_stride, down, across, view.rows, view.columns,
        view.resized_rows, view.resized_columns, view.top, view.left, view.shown_rows, view.shown_columns,
        method_of(view, down, across), view.mirrored != 0};
}

}  // namespace
}  // namespace cornernet::placing

int32_t cornernet_place_views(CornernetView const* views, int32_t count, uint8_t* canvases, int32_t height,
    int32_t width, uint8_t const* fill, void* stream) {
    using namespace cornernet::placing;
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
        Canvases const target
            = {canvases + static_cast<int64_t>(begin) * height * width * 3, height, width, {fill[0], fill[1], fill[2]}};
        cudaError_t const status = cornernet::launch_plain(place_views_kernel, dim3(static_cast<unsigned>(tiles * now)),
            dim3(kLanes * kWarps), 0, static_cast<cudaStream_t>(stream), some, target, static_cast<int>(across),
            static_cast<int>(tiles));
        if (status != cudaSuccess) return status;
    }
    return cudaSuccess;
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
