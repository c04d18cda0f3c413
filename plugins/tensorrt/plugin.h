// What all plugins share: one class template that is a complete IPluginV3, and its creator.
//
// An operator derives from Plugin<Itself> and gives kName, kInputs, kOutputs, attributes(), and the methods that
// differ: output types and shapes, formats, workspace, check_shapes and enqueue. Nothing here throws: no exceptions,
// no containers, allocation with nothrow, so the noexcept of TensorRT's interface holds by construction.
#pragma once
#include <NvInferRuntime.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <new>

#include "attributes.h"

namespace cornernet {

inline constexpr char const* kNamespace = "cornernet";
inline constexpr char const* kVersion = "1";
inline constexpr size_t kMaxAttributes = 7;
inline constexpr int kKernelRevision = 4;  // raise it when a kernel's speed changes: old timings are then not used

// Dimensions are int64 in TensorRT and int32 in the launchers, which refuse -1.
inline int32_t narrow(int64_t extent) { return extent >= 0 && extent <= INT32_MAX ? static_cast<int32_t>(extent) : -1; }

template <typename Operator> class Plugin : public nvinfer1::IPluginV3,
                                            public nvinfer1::IPluginV3OneCore,
                                            public nvinfer1::IPluginV3OneBuild,
                                            public nvinfer1::IPluginV3OneRuntime {
public:
    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override {
        switch (type) {
        case nvinfer1::PluginCapabilityType::kCORE: return static_cast<nvinfer1::IPluginV3OneCore*>(this);
        case nvinfer1::PluginCapabilityType::kBUILD: return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
        case nvinfer1::PluginCapabilityType::kRUNTIME: return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }
    nvinfer1::IPluginV3* clone() noexcept override {
        auto* const copy = new (std::nothrow) Operator;
        if (copy == nullptr) return log(kError, "%s: out of memory", Operator::kName), nullptr;
        copy->copy_attributes(self());
        return copy;
    }

    char const* getPluginName() const noexcept override { return Operator::kName; }
    char const* getPluginVersion() const noexcept override { return kVersion; }
    char const* getPluginNamespace() const noexcept override { return kNamespace; }
    int32_t getNbOutputs() const noexcept override { return Operator::kOutputs; }

    // At build time shapes may be ranges: what the largest shape cannot do is refused before a kernel is ever timed.
    int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* in, int32_t inputs,
        nvinfer1::DynamicPluginTensorDesc const*, int32_t outputs) noexcept override {
        return has_arity(inputs, outputs) && self().check_shape(in[0].max) ? 0 : -1;
    }
    int32_t onShapeChange(nvinfer1::PluginTensorDesc const* in, int32_t inputs, nvinfer1::PluginTensorDesc const*,
        int32_t outputs) noexcept override {
        return has_arity(inputs, outputs) && self().check_shape(in[0].dims) ? 0 : -1;
    }
    // A context may run beside others; a plugin has no state but its attributes, so a copy is all it needs.
    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept override { return clone(); }

    nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept override {
        auto const attributes = self().attributes();
        for (size_t i = 0; i < attributes.size(); ++i)
            m_fields[i] = {attributes[i].name, attributes[i].value, attributes[i].type, 1};
        m_collection = {static_cast<int32_t>(attributes.size()), m_fields.data()};
        return &m_collection;
    }

    // What is timed depends on the attributes and on the kernels; without an ID nothing of ours is found in a timing cache.
    char const* getTimingCacheID() noexcept override {
        int length = snprintf(m_timing_id, sizeof(m_timing_id), "kernels %d", kKernelRevision);
        for (Attribute const& attribute : self().attributes()) {
            uint32_t bits = 0;
            memcpy(&bits, attribute.value, 4);
            length += snprintf(m_timing_id + length, sizeof(m_timing_id) - length, " %s %08x", attribute.name, bits);
        }
        return m_timing_id;
    }

    void copy_attributes(Operator& other) noexcept {
        auto const mine = self().attributes(), theirs = other.attributes();
        for (size_t i = 0; i < mine.size(); ++i) memcpy(mine[i].value, theirs[i].value, 4);
    }

protected:
    Plugin() = default;
    // TensorRT destroys plugins through the interface, whose destructor is virtual.

    bool has_arity(int32_t inputs, int32_t outputs) const noexcept {
        if (inputs == Operator::kInputs && outputs == Operator::kOutputs) return true;
        log(kError, "%s has %d inputs and %d outputs, got %d and %d", Operator::kName, Operator::kInputs,
            Operator::kOutputs, inputs, outputs);
        return false;
    }
    // Turns a launcher's cudaError_t into TensorRT's status.
    static int32_t finish(int32_t cuda_error) noexcept {
        if (cuda_error != 0) log(kError, "%s: launch failed with CUDA error %d", Operator::kName, cuda_error);
        return cuda_error;
    }

private:
    Operator& self() noexcept { return static_cast<Operator&>(*this); }

    std::array<nvinfer1::PluginField, kMaxAttributes> m_fields;
    nvinfer1::PluginFieldCollection m_collection{};
    char m_timing_id[256];  // of the longest table of attributes with room to spare
};

template <typename Operator> class Creator : public nvinfer1::IPluginCreatorV3One {
public:
    Creator() noexcept {
        auto const attributes = m_example.attributes();
        for (size_t i = 0; i < attributes.size(); ++i)
            m_fields[i] = {attributes[i].name, nullptr, attributes[i].type, 1};
        m_collection = {static_cast<int32_t>(attributes.size()), m_fields.data()};
    }
    nvinfer1::IPluginV3* createPlugin(
        char const*, nvinfer1::PluginFieldCollection const* fields, nvinfer1::TensorRTPhase) noexcept override {
        auto* const plugin = new (std::nothrow) Operator;
        if (plugin == nullptr) return log(kError, "%s: out of memory", Operator::kName), nullptr;
        if (read_attributes(Operator::kName, plugin->attributes(), fields)) return plugin;
        delete plugin;
        return nullptr;
    }
    nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override { return &m_collection; }
    char const* getPluginName() const noexcept override { return Operator::kName; }
    char const* getPluginVersion() const noexcept override { return kVersion; }
    char const* getPluginNamespace() const noexcept override { return kNamespace; }

private:
    Operator m_example;  // only to read its table of attributes
    std::array<nvinfer1::PluginField, kMaxAttributes> m_fields;
    nvinfer1::PluginFieldCollection m_collection{};
};

// One per operator, living as long as the library.
nvinfer1::IPluginCreatorInterface* corner_pool_top_left_creator() noexcept;
nvinfer1::IPluginCreatorInterface* corner_pool_bottom_right_creator() noexcept;
nvinfer1::IPluginCreatorInterface* corner_peaks_creator() noexcept;
nvinfer1::IPluginCreatorInterface* corner_windows_creator() noexcept;
nvinfer1::IPluginCreatorInterface* corner_group_creator() noexcept;
nvinfer1::IPluginCreatorInterface* corner_soft_nms_creator() noexcept;

}  // namespace cornernet
