// CUDA for a machine without a GPU: enough of the language to compile plugins/kernels/*.cu with g++ and run them.
//
// The kernels' own source runs, unchanged: every CUDA thread is a fiber, __syncthreads, warp shuffles and cluster
// barriers switch fibers, and the order in which threads run between barriers is chosen by a seed, so a missing
// barrier gives different results under different seeds. Deadlocks (a barrier that not all threads reach) and
// shuffles without all 32 lanes are launch failures. What stays untested is the hardware: timing, caches, the
// memory model below the level of barriers, and nvcc itself.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <tuple>
#include <utility>

#define __host__
#define __device__
#define __global__
#define __launch_bounds__(...)
#define __grid_constant__
#define CUDART_VERSION 13000

struct uint4 {
    uint32_t x, y, z, w;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorLaunchFailure = 719
};
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16, cudaDevAttrComputeCapabilityMajor = 75 };
enum cudaMemoryType { cudaMemoryTypeUnregistered = 0, cudaMemoryTypeDevice = 2, cudaMemoryTypeManaged = 3 };
struct cudaPointerAttributes {
    cudaMemoryType type;
    int device;
};
enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension = 4 };
using cudaStream_t = struct CUstream_st*;
struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    struct {
        dim3 clusterDim;
    } val;
};
struct cudaFuncAttributes {
    int ptxVersion;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute* attrs;
    unsigned numAttrs;
};

namespace host_cuda {

// Where the running thread is; the epochs count the barriers it has passed in this launch.
struct Thread {
    dim3 thread_index, block_index;
    int block, cluster, thread, warp;  // linear numbers
    unsigned block_epoch, warp_epoch, cluster_epoch;
};
Thread const& self();
bool in_kernel();
bool on_own_stack(void const* address);
dim3 thread_index();
dim3 block_index();
dim3 block_dim();
dim3 grid_dim();

void* shared_memory();
void* peer_shared_memory(void* mine, unsigned rank);
void sync_block();
void sync_warp();
void sync_cluster();
uint64_t from_lane(uint64_t value, int lane);  // the value that `lane` of this warp passes to the same call
uint32_t ballot(bool vote);
unsigned atomic_add(unsigned* address, unsigned value);
cudaError_t launch(cudaLaunchConfig_t const& config, std::function<void()> const& kernel);

template <typename T> T lane_value(T value, int lane) {
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(T));
    bits = from_lane(bits, lane);
    memcpy(&value, &bits, sizeof(T));
    return value;
}
// Rounds to nearest even.
inline uint16_t half_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    uint16_t const sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) return 0x7fff;
    if (bits >= 0x477ff000) return sign | 0x7c00;  // rounds to infinity
    if (bits < 0x38800000) {                       // denormal: let a float addition align and round the mantissa
        float const shifted = std::fabs(value) + 0.5f;
        memcpy(&bits, &shifted, 4);
        return static_cast<uint16_t>(sign | (bits - 0x3f000000));
    }
    return static_cast<uint16_t>(sign | ((bits + 0xfff + (bits >> 13 & 1) - 0x38000000) >> 13));
}
inline float half_value(uint16_t bits) {
    int const exponent = bits >> 10 & 31, mantissa = bits & 1023;
    float value = exponent == 31 ? (mantissa ? NAN : INFINITY)
                  : exponent     ? std::ldexp(1024.f + mantissa, exponent - 25)
                                 : std::ldexp(float(mantissa), -24);
    return bits & 0x8000 ? -value : value;
}

}  // namespace host_cuda

// Objects, not macros: cudaLaunchConfig_t has members of the same names.
template <dim3 (*kValue)()> struct HostIndex {
    struct {
        operator unsigned() const { return kValue().x; }
    } x;
};
inline HostIndex<host_cuda::thread_index> const threadIdx;
inline HostIndex<host_cuda::block_index> const blockIdx;
inline HostIndex<host_cuda::block_dim> const blockDim;
inline HostIndex<host_cuda::grid_dim> const gridDim;

