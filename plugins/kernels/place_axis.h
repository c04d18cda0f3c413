// Scaling along one axis: which source pixels a pixel of the canvas is made of, and how much of each.
#pragma once
#include "block.h"

namespace cornernet::placing {

constexpr int kWeightBits = 11;     // OpenCV's INTER_RESIZE_COEF_BITS
constexpr double kThinnest = 1e-3;  // OpenCV leaves out what a pixel covers less of

// Two neighbours, and how far from the first to the second.
struct Neighbours {
    int first, second;
    float share;

    // In 1 / 2048.
    __device__ int weight_first() const { return fixed_point(1.f - share); }
    __device__ int weight_second() const { return fixed_point(share); }

    static __device__ int fixed_point(float weight) {
        return static_cast<int>(rintf(weight * static_cast<float>(1 << kWeightBits)));
    }
};

// OpenCV clamps the fraction of columns beyond the border, and only the index of rows: other roundings there.
__device__ inline Neighbours neighbours(int at, double scale, int size, int resized, bool of_areas, bool of_columns) {
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
    return {max(0, min(low, size - 1)), max(0, min(low + 1, size - 1)), fraction};
}

// As IPP has it, in double.
__device__ inline Neighbours neighbours_of_floats(int at, double scale, int size) {
    double const position = fmax(__dadd_rn(__dmul_rn(at + 0.5, scale), -0.5), 0.0);
    int const low = min(static_cast<int>(position), size - 1);
    return {low, min(low + 1, size - 1), static_cast<float>(__dadd_rn(position, -low))};
}

// What one pixel covers along an axis: first .. last, the outermost two in part.
struct Cover {
    int first, last, whole_first, whole_last;  // whole pixels: whole_first .. whole_last - 1
    float head, body, tail;

    __device__ float weight(int at) const { return at < whole_first ? head : at < whole_last ? body : tail; }
};

__device__ inline Cover cover(int at, double scale, int size) {
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

}  // namespace cornernet::placing
