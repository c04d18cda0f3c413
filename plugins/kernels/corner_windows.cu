// Windows of a feature map around selected cells: bits are copied, so 2 or 4 bytes are all that a kernel knows of a type.
//
// channels_last  One block per cell and 64 channels. A window's cell is a run of channels in memory, read in vectors of
//                16 bytes, whole sectors throughout; the flattened weight wants all cells of a channel side by side, so
//                the block turns them in shared memory and writes one run of 64 x size x size elements.
// planes         One thread per channel and cell, cells fastest: what it writes lies side by side, what it reads does not,
//                but the three columns of a row share a sector, and the rows of a plane the cache.
//
// Budget   N=16, C=256, K=100, 3 x 3, float16: 7.4 MB read and as much written, 4 us at 4.2 TB/s, twice that in all; N=1
//          is one wave of 400 blocks with a load, a barrier and a store each, 3 us. As standard operators the same is an
//          index of 8 bytes per element, a gather, a masking and, from kHWC8, a reformat of the whole map first: 134 MB.
//          Calculated; gpu_check measures.
// Shared   1.2 KB per block (64 channels, 3 x 3); 72 loads in flight per block, 16 blocks per multiprocessor.
// Widths   Offsets of images are 64-bit, offsets inside one image too where they count elements of a map.
#include "corner_windows.h"

#include "block.h"

