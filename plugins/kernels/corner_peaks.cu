// The K strongest 3 x 3 peaks of each image's heatmap, in two kernels and one pass over the logits.
//
// find_peaks  One block per (image, part); a part is a range of rows, of one or several classes. Threads read 16
//             bytes of a row and of its two neighbours (which the cache has: the same block just used them), while they
//             look at those that they read a turn before: loads are in flight across the barriers. They take
//             the window maximum, and append peaks to a list in shared memory. When the list is nearly full, and
//             at the end, it shrinks to its K best; from then on only better peaks are appended. So shared memory
//             is bounded whatever the logits are, and a map that is one plateau (every cell a peak) costs no more:
//             later cells lose ties against earlier ones.
// rank_peaks  One block per image selects the K best of all parts' lists, sorts them, takes the sigmoid.
//
// Budget      80 x 128 x 128 float16 is 2.6 MB per image. N=1: 128 parts, one wave; read 1 us, 3 steps and one
//             selection per block about 5 us, ranking 12 800 keys from registers about 3 us, and two launches: some
//             11 us of the 15 allowed.
//             N=8: 21 MB, 5 us at 4.2 TB/s; 33 parts per image are one wave of 132 multiprocessors, and a quarter of
//             the lists to rank. About 7 instructions per cell, because 16-bit maxima are taken in pairs; one float
//             comparison path then serves all types.
// Atomics     On shared memory only, one per warp and step, and histogram counts. None on global memory.
// Widths      classes * height * width < 2^31, so an index within an image is 32-bit; image offsets are 64-bit.
#include "corner_peaks.h"

#include "block_select.h"