inline int min(int a, int b) { return std::min(a, b); }
inline int max(int a, int b) { return std::max(a, b); }
inline int64_t min(int64_t a, int64_t b) { return std::min(a, b); }
inline int64_t max(int64_t a, int64_t b) { return std::max(a, b); }
inline double __dmul_rn(double a, double b) { return a * b; }  // compiled with -ffp-contract=off
inline double __dadd_rn(double a, double b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline int __popc(unsigned value) { return __builtin_popcount(value); }

// glibc's fmaxf gives NaN for a signalling NaN; a GPU gives the other operand for every NaN.
inline float host_fmaxf(float a, float b) { return b != b || a >= b ? a : b; }
#define fmaxf host_fmaxf

inline void __syncthreads() { host_cuda::sync_block(); }
inline void __syncwarp() { host_cuda::sync_warp(); }
inline unsigned __ballot_sync(unsigned, bool vote) { return host_cuda::ballot(vote); }
template <typename T> T __shfl_sync(unsigned, T value, int lane) { return host_cuda::lane_value(value, lane); }
template <typename T> T __shfl_up_sync(unsigned, T value, int delta, int width = 32) {
    int const lane = host_cuda::self().thread % 32;
    return host_cuda::lane_value(value, lane % width >= delta ? lane - delta : lane);
}
template <typename T> T __shfl_down_sync(unsigned, T value, int delta, int width = 32) {
    int const lane = host_cuda::self().thread % 32;
    return host_cuda::lane_value(value, lane % width + delta < width ? lane + delta : lane);
}
template <typename T> T __shfl_xor_sync(unsigned, T value, int mask) {
    return host_cuda::lane_value(value, host_cuda::self().thread % 32 ^ mask);
}
inline unsigned atomicAdd(unsigned* address, unsigned value) { return host_cuda::atomic_add(address, value); }

namespace cooperative_groups {
struct cluster_group {
    void sync() const { host_cuda::sync_cluster(); }
    template <typename T> T* map_shared_rank(T* mine, unsigned rank) const {
        return static_cast<T*>(host_cuda::peer_shared_memory(mine, rank));
    }
};
inline cluster_group this_cluster() { return {}; }
}  // namespace cooperative_groups

cudaError_t cudaGetDevice(int* device);
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, void const* address);
cudaError_t host_func_attributes(cudaFuncAttributes* attributes);
cudaError_t host_active_clusters(int* clusters, cudaLaunchConfig_t const* config);
template <typename K> cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, K*) {
    return host_func_attributes(attributes);
}
template <typename K>
cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, K*, cudaLaunchConfig_t const* config) {
    return host_active_clusters(clusters, config);
}
template <typename... P, typename... A>
cudaError_t cudaLaunchKernelEx(cudaLaunchConfig_t const* config, void (*kernel)(P...), A&&... a) {
    return host_cuda::launch(*config, [=] { kernel(static_cast<P>(a)...); });
}
template <typename... P, size_t... I>
cudaError_t host_launch(cudaLaunchConfig_t const& config, void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
    return host_cuda::launch(config, [=] { kernel(*static_cast<std::remove_reference_t<P>*>(arguments[I])...); });
}
template <typename... P> cudaError_t cudaLaunchKernel(
    void (*kernel)(P...), dim3 grid, dim3 block, void** arguments, size_t shared_bytes, cudaStream_t stream) {
    cudaLaunchConfig_t const config = {grid, block, shared_bytes, stream, nullptr, 0};
    return host_launch(config, kernel, arguments, std::index_sequence_for<P...>());
}

// 16-bit floats. Arithmetic is float arithmetic rounded once, as the hardware's is.
struct __half {
    uint16_t bits;
};
struct __nv_bfloat16 {
    uint16_t bits;
};
inline float __half2float(__half h) { return host_cuda::half_value(h.bits); }
inline __half __float2half_rn(float value) { return {host_cuda::half_bits(value)}; }
inline float __bfloat162float(__nv_bfloat16 h) {
    uint32_t const bits = static_cast<uint32_t>(h.bits) << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if (value != value) return {0x7fff};
    return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

template <typename T> struct HostPair {
    T x, y;
};
using __half2 = HostPair<__half>;
using __nv_bfloat162 = HostPair<__nv_bfloat16>;

#define HOST_CUDA_PAIR(T, Pair, load, round, low, high)                                                          \
    inline T host_max(T a, T b) { return load(b) != load(b) || load(a) >= load(b) ? a : b; }                     \
    inline T host_max_nan(T a, T b) { return load(a) != load(a) || load(a) >= load(b) ? a : b; }                 \
    inline Pair __hmax2(Pair a, Pair b) { return {host_max(a.x, b.x), host_max(a.y, b.y)}; }                     \
    inline Pair __hmax2_nan(Pair a, Pair b) { return {host_max_nan(a.x, b.x), host_max_nan(a.y, b.y)}; }         \
    inline Pair __hadd2(Pair a, Pair b) { return {round(load(a.x) + load(b.x)), round(load(a.y) + load(b.y))}; } \
    inline float __low2float(Pair a) { return load(a.x); }                                                       \
    inline float __high2float(Pair a) { return load(a.y); }                                                      \
    inline Pair low(Pair a) { return {a.x, a.x}; }                                                               \
    inline Pair high(Pair a) { return {a.y, a.y}; }
HOST_CUDA_PAIR(__half, __half2, __half2float, __float2half_rn, __low2half2, __high2half2)
HOST_CUDA_PAIR(__nv_bfloat16, __nv_bfloat162, __bfloat162float, __float2bfloat16_rn, __low2bfloat162, __high2bfloat162)
#undef HOST_CUDA_PAIR
inline __half2 __floats2half2_rn(float low, float high) { return {__float2half_rn(low), __float2half_rn(high)}; }
