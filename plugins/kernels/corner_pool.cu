// Corner pooling (Law & Deng 2018, Eq. 6 and 7): two running maxima and their sum, in one kernel. Of planes (NCHW); of maps
// whose channels lie side by side: corner_pool_channels.cu.
//
//     t[i][j] = max(first[i][j], t[i+1][j])   l[i][j] = max(second[i][j], l[i][j+1])   pooled = t + l     (top left)
//
// Threads  A block owns one plane. It moves over it in tiles, away from the border where the maxima start. In a tile a
//          thread holds kRows rows of one cell: it scans down its rows, warps scan along the rows with shuffles,
//          and what crosses threads (column totals of the rows before, row totals of the warps before) meets in
//          shared memory at a single barrier. 128 x 128 float16 is one tile of 256 threads x 8 rows x 16 bytes.
// Budget   Each input is read once, the output written once; the tile stays in registers in between.
//          N=8, C=128, 128 x 128 float16: 101 MB, 30 us at 80 % of a 4.2 TB/s copy. 16 loads of 16 bytes per thread,
//          two blocks per multiprocessor, 128 KB in flight per multiprocessor: four times what latency x bandwidth asks.
//          About 6 instructions per element, a third of what the memory time leaves.
//          N=1: 128 blocks, one wave of 64 KB loads each; latency, not bandwidth, sets the 3 to 5 us.
// Widths   Element offsets are 64-bit: N*C*h*w passes 2^31 at N=1024. Offsets inside a plane: at most
//          1024 x 1024 cells.
#include "corner_pool.h"

#include "block.h"
#include "corner_pool_cell.h"
#include "corner_pool_channels.h"

