// CornerSoftNms: boxes (N,D,4) f32, scores (N,D) f32, labels (N,D) i32, counts (N) i32, placements (N,9) f32
//   -> boxes (N,L,4) f32, scores (N,L) f32, labels (N,L) i32, counts (N) i32, final and in image pixels.
#include "../kernels/corner_soft_nms.h"

#include <cfloat>

#include "plugin.h"
#include "tensor_type.h"

namespace cornernet {
namespace {

using namespace nvinfer1;

class CornerSoftNmsPlugin final : public Plugin<CornerSoftNmsPlugin> {
public:
    static constexpr char const* kName = "CornerSoftNms";
    static constexpr int32_t kInputs = 5, kOutputs = 4;

    std::array<Attribute, 7> attributes() noexcept {
        return {integer("limit", m_limit, 1, 3840, true), integer("method", m_method, 0, 3, false),
            real("sigma", m_sigma, FLT_MIN, FLT_MAX, false), real("iou_threshold", m_iou_threshold, 0, 1, false),
            real("min_score", m_min_score, FLT_MIN, FLT_MAX, false), integer("iou_pixel", m_iou_pixel, 0, 1, false),
            integer("drop_empty", m_drop_empty, 0, 1, false)};
    }

    int32_t getOutputDataTypes(
        DataType* outputs, int32_t output_count, DataType const*, int32_t input_count) const noexcept override {
        if (!has_arity(input_count, output_count)) return -1;
        for (int32_t i = 0; i < kOutputs; ++i) outputs[i] = i < 2 ? DataType::kFLOAT : DataType::kINT32;
        return 0;
    }

    int32_t getOutputShapes(DimsExprs const* inputs, int32_t input_count, DimsExprs const*, int32_t, DimsExprs* outputs,
        int32_t output_count, IExprBuilder& expressions) noexcept override {
        if (!has_arity(input_count, output_count) || inputs[0].nbDims != 3) return -1;
        int32_t const ranks[kOutputs] = {3, 2, 2, 1};
        for (int32_t i = 0; i < kOutputs; ++i) {
            outputs[i].nbDims = ranks[i];
            outputs[i].d[0] = inputs[0].d[0];
            if (ranks[i] > 1) outputs[i].d[1] = expressions.constant(m_limit);
            if (ranks[i] > 2) outputs[i].d[2] = expressions.constant(4);
        }
        return 0;
    }

    bool supportsFormatCombination(
        int32_t pos, DynamicPluginTensorDesc const* tensors, int32_t, int32_t) noexcept override {
        bool const is_integer = pos == 2 || pos == 3 || pos >= kInputs + 2;
        return is_linear(tensors[pos].desc, is_integer ? DataType::kINT32 : DataType::kFLOAT);
    }

    bool check_shape(Dims const& shape) const noexcept {
        if (shape.nbDims == 3 && shape.d[1] >= 1 && shape.d[1] <= 3840 && shape.d[2] == 4) return true;
        log(kError, "%s takes boxes (N,D,4) with D from 1 to 3840", kName);
        return false;
    }

    int32_t enqueue(PluginTensorDesc const* in, PluginTensorDesc const*, void const* const* inputs,
        void* const* outputs, void*, cudaStream_t stream) noexcept override {
        return finish(cornernet_corner_soft_nms(inputs, outputs, narrow(in[0].dims.d[0]), narrow(in[0].dims.d[1]), m_limit,
            m_method, m_sigma, m_iou_threshold, m_min_score, static_cast<float>(m_iou_pixel), m_drop_empty, stream));
    }

private:
    int32_t m_limit = 100, m_method = kGaussian;
    float m_sigma = 0.5f, m_iou_threshold = 0.5f, m_min_score = 0.001f;
    int32_t m_iou_pixel = 0, m_drop_empty = 1;
};

}  // namespace

IPluginCreatorInterface* corner_soft_nms_creator() noexcept {
    static Creator<CornerSoftNmsPlugin> creator;
    return &creator;
}

}  // namespace cornernet
