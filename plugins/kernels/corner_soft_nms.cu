// Soft-NMS within classes, one block per image, every box with one thread: of up to 1024 in its registers.
//
// Steps    Load: to image pixels in double, as the host does. Then as often as boxes are wanted: the largest key of the
//          block (score, then lower row) by shuffles and one barrier; its owner writes it out and shows it in shared
//          memory, a second barrier; every thread weakens its boxes of that class.
// Budget   D=1000, 100 boxes taken: 100 rounds of two reductions of 5 shuffle steps, two barriers and one weight, some
//          700 cycles: 45 us, for 132 images as for one. Nothing but the rows taken is written. Calculated; gpu_check
//          measures.
// Bits     Additions and products are those of suppress.cpp in its order; exp, and products that nvcc contracts into an
//          addition, differ in the last digit.
#include "corner_soft_nms.h"

#include "block_select.h"

namespace cornernet {
namespace {

constexpr int kMostCandidates = 3840;
constexpr int kMostNmsThreads = 1024;
constexpr int kMostBoxesPerThread = 4;
static_assert(kMostBoxesPerThread * kMostNmsThreads >= kMostCandidates, "every box has a thread");

struct NmsInputs {
    float const* boxes;
    float const* scores;
    int32_t const* labels;
    int32_t const* counts;
    float const* placements;
};
struct NmsOutputs {
    float* boxes;
    float* scores;
    int32_t* labels;
    int32_t* counts;
};
struct NmsRules {
    int candidates, limit, method;
    float minus_inverse_sigma, iou_threshold, min_score, iou_pixel;
    bool drop_empty;
};
struct NmsBox {
    float edges[4];  // x1 y1 -x2 -y2, sides enlarged by iou_pixel: an intersection is a maximum of edges
    float area;
    int32_t label;
};
struct NmsShared {
    Key best[32];  // of each warp
    NmsBox taken;
};

__device__ inline float smaller_of(float a, float b) { return a < b ? a : b; }
__device__ inline float larger_of(float a, float b) { return a < b ? b : a; }

__device__ inline float weight_of(NmsBox const& box, NmsBox const& taken, NmsRules const& rules) {
    float inner[4];
#pragma unroll
    for (int edge = 0; edge < 4; ++edge) inner[edge] = larger_of(box.edges[edge], taken.edges[edge]);
    float const common = smaller_of(inner[0] + inner[2], 0.0f) * smaller_of(inner[1] + inner[3], 0.0f);
    if (common == 0.0f && rules.method == kGaussian) return 1.0f;  // exp(0), which most pairs are
    float const overlap = common / ((box.area + taken.area) - common);
    if (rules.method == kGaussian) return expf(overlap * overlap * rules.minus_inverse_sigma);
    if (overlap <= rules.iou_threshold) return 1.0f;
    return rules.method == kHard ? 0.0f : 1.0f - overlap;
}

__device__ inline float to_image(double edge, double begin, double far_side, double scale) {
    edge -= begin;
    edge = edge < 0 ? 0 : edge;
    return static_cast<float>((edge > far_side ? far_side : edge) / scale);
}

__device__ inline void image_box(float const* raw, float const* placement, float* box) {
    double x1 = raw[0], x2 = raw[2];
    double const across = static_cast<double>(placement[4]) / placement[5];
    double const down = static_cast<double>(placement[6]) / placement[7];
    double const axis = placement[8];
    if (axis == axis) {
        double const mirrored = axis - x1;
        x1 = axis - x2;
        x2 = mirrored;
    }
    box[0] = to_image(x1, placement[0], placement[2], across);
    box[1] = to_image(raw[1], placement[1], placement[3], down);
    box[2] = to_image(x2, placement[0], placement[2], across);
    box[3] = to_image(raw[3], placement[1], placement[3], down);
}

__device__ inline Key largest_of_warp(Key key) {
    for (int step = 16; step > 0; step /= 2) {
        Key const other = __shfl_xor_sync(0xffffffffu, key, step);
        if (other > key) key = other;
    }
    return key;
}

// kBoxes: of a thread. One up to D=1024; more lie in local memory, since 1024 threads have 64 registers each.
template <int kBoxes>
__global__ void __launch_bounds__(kMostNmsThreads)
    corner_soft_nms_kernel(NmsInputs in, NmsOutputs out, NmsRules rules) {
    NmsShared& shared = *static_cast<NmsShared*>(dynamic_shared_memory());
    int const image = blockIdx.x, threads = blockDim.x;
    int const warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int64_t const first = static_cast<int64_t>(image) * rules.candidates;
    int64_t const first_out = static_cast<int64_t>(image) * rules.limit;
    float const* const placement = in.placements + static_cast<int64_t>(image) * kPlacementFields;
    int const count = min(in.counts[image], rules.candidates);

    NmsBox box[kBoxes];
    float score[kBoxes];  // 0 once taken, dead or not there: every living one reaches min_score, above 0
#pragma unroll
    for (int turn = 0; turn < kBoxes; ++turn) {
        int const row = turn * threads + threadIdx.x;
        score[turn] = 0.0f;
        if (row >= count || !(in.scores[first + row] >= rules.min_score)) continue;  // NaN too
        float b[4];
        image_box(in.boxes + (first + row) * 4, placement, b);
        if (rules.drop_empty && !(b[2] > b[0] && b[3] > b[1])) continue;
        float* const e = box[turn].edges;
        e[0] = b[0], e[1] = b[1], e[2] = -b[2] - rules.iou_pixel, e[3] = -b[3] - rules.iou_pixel;
        // Empty boxes divide by no zero.
        box[turn].area = larger_of(smaller_of(e[0] + e[2], 0.0f) * smaller_of(e[1] + e[3], 0.0f), 1e-12f);
        box[turn].label = in.labels[first + row];
        score[turn] = in.scores[first + row];
    }

    int taken = 0;
    for (; taken < rules.limit; ++taken) {
        Key best = kNoKey;
#pragma unroll
        for (int turn = 0; turn < kBoxes; ++turn) {
            Key const key
                = score[turn] > 0 ? make_key(score[turn], static_cast<uint32_t>(turn * threads + threadIdx.x)) : kNoKey;
            if (key > best) best = key;
        }
        best = largest_of_warp(best);
        if (lane == 0) shared.best[warp] = best;
        __syncthreads();  // the best of every warp is known, and everybody is done with the box taken before
        best = largest_of_warp(lane < threads / 32 ? shared.best[lane] : kNoKey);
        if (best == kNoKey) break;  // for all threads alike
        int const row = static_cast<int>(index_of(best));
        if (row % threads == static_cast<int>(threadIdx.x)) {
            float b[4];
            image_box(in.boxes + (first + row) * 4, placement, b);
#pragma unroll
            for (int side = 0; side < 4; ++side) out.boxes[(first_out + taken) * 4 + side] = b[side];
            out.scores[first_out + taken] = value_of(best);
            out.labels[first_out + taken] = in.labels[first + row];
#pragma unroll
            for (int turn = 0; turn < kBoxes; ++turn)
                if (turn == row / threads) shared.taken = box[turn], score[turn] = 0.0f;
        }
        __syncthreads();  // the box is shown, and the best of the warps are read
        if (rules.method == kNoSoftNms) continue;
        NmsBox const strongest = shared.taken;
#pragma unroll
        for (int turn = 0; turn < kBoxes; ++turn) {
            if (!(score[turn] > 0) || box[turn].label != strongest.label) continue;
            float const weakened = score[turn] * weight_of(box[turn], strongest, rules);
            score[turn] = weakened >= rules.min_score ? weakened : 0.0f;
        }
    }

    for (int row = taken + threadIdx.x; row < rules.limit; row += threads) {
#pragma unroll
        for (int side = 0; side < 4; ++side) out.boxes[(first_out + row) * 4 + side] = 0.0f;
        out.scores[first_out + row] = -1.0f;
        out.labels[first_out + row] = -1;
    }
    if (threadIdx.x == 0) out.counts[image] = taken;
}

}  // namespace
}  // namespace cornernet