namespace cornernet {
namespace {

constexpr int kMaxPeaks = 1000;
constexpr int kParts = 128;  // lists per image at most: about one per multiprocessor at N=1, few enough to merge
constexpr int kFindThreads = 512;
constexpr int kBlocksPerMultiprocessor = 2;  // of find_peaks: threads and shared memory of both fit
constexpr int kStepCells = 4096;              // looked at between two barriers
constexpr int kCapacity = kStepCells + 1024;  // a step may find them all; K more are kept
constexpr int kRankThreads = 1024;
constexpr int kHeldTurns = 14;  // keys per thread in registers: 14 x 1024 hold the lists of 128 parts up to K=112
constexpr int kMinPartCells = 2 * kStepCells;
static_assert(
    kCapacity % kFindThreads == 0 && kCapacity - kStepCells >= kMaxPeaks, "a shrunk list leaves room for a step");

struct HeatmapShape {
    int classes, height, width;
    int parts, part_rows;  // lists per image, rows of each; rows are counted through all classes
};

// 16 bytes of a row, or a single logit where rows are not aligned.
template <typename T> struct CellVector {
    using Element = T;
    static constexpr int kCells = Vector<T>::kElements;
    Vector<T> v;
    __device__ static CellVector load(T const* at) {
        uint4 const bits = *reinterpret_cast<uint4 const*>(at);
        CellVector cells;
        memcpy(&cells.v, &bits, sizeof(bits));
        return cells;
    }
    __device__ void join(CellVector const& other) {
#pragma unroll
        for (int i = 0; i < 4; ++i) v.pack[i] = max_skip_nan(v.pack[i], other.v.pack[i]);
    }
    __device__ void to_floats(float* out) const { unpack(v, out); }
};
template <typename T> struct SingleCell {
    using Element = T;
    static constexpr int kCells = 1;
    float value;
    __device__ static SingleCell load(T const* at) { return {to_float(*at)}; }
    __device__ void join(SingleCell const& other) { value = max_skip_nan(value, other.value); }
    __device__ void to_floats(float* out) const { *out = value; }
};

struct FindShared {
    Key keys[kCapacity];
    Selection selection;
    unsigned count;
};
static_assert(sizeof(FindShared) <= 48 * 1024, "fits without opting in to more shared memory");

// Keeps the k best keys of the list and returns the key that later ones must exceed. Begins and ends at a barrier.
__device__ Key shrink(FindShared& shared, int k) {
    HeldKeys<kCapacity / kFindThreads> const keys({shared.keys, shared.count});
    Key const threshold = kth_key(keys, k, shared.selection);
    if (threadIdx.x == 0) shared.count = 0;  // everybody has read it: kth_key waits in between
    __syncthreads();                         // and the list may be overwritten, all keys being in registers
    keys.each([&](Key key) { append(key, key != kNoKey && key >= threshold, shared.keys, &shared.count); });
    __syncthreads();
    return threshold;
}

// A vector of cells and those above and below it; left as they are where there are none.
template <typename Cells> struct Neighbours {
    Cells center, above, below;
    __device__ void load(
        typename Cells::Element const* logits, HeatmapShape const& shape, unsigned vector, unsigned end) {
        if (vector >= end) return;
        unsigned const row_vectors = shape.width / Cells::kCells;
        unsigned const row = vector / row_vectors;
        int const row_in_class = row % shape.height;
        auto const* at = logits + static_cast<int64_t>(row) * shape.width + vector % row_vectors * Cells::kCells;
        center = Cells::load(at);
        if (row_in_class > 0) above = Cells::load(at - shape.width);
        if (row_in_class < shape.height - 1) below = Cells::load(at + shape.width);
    }
};

// The cells of one thread: appends those that are peaks better than the threshold. All lanes of a warp call it,
// neighbouring lanes with neighbouring vectors; `vector` counts through the rows of the image and may be past `end`.
template <typename Cells>
__device__ void append_peaks(Neighbours<Cells> const& loaded, typename Cells::Element const* logits,
    HeatmapShape const& shape, unsigned vector, unsigned end, Key threshold, FindShared& shared) {
    constexpr int kCells = Cells::kCells;
    float const lowest = lowest_pack<float>();
    unsigned const row_vectors = shape.width / kCells;
    unsigned const row = vector / row_vectors;
    int const column = vector % row_vectors * kCells;
    int const row_in_class = row % shape.height;
    bool const above = row_in_class > 0, below = row_in_class < shape.height - 1;
    auto const* at = logits + static_cast<int64_t>(row) * shape.width + column;
    float center[kCells], high[kCells];  // high: maximum of the three rows
#pragma unroll
    for (int c = 0; c < kCells; ++c) center[c] = high[c] = lowest;
    // The rows are joined in pairs of 16-bit elements before anything becomes a float: half the instructions.
    if (vector < end) {
        Cells cells = loaded.center;
        cells.to_floats(center);
        if (above) cells.join(loaded.above);
        if (below) cells.join(loaded.below);
        cells.to_floats(high);
    }
    // Left and right neighbours come from the lanes beside; at the ends of the warp from memory.
    auto const column_maximum = [&](int shift) {
        float maximum = to_float(at[shift]);
        if (above) maximum = max_skip_nan(maximum, to_float(at[shift - shape.width]));
        if (below) maximum = max_skip_nan(maximum, to_float(at[shift + shape.width]));
        return maximum;
    };
    int const lane = threadIdx.x % 32;
    float left = __shfl_up_sync(0xffffffffu, high[kCells - 1], 1);
    float right = __shfl_down_sync(0xffffffffu, high[0], 1);
    if (column == 0) left = lowest;
    else if (lane == 0 && vector < end) left = column_maximum(-1);
    if (column + kCells == shape.width) right = lowest;
    else if (lane == 31 && vector < end) right = column_maximum(kCells);

    Key keys[kCells];
    unsigned found = 0;
#pragma unroll
    for (int c = 0; c < kCells; ++c) {
        float const beside = max_skip_nan(c == 0 ? left : high[c - 1], c == kCells - 1 ? right : high[c + 1]);
        bool const is_peak = center[c] >= max_skip_nan(high[c], beside) && center[c] > lowest;  // false for NaN
        Key const key = make_key(center[c], row * shape.width + column + c);
        keys[c] = is_peak && key > threshold ? key : kNoKey;
        found += keys[c] != kNoKey;
    }
    // Most warps of a trained heatmap hold no peak above the threshold and stop here.
    if (__ballot_sync(0xffffffffu, found != 0) == 0) return;
    unsigned inclusive = found;  // peaks of the lanes up to this one: their places in the list
    for (int delta = 1; delta < 32; delta *= 2) {
        unsigned const before = __shfl_up_sync(0xffffffffu, inclusive, delta);
        if (lane >= delta) inclusive += before;
    }
    unsigned begin = 0;
    if (lane == 31) begin = atomicAdd(&shared.count, inclusive);
    unsigned slot = __shfl_sync(0xffffffffu, begin, 31) + inclusive - found;
#pragma unroll
    for (int c = 0; c < kCells; ++c)
        if (keys[c] != kNoKey) shared.keys[slot++] = keys[c];
}

// lists: (images, parts, top_k) keys, unused slots kNoKey.
template <typename Cells> __global__ void __launch_bounds__(kFindThreads, 2) find_peaks_kernel(
    typename Cells::Element const* __restrict__ logits, Key* __restrict__ lists, HeatmapShape shape, int top_k) {
    FindShared& shared = *static_cast<FindShared*>(dynamic_shared_memory());
    constexpr unsigned kStepVectors = kStepCells / Cells::kCells;
    int const image = blockIdx.x / shape.parts;
    int const part = blockIdx.x % shape.parts;
    unsigned const row_vectors = shape.width / Cells::kCells;
    unsigned const first_row = static_cast<unsigned>(part) * shape.part_rows;
    unsigned const last_row = min(shape.classes * shape.height, static_cast<int>(first_row) + shape.part_rows);
    logits += static_cast<int64_t>(image) * shape.classes * shape.height * shape.width;
    unsigned const end = last_row * row_vectors;

    if (threadIdx.x == 0) shared.count = 0;
    __syncthreads();
    // Unsigned on purpose: `end` can be just below 2^31, and a step beyond it must not overflow.
    // The next vector is loaded while one is looked at: steps follow one another without a gap, so it is the one that
    // lies kFindThreads further, also across the barriers.
    Key threshold = kNoKey;
    Neighbours<Cells> ahead = {};
    ahead.load(logits, shape, first_row * row_vectors + threadIdx.x, end);
    for (unsigned step = first_row * row_vectors; step < end; step += kStepVectors) {
        for (unsigned v = 0; v < kStepVectors; v += kFindThreads) {
            Neighbours<Cells> const loaded = ahead;
            unsigned const vector = step + v + threadIdx.x;
            ahead.load(logits, shape, vector + kFindThreads, end);
            append_peaks(loaded, logits, shape, vector, end, threshold, shared);
        }
        __syncthreads();  // the step's peaks are in the list
        bool const full = shared.count > kCapacity - kStepCells;
        __syncthreads();  // all threads have read the count before the next step changes it
        if (full) threshold = shrink(shared, top_k);
    }
    // At most K keys leave the block. Slots without one are written too: the workspace comes with any content.
    if (shared.count > static_cast<unsigned>(top_k)) shrink(shared, top_k);
    unsigned const count = shared.count;
    Key* const list = lists + static_cast<int64_t>(blockIdx.x) * top_k;
    for (unsigned slot = threadIdx.x; slot < static_cast<unsigned>(top_k); slot += kFindThreads)
        list[slot] = slot < count ? shared.keys[slot] : kNoKey;
}

struct RankShared {
    Key keys[1024];
    Selection selection;
    unsigned count;
};

template <typename Keys> __device__ void keep_best(Keys const& keys, int k, unsigned size, RankShared& shared) {
    collect(keys, kth_key(keys, k, shared.selection), shared.keys, size, &shared.count);
}

__global__ void __launch_bounds__(kRankThreads)
    rank_peaks_kernel(Key const* __restrict__ lists, float* __restrict__ scores, int32_t* __restrict__ labels,
        int32_t* __restrict__ cells, HeatmapShape shape, int top_k) {
    RankShared& shared = *static_cast<RankShared*>(dynamic_shared_memory());
    unsigned const count = static_cast<unsigned>(shape.parts) * top_k;
    ListedKeys const listed = {lists + static_cast<int64_t>(blockIdx.x) * count, count};
    unsigned const size = power_of_two(top_k);
    // 128 lists of 100 keys, the usual number, fit into registers; passes over them then cost no memory latency.
    if (count <= kHeldTurns * kRankThreads) keep_best(HeldKeys<kHeldTurns>(listed), top_k, size, shared);
    else keep_best(listed, top_k, size, shared);
    sort_descending(shared.keys, size);

    unsigned const plane = static_cast<unsigned>(shape.height) * shape.width;
    for (unsigned slot = threadIdx.x; slot < static_cast<unsigned>(top_k); slot += blockDim.x) {
        Key const key = shared.keys[slot];
        int64_t const out = static_cast<int64_t>(blockIdx.x) * top_k + slot;
        bool const exists = key != kNoKey;
        // In double, for K values only: the last bit of a score decides the order of tied pairs later.
        scores[out] = exists ? static_cast<float>(1.0 / (1.0 + exp(-static_cast<double>(value_of(key))))) : 0.0f;
        labels[out] = exists ? static_cast<int32_t>(index_of(key) / plane) : -1;
        cells[out] = exists ? static_cast<int32_t>(index_of(key) % plane) : 0;
    }
}

bool is_valid(int images, int classes, int height, int width, int top_k) {
    if (images < 0 || classes < 1 || height < 1 || width < 1 || top_k < 1 || top_k > kMaxPeaks) return false;
    int64_t const plane = static_cast<int64_t>(height) * width;
    return plane <= INT32_MAX && plane <= INT32_MAX / classes && images <= INT32_MAX / kParts;
}

template <typename Cells> cudaError_t launch(void const* logits, float* scores, int32_t* labels, int32_t* cells,
    Key* lists, int images, HeatmapShape shape, int top_k, cudaStream_t stream) {
    cudaError_t const error = launch_plain(find_peaks_kernel<Cells>, dim3(static_cast<unsigned>(images) * shape.parts),
        dim3(kFindThreads), sizeof(FindShared), stream, static_cast<typename Cells::Element const*>(logits), lists,
        shape, top_k);
    if (error != cudaSuccess) return error;
    return launch_plain(rank_peaks_kernel, dim3(static_cast<unsigned>(images)), dim3(kRankThreads), sizeof(RankShared),
        stream, static_cast<Key const*>(lists), scores, labels, cells, shape, top_k);
}

template <typename T> cudaError_t launch_type(void const* logits, float* scores, int32_t* labels, int32_t* cells,
    Key* lists, int images, HeatmapShape const& shape, int top_k, cudaStream_t stream) {
    bool const vectors = rows_are_vectors<T>(shape.width, logits);
    return (vectors ? launch<CellVector<T>> : launch<SingleCell<T>>)(logits, scores, labels, cells, lists, images,
        shape, top_k, stream);
}

}  // namespace
}  // namespace cornernet

