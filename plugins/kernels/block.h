// What the threads of a block share: dynamic shared memory, and in a cluster (compute capability 9.0 and up)
// the shared memory of neighbouring blocks. Compiled for older ones a cluster is one block; launchers ask first.
#pragma once
#include <atomic>
#include <tuple>

#include "numbers.h"

#ifdef __CUDACC__
#include <cooperative_groups.h>
#endif

namespace cornernet {

__device__ inline void* dynamic_shared_memory() {
#ifdef __CUDACC__
    extern __shared__ uint4 shared_memory[];  // uint4: aligned to 16 bytes
    return shared_memory;
#else
    return host_cuda::shared_memory();
#endif
}

__device__ inline void cluster_sync() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
    cooperative_groups::this_cluster().sync();
#else
    __syncthreads();
#endif
}

// Where `mine`, an address in this block's shared memory, lies in block `rank` of the cluster.
template <typename T> __device__ T* cluster_peer(T* mine, unsigned rank) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
    return cooperative_groups::this_cluster().map_shared_rank(mine, rank);
#else
    return mine;
#endif
}

inline cudaLaunchAttribute cluster_attribute(int blocks) {
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = static_cast<unsigned>(blocks);
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    return attribute;
}

// Whether clusters of `kernel` of at most these sizes work on the current device. Asks once per device and type of
// kernel. The device alone does not decide: a library built for 8.x runs on a 9.x after the driver has compiled its PTX,
// but what cluster_sync and cluster_peer do was decided by nvcc, for the architecture it compiled for. And a partitioned
// or shared GPU (MIG, MPS) may have no group of multiprocessors that holds a cluster.
template <typename Kernel> bool clusters_work(Kernel kernel, int blocks, int threads, size_t shared_bytes) {
    constexpr int kDevices = 64;
    static std::atomic<int8_t> answers[kDevices];  // 0 not asked, 1 yes, -1 no
    int device = 0;
    if (cudaGetDevice(&device) != cudaSuccess || device >= kDevices) return false;
    int8_t answer = answers[device].load(std::memory_order_relaxed);
    if (answer == 0) {
        cudaLaunchAttribute cluster = cluster_attribute(blocks);
        cudaLaunchConfig_t config = {};
        config.gridDim = dim3(static_cast<unsigned>(blocks));
        config.blockDim = dim3(static_cast<unsigned>(threads));
        config.dynamicSmemBytes = shared_bytes;
        config.attrs = &cluster;
        config.numAttrs = 1;
        int major = 0, clusters = 0;
        cudaFuncAttributes compiled = {};
        bool const work = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess
                          && major >= 9 && cudaFuncGetAttributes(&compiled, kernel) == cudaSuccess
                          && compiled.ptxVersion >= 90
                          && cudaOccupancyMaxActiveClusters(&clusters, kernel, &config) == cudaSuccess && clusters > 0;
        if (!work) cudaGetLastError();  // a refusal must not be taken for a failure of the launch
        answers[device].store(answer = work ? 1 : -1, std::memory_order_relaxed);
    }
    return answer > 0;
}

inline int multiprocessors() {
    int device = 0, count = 1;
    if (cudaGetDevice(&device) == cudaSuccess)
        cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
    return count;
}

// Launches without attributes, which drivers older than CUDA 11.8 know too. `arguments` are converted as a call would.
template <typename... P, typename... A> cudaError_t launch_plain(
    void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, A&&... arguments) {
    std::tuple<P...> values(static_cast<P>(arguments)...);
    return std::apply(
        [&](P&... value) {
            void* addresses[] = {const_cast<void*>(static_cast<void const*>(&value))...};
            return cudaLaunchKernel(kernel, grid, block, addresses, shared_bytes, stream);
        },
        values);
}

}  // namespace cornernet
