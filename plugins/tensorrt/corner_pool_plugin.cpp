// CornerPoolTopLeft, CornerPoolBottomRight: (first, second) -> pooled, all (N,C,h,w) of one type and format.
#include "../kernels/corner_pool.h"

#include "plugin.h"
#include "tensor_type.h"

namespace cornernet {
namespace {

using namespace nvinfer1;

template <Corner kCorner> class CornerPoolPlugin final : public Plugin<CornerPoolPlugin<kCorner>> {
public:
    static constexpr char const* kName = kCorner == kTopLeft ? "CornerPoolTopLeft" : "CornerPoolBottomRight";
    static constexpr int32_t kInputs = 2, kOutputs = 1;

    std::array<Attribute, 0> attributes() noexcept { return {}; }

    int32_t getOutputDataTypes(
        DataType* outputs, int32_t output_count, DataType const* inputs, int32_t input_count) const noexcept override {
        if (!this->has_arity(input_count, output_count)) return -1;
        outputs[0] = inputs[0];
        return 0;
    }

    int32_t getOutputShapes(DimsExprs const* inputs, int32_t input_count, DimsExprs const*, int32_t, DimsExprs* outputs,
        int32_t output_count, IExprBuilder&) noexcept override {
        if (!this->has_arity(input_count, output_count) || inputs[0].nbDims != 4) return -1;
        outputs[0] = inputs[0];
        return 0;
    }

    // kHWC8 is what tensor-core convolutions read and write in float16: taking it as it is saves three reformats.
    bool supportsFormatCombination(
        int32_t pos, DynamicPluginTensorDesc const* tensors, int32_t, int32_t) noexcept override {
        PluginTensorDesc const& tensor = tensors[pos].desc;
        if (pos > 0) return tensor.type == tensors[0].desc.type && tensor.format == tensors[0].desc.format;
        if (tensor.format == TensorFormat::kHWC8) return tensor.type == DataType::kHALF;
        return tensor.format == TensorFormat::kLINEAR && launcher_type(tensor.type) >= 0;
    }

    bool check_shape(Dims const& shape) const noexcept {
        if (shape.nbDims == 4 && shape.d[2] <= 1024 && shape.d[3] <= 1024) return true;
        log(kError, "%s takes (N,C,h,w) maps with h and w up to 1024", kName);
        return false;
    }

    int32_t enqueue(PluginTensorDesc const* in, PluginTensorDesc const*, void const* const* inputs,
        void* const* outputs, void*, cudaStream_t stream) noexcept override {
        auto const& d = in[0].dims.d;
        int32_t const layout = in[0].format == TensorFormat::kHWC8 ? kChannelsLast8 : kPlanes;
        return this->finish(cornernet_corner_pool(inputs[0], inputs[1], outputs[0], narrow(d[0]), narrow(d[1]),
            narrow(d[2]), narrow(d[3]), launcher_type(in[0].type), layout, kCorner, stream));
    }
};

}  // namespace

IPluginCreatorInterface* corner_pool_top_left_creator() noexcept {
    static Creator<CornerPoolPlugin<kTopLeft>> creator;
    return &creator;
}
IPluginCreatorInterface* corner_pool_bottom_right_creator() noexcept {
    static Creator<CornerPoolPlugin<kBottomRight>> creator;
    return &creator;
}

}  // namespace cornernet
