// Corner pooling of channels-last maps (kHWC8): the production path, since it is what tensor cores read and write.
//
// Threads  A cell is 8 channels of a column, 16 bytes; kVectors neighbouring cells of a column are neighbouring lanes, so
//          that a warp reads whole sectors of 32 bytes. A block owns the columns of a map of 8 * kVectors channels, or a
//          strip of its rows; it moves over it in tiles of kRows rows per thread, away from the border where the maxima
//          start. `first` of the tile stays in registers: it is scanned down, and what the threads and strips before had
//          comes from shared memory. `second` is scanned along the rows in chunks of kChunk rows, the next chunk being
//          loaded while one is computed, so that loads are in flight all the time.
// Strips   So few maps that multiprocessors stay empty are cut into strips, one block each, in a cluster (compute
//          capability 9.0). A strip of one tile gives its totals from registers, and nothing is read twice: 128 x 128
//          is eight strips of 16 rows. Higher maps read their strip of `first` once more, from the cache, for its totals.
// Budget   N=8, C=128, 128 x 128 float16: 101 MB, 30 us at 80 % of a 4.2 TB/s copy. 512 blocks of 256 threads, two per
//          multiprocessor by their registers (at most 128), 128 KB of loads in flight. Shared memory 9.3 KB per block.
//          N=1 has 8 maps of 16 channels, 64 blocks: there a map is 8 channels, 128 blocks of 128 threads. 3 to 5 us.
//          Calculated, not measured on hardware yet: gpu_check does.
// Widths   Offsets are 64-bit.
#include "corner_pool_channels.h"

#include "block.h"
#include "corner_pool_cell.h"
#include "entry_points.h"

