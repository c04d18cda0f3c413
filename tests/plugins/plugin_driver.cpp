// Drives the plugin objects through TensorRT's interfaces, without TensorRT: creator -> plugin -> shapes -> enqueue.
//
// As a program (ctest): everything before enqueue, on any machine.  plugin_driver libcornernet_plugins.so
// As a shared library (pytest): `drive_plugin` runs one operator to the end, on device pointers of a GPU, or on host
// pointers when the plugins are linked with the emulated kernels.
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

using namespace nvinfer1;

namespace {

// The smallest shape calculator that TensorRT's interfaces allow: every dimension is a known number.
class KnownExtent final : public IDimensionExpr {
    struct Impl final : apiv::VDimensionExpr {
        int64_t value = 0;
        bool isConstant() const override { return true; }
        int64_t getConstantValue() const override { return value; }
        bool isSizeTensor() const override { return false; }
    } m_number;

public:
    explicit KnownExtent(int64_t value) { m_number.value = value, mImpl = &m_number; }
};
class Calculator final : public IExprBuilder {
    struct Impl final : apiv::VExprBuilder {
        std::vector<std::unique_ptr<KnownExtent>> extents;
        IDimensionExpr const* constant(int64_t value) override {
            return extents.emplace_back(new KnownExtent(value)).get();
        }
        IDimensionExpr const* operation(
            DimensionOperation operation, IDimensionExpr const& a, IDimensionExpr const& b) override {
            if (operation != DimensionOperation::kPROD) return nullptr;  // the only one our plugins ask for
            return constant(a.getConstantValue() * b.getConstantValue());
        }
        IDimensionExpr const* declareSizeTensor(int32_t, IDimensionExpr const&, IDimensionExpr const&) override {
            return nullptr;
        }
    } m_calculator;

public:
    Calculator() { mImpl = &m_calculator; }
};

using Creators = IPluginCreatorInterface* const* (*)(int32_t&);

IPluginCreatorV3One* find_creator(void* library, char const* name) {
    auto const creators = reinterpret_cast<Creators>(dlsym(library, "getCreators"));
    int32_t count = 0;
    IPluginCreatorInterface* const* const all = creators != nullptr ? creators(count) : nullptr;
    for (int32_t i = 0; i < count; ++i) {
        auto* const creator = static_cast<IPluginCreatorV3One*>(all[i]);
        if (strcmp(creator->getPluginName(), name) == 0) return creator;
    }
    return nullptr;
}

template <typename Capability> Capability* capability(IPluginV3* plugin, PluginCapabilityType type) {
    return static_cast<Capability*>(plugin->getCapabilityInterface(type));
}

IPluginV3* create(IPluginCreatorV3One* creator, std::vector<PluginField> const& fields) {
    PluginFieldCollection const collection = {static_cast<int32_t>(fields.size()), fields.data()};
    return creator->createPlugin("node", &collection, TensorRTPhase::kBUILD);
}

// What TensorRT does with a plan: fields out of one plugin, a new plugin out of the fields, a clone per context.
IPluginV3* through_a_plan(IPluginCreatorV3One* creator, IPluginV3* plugin) {
    auto const* const fields
        = capability<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME)->getFieldsToSerialize();
    std::unique_ptr<IPluginV3> const loaded(creator->createPlugin("node", fields, TensorRTPhase::kRUNTIME));
    return loaded
               ? capability<IPluginV3OneRuntime>(loaded.get(), PluginCapabilityType::kRUNTIME)->attachToContext(nullptr)
               : nullptr;
}

}  // namespace