size_t cornernet_corner_peaks_workspace(int32_t images, int32_t classes, int32_t height, int32_t width, int32_t top_k) {
    using namespace cornernet;
    if (!is_valid(images, classes, height, width, top_k)) return 0;
    return sizeof(Key) * static_cast<size_t>(images) * kParts * top_k;
}

int32_t cornernet_corner_peaks(void const* logits, float* scores, int32_t* labels, int32_t* cells, void* workspace,
    int32_t images, int32_t classes, int32_t height, int32_t width, int32_t top_k, int32_t type, void* stream) {
    using namespace cornernet;
    if (!is_valid(images, classes, height, width, top_k)) return cudaErrorInvalidValue;
    if (images == 0) return cudaSuccess;
    if (logits == nullptr || scores == nullptr || labels == nullptr || cells == nullptr || workspace == nullptr)
        return cudaErrorInvalidValue;
    int64_t const rows = static_cast<int64_t>(classes) * height;
    // As many blocks as run at once: more parts would be a second wave, and more lists to merge.
    int64_t const at_once = max(int64_t{1}, int64_t{kBlocksPerMultiprocessor} * multiprocessors() / images);
    int64_t const wanted_parts
        = max(int64_t{1}, min(min(int64_t{kParts}, at_once), rows * width / kMinPartCells));
    HeatmapShape shape = {classes, height, width, 0, 0};
    shape.part_rows = static_cast<int>((rows + wanted_parts - 1) / wanted_parts);
    shape.parts = static_cast<int>((rows + shape.part_rows - 1) / shape.part_rows);
    auto* const lists = static_cast<Key*>(workspace);
    auto const queue = static_cast<cudaStream_t>(stream);
    switch (type) {
    case kFloat32: return launch_type<float>(logits, scores, labels, cells, lists, images, shape, top_k, queue);
    case kFloat16: return launch_type<Half>(logits, scores, labels, cells, lists, images, shape, top_k, queue);
    case kBFloat16: return launch_type<BFloat16>(logits, scores, labels, cells, lists, images, shape, top_k, queue);
    default: return cudaErrorInvalidValue;
    }
}
