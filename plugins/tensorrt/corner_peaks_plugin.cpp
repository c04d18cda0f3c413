// CornerPeaks: logits (N,C,h,w) -> scores f32, labels i32, cells i32, each (N, top_k).
#include "../kernels/corner_peaks.h"

#include "plugin.h"
#include "tensor_type.h"

namespace cornernet {
namespace {

using namespace nvinfer1;

class CornerPeaksPlugin final : public Plugin<CornerPeaksPlugin> {
public:
    static constexpr char const* kName = "CornerPeaks";
    static constexpr int32_t kInputs = 1, kOutputs = 3;

    std::array<Attribute, 1> attributes() noexcept { return {integer("top_k", m_top_k, 1, 1000, true)}; }

    int32_t getOutputDataTypes(
        DataType* outputs, int32_t output_count, DataType const*, int32_t input_count) const noexcept override {
        if (!has_arity(input_count, output_count)) return -1;
        outputs[0] = DataType::kFLOAT;
        outputs[1] = outputs[2] = DataType::kINT32;
        return 0;
    }

    int32_t getOutputShapes(DimsExprs const* inputs, int32_t input_count, DimsExprs const*, int32_t, DimsExprs* outputs,
        int32_t output_count, IExprBuilder& expressions) noexcept override {
        if (!has_arity(input_count, output_count) || inputs[0].nbDims != 4) return -1;
        for (int32_t i = 0; i < kOutputs; ++i) {
            outputs[i].nbDims = 2;
            outputs[i].d[0] = inputs[0].d[0];
            outputs[i].d[1] = expressions.constant(m_top_k);
        }
        return 0;
    }

    bool supportsFormatCombination(
        int32_t pos, DynamicPluginTensorDesc const* tensors, int32_t, int32_t) noexcept override {
        PluginTensorDesc const& tensor = tensors[pos].desc;
        if (pos == 0) return tensor.format == TensorFormat::kLINEAR && launcher_type(tensor.type) >= 0;
        return is_linear(tensor, pos == 1 ? DataType::kFLOAT : DataType::kINT32);
    }

    size_t getWorkspaceSize(
        DynamicPluginTensorDesc const* in, int32_t, DynamicPluginTensorDesc const*, int32_t) const noexcept override {
        return workspace(in[0].max);
    }

    bool check_shape(Dims const& shape) const noexcept {
        if (shape.nbDims == 4 && workspace(shape) > 0) return true;
        log(kError, "%s takes logits (N,C,h,w) with C * h * w below 2^31", kName);
        return false;
    }

    int32_t enqueue(PluginTensorDesc const* in, PluginTensorDesc const*, void const* const* inputs,
        void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        auto const& d = in[0].dims.d;
        return finish(cornernet_corner_peaks(inputs[0], static_cast<float*>(outputs[0]),
            static_cast<int32_t*>(outputs[1]), static_cast<int32_t*>(outputs[2]), workspace, narrow(d[0]), narrow(d[1]),
            narrow(d[2]), narrow(d[3]), m_top_k, launcher_type(in[0].type), stream));
    }

private:
    size_t workspace(Dims const& shape) const noexcept {
        return cornernet_corner_peaks_workspace(
            narrow(shape.d[0]), narrow(shape.d[1]), narrow(shape.d[2]), narrow(shape.d[3]), m_top_k);
    }

    int32_t m_top_k = 100;
};

}  // namespace

IPluginCreatorInterface* corner_peaks_creator() noexcept {
    static Creator<CornerPeaksPlugin> creator;
    return &creator;
}

}  // namespace cornernet