extern "C" {

struct DrivenTensor {
    int32_t type, format, rank;
    int64_t extents[8];
    void* data;
};
struct DrivenField {
    char const* name;
    int32_t is_float, integer;
    float real;
};

// Returns 0, or a negative number naming the step that refused, or the status of enqueue.
__attribute__((visibility("default"))) int32_t drive_plugin(char const* library_path, char const* name,
    DrivenField const* fields, int32_t field_count, DrivenTensor const* inputs, int32_t input_count,
    DrivenTensor const* outputs, int32_t output_count, void* workspace, size_t workspace_bytes, void* stream) {
    void* const library = dlopen(library_path, RTLD_NOW);
    IPluginCreatorV3One* const creator = library != nullptr ? find_creator(library, name) : nullptr;
    if (creator == nullptr) return -1;
    std::vector<PluginField> given;
    for (int32_t i = 0; i < field_count; ++i) {
        void const* const data = fields[i].is_float ? static_cast<void const*>(&fields[i].real) : &fields[i].integer;
        given.emplace_back(
            fields[i].name, data, fields[i].is_float ? PluginFieldType::kFLOAT32 : PluginFieldType::kINT32, 1);
    }
    std::unique_ptr<IPluginV3> const built(create(creator, given));
    if (built == nullptr) return -2;
    std::unique_ptr<IPluginV3> const plugin(through_a_plan(creator, built.get()));
    if (plugin == nullptr) return -3;
    auto* const build = capability<IPluginV3OneBuild>(plugin.get(), PluginCapabilityType::kBUILD);
    auto* const runtime = capability<IPluginV3OneRuntime>(plugin.get(), PluginCapabilityType::kRUNTIME);

    std::vector<DynamicPluginTensorDesc> tensors;
    std::vector<DataType> input_types, output_types(output_count);
    std::vector<DimsExprs> input_shapes, output_shapes(output_count);
    Calculator calculator;
    for (int32_t i = 0; i < input_count + output_count; ++i) {
        DrivenTensor const& tensor = i < input_count ? inputs[i] : outputs[i - input_count];
        DynamicPluginTensorDesc desc = {};
        desc.desc.type = static_cast<DataType>(tensor.type);
        desc.desc.format = static_cast<TensorFormat>(tensor.format);
        desc.desc.dims.nbDims = tensor.rank;
        for (int32_t d = 0; d < tensor.rank; ++d) desc.desc.dims.d[d] = tensor.extents[d];
        desc.min = desc.max = desc.opt = desc.desc.dims;
        tensors.push_back(desc);
        if (i >= input_count) continue;
        input_types.push_back(desc.desc.type);
        DimsExprs shape = {};
        shape.nbDims = tensor.rank;
        for (int32_t d = 0; d < tensor.rank; ++d) shape.d[d] = calculator.constant(tensor.extents[d]);
        input_shapes.push_back(shape);
    }
    for (int32_t i = 0; i < input_count + output_count; ++i)
        if (!build->supportsFormatCombination(i, tensors.data(), input_count, output_count)) return -100 - i;
    if (build->getNbOutputs() != output_count
        || build->getOutputDataTypes(output_types.data(), output_count, input_types.data(), input_count) != 0)
        return -4;
    if (build->getOutputShapes(
            input_shapes.data(), input_count, nullptr, 0, output_shapes.data(), output_count, calculator)
        != 0)
        return -5;
    for (int32_t i = 0; i < output_count; ++i) {
        Dims const& expected = tensors[input_count + i].desc.dims;
        if (output_types[i] != tensors[input_count + i].desc.type || output_shapes[i].nbDims != expected.nbDims)
            return -6;
        for (int32_t d = 0; d < expected.nbDims; ++d)
            if (output_shapes[i].d[d]->getConstantValue() != expected.d[d]) return -7;
    }
    if (build->configurePlugin(tensors.data(), input_count, tensors.data() + input_count, output_count) != 0) return -8;
    if (build->getWorkspaceSize(tensors.data(), input_count, tensors.data() + input_count, output_count)
        > workspace_bytes)
        return -9;

    std::vector<PluginTensorDesc> fixed;
    for (auto const& tensor : tensors) fixed.push_back(tensor.desc);
    if (runtime->onShapeChange(fixed.data(), input_count, fixed.data() + input_count, output_count) != 0) return -10;
    std::vector<void const*> from;
    std::vector<void*> to;
    for (int32_t i = 0; i < input_count; ++i) from.push_back(inputs[i].data);
    for (int32_t i = 0; i < output_count; ++i) to.push_back(outputs[i].data);
    return runtime->enqueue(
        fixed.data(), fixed.data() + input_count, from.data(), to.data(), workspace, static_cast<cudaStream_t>(stream));
}
}