namespace cornernet {
namespace {

constexpr int kWindowThreads = 128;
constexpr int kChunkChannels = 64;  // channels of a block: 8 vectors
constexpr int kMaxExtent = 65535;
constexpr int kMaxWindow = 7;

struct WindowShape {
    int channels, height, width, slots, size;
};

struct Place {
    int row, column;
};
__device__ inline Place place_of(int cell, WindowShape const& shape) {
    return {cell / shape.width, cell % shape.width};
}
__device__ inline bool is_inside(Place const& at, WindowShape const& shape) {
    return at.row >= 0 && at.row < shape.height && at.column >= 0 && at.column < shape.width;
}
// Cell `t` of the window around `center`, row by row.
__device__ inline Place window_place(Place const& center, int t, int size) {
    return {center.row + t / size - size / 2, center.column + t % size - size / 2};
}

template <typename Bits>
__global__ void __launch_bounds__(kWindowThreads) windows_of_planes_kernel(Bits const* __restrict__ features,
    int32_t const* __restrict__ cells, Bits* __restrict__ windows, float* __restrict__ columns, float* __restrict__ rows,
    WindowShape shape) {
    int const per_image = shape.channels * shape.slots;
    int const blocks = (per_image + kWindowThreads - 1) / kWindowThreads;
    int const image = blockIdx.x / blocks;
    int const index = blockIdx.x % blocks * kWindowThreads + threadIdx.x;
    if (index >= per_image) return;
    int const channel = index / shape.slots, slot = index % shape.slots;
    int64_t const at = static_cast<int64_t>(image) * shape.slots + slot;
    Place const center = place_of(cells[at], shape);
    int64_t const plane = static_cast<int64_t>(image) * shape.channels + channel;
    features += plane * shape.height * shape.width;
    int const area = shape.size * shape.size;
    windows += plane * area * shape.slots + slot;
#pragma unroll 9
    for (int t = 0; t < area; ++t) {
        Place const from = window_place(center, t, shape.size);
        windows[static_cast<int64_t>(t) * shape.slots]
            = is_inside(from, shape) ? features[static_cast<int64_t>(from.row) * shape.width + from.column] : Bits{0};
    }
    if (channel == 0) {
        columns[at] = static_cast<float>(center.column);
        rows[at] = static_cast<float>(center.row);
    }
}

__global__ void __launch_bounds__(kWindowThreads) windows_of_channels_kernel(uint16_t const* __restrict__ features,
    int32_t const* __restrict__ cells, uint16_t* __restrict__ windows, float* __restrict__ columns,
    float* __restrict__ rows, WindowShape shape) {
    auto* const staged = static_cast<uint16_t*>(dynamic_shared_memory());  // [window cell][channel of the chunk]
    int const padded = (shape.channels + 7) / 8 * 8, chunks = (shape.channels + kChunkChannels - 1) / kChunkChannels;
    int const chunk = blockIdx.x % chunks;
    int64_t const at = blockIdx.x / chunks;  // image and slot
    int64_t const image = at / shape.slots;
    int const first = chunk * kChunkChannels;
    int const vectors = min(kChunkChannels, padded - first) / 8;
    int const area = shape.size * shape.size;
    Place const center = place_of(cells[at], shape);
    features += image * shape.height * shape.width * padded + first;

    for (int i = threadIdx.x; i < area * vectors; i += kWindowThreads) {
        int const t = i / vectors, v = i % vectors;
        Place const from = window_place(center, t, shape.size);
        uint4 bits = {0, 0, 0, 0};
        if (is_inside(from, shape)) {
            int64_t const cell = static_cast<int64_t>(from.row) * shape.width + from.column;
            bits = *reinterpret_cast<uint4 const*>(features + cell * padded + v * 8);
        }
        reinterpret_cast<uint4*>(staged)[t * (kChunkChannels / 8) + v] = bits;
    }
    __syncthreads();  // the window is staged
    // A chunk begins at a multiple of 8 channels and ends at one or at the last channel, so its run of the output is
    // whole vectors; what follows the last element in the last vector is padding.
    int const elements = min(kChunkChannels, shape.channels - first) * area;
    int const window = (shape.channels * area + 7) / 8 * 8;
    windows += at * window + first * area;
    for (int i = threadIdx.x; i < (elements + 7) / 8; i += kWindowThreads) {
        uint16_t turned[8];
#pragma unroll
        for (int e = 0; e < 8; ++e) {
            int const element = i * 8 + e;
            turned[e] = element < elements ? staged[element % area * kChunkChannels + element / area] : uint16_t{0};
        }
        uint4 bits;
        memcpy(&bits, turned, sizeof(bits));
        reinterpret_cast<uint4*>(windows)[i] = bits;
    }
    if (chunk == 0 && threadIdx.x == 0) {
        columns[at] = static_cast<float>(center.column);
        rows[at] = static_cast<float>(center.row);
    }
}

bool is_valid(int images, WindowShape const& s) {
    return images >= 0 && s.channels >= 1 && s.channels <= kMaxExtent && s.height >= 1 && s.width >= 1
           && int64_t{s.height} * s.width <= INT32_MAX && s.slots >= 1 && s.slots <= kMaxExtent && s.size >= 1
           && s.size <= kMaxWindow && s.size % 2 == 1 && int64_t{s.channels} * s.slots <= INT32_MAX - kWindowThreads;
}

template <typename Bits> cudaError_t launch_windows_of_planes(void const* features, int32_t const* cells, void* windows,
    float* columns, float* rows, int images, WindowShape const& shape, cudaStream_t stream) {
    int64_t const blocks = (int64_t{shape.channels} * shape.slots + kWindowThreads - 1) / kWindowThreads * images;
    if (blocks > INT32_MAX) return cudaErrorInvalidValue;
    return launch_plain(windows_of_planes_kernel<Bits>, dim3(static_cast<unsigned>(blocks)), dim3(kWindowThreads), 0, stream,
        static_cast<Bits const*>(features), cells, static_cast<Bits*>(windows), columns, rows, shape);
}

cudaError_t launch_windows_of_channels(void const* features, int32_t const* cells, void* windows, float* columns, float* rows,
    int images, WindowShape const& shape, cudaStream_t stream) {
    int64_t const blocks = int64_t{images} * shape.slots * ((shape.channels + kChunkChannels - 1) / kChunkChannels);
    if (blocks > INT32_MAX) return cudaErrorInvalidValue;
    size_t const shared_bytes = sizeof(uint16_t) * kChunkChannels * static_cast<size_t>(shape.size) * shape.size;
    return launch_plain(windows_of_channels_kernel, dim3(static_cast<unsigned>(blocks)), dim3(kWindowThreads), shared_bytes,
        stream, static_cast<uint16_t const*>(features), cells, static_cast<uint16_t*>(windows), columns, rows, shape);
}

}  // namespace
}  // namespace cornernet

int32_t cornernet_corner_windows(void const* features, int32_t const* cells, void* windows, float* columns, float* rows,
    int32_t images, int32_t channels, int32_t height, int32_t width, int32_t slots, int32_t size, int32_t type,
    int32_t layout, void* stream) {
    using namespace cornernet;
    WindowShape const shape = {channels, height, width, slots, size};
    if (!is_valid(images, shape) || type < kFloat32 || type > kBFloat16) return cudaErrorInvalidValue;
    if (images == 0) return cudaSuccess;
    if (features == nullptr || cells == nullptr || windows == nullptr || columns == nullptr || rows == nullptr)
        return cudaErrorInvalidValue;
    auto const queue = static_cast<cudaStream_t>(stream);
    if (layout == kChannelsLast8) {
        if (type == kFloat32 || !rows_are_vectors<Half>(8, features, windows)) return cudaErrorInvalidValue;
        return launch_windows_of_channels(features, cells, windows, columns, rows, images, shape, queue);
    }
    if (layout != kPlanes) return cudaErrorInvalidValue;
    auto const planes = type == kFloat32 ? launch_windows_of_planes<uint32_t> : launch_windows_of_planes<uint16_t>;
    return planes(features, cells, windows, columns, rows, images, shape, queue);
}
