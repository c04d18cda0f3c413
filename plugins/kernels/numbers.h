// The three element types of the kernels, and the few operations on them that the kernels need.
//
// Compiles with nvcc for a GPU and with g++ for the tests: tests/plugins/host_cuda.h emulates the CUDA
// names used here, so that the kernels of this folder also run, unchanged, on a machine without a GPU.
#pragma once

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#else
#include "host_cuda.h"
#endif

#include <cmath>
#include <cstdint>
#include <cstring>

// Turing, compiled by CUDA 11, has neither the maxima of pairs that let a NaN through nor any arithmetic on pairs of
// bfloat16: pairs are computed as floats there. (CUDA 12 has its own such detour; ours is used below 8.0 throughout.)
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define CORNERNET_PAIRS_AS_FLOATS 1
#endif

namespace cornernet {

using Half = __half;
using BFloat16 = __nv_bfloat16;

__host__ __device__ inline float to_float(float value) { return value; }
__host__ __device__ inline float to_float(Half value) { return __half2float(value); }
__host__ __device__ inline float to_float(BFloat16 value) { return __bfloat162float(value); }

template <typename T> __host__ __device__ T from_float(float value);
template <> __host__ __device__ inline float from_float<float>(float value) { return value; }
template <> __host__ __device__ inline Half from_float<Half>(float value) { return __float2half_rn(value); }
template <> __host__ __device__ inline BFloat16 from_float<BFloat16>(float value) { return __float2bfloat16_rn(value); }

// Pack<T>: the elements one 32-bit instruction works on. Maxima of 16-bit types are taken two at a time,
// without a detour over float, or the kernels would be bound by arithmetic instead of by memory.
template <typename T> struct PackOf;
template <> struct PackOf<float> {
    using type = float;
};
template <> struct PackOf<Half> {
    using type = __half2;
};
template <> struct PackOf<BFloat16> {
    using type = __nv_bfloat162;
};
template <typename T> using Pack = typename PackOf<T>::type;

// 16 bytes, one memory transaction of a thread.
template <typename T> struct alignas(16) Vector {
    static constexpr int kPacks = 4;
    static constexpr int kElements = 16 / sizeof(T);
    Pack<T> pack[kPacks];
};

// Every bit pattern as a float pack, e.g. two copies of a 16-bit value.
template <typename P> __host__ __device__ P pack_from_bits(uint32_t bits) {
    static_assert(sizeof(P) == sizeof(bits), "a pack is 32 bits");
    P pack;
    memcpy(static_cast<void*>(&pack), &bits, sizeof(pack));  // void*: the 16-bit pairs have constructors
    return pack;
}
template <typename P> __host__ __device__ P lowest_pack();  // -inf, the identity of a maximum
template <> __host__ __device__ inline float lowest_pack<float>() { return pack_from_bits<float>(0xff800000u); }
template <> __host__ __device__ inline __half2 lowest_pack<__half2>() { return pack_from_bits<__half2>(0xfc00fc00u); }
template <> __host__ __device__ inline __nv_bfloat162 lowest_pack<__nv_bfloat162>() {
    return pack_from_bits<__nv_bfloat162>(0xff80ff80u);
}

// Maximum that a NaN on either side turns into NaN, as numpy.maximum and torch.cummax do.
__device__ inline float max_or_nan(float a, float b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    float result;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
    return result;
#else
    return a >= b || a != a ? a : b;
#endif
}
// Maximum that ignores a NaN: next to a number it counts as -inf.
__device__ inline float max_skip_nan(float a, float b) { return fmaxf(a, b); }
__device__ inline float spread_first(float a) { return a; }
__device__ inline float spread_last(float a) { return a; }
__device__ inline float add_packs(float a, float b) { return a + b; }

#if CORNERNET_PAIRS_AS_FLOATS
// A maximum is one of its operands, so the detour over float changes no bit; a sum is rounded once either way.
__device__ inline __half2 pair_of(float first, float last, __half2) { return __floats2half2_rn(first, last); }
__device__ inline __nv_bfloat162 pair_of(float first, float last, __nv_bfloat162) {
    __nv_bfloat162 pair;
    pair.x = __float2bfloat16_rn(first), pair.y = __float2bfloat16_rn(last);
    return pair;
}
template <typename P> __device__ inline P max_or_nan(P a, P b) {
    return pair_of(max_or_nan(__low2float(a), __low2float(b)), max_or_nan(__high2float(a), __high2float(b)), P());
}
template <typename P> __device__ inline P max_skip_nan(P a, P b) {
    return pair_of(max_skip_nan(__low2float(a), __low2float(b)), max_skip_nan(__high2float(a), __high2float(b)), P());
}
template <typename P> __device__ inline P add_packs(P a, P b) {
    return pair_of(__low2float(a) + __low2float(b), __high2float(a) + __high2float(b), P());
}
template <typename P> __device__ inline P spread_first(P a) { return pair_of(__low2float(a), __low2float(a), P()); }
template <typename P> __device__ inline P spread_last(P a) { return pair_of(__high2float(a), __high2float(a), P()); }
#else
__device__ inline __half2 max_or_nan(__half2 a, __half2 b) { return __hmax2_nan(a, b); }
__device__ inline __nv_bfloat162 max_or_nan(__nv_bfloat162 a, __nv_bfloat162 b) { return __hmax2_nan(a, b); }
__device__ inline __half2 max_skip_nan(__half2 a, __half2 b) { return __hmax2(a, b); }
__device__ inline __nv_bfloat162 max_skip_nan(__nv_bfloat162 a, __nv_bfloat162 b) { return __hmax2(a, b); }

// The first (lower address) or the last element of a pack, copied to all its places.
__device__ inline __half2 spread_first(__half2 a) { return __low2half2(a); }
__device__ inline __nv_bfloat162 spread_first(__nv_bfloat162 a) { return __low2bfloat162(a); }
__device__ inline __half2 spread_last(__half2 a) { return __high2half2(a); }
__device__ inline __nv_bfloat162 spread_last(__nv_bfloat162 a) { return __high2bfloat162(a); }

__device__ inline __half2 add_packs(__half2 a, __half2 b) { return __hadd2(a, b); }
__device__ inline __nv_bfloat162 add_packs(__nv_bfloat162 a, __nv_bfloat162 b) { return __hadd2(a, b); }
#endif

// Elements of a vector as floats, in memory order.
__device__ inline void unpack(Vector<float> const& v, float* out) {
    for (int i = 0; i < 4; ++i) out[i] = v.pack[i];
}
__device__ inline void unpack(Vector<Half> const& v, float* out) {
    for (int i = 0; i < 4; ++i) {
        out[2 * i] = __low2float(v.pack[i]);
        out[2 * i + 1] = __high2float(v.pack[i]);
    }
}
__device__ inline void unpack(Vector<BFloat16> const& v, float* out) {
    for (int i = 0; i < 4; ++i) {
        out[2 * i] = __low2float(v.pack[i]);
        out[2 * i + 1] = __high2float(v.pack[i]);
    }
}

// Vectors may be used when every row starts on a 16-byte boundary.
template <typename T>
bool rows_are_vectors(int width, void const* a, void const* b = nullptr, void const* c = nullptr) {
    auto const misaligned = [](void const* p) { return reinterpret_cast<uintptr_t>(p) % 16 != 0; };
    return width % Vector<T>::kElements == 0 && !misaligned(a) && !misaligned(b) && !misaligned(c);
}

}  // namespace cornernet
