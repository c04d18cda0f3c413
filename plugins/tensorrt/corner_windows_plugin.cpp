// CornerWindows: features (N,C,h,w), cells (N,K) i32 -> windows (N, C * size * size, K, 1), columns, rows (N,K) f32.
#include "../kernels/corner_windows.h"

#include "plugin.h"
#include "tensor_type.h"

namespace cornernet {
namespace {

using namespace nvinfer1;

class CornerWindowsPlugin final : public Plugin<CornerWindowsPlugin> {
public:
    static constexpr char const* kName = "CornerWindows";
    static constexpr int32_t kInputs = 2, kOutputs = 3;

    std::array<Attribute, 1> attributes() noexcept { return {integer("size", m_size, 1, 7, true)}; }

    int32_t getOutputDataTypes(
        DataType* outputs, int32_t output_count, DataType const* inputs, int32_t input_count) const noexcept override {
        if (!has_arity(input_count, output_count)) return -1;
        outputs[0] = inputs[0];
        outputs[1] = outputs[2] = DataType::kFLOAT;
        return 0;
    }

    int32_t getOutputShapes(DimsExprs const* inputs, int32_t input_count, DimsExprs const*, int32_t, DimsExprs* outputs,
        int32_t output_count, IExprBuilder& expressions) noexcept override {
        if (!has_arity(input_count, output_count) || inputs[0].nbDims != 4 || inputs[1].nbDims != 2) return -1;
        IDimensionExpr const* const area = expressions.constant(int64_t{m_size} * m_size);
        outputs[0].nbDims = 4;
        outputs[0].d[0] = inputs[0].d[0];
        outputs[0].d[1] = expressions.operation(DimensionOperation::kPROD, *inputs[0].d[1], *area);
        outputs[0].d[2] = inputs[1].d[1];
        outputs[0].d[3] = expressions.constant(1);
        outputs[1] = outputs[2] = inputs[1];
        return 0;
    }

    // kHWC8 as corner pooling leaves it and as the convolution over the windows reads them: no reformat of either.
    bool supportsFormatCombination(
        int32_t pos, DynamicPluginTensorDesc const* tensors, int32_t, int32_t) noexcept override {
        PluginTensorDesc const& tensor = tensors[pos].desc;
        if (pos == 1) return is_linear(tensor, DataType::kINT32);
        if (pos == 2) return tensor.type == tensors[0].desc.type && tensor.format == tensors[0].desc.format;
        if (pos > 2) return is_linear(tensor, DataType::kFLOAT);
        if (tensor.format == TensorFormat::kHWC8) return tensor.type == DataType::kHALF;
        return tensor.format == TensorFormat::kLINEAR && launcher_type(tensor.type) >= 0;
    }

    bool check_shape(Dims const& shape) const noexcept {
        bool const fits = shape.nbDims == 4 && shape.d[1] >= 1 && shape.d[1] <= 65535 && shape.d[2] >= 1 && shape.d[3] >= 1
                          && shape.d[2] <= INT32_MAX / shape.d[3] && m_size % 2 == 1;
        if (!fits) log(kError, "%s takes features (N,C,h,w) with h * w below 2^31, and an odd size", kName);
        return fits;
    }

    int32_t enqueue(PluginTensorDesc const* in, PluginTensorDesc const*, void const* const* inputs,
        void* const* outputs, void*, cudaStream_t stream) noexcept override {
        auto const& d = in[0].dims.d;
        int32_t const layout = in[0].format == TensorFormat::kHWC8 ? kChannelsLast8 : kPlanes;
        return finish(cornernet_corner_windows(inputs[0], static_cast<int32_t const*>(inputs[1]), outputs[0],
            static_cast<float*>(outputs[1]), static_cast<float*>(outputs[2]), narrow(d[0]), narrow(d[1]), narrow(d[2]),
            narrow(d[3]), narrow(in[1].dims.d[1]), m_size, launcher_type(in[0].type), layout, stream));
    }

private:
    int32_t m_size = 3;
};

}  // namespace

IPluginCreatorInterface* corner_windows_creator() noexcept {
    static Creator<CornerWindowsPlugin> creator;
    return &creator;
}

}  // namespace cornernet