namespace cornernet {
namespace {

constexpr int kMaxThreads = 256;
constexpr int kRows = 8;
constexpr int kMaxSide = 1024;

struct Geometry {
    int height, row_cells;        // of a plane; a row has width / kColumns cells
    int lanes, row_groups;        // of a block: threads side by side along a row, groups of kRows rows
    int row_stride, cell_stride;  // [elements]
};

// The pieces of dynamic shared memory. Carries exist once per map column and once per tile row.
template <typename Access> struct SharedTile {
    using Value = typename Access::Value;
    using Carry = typename Access::Carry;
    Value* column_totals;  // [row_groups][lanes]        maximum over the kRows rows of each thread
    Value* column_carry;   // [row_cells]                maximum over all rows of the tiles before
    Carry* row_totals;     // [row_groups * kRows][warps] maximum over each warp's part of a row
    Carry* row_carry;      // [row_groups * kRows]        maximum over the segments before

    __host__ __device__ static int warps_per_row(Geometry const& g) { return g.lanes > 32 ? g.lanes / 32 : 1; }
    static size_t bytes(Geometry const& g) {
        size_t const columns = static_cast<size_t>(g.row_groups) * g.lanes + g.row_cells;
        return sizeof(Value) * columns
               + sizeof(Carry) * static_cast<size_t>(g.row_groups) * kRows * (warps_per_row(g) + 1);
    }
    __device__ SharedTile(void* memory, Geometry const& g) {
        column_totals = static_cast<Value*>(memory);
        column_carry = column_totals + g.row_groups * g.lanes;
        row_totals = reinterpret_cast<Carry*>(column_carry + g.row_cells);
        row_carry = row_totals + g.row_groups * kRows * warps_per_row(g);
    }
};

// Rows and cells are counted from the border where the maxima start; this is where they lie in memory.
template <bool kBackwards> __device__ inline int offset_of(Geometry const& g, int row, int cell) {
    int const row_in_map = kBackwards ? g.height - 1 - row : row;
    int const cell_in_row = kBackwards ? g.row_cells - 1 - cell : cell;
    return row_in_map * g.row_stride + cell_in_row * g.cell_stride;
}

template <typename Access, bool kBackwards>
__global__ void __launch_bounds__(kMaxThreads, 2) corner_pool_kernel(typename Access::Element const* __restrict__ first,
    typename Access::Element const* __restrict__ second, typename Access::Element* __restrict__ pooled, Geometry g) {
    using Value = typename Access::Value;
    using Carry = typename Access::Carry;
    Value const lowest = lowest_cell<typename Access::P, sizeof(Value) / 4>();
    Carry const nothing = lowest_cell<typename Access::P, sizeof(Carry) / 4>();
    SharedTile<Access> const shared(dynamic_shared_memory(), g);

    int64_t const base = static_cast<int64_t>(blockIdx.x) * g.height * g.row_stride;
    first += base, second += base, pooled += base;

    int const lane = threadIdx.x % g.lanes;
    int const row_group = threadIdx.x / g.lanes;
    int const scan_width = min(g.lanes, 32);  // lanes of one warp that share a row
    int const warps = SharedTile<Access>::warps_per_row(g);
    int const warp = lane / 32;
    int const segments = (g.row_cells + g.lanes - 1) / g.lanes;
    bool const rows_cross_warps = warps > 1 || segments > 1;
    int const row_step = kBackwards ? -g.row_stride : g.row_stride;

    for (int band = 0; band < g.height; band += g.row_groups * kRows) {
        for (int segment = 0; segment < segments; ++segment) {
            int const cell = segment * g.lanes + lane;
            int const row = band + row_group * kRows;
            int const rows = cell < g.row_cells ? g.height - row : 0;  // of this thread that exist; may exceed kRows
            int const start = offset_of<kBackwards>(g, row, cell);
            Value down[kRows], across[kRows];
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
                down[r] = across[r] = lowest;
                if (r < rows) {
                    down[r] = Access::load(first + start + r * row_step);
                    across[r] = Access::load(second + start + r * row_step);
                }
            }
            // Rows outside the plane hold -inf, so no total needs to know where the map ends.
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
            if (band > 0 && cell < g.row_cells) above = fetch(shared.column_carry + cell);
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

            bool const last_tile = segment == segments - 1 && band + g.row_groups * kRows >= g.height;
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

// The threads of a block.
void divide(Geometry& g) {
    g.lanes = lanes_for(g.row_cells);
    int const wanted = min(max(1, kMaxThreads / g.lanes), divide_up(g.height, kRows));
    int const per_warp = max(1, 32 / g.lanes);  // whole warps: shuffles name all 32 lanes
    g.row_groups = divide_up(wanted, per_warp) * per_warp;
}

template <typename Access> cudaError_t launch(void const* first, void const* second, void* pooled, int64_t planes,
    Geometry g, int corner, cudaStream_t stream) {
    using Element = typename Access::Element;
    auto* const in_first = static_cast<Element const*>(first);
    auto* const in_second = static_cast<Element const*>(second);
    auto* const out = static_cast<Element*>(pooled);
    // The direction is a template argument: at run time it would cost a select per element and load.
    auto const kernel = corner == kTopLeft ? corner_pool_kernel<Access, true> : corner_pool_kernel<Access, false>;
    divide(g);
    if (planes > INT32_MAX) return cudaErrorInvalidValue;
    dim3 const grid(static_cast<unsigned>(planes)), block(static_cast<unsigned>(g.lanes * g.row_groups));
    return launch_plain(kernel, grid, block, SharedTile<Access>::bytes(g), stream, in_first, in_second, out, g);
}

// Rows are vectors of 16 bytes where they are aligned so, else single elements.
template <typename T> cudaError_t launch_planes(void const* first, void const* second, void* pooled, int64_t planes,
    int height, int width, int corner, cudaStream_t stream) {
    Geometry g = {};
    g.height = height;
    g.row_stride = width;
    if (rows_are_vectors<T>(width, first, second, pooled)) {
        g.row_cells = width / RowVector<T>::kColumns;
        g.cell_stride = RowVector<T>::kColumns;
        return launch<RowVector<T>>(first, second, pooled, planes, g, corner, stream);
    }
    g.row_cells = width;
    g.cell_stride = 1;
    return launch<SingleElement<T>>(first, second, pooled, planes, g, corner, stream);
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
        auto const of_type = type == kFloat16 ? pool_channels_last<Half> : pool_channels_last<BFloat16>;
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