int32_t cornernet_corner_soft_nms(void const* const* inputs, void* const* outputs, int32_t images, int32_t candidates,
    int32_t limit, int32_t method, float sigma, float iou_threshold, float min_score, float iou_pixel,
    int32_t drop_empty, void* stream) {
    using namespace cornernet;
    bool const valid = images >= 0 && candidates >= 1 && candidates <= kMostCandidates && limit >= 1
                       && limit <= kMostCandidates && method >= kNoSoftNms && method <= kHard && sigma > 0
                       && min_score > 0 && iou_threshold == iou_threshold && iou_pixel == iou_pixel;
    if (!valid || inputs == nullptr || outputs == nullptr) return cudaErrorInvalidValue;
    if (images == 0) return cudaSuccess;
    for (int i = 0; i < 5; ++i)
        if (inputs[i] == nullptr) return cudaErrorInvalidValue;
    for (int i = 0; i < 4; ++i)
        if (outputs[i] == nullptr) return cudaErrorInvalidValue;
    NmsInputs const in = {static_cast<float const*>(inputs[0]), static_cast<float const*>(inputs[1]),
        static_cast<int32_t const*>(inputs[2]), static_cast<int32_t const*>(inputs[3]),
        static_cast<float const*>(inputs[4])};
    NmsOutputs const out = {static_cast<float*>(outputs[0]), static_cast<float*>(outputs[1]),
        static_cast<int32_t*>(outputs[2]), static_cast<int32_t*>(outputs[3])};
    NmsRules const rules = {candidates, limit, method, static_cast<float>(-1.0 / sigma), iou_threshold, min_score,
        iou_pixel, drop_empty != 0};
    int const threads = min(kMostNmsThreads, (candidates + 31) / 32 * 32);
    int const boxes = (candidates + threads - 1) / threads;
    auto const kernel = boxes == 1   ? corner_soft_nms_kernel<1>
                        : boxes == 2 ? corner_soft_nms_kernel<2>
                                     : corner_soft_nms_kernel<kMostBoxesPerThread>;
    return launch_plain(kernel, dim3(static_cast<unsigned>(images)), dim3(static_cast<unsigned>(threads)),
        sizeof(NmsShared), static_cast<cudaStream_t>(stream), in, out, rules);
}
