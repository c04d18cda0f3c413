// Corner pooling (Law & Deng 2018, Eq. 6 and 7): two running maxima and their sum, in one kernel.
//
//     t[i][j] = max(first[i][j], t[i+1][j])   l[i][j] = max(second[i][j], l[i][j+1])   pooled = t + l     (top left)
//
// Threads  A block owns one map (NCHW: a plane; channels last: 8 channels of an image) or, in a cluster, one strip
//          of its rows. It moves over the map in tiles, away from the border where the maxima start. In a tile a
//          thread holds kRows rows of one cell: it scans down its rows, warps scan along the rows with shuffles,
//          and what crosses threads (column totals of the rows before, row totals of the warps before) meets in
//          shared memory at a single barrier. 128 x 128 float16 is one tile of 256 threads x 8 rows x 16 bytes.
// Budget   Each input is read once, the output written once; the tile stays in registers in between.
//          N=8, C=128, 128 x 128 float16: 101 MB, 30 us at 80 % of a 4.2 TB/s copy. 16 loads of 16 bytes per thread,
//          two blocks per multiprocessor, 128 KB in flight per multiprocessor: four times what latency x bandwidth asks.
//          About 6 instructions per element, a third of what the memory time leaves.
//          N=1: 128 blocks, one wave of 64 KB loads each; latency, not bandwidth, sets the 3 to 5 us.
//          Channels last at N=1 has only C/8 = 16 maps, so a cluster of 8 blocks shares a map (compute capability
//          9.0): it reads its strip of `first` twice, the second time from cache, to learn the totals of its strip.
// Widths   Element offsets are 64-bit: N*C*h*w passes 2^31 at N=1024. Offsets inside one map are 32-bit (at most
//          1024 x 1024 cells), times a 64-bit stride where channels last spreads them.
#include "corner_pool.h"

#include "block.h"
#include "corner_pool_cell.h"

