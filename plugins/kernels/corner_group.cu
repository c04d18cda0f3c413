// Pairs of corners: one block per image tests all K x K pairs, selects the best num_dets, sorts and writes them.
//
// Steps    stage (the corners in shared memory, where the keys will be) -> test (survivors appended to the workspace)
//          -> select (if more survive than are wanted) -> sort in shared memory -> write.
// Budget   K=100: 4 corners per warp, each compared with 4 x 32 others: below 1 us; sort of up to 1024 keys 2 us,
//          write 0.5 us; with a selection, when more than num_dets survive, 2 us more. Below 10 us with launch.
//          K=1000: 32 corners per warp, each with 32 steps of about 10 instructions: 32 warps x 1000 steps on the four
//          schedulers of one multiprocessor are 45 us, and as much again for sorting 3840 keys.
// Atomics  One per warp and step on one counter in shared memory.
// Widths   K * K <= 10^6 pairs per image; offsets of images are 64-bit.
#include "corner_group.h"

#include "block_select.h"

namespace cornernet {
namespace {

constexpr int kMaxCorners = 1000;
constexpr int kMaxDets
    = 3840;  // TensorRT's own limit for TopK, so that both definitions of the operator accept the same
constexpr int kSortSize = 4096;
constexpr int kThreads = 1024;
static_assert(kMaxDets <= kSortSize, "all detections are sorted at once");

struct Corners {
    float const* scores;
    int32_t const* labels;
    float const* embeddings;
    float const* x;
    float const* y;
};
struct Detections {
    float* boxes;
    float* scores;
    float* corner_scores;
    int32_t* labels;
    int32_t* counts;
};
struct Rules {
    int corners, num_dets;
    float max_distance;
    bool reject_zero_size;
};
// What a corner is tested by, in shared memory while all pairs are tested; afterwards the keys lie in the same place.
struct StagedSide {
    float embedding[kMaxCorners], x[kMaxCorners], y[kMaxCorners];
    int32_t label[kMaxCorners];
};
struct Staged {
    StagedSide top_left, bottom_right;
};
struct GroupShared {
    union {
        Key keys[kSortSize];
        Staged corners;
    };
    Selection selection;
    unsigned count;
};
static_assert(sizeof(GroupShared) <= 48 * 1024, "fits without opting in to more shared memory");

// Both corner scores count the same (section 4.2). Multiplying by a half is exact, so there is one rounding.
__device__ inline float pair_score(float top_left, float bottom_right) { return (top_left + bottom_right) * 0.5f; }

__device__ inline void stage(StagedSide& side, Corners const& corners, int64_t image_offset, int count) {
    for (int i = threadIdx.x; i < count; i += kThreads) {
        int64_t const at = image_offset + i;
        side.label[i] = corners.labels[at];
        side.embedding[i] = corners.embeddings[at];
        side.x[i] = corners.x[at];
        side.y[i] = corners.y[at];
    }
}

// Whether corners i and j, of equal labels, can belong to one object. Every comparison is false for NaN.
__device__ inline bool belong_together(Staged const& corners, int i, int j, Rules const& rules) {
    StagedSide const &a = corners.top_left, &b = corners.bottom_right;
    if (!(fabsf(a.embedding[i] - b.embedding[j]) <= rules.max_distance)) return false;
    if (rules.reject_zero_size) return b.x[j] > a.x[i] && b.y[j] > a.y[i];
    return b.x[j] >= a.x[i] && b.y[j] >= a.y[i];
}

// survivors: (images, corners * corners) keys. Written and read by the same block, so not __restrict__ const:
// the read-only cache would not see the writes.
__global__ void __launch_bounds__(kThreads)
    corner_group_kernel(Corners top_left, Corners bottom_right, Detections out, Key* survivors, Rules rules) {
    GroupShared& shared = *static_cast<GroupShared*>(dynamic_shared_memory());
    Staged& staged = shared.corners;
    int const image = blockIdx.x;
    int const pairs = rules.corners * rules.corners;
    int64_t const corner_offset = static_cast<int64_t>(image) * rules.corners;
    survivors += static_cast<int64_t>(image) * pairs;

    if (threadIdx.x == 0) shared.count = 0;  // shared memory starts with any content
    stage(staged.top_left, top_left, corner_offset, rules.corners);
    stage(staged.bottom_right, bottom_right, corner_offset, rules.corners);
    __syncthreads();  // the corners are staged
    // Test: a warp takes a top-left corner, its lanes the bottom-right ones: no division, and one comparison of labels
    // decides for nearly all pairs. Of 80 classes one pair in 80 goes on.
    int const lane = threadIdx.x % 32;
    for (int i = threadIdx.x / 32; i < rules.corners; i += kThreads / 32) {
        int32_t const label = staged.top_left.label[i];
        if (label < 0) continue;  // all lanes of the warp alike
        for (int begin = 0; begin < rules.corners; begin += 32) {  // the same trips for all lanes, append needs them
            int const j = begin + lane;
            Key key = kNoKey;
            if (j < rules.corners && staged.bottom_right.label[j] == label && belong_together(staged, i, j, rules)) {
                float const score
                    = pair_score(top_left.scores[corner_offset + i], bottom_right.scores[corner_offset + j]);
                if (score == score) key = make_key(score, static_cast<uint32_t>(i * rules.corners + j));
            }
            append(key, key != kNoKey, survivors, &shared.count);
        }
    }
    __syncthreads();  // survivors and their number are visible to the block
    unsigned const count = shared.count;
    __syncthreads();  // collect resets the counter

    // Select and sort. Few pairs survive in a real picture: then the threshold is 1, which every key reaches, and the
    // sort is as long as the survivors need, not as long as num_dets.
    unsigned const num_dets = static_cast<unsigned>(rules.num_dets);
    ListedKeys const listed = {survivors, count};
    Key const threshold = count > num_dets ? kth_key(listed, num_dets, shared.selection) : 1;
    unsigned const kept = count > num_dets ? num_dets : count;
    unsigned const size = power_of_two(kept);
    collect(listed, threshold, shared.keys, size, &shared.count);
    sort_descending(shared.keys, size);

    // Write every row, used or not: TensorRT does not clear outputs, and a row left over would be a ghost detection.
    for (unsigned row = threadIdx.x; row < num_dets; row += blockDim.x) {
        int64_t const det = static_cast<int64_t>(image) * num_dets + row;
        float box[4] = {0.0f, 0.0f, 0.0f, 0.0f}, score = -1.0f, corner_scores[2] = {0.0f, 0.0f};
        int32_t label = -1;
        if (row < kept) {
            uint32_t const pair = index_of(shared.keys[row]);  // the key remembers the pair, so nothing else was stored
            int64_t const a = corner_offset + pair / rules.corners, b = corner_offset + pair % rules.corners;
            box[0] = top_left.x[a], box[1] = top_left.y[a], box[2] = bottom_right.x[b], box[3] = bottom_right.y[b];
            corner_scores[0] = top_left.scores[a], corner_scores[1] = bottom_right.scores[b];
            score = pair_score(corner_scores[0], corner_scores[1]);
            label = top_left.labels[a];
        }
#pragma unroll
        for (int side = 0; side < 4; ++side) out.boxes[det * 4 + side] = box[side];
        out.corner_scores[det * 2] = corner_scores[0];
        out.corner_scores[det * 2 + 1] = corner_scores[1];
        out.scores[det] = score;
        out.labels[det] = label;
    }
    if (threadIdx.x == 0) out.counts[image] = static_cast<int32_t>(kept);
}

Corners corners_at(void const* const* inputs) {
    return {static_cast<float const*>(inputs[0]), static_cast<int32_t const*>(inputs[1]),
        static_cast<float const*>(inputs[2]), static_cast<float const*>(inputs[3]),
        static_cast<float const*>(inputs[4])};
}

}  // namespace
}  // namespace cornernet

