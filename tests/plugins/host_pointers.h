// Whose memory an address is, as far as the emulation was told. For one translation unit.
#pragma once
#include <vector>

#include "host_cuda.h"

namespace host_cuda {
struct Memory {
    char const* begin;
    size_t size;
    int device;
};
inline std::vector<Memory> device_memory;
}  // namespace host_cuda

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, void const* address) {
    *attributes = {cudaMemoryTypeUnregistered, -2};
    for (auto const& [begin, size, device] : host_cuda::device_memory)
        if (begin <= address && address < begin + size) *attributes = {cudaMemoryTypeDevice, device};
    return cudaSuccess;
}

// Memory that is a device's from now on; with no size, all that was is forgotten.
extern "C" __attribute__((visibility("default"))) void host_cuda_device_memory(
    void const* begin, size_t size, int device) {
    if (size == 0) host_cuda::device_memory.clear();
    else host_cuda::device_memory.push_back({static_cast<char const*>(begin), size, device});
}