namespace cornernet {
namespace {

constexpr int kMaxThreads = 256;
constexpr int kRows = 8;
constexpr int kMaxSide = 1024;
constexpr int kMaxStrips = 8;  // largest cluster that every GPU with clusters accepts
constexpr size_t kSharedBytes = 48 << 10;  // what a block may have without asking for more

struct Geometry {
    int height, row_cells;               // of a map; a row has width / kColumns cells
    int lanes, row_groups;               // of a block: threads side by side along a row, groups of kRows rows
    int strips, strip_rows;              // blocks per map, rows of each
    int groups;                          // maps per image
    int64_t image_stride, group_stride;  // [elements]
    int64_t row_stride, cell_stride;     // [elements]
};

// The pieces of dynamic shared memory. Carries exist once per map column and once per tile row.
template <typename Access> struct SharedTile {
    using Value = typename Access::Value;
    using Carry = typename Access::Carry;
    Value* column_totals;  // [row_groups][lanes]        maximum over the kRows rows of each thread
    Value* column_carry;   // [row_cells]                maximum over all rows of the tiles and strips before
    Value* strip_totals;   // [row_cells]                maximum over this block's strip, read by the cluster
    Carry* row_totals;     // [row_groups * kRows][warps] maximum over each warp's part of a row
    Carry* row_carry;      // [row_groups * kRows]        maximum over the segments before

    __host__ __device__ static int warps_per_row(Geometry const& g) { return g.lanes > 32 ? g.lanes / 32 : 1; }
    static size_t bytes(Geometry const& g) {
        size_t const columns
            = static_cast<size_t>(g.row_groups) * g.lanes + (g.strips > 1 ? 2 : 1) * static_cast<size_t>(g.row_cells);
        return sizeof(Value) * columns
               + sizeof(Carry) * static_cast<size_t>(g.row_groups) * kRows * (warps_per_row(g) + 1);
    }
    __device__ SharedTile(void* memory, Geometry const& g) {
        column_totals = static_cast<Value*>(memory);
        column_carry = column_totals + g.row_groups * g.lanes;
        strip_totals = column_carry + g.row_cells;
        row_totals = reinterpret_cast<Carry*>(strip_totals + (g.strips > 1 ? g.row_cells : 0));
        row_carry = row_totals + g.row_groups * kRows * warps_per_row(g);
    }
};

// Rows and cells are counted from the border where the maxima start; this is where they lie in memory.
template <bool kBackwards> __device__ inline int64_t offset_of(Geometry const& g, int row, int cell) {
    int const row_in_map = kBackwards ? g.height - 1 - row : row;
    int const cell_in_row = kBackwards ? g.row_cells - 1 - cell : cell;
    return row_in_map * g.row_stride + cell_in_row * g.cell_stride;
}

// In a cluster: fills column_carry with the maximum over the strips before this one.
template <typename Access, bool kBackwards> __device__ void exchange_strips(
    typename Access::Element const* first, Geometry const& g, SharedTile<Access> const& shared, int strip) {
    using Value = typename Access::Value;
    Value const lowest = lowest_cell<typename Access::P, sizeof(Value) / 4>();
    int const begin = strip * g.strip_rows;
    int const end = min(g.height, begin + g.strip_rows);
    for (int cell = threadIdx.x; cell < g.row_cells; cell += blockDim.x) {
        Value total = lowest;
#pragma unroll 8
        for (int row = begin; row < end; ++row)
            total = join(total, Access::load(first + offset_of<kBackwards>(g, row, cell)));
        shared.strip_totals[cell] = total;
    }
    cluster_sync();  // every strip's totals are written
    for (int cell = threadIdx.x; cell < g.row_cells; cell += blockDim.x) {
        Value before = lowest;
        for (int peer = 0; peer < strip; ++peer)
            before = join(before, fetch(cluster_peer(shared.strip_totals, peer) + cell));
        shared.column_carry[cell] = before;
    }
    // Nobody may still read a block's shared memory when that block ends; also makes column_carry visible in the block.
    cluster_sync();
}

template <typename Access, bool kBackwards>
__global__ void __launch_bounds__(kMaxThreads, 2) corner_pool_kernel(typename Access::Element const* __restrict__ first,
    typename Access::Element const* __restrict__ second, typename Access::Element* __restrict__ pooled, Geometry g) {
    using Value = typename Access::Value;
    using Carry = typename Access::Carry;
    Value const lowest = lowest_cell<typename Access::P, sizeof(Value) / 4>();
    Carry const nothing = lowest_cell<typename Access::P, sizeof(Carry) / 4>();
    SharedTile<Access> const shared(dynamic_shared_memory(), g);

    int const map = blockIdx.x / g.strips;
    int const strip = blockIdx.x % g.strips;  // the rank in the cluster: a cluster is g.strips consecutive blocks
    int64_t const base = map / g.groups * g.image_stride + map % g.groups * g.group_stride;
    first += base, second += base, pooled += base;
    if (g.strips > 1) exchange_strips<Access, kBackwards>(first, g, shared, strip);

    int const lane = threadIdx.x % g.lanes;
    int const row_group = threadIdx.x / g.lanes;
    int const scan_width = min(g.lanes, 32);  // lanes of one warp that share a row
    int const warps = SharedTile<Access>::warps_per_row(g);
    int const warp = lane / 32;
    int const segments = (g.row_cells + g.lanes - 1) / g.lanes;
    bool const rows_cross_warps = warps > 1 || segments > 1;
    int64_t const row_step = kBackwards ? -g.row_stride : g.row_stride;
    int const strip_begin = strip * g.strip_rows;
    int const strip_end = min(g.height, strip_begin + g.strip_rows);

    for (int band = strip_begin; band < strip_end; band += g.row_groups * kRows) {
        for (int segment = 0; segment < segments; ++segment) {
            int const cell = segment * g.lanes + lane;
            int const row = band + row_group * kRows;
            int const rows = cell < g.row_cells ? strip_end - row : 0;  // of this thread that exist; may exceed kRows
            int64_t const start = offset_of<kBackwards>(g, row, cell);
            Value down[kRows], across[kRows];
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
                down[r] = across[r] = lowest;
                if (r < rows) {
                    down[r] = Access::load(first + start + r * row_step);
                    across[r] = Access::load(second + start + r * row_step);
                }
            }
            // Rows outside the strip hold -inf, so no total needs to know where the map ends.
#pragma unroll
            for (int r = 1; r < kRows; ++r) down[r] = join(down[r], down[r - 1]);
            shared.column_totals[row_group * g.lanes + lane] = down[kRows - 1];
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
                Carry running = Access::template scan<kBackwards>(across[r]);
                for (int delta = 1; delta < scan_width; delta *= 2) {
                    Carry const before = shuffle_up(running, delta, scan_width);
                    if (lane % scan_width >= delta) running = join(running, before);
                }
                Carry const before = shuffle_up(running, 1, scan_width);
                if (lane % scan_width > 0) across[r] = Access::absorb(across[r], before);
                if (rows_cross_warps && lane % scan_width == scan_width - 1)
                    shared.row_totals[(row_group * kRows + r) * warps + warp] = running;
            }
            __syncthreads();  // totals of all threads are written (and the carries of the tile before)

            // Vertical: everything before this thread's rows. Horizontal: everything before this warp's part of the row.
            Value above = lowest;
            if ((band > strip_begin || g.strips > 1) && cell < g.row_cells) above = fetch(shared.column_carry + cell);
            for (int group = 0; group < row_group; ++group)
                above = join(above, fetch(shared.column_totals + group * g.lanes + lane));
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
                if (rows_cross_warps) {
                    Carry left = nothing;
                    if (segment > 0) left = fetch(shared.row_carry + row_group * kRows + r);
                    for (int w = 0; w < warp; ++w)
                        left = join(left, fetch(shared.row_totals + (row_group * kRows + r) * warps + w));
                    across[r] = Access::absorb(across[r], left);
                }
                down[r] = join(down[r], above);
                if (r < rows) Access::store(pooled + start + r * row_step, sum(down[r], across[r]));
            }