size_t cornernet_corner_group_workspace(int32_t images, int32_t corners) {
    if (images < 0 || corners < 1 || corners > cornernet::kMaxCorners) return 0;
    return sizeof(cornernet::Key) * static_cast<size_t>(images) * corners * corners;
}

int32_t cornernet_corner_group(void const* const* inputs, void* const* outputs, void* workspace, int32_t images,
    int32_t corners, int32_t num_dets, float max_distance, int32_t reject_zero_size, void* stream) {
    using namespace cornernet;
    bool const sizes_are_valid
        = images >= 0 && corners >= 1 && corners <= kMaxCorners && num_dets >= 1 && num_dets <= kMaxDets;
    if (!sizes_are_valid || inputs == nullptr || outputs == nullptr) return cudaErrorInvalidValue;
    if (images == 0) return cudaSuccess;
    for (int i = 0; i < 10; ++i)
        if (inputs[i] == nullptr) return cudaErrorInvalidValue;
    for (int i = 0; i < 5; ++i)
        if (outputs[i] == nullptr) return cudaErrorInvalidValue;
    if (workspace == nullptr) return cudaErrorInvalidValue;
    Detections const out = {static_cast<float*>(outputs[0]), static_cast<float*>(outputs[1]),
        static_cast<float*>(outputs[2]), static_cast<int32_t*>(outputs[3]), static_cast<int32_t*>(outputs[4])};
    Rules const rules = {corners, num_dets, max_distance, reject_zero_size != 0};
    return launch_plain(corner_group_kernel, dim3(static_cast<unsigned>(images)), dim3(kThreads), sizeof(GroupShared),
        static_cast<cudaStream_t>(stream), corners_at(inputs), corners_at(inputs + 5), out,
        static_cast<Key*>(workspace), rules);
}
