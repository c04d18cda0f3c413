// CornerGroup: scores, labels, embeddings, x, y of K top-left and K bottom-right corners, each (N,K)
//   -> boxes (N,D,4) f32, scores (N,D) f32, corner_scores (N,D,2) f32, labels (N,D) i32, counts (N) i32.
#include "../kernels/corner_group.h"

#include <cfloat>

#include "plugin.h"
#include "tensor_type.h"

namespace cornernet {
namespace {

using namespace nvinfer1;

class CornerGroupPlugin final : public Plugin<CornerGroupPlugin> {
public:
    static constexpr char const* kName = "CornerGroup";
    static constexpr int32_t kInputs = 10, kOutputs = 5;

    std::array<Attribute, 3> attributes() noexcept {
        return {integer("num_dets", m_num_dets, 1, 3840, true), real("max_distance", m_max_distance, 0, FLT_MAX, false),
            integer("reject_zero_size", m_reject_zero_size, 0, 1, false)};
    }

    int32_t getOutputDataTypes(
        DataType* outputs, int32_t output_count, DataType const*, int32_t input_count) const noexcept override {
        if (!has_arity(input_count, output_count)) return -1;
        for (int32_t i = 0; i < kOutputs; ++i) outputs[i] = type_of(kInputs + i);
        return 0;
    }

    int32_t getOutputShapes(DimsExprs const* inputs, int32_t input_count, DimsExprs const*, int32_t, DimsExprs* outputs,
        int32_t output_count, IExprBuilder& expressions) noexcept override {
        if (!has_arity(input_count, output_count)) return -1;
        for (int32_t i = 0; i < kInputs; ++i)
            if (inputs[i].nbDims != 2) return log(kError, "%s: input %d must be (N,K)", kName, i), -1;
        int32_t const ranks[kOutputs] = {3, 2, 3, 2, 1};
        int32_t const last[kOutputs] = {4, 0, 2, 0, 0};
        for (int32_t i = 0; i < kOutputs; ++i) {
            outputs[i].nbDims = ranks[i];
            outputs[i].d[0] = inputs[0].d[0];
            if (ranks[i] > 1) outputs[i].d[1] = expressions.constant(m_num_dets);
            if (ranks[i] > 2) outputs[i].d[2] = expressions.constant(last[i]);
        }
        return 0;
    }

    bool supportsFormatCombination(
        int32_t pos, DynamicPluginTensorDesc const* tensors, int32_t, int32_t) noexcept override {
        return is_linear(tensors[pos].desc, type_of(pos));
    }

    size_t getWorkspaceSize(
        DynamicPluginTensorDesc const* in, int32_t, DynamicPluginTensorDesc const*, int32_t) const noexcept override {
        return cornernet_corner_group_workspace(narrow(in[0].max.d[0]), narrow(in[0].max.d[1]));
    }

    bool check_shape(Dims const& shape) const noexcept {
        if (shape.nbDims == 2 && shape.d[1] >= 1 && shape.d[1] <= 1000) return true;
        log(kError, "%s takes (N,K) corners with K from 1 to 1000", kName);
        return false;
    }

    int32_t enqueue(PluginTensorDesc const* in, PluginTensorDesc const*, void const* const* inputs,
        void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        return finish(cornernet_corner_group(inputs, outputs, workspace, narrow(in[0].dims.d[0]),
            narrow(in[0].dims.d[1]), m_num_dets, m_max_distance, m_reject_zero_size, stream));
    }

private:
    // Labels (inputs 1 and 6), and of the outputs labels and counts, are integers.
    static DataType type_of(int32_t pos) noexcept {
        return pos == 1 || pos == 6 || pos >= kInputs + 3 ? DataType::kINT32 : DataType::kFLOAT;
    }

    int32_t m_num_dets = 1000;
    float m_max_distance = 0.5f;
    int32_t m_reject_zero_size = 0;
};

}  // namespace

IPluginCreatorInterface* corner_group_creator() noexcept {
    static Creator<CornerGroupPlugin> creator;
    return &creator;
}

}  // namespace cornernet
