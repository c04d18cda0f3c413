// The attributes of an operator: one table row each, from which creating, checking and serialising follow.
#pragma once
#include <NvInferRuntime.h>

#include <array>
#include <cstring>

#include "log.h"

namespace cornernet {

// Describes one int32 or float32 member of a plugin.
struct Attribute {
    char const* name;
    nvinfer1::PluginFieldType type;  // kINT32 or kFLOAT32
    void* value;                     // the member: written when a plugin is made, read when it is serialised
    double smallest, largest;
    bool required;
};

inline Attribute integer(char const* name, int32_t& value, int32_t smallest, int32_t largest, bool required) {
    return {name, nvinfer1::PluginFieldType::kINT32, &value, static_cast<double>(smallest),
        static_cast<double>(largest), required};
}
inline Attribute real(char const* name, float& value, double smallest, double largest, bool required) {
    return {name, nvinfer1::PluginFieldType::kFLOAT32, &value, smallest, largest, required};
}

inline bool read_attribute(char const* op, Attribute const& attribute, nvinfer1::PluginField const& field) noexcept {
    using nvinfer1::PluginFieldType;
    bool const is_integer = attribute.type == PluginFieldType::kINT32;
    bool const is_wide = is_integer && field.type == PluginFieldType::kINT64;
    if ((field.type != attribute.type && !is_wide) || field.length != 1 || field.data == nullptr) {
        log(kError, "%s: attribute %s must be one %s", op, attribute.name, is_integer ? "integer" : "float");
        return false;
    }
    int64_t whole = 0;
    float fraction = 0;
    if (is_wide) memcpy(&whole, field.data, sizeof(whole));
    else if (is_integer) whole = *static_cast<int32_t const*>(field.data);
    else fraction = *static_cast<float const*>(field.data);
    double const number = is_integer ? static_cast<double>(whole) : fraction;
    if (!(number >= attribute.smallest && number <= attribute.largest)) {  // false for NaN too
        log(kError, "%s: attribute %s is %g, expected %g to %g", op, attribute.name, number, attribute.smallest,
            attribute.largest);
        return false;
    }
    if (is_integer) *static_cast<int32_t*>(attribute.value) = static_cast<int32_t>(whole);
    else *static_cast<float*>(attribute.value) = fraction;
    return true;
}

// Fills every attribute from the fields of an ONNX node or of a serialised engine; false after logging what is wrong.
template <size_t kCount> bool read_attributes(char const* op, std::array<Attribute, kCount> const& attributes,
    nvinfer1::PluginFieldCollection const* fields) noexcept {
    for (Attribute const& attribute : attributes) {
        bool found = false;
        for (int32_t i = 0; fields != nullptr && i < fields->nbFields; ++i) {
            if (fields->fields[i].name == nullptr || strcmp(fields->fields[i].name, attribute.name) != 0) continue;
            if (!read_attribute(op, attribute, fields->fields[i])) return false;
            found = true;
        }
        if (!found && attribute.required) {
            log(kError, "%s: attribute %s is missing", op, attribute.name);
            return false;
        }
    }
    return true;
}

}  // namespace cornernet