namespace cornernet {
namespace {

constexpr int kPoolThreads = 256;
constexpr int kTileRows = 16;  // of a thread
constexpr int kChunkRows = 4;  // of `second`, twice in registers
constexpr int kMostStrips = 8;  // largest cluster that every GPU with clusters accepts
constexpr int kMostCells = 1024;
constexpr size_t kMostSharedBytes = 48 << 10;  // what a block may have without asking for more

struct ChannelMap {
    int height, row_cells;               // a row has width * kVectors cells
    int lanes, row_groups;               // of a block: threads side by side along a row, groups of kTileRows rows
    int strips, strip_rows;              // blocks per map, rows of each
    int maps, vectors;                   // per image: maps, and vectors of 8 channels
    int64_t row_stride;                  // [elements]
};

template <typename Value, int kVectors> struct ChannelTile {
    Value* column_totals;  // [row_groups][lanes]          maximum over the rows of each thread
    Value* column_carry;   // [row_cells]                  maximum over all tiles and strips before
    Value* strip_totals;   // [row_cells]                  maximum over this block's strip, read by the cluster
    Value* row_totals;     // [2][row_groups * kChunkRows][warps][kVectors]  over each warp's part of a row; by parity of the chunk
    Value* row_carry;      // [2][row_groups * kTileRows][kVectors]    over the segments before; by parity of the segment

    __host__ __device__ static int warps_per_row(ChannelMap const& m) { return m.lanes > 32 ? m.lanes / 32 : 1; }
    static size_t bytes(ChannelMap const& m) {
        size_t const rows = 2 * static_cast<size_t>(m.row_groups) * kVectors;
        return sizeof(Value) * (static_cast<size_t>(m.row_groups) * m.lanes
                                + (m.strips > 1 ? 2 : 1) * static_cast<size_t>(m.row_cells)
                                + rows * (kChunkRows * warps_per_row(m) + kTileRows));
    }
    __device__ ChannelTile(void* memory, ChannelMap const& m) {
        column_totals = static_cast<Value*>(memory);
        column_carry = column_totals + m.row_groups * m.lanes;
        strip_totals = column_carry + m.row_cells;
        row_totals = strip_totals + (m.strips > 1 ? m.row_cells : 0);
        row_carry = row_totals + 2 * m.row_groups * kChunkRows * warps_per_row(m) * kVectors;
    }
};

// Rows and columns are counted from the border where the maxima start; this is where a cell lies in memory.
template <bool kBackwards, int kVectors>
__device__ inline int64_t cell_offset(ChannelMap const& m, int row, int cell) {
    int const width = m.row_cells / kVectors, column = cell / kVectors;
    int const row_in_map = kBackwards ? m.height - 1 - row : row;
    int const column_in_row = kBackwards ? width - 1 - column : column;
    return row_in_map * m.row_stride + (static_cast<int64_t>(column_in_row) * m.vectors + cell % kVectors) * 8;
}

// In a cluster, where a strip is more than a tile: fills column_carry with the maximum over the strips before this one.
template <typename Access, bool kBackwards, int kVectors> __device__ void exchange_strips(
    typename Access::Element const* first, ChannelMap const& m, ChannelTile<typename Access::Value, kVectors> const& shared,
    int strip, int vectors) {
    using Value = typename Access::Value;
    Value const lowest = lowest_cell<typename Access::P, 4>();
    int const begin = strip * m.strip_rows, end = min(m.height, begin + m.strip_rows);
    for (int cell = threadIdx.x; cell < m.row_cells; cell += blockDim.x) {
        Value total = lowest;
        if (cell % kVectors < vectors) {
#pragma unroll 8
            for (int row = begin; row < end; ++row)
                total = join(total, Access::load(first + cell_offset<kBackwards, kVectors>(m, row, cell)));
        }
        shared.strip_totals[cell] = total;
    }
    cluster_sync();  // every strip's totals are written
    for (int cell = threadIdx.x; cell < m.row_cells; cell += blockDim.x) {
        Value before = lowest;
        for (int peer = 0; peer < strip; ++peer)
            before = join(before, fetch(cluster_peer(shared.strip_totals, peer) + cell));
        shared.column_carry[cell] = before;
    }
    // Nobody may still read a block's shared memory when that block ends; also makes column_carry visible in the block.
    cluster_sync();
}

template <typename Access, bool kBackwards, int kVectors> __global__ void __launch_bounds__(kPoolThreads, 2)
    pool_channels_kernel(typename Access::Element const* __restrict__ first,
        typename Access::Element const* __restrict__ second, typename Access::Element* __restrict__ pooled, ChannelMap m) {
    using Value = typename Access::Value;
    Value const lowest = lowest_cell<typename Access::P, 4>();
    ChannelTile<Value, kVectors> const shared(dynamic_shared_memory(), m);

    int const map = blockIdx.x / m.strips, strip = blockIdx.x % m.strips;  // the rank in the cluster
    int const first_vector = map % m.maps * kVectors;
    int const vectors = min(kVectors, m.vectors - first_vector);
    int64_t const base = map / m.maps * (m.height * m.row_stride) + first_vector * 8;
    first += base, second += base, pooled += base;

    int const lane = threadIdx.x % m.lanes, row_group = threadIdx.x / m.lanes;
    int const vector = lane % kVectors;
    int const scan_width = min(m.lanes, 32);  // lanes of one warp that share a row
    int const warps = ChannelTile<Value, kVectors>::warps_per_row(m), warp = lane / 32;
    int const segments = (m.row_cells + m.lanes - 1) / m.lanes;
    int64_t const row_step = kBackwards ? -m.row_stride : m.row_stride;
    int const strip_begin = strip * m.strip_rows, strip_end = min(m.height, strip_begin + m.strip_rows);
    bool const one_tile = segments == 1 && m.strip_rows <= m.row_groups * kTileRows;  // for all strips alike
    if (m.strips > 1 && !one_tile) exchange_strips<Access, kBackwards, kVectors>(first, m, shared, strip, vectors);

    for (int band = strip_begin; band < strip_end || (one_tile && band == strip_begin); band += m.row_groups * kTileRows) {
        for (int segment = 0; segment < segments; ++segment) {
            int const cell = segment * m.lanes + lane;
            int const row = band + row_group * kTileRows;
            // Of this thread that exist; may exceed kTileRows, or be negative in a strip behind the last row.
            int const rows = cell < m.row_cells && vector < vectors ? strip_end - row : 0;
            int64_t const start = cell_offset<kBackwards, kVectors>(m, row, cell);
            auto const load_rows = [&](auto& into, typename Access::Element const* from, int begin) {
#pragma unroll
                for (int r = 0; r < static_cast<int>(sizeof(into) / sizeof(Value)); ++r) {
                    into[r] = lowest;  // rows outside hold -inf, so no total needs to know where the map ends
                    if (begin + r < rows) into[r] = Access::load(from + start + (begin + r) * row_step);
                }
            };
            Value down[kTileRows], ahead[kChunkRows];
            load_rows(down, first, 0);
            load_rows(ahead, second, 0);
#pragma unroll
            for (int r = 1; r < kTileRows; ++r) down[r] = join(down[r], down[r - 1]);
            shared.column_totals[row_group * m.lanes + lane] = down[kTileRows - 1];
            Value above = lowest;  // the maximum of everything before this thread's rows
            if (m.strips > 1 && one_tile) {
                __syncthreads();  // the totals of the strip's threads are written
                if (row_group == 0 && cell < m.row_cells) {
                    Value total = down[kTileRows - 1];
                    for (int group = 1; group < m.row_groups; ++group)
                        total = join(total, fetch(shared.column_totals + group * m.lanes + lane));
                    shared.strip_totals[cell] = total;
                }
                cluster_sync();  // every strip's totals are written
                for (int peer = 0; peer < strip && cell < m.row_cells; ++peer)
                    above = join(above, fetch(cluster_peer(shared.strip_totals, peer) + cell));
            }
#pragma unroll
            for (int chunk = 0; chunk < kTileRows / kChunkRows; ++chunk) {
                int const parity = chunk % 2, begin = chunk * kChunkRows;
                Value across[kChunkRows];
#pragma unroll
                for (int r = 0; r < kChunkRows; ++r) across[r] = ahead[r];
                if (begin + kChunkRows < kTileRows) load_rows(ahead, second, begin + kChunkRows);
                Value* const totals
                    = shared.row_totals + (parity * m.row_groups + row_group) * kChunkRows * warps * kVectors + vector;
#pragma unroll
                for (int r = 0; r < kChunkRows; ++r) {
                    for (int delta = kVectors; delta < scan_width; delta *= 2) {
                        Value const before = shuffle_up(across[r], delta, scan_width);
                        if (lane % scan_width >= delta) across[r] = join(across[r], before);
                    }
                    if (lane % scan_width >= scan_width - kVectors) totals[(r * warps + warp) * kVectors] = across[r];
                }
                // The chunk's totals are written, with the first those of the columns. What is written after it, into
                // the place of the other parity or for the next tile, nobody reads before the next barrier; what was read
                // before it may be overwritten.
                __syncthreads();
                if (chunk == 0) {
                    if ((band > strip_begin || (m.strips > 1 && !one_tile)) && cell < m.row_cells)
                        above = fetch(shared.column_carry + cell);
                    for (int group = 0; group < row_group; ++group)
                        above = join(above, fetch(shared.column_totals + group * m.lanes + lane));
#pragma unroll
                    for (int r = 0; r < kTileRows; ++r) down[r] = join(down[r], above);
                }
                Value* const carry = shared.row_carry + (row_group * kTileRows + begin) * kVectors + vector;
                int const carries = m.row_groups * kTileRows * kVectors;  // of one parity
#pragma unroll
                for (int r = 0; r < kChunkRows; ++r) {
                    if (segment > 0) across[r] = join(across[r], fetch(carry + (segment - 1) % 2 * carries + r * kVectors));
                    for (int w = 0; w < warp; ++w)
                        across[r] = join(across[r], fetch(totals + (r * warps + w) * kVectors));
                    if (segments > 1 && lane >= m.lanes - kVectors) carry[segment % 2 * carries + r * kVectors] = across[r];
                    if (begin + r < rows)
                        Access::store(pooled + start + (begin + r) * row_step, sum(down[begin + r], across[r]));
                }
            }
            if (row_group == m.row_groups - 1 && cell < m.row_cells) shared.column_carry[cell] = down[kTileRows - 1];
        }
    }
    // Nobody may still read a block's shared memory when that block ends.
    if (m.strips > 1 && one_tile) cluster_sync();
}

int rounded_up(int a, int b) { return (a + b - 1) / b; }

template <typename Access, int kVectors> cudaError_t launch_channels(void const* first, void const* second, void* pooled,
    int images, int channels, int height, int width, int corner, cudaStream_t stream) {
    using Element = typename Access::Element;
    ChannelMap m = {};
    m.height = height;
    m.row_cells = width * kVectors;
    m.vectors = rounded_up(channels, 8);
    m.maps = rounded_up(m.vectors, kVectors);
    m.row_stride = int64_t{width} * m.vectors * 8;
    m.lanes = kVectors;
    while (m.lanes < 32 && m.lanes < m.row_cells) m.lanes *= 2;
    if (m.row_cells > 32) m.lanes = min(kPoolThreads, rounded_up(m.row_cells, 32) * 32);
    int const per_warp = max(1, 32 / m.lanes);  // whole warps: shuffles name all 32 lanes
    int64_t const maps = int64_t{images} * m.maps;
    auto const kernel
        = corner == kTopLeft ? pool_channels_kernel<Access, true, kVectors> : pool_channels_kernel<Access, false, kVectors>;
    // Strips of one tile where that makes enough of them, else as many as there are multiprocessors to fill.
    int const groups = max(1, kPoolThreads / m.lanes), wanted = 2 * multiprocessors();
    m.strips = 1;
    if (maps < wanted && clusters_work(kernel, kMostStrips, kPoolThreads, kMostSharedBytes)) {
        int const tiles = rounded_up(height, kTileRows * per_warp);
        while (m.strips < kMostStrips && m.strips < tiles && maps * m.strips < wanted) m.strips *= 2;
        while (m.strips < kMostStrips && rounded_up(height, m.strips) > groups * kTileRows) m.strips *= 2;
    }
    m.strip_rows = rounded_up(height, m.strips);
    m.row_groups = rounded_up(min(groups, rounded_up(m.strip_rows, kTileRows)), per_warp) * per_warp;
    if (maps * m.strips > INT32_MAX) return cudaErrorInvalidValue;
    dim3 const grid(static_cast<unsigned>(maps * m.strips)), block(static_cast<unsigned>(m.lanes * m.row_groups));
    size_t const shared_bytes = ChannelTile<typename Access::Value, kVectors>::bytes(m);
    auto* const in_first = static_cast<Element const*>(first);
    auto* const in_second = static_cast<Element const*>(second);
    auto* const out = static_cast<Element*>(pooled);
    if (m.strips == 1) return launch_plain(kernel, grid, block, shared_bytes, stream, in_first, in_second, out, m);
    cudaLaunchAttribute cluster = cluster_attribute(m.strips);
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = &cluster;
    config.numAttrs = 1;
    return cudaLaunchKernelEx(&config, kernel, in_first, in_second, out, m);
}

}  // namespace

template <typename T> cudaError_t pool_channels_last(void const* first, void const* second, void* pooled, int images,
    int channels, int height, int width, int corner, cudaStream_t stream) {
    // Two vectors fill a sector. One, where two would leave multiprocessors empty, or shared memory would not hold a row.
    bool const pairs = 2 * width <= kMostCells && channels > 8
                       && int64_t{images} * rounded_up(channels, 16) * kMostStrips >= multiprocessors();
    auto const launch = pairs ? launch_channels<ChannelVector<T>, 2> : launch_channels<ChannelVector<T>, 1>;
    return launch(first, second, pooled, images, channels, height, width, corner, stream);
}

template cudaError_t pool_channels_last<Half>(
    void const*, void const*, void*, int, int, int, int, int, cudaStream_t);
template cudaError_t pool_channels_last<BFloat16>(
    void const*, void const*, void*, int, int, int, int, int, cudaStream_t);

}  // namespace cornernet