            bool const last_tile = segment == segments - 1 && band + g.row_groups * kRows >= strip_end;
            if (last_tile) break;
            // The carries and totals just read are overwritten below and by the next tile. Readers of the new
            // carries wait at the next tile's barrier.
            __syncthreads();
            if (row_group == g.row_groups - 1 && cell < g.row_cells) shared.column_carry[cell] = down[kRows - 1];
            if (rows_cross_warps && lane == g.lanes - 1) {
#pragma unroll
                for (int r = 0; r < kRows; ++r)
                    shared.row_carry[row_group * kRows + r] = Access::template carry_of<kBackwards>(across[r]);
            }
        }
    }
}

int divide_up(int a, int b) { return (a + b - 1) / b; }

// Threads side by side along a row: all of its cells if they fit, in whole warps or in a power of two of lanes.
int lanes_for(int row_cells) {
    if (row_cells > 32) return min(kMaxThreads, divide_up(row_cells, 32) * 32);
    int lanes = 1;
    while (lanes < row_cells) lanes *= 2;
    return lanes;
}

// The threads of a block for a map cut into `strips`.
void divide(Geometry& g, int strips) {
    g.strips = strips;
    g.lanes = lanes_for(g.row_cells);
    g.strip_rows = divide_up(g.height, strips);
    int const wanted = min(max(1, kMaxThreads / g.lanes), divide_up(g.strip_rows, kRows));
    int const per_warp = max(1, 32 / g.lanes);  // whole warps: shuffles name all 32 lanes
    g.row_groups = divide_up(wanted, per_warp) * per_warp;
}

template <typename Access> cudaError_t launch(void const* first, void const* second, void* pooled, int64_t maps,
    Geometry g, int strips, int corner, cudaStream_t stream) {
    using Element = typename Access::Element;
    auto* const in_first = static_cast<Element const*>(first);
    auto* const in_second = static_cast<Element const*>(second);
    auto* const out = static_cast<Element*>(pooled);
    // The direction is a template argument: at run time it would cost a select per element and load.
    auto const kernel = corner == kTopLeft ? corner_pool_kernel<Access, true> : corner_pool_kernel<Access, false>;
    divide(g, strips > 1 && clusters_work(kernel, kMaxStrips, kMaxThreads, kSharedBytes) ? strips : 1);
    if (maps * g.strips > INT32_MAX) return cudaErrorInvalidValue;
    dim3 const grid(static_cast<unsigned>(maps * g.strips)), block(static_cast<unsigned>(g.lanes * g.row_groups));
    size_t const shared_bytes = SharedTile<Access>::bytes(g);
    if (g.strips == 1) return launch_plain(kernel, grid, block, shared_bytes, stream, in_first, in_second, out, g);
    cudaLaunchAttribute cluster = cluster_attribute(g.strips);
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = &cluster;
    config.numAttrs = 1;
    return cudaLaunchKernelEx(&config, kernel, in_first, in_second, out, g);
}

