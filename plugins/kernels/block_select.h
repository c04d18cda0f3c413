// Exact selection and sorting by one block of threads: the K largest of many keys, without sorting the many.
//
// Every candidate is one 64-bit key: its value in the upper half, mapped so that integers order like floats, and
// the complement of its index in the lower half. Keys are unique, larger is better, and of two equal values the
// lower index wins. So the selected set does not depend on the order in which threads arrive: deterministic.
#pragma once
#include "block.h"

namespace cornernet {

using Key = unsigned long long;
constexpr Key kNoKey = 0;  // below the key of every number, -inf included

__host__ __device__ inline Key make_key(float value, uint32_t index) {
    value += 0.0f;  // -0 becomes +0: the two are equal, only the index may decide
    uint32_t bits;
    memcpy(&bits, &value, 4);
    // Positive floats order like their bits; negative ones the other way round and below.
    bits ^= bits & 0x80000000u ? 0xffffffffu : 0x80000000u;
    return static_cast<Key>(bits) << 32 | static_cast<uint32_t>(~index);
}
__host__ __device__ inline float value_of(Key key) {
    uint32_t bits = static_cast<uint32_t>(key >> 32);
    bits ^= bits & 0x80000000u ? 0x80000000u : 0xffffffffu;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
__host__ __device__ inline uint32_t index_of(Key key) { return ~static_cast<uint32_t>(key); }

// Where the keys of a selection are. `each` hands every thread its share, one key per turn, in the same number of
// turns for all threads of the block (kNoKey where there is none): what is called may vote within the warp.
struct ListedKeys {  // in memory; read again in every pass
    Key const* list;
    unsigned count;
    template <typename Use> __device__ void each(Use use) const {
#pragma unroll 4
        for (unsigned begin = 0; begin < count; begin += blockDim.x) {
            unsigned const i = begin + threadIdx.x;
            use(i < count ? list[i] : kNoKey);
        }
    }
};
template <int kTurns> struct HeldKeys {  // in registers; read once, with all loads in flight together
    Key key[kTurns];
    __device__ explicit HeldKeys(ListedKeys const& keys) {
#pragma unroll
        for (int turn = 0; turn < kTurns; ++turn) {
            unsigned const i = turn * blockDim.x + threadIdx.x;
            key[turn] = i < keys.count ? keys.list[i] : kNoKey;
        }
    }
    template <typename Use> __device__ void each(Use use) const {
#pragma unroll
        for (int turn = 0; turn < kTurns; ++turn) use(key[turn]);
    }
};

constexpr int kDigitBits = 8;
constexpr int kBins = 1 << kDigitBits;
constexpr int kFew = 64;  // so few keys in the bin of the K-th: compare them all instead of looking at more digits

// Shared memory of kth_key.
struct Selection {
    Key few[kFew];
    Key threshold;
    unsigned histogram[kBins];
    unsigned few_count;
    unsigned digit;   // of the K-th largest key, kBins if there are fewer than K keys
    unsigned in_bin;  // keys with that digit
    unsigned need;    // how many of them belong to the K largest
};

// Warp 0 finds the bin that holds the `need`-th largest key, counting from the top.
__device__ inline void find_digit(Selection& shared, unsigned need) {
    int const lane = threadIdx.x % 32;
    constexpr int kBinsPerLane = kBins / 32;
    unsigned own = 0;
    for (int i = 0; i < kBinsPerLane; ++i) own += shared.histogram[kBins - 1 - lane * kBinsPerLane - i];
    unsigned inclusive = own;
    for (int delta = 1; delta < 32; delta *= 2) {
        unsigned const before = __shfl_up_sync(0xffffffffu, inclusive, delta);
        if (lane >= delta) inclusive += before;
    }
    unsigned above = inclusive - own;  // keys in higher bins than this lane's
    if (lane == 31 && inclusive < need) shared.digit = kBins;
    if (lane == 0) shared.few_count = 0;
    if (above >= need || inclusive < need) return;
    // Exactly one lane comes here, or none.
    int bin = kBins - 1 - lane * kBinsPerLane;
    while (above + shared.histogram[bin] < need) above += shared.histogram[bin--];
    shared.digit = bin;
    shared.in_bin = shared.histogram[bin];
    shared.need = need - above;
}

// The smallest key to keep so that exactly the k largest of the keys are kept; 1 if there are at most k.
//
// Radix selection from the top digit down: one histogram in shared memory per digit, then only keys that share the
// K-th key's digits so far go on. Usually two digits leave fewer than kFew keys; a plateau of equal values needs
// all eight. Each digit is one pass over the keys and three barriers (about 0.3 us for a few thousand keys).
// Called by all threads of the block with the same k, after a barrier that made the keys visible.
template <typename Keys> __device__ Key kth_key(Keys const& keys, unsigned k, Selection& shared) {
    Key known = 0, prefix = 0;  // digits decided so far: their mask and their value
    for (int shift = 64 - kDigitBits; shift >= 0; shift -= kDigitBits) {
        for (int bin = threadIdx.x; bin < kBins; bin += blockDim.x) shared.histogram[bin] = 0;
        __syncthreads();  // the histogram is empty
        keys.each([&](Key key) {
            if (key != kNoKey && (key & known) == prefix) atomicAdd(&shared.histogram[key >> shift & (kBins - 1)], 1u);
        });
        __syncthreads();  // the histogram is complete
        if (threadIdx.x < 32) find_digit(shared, k);
        __syncthreads();  // digit, in_bin, need are known; the histogram may be cleared again
        if (shared.digit == kBins) return 1;
        prefix |= static_cast<Key>(shared.digit) << shift;
        known |= static_cast<Key>(kBins - 1) << shift;
        k = shared.need;
        unsigned const in_bin = shared.in_bin;
        if (in_bin == k) return prefix;  // the whole bin belongs to the k largest
        if (in_bin > kFew) continue;
        keys.each([&](Key key) {
            if (key != kNoKey && (key & known) == prefix) shared.few[atomicAdd(&shared.few_count, 1u)] = key;
        });
        __syncthreads();  // the few are together
        if (threadIdx.x < in_bin) {
            Key const mine = shared.few[threadIdx.x];
            unsigned larger = 0;
            for (unsigned i = 0; i < in_bin; ++i) larger += shared.few[i] > mine;
            if (larger == k - 1) shared.threshold = mine;
        }
        __syncthreads();  // one thread, as keys are unique, has written the threshold
        return shared.threshold;
    }
    return prefix;
}

// Adds the wanted keys of a warp to a list, with one atomic per warp. All 32 lanes call it.
__device__ inline void append(Key key, bool wanted, Key* list, unsigned* count) {
    unsigned const votes = __ballot_sync(0xffffffffu, wanted);
    if (votes == 0) return;
    int const lane = threadIdx.x % 32;
    unsigned begin = 0;
    if (lane == 0) begin = atomicAdd(count, static_cast<unsigned>(__popc(votes)));
    begin = __shfl_sync(0xffffffffu, begin, 0);
    if (wanted) list[begin + __popc(votes & ((1u << lane) - 1))] = key;
}

// Empties `kept`, then fills it with the keys that reach the threshold, in any order, and kNoKey up to `size`.
// Ends with a barrier; *kept_count is then their number.
template <typename Keys>
__device__ void collect(Keys const& keys, Key threshold, Key* kept, unsigned size, unsigned* kept_count) {
    for (unsigned i = threadIdx.x; i < size; i += blockDim.x) kept[i] = kNoKey;
    if (threadIdx.x == 0) *kept_count = 0;
    __syncthreads();  // the list is empty
    keys.each([&](Key key) { append(key, key != kNoKey && key >= threshold, kept, kept_count); });
    __syncthreads();  // the list is complete
}

// Bitonic sort, largest first; size is a power of two. Starts after a barrier and ends with one.
__device__ inline void sort_descending(Key* keys, unsigned size) {
    unsigned previous = 1;
    for (unsigned run = 2; run <= size; run *= 2) {
        for (unsigned stride = run / 2; stride > 0; stride /= 2) {
            // At strides up to 32 the pairs of a warp lie in 64 keys that no other warp touches: no need for the block to wait.
            if (stride > 32 || previous > 32) __syncthreads();
            else __syncwarp();
            for (unsigned pair = threadIdx.x; pair < size / 2; pair += blockDim.x) {
                unsigned const low = 2 * pair - (pair & (stride - 1));
                Key const a = keys[low], b = keys[low + stride];
                bool const descending = (low & run) == 0;
                if ((a < b) == descending) keys[low] = b, keys[low + stride] = a;
            }
            previous = stride;
        }
    }
    __syncthreads();
}

// Smallest power of two that is at least `count`.
__host__ __device__ inline unsigned power_of_two(unsigned count) {
    unsigned size = 1;
    while (size < count) size *= 2;
    return size;
}

}  // namespace cornernet
