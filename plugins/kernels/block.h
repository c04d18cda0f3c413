// What the threads of a block share: dynamic shared memory, and in a cluster (compute capability 9.0 and up)
// the shared memory of neighbouring blocks. On older GPUs a cluster is one block; launchers ask first.
#pragma once
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

inline bool clusters_supported(int* multiprocessors) {
    int device = 0, major = 0;
    return cudaGetDevice(&device) == cudaSuccess
           && cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess
           && cudaDeviceGetAttribute(multiprocessors, cudaDevAttrMultiProcessorCount, device) == cudaSuccess
           && major >= 9;
}

}  // namespace cornernet