// NCHW: every plane is a map, its rows are contiguous.
template <typename T> cudaError_t launch_planes(void const* first, void const* second, void* pooled, int64_t planes,
    int height, int width, int corner, cudaStream_t stream) {
    Geometry g = {};
    g.height = height;
    g.groups = 1;
    g.image_stride = static_cast<int64_t>(height) * width;
    g.row_stride = width;
    if (rows_are_vectors<T>(width, first, second, pooled)) {
        g.row_cells = width / RowVector<T>::kColumns;
        g.cell_stride = RowVector<T>::kColumns;
        return launch<RowVector<T>>(first, second, pooled, planes, g, 1, corner, stream);
    }
    g.row_cells = width;
    g.cell_stride = 1;
    return launch<SingleElement<T>>(first, second, pooled, planes, g, 1, corner, stream);
}

// Channels last: 8 channels are a map, and too few maps to fill the GPU are cut into strips of rows.
template <typename T> cudaError_t launch_channels_last(void const* first, void const* second, void* pooled, int images, int channels,
    int height, int width, int corner, cudaStream_t stream) {
    Geometry g = {};
    g.height = height;
    g.row_cells = width;
    g.groups = divide_up(channels, 8);
    g.group_stride = 8;
    g.cell_stride = static_cast<int64_t>(g.groups) * 8;
    g.row_stride = width * g.cell_stride;
    g.image_stride = height * g.row_stride;
    int64_t const maps = static_cast<int64_t>(images) * g.groups;
    // As many strips as it takes to give every multiprocessor a block, but none below two thread heights of rows.
    int const blocks = multiprocessors();
    int strips = 1;
    while (strips < kMaxStrips && maps * strips * 2 <= blocks && height >= strips * 2 * kRows) strips *= 2;
    return launch<ChannelVector<T>>(first, second, pooled, maps, g, strips, corner, stream);
}

}  // namespace
}  // namespace cornernet

int32_t cornernet_corner_pool(void const* first, void const* second, void* pooled, int32_t images, int32_t channels,
    int32_t height, int32_t width, int32_t type, int32_t layout, int32_t corner, void* stream) {
    using namespace cornernet;
    bool const shape_is_valid
        = images >= 0 && channels >= 0 && height >= 1 && height <= kMaxSide && width >= 1 && width <= kMaxSide;
    if (!shape_is_valid || (corner != kTopLeft && corner != kBottomRight)) return cudaErrorInvalidValue;
    if (images == 0 || channels == 0) return cudaSuccess;
    if (first == nullptr || second == nullptr || pooled == nullptr) return cudaErrorInvalidValue;
    auto const queue = static_cast<cudaStream_t>(stream);
    if (layout == kChannelsLast8) {
        bool const aligned = rows_are_vectors<Half>(8, first, second, pooled);
        if ((type != kFloat16 && type != kBFloat16) || !aligned) return cudaErrorInvalidValue;
        auto const of_type = type == kFloat16 ? launch_channels_last<Half> : launch_channels_last<BFloat16>;
        return of_type(first, second, pooled, images, channels, height, width, corner, queue);
    }
    if (layout != kPlanes) return cudaErrorInvalidValue;
    int64_t const planes = static_cast<int64_t>(images) * channels;
    switch (type) {
    case kFloat32: return launch_planes<float>(first, second, pooled, planes, height, width, corner, queue);
    case kFloat16: return launch_planes<Half>(first, second, pooled, planes, height, width, corner, queue);
    case kBFloat16: return launch_planes<BFloat16>(first, second, pooled, planes, height, width, corner, queue);
    default: return cudaErrorInvalidValue;
    }
}