#ifndef PLUGIN_DRIVER_LIBRARY
namespace {

int failures = 0;
void check(bool holds, std::string const& what) {
    if (holds) return;
    fprintf(stderr, "FAILED: %s\n", what.c_str());
    ++failures;
}

void check_attributes(IPluginCreatorV3One* creator, std::vector<PluginField> const& good,
    std::vector<std::vector<PluginField>> const& bad) {
    std::string const name = creator->getPluginName();
    check(strcmp(creator->getPluginNamespace(), "cornernet") == 0 && strcmp(creator->getPluginVersion(), "1") == 0,
        name + " has namespace and version");
    std::unique_ptr<IPluginV3> const plugin(create(creator, good));
    check(plugin != nullptr, name + " is created");
    if (plugin == nullptr) return;
    auto* const core = capability<IPluginV3OneCore>(plugin.get(), PluginCapabilityType::kCORE);
    check(name == core->getPluginName(), name + " knows its name");
    std::unique_ptr<IPluginV3> const copy(through_a_plan(creator, plugin.get()));
    check(copy != nullptr, name + " survives a plan");
    if (copy == nullptr) return;
    auto const* const fields
        = capability<IPluginV3OneRuntime>(copy.get(), PluginCapabilityType::kRUNTIME)->getFieldsToSerialize();
    auto const timing_id = [](IPluginV3* of) {
        char const* const id = capability<IPluginV3OneBuild>(of, PluginCapabilityType::kBUILD)->getTimingCacheID();
        return std::string(id != nullptr ? id : "");
    };
    check(!timing_id(plugin.get()).empty() && timing_id(plugin.get()) == timing_id(copy.get()),
        name + " can be found in a timing cache");
    for (PluginField const& field : good)
        check(timing_id(plugin.get()).find(field.name) != std::string::npos, name + "'s timing depends on " + field.name);
    check(fields->nbFields == creator->getFieldNames()->nbFields, name + " serialises every field");
    for (PluginField const& field : good)
        for (int32_t i = 0; i < fields->nbFields; ++i)
            if (strcmp(fields->fields[i].name, field.name) == 0)
                check(memcmp(fields->fields[i].data, field.data, 4) == 0, name + "." + field.name + " keeps its value");
    for (auto const& wrong : bad) check(create(creator, wrong) == nullptr, name + " refuses a wrong field");
}

}  // namespace

int main(int argc, char** argv) {
    void* const library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : nullptr;
    if (library == nullptr)
        return fprintf(
                   stderr, "usage: plugin_driver libcornernet_plugins.so (%s)\n", argc == 2 ? dlerror() : "no library"),
               2;
    int32_t const zero = 0, one = 1, two = 2, three = 3, seventy = 70, many = 1001, too_many = 3841;
    float const half = 0.5f, minus = -1.0f, nan = __builtin_nanf("");
    auto const integer
        = [](char const* name, int32_t const* value) { return PluginField(name, value, PluginFieldType::kINT32, 1); };
    auto const real
        = [](char const* name, float const* value) { return PluginField(name, value, PluginFieldType::kFLOAT32, 1); };
    for (char const* name : {"CornerPoolTopLeft", "CornerPoolBottomRight", "CornerPeaks", "CornerWindows", "CornerGroup", "CornerSoftNms"}) {
        IPluginCreatorV3One* const creator = find_creator(library, name);
        check(creator != nullptr, std::string(name) + " is in the library");
        if (creator == nullptr) continue;
        if (strncmp(name, "CornerPool", 10) == 0) check_attributes(creator, {}, {});
        if (strcmp(name, "CornerPeaks") == 0)
            check_attributes(creator, {integer("top_k", &seventy)},
                {{}, {integer("top_k", &zero)}, {integer("top_k", &many)}, {real("top_k", &half)},
                    {PluginField("top_k", &one, PluginFieldType::kINT32, 2)}});
        if (strcmp(name, "CornerWindows") == 0)
            check_attributes(creator, {integer("size", &three)},
                {{}, {integer("size", &zero)}, {integer("size", &seventy)}, {real("size", &half)}});
        if (strcmp(name, "CornerSoftNms") == 0)
            check_attributes(creator,
                {integer("limit", &seventy), integer("method", &two), real("sigma", &half), real("iou_threshold", &half),
                    real("min_score", &half), integer("iou_pixel", &one), integer("drop_empty", &zero)},
                {{}, {integer("limit", &too_many)}, {integer("limit", &seventy), real("sigma", &minus)},
                    {integer("limit", &seventy), real("min_score", &nan)}, {real("limit", &half)}});
        if (strcmp(name, "CornerGroup") == 0)
            check_attributes(creator,
                {integer("num_dets", &seventy), real("max_distance", &half), integer("reject_zero_size", &one)},
                {{}, {integer("num_dets", &too_many)}, {integer("num_dets", &seventy), real("max_distance", &minus)},
                    {integer("num_dets", &seventy), real("max_distance", &nan)},
                    {integer("num_dets", &seventy), integer("reject_zero_size", &two)}});
    }
    puts(failures == 0 ? "all plugins behave" : "some plugins misbehave");
    return failures == 0 ? 0 : 1;
}
#endif
