// What every C entry point shares: visibility and the numbers of the element types.
#pragma once

#define CORNERNET_API extern "C" __attribute__((visibility("default")))

namespace cornernet {

enum Type { kFloat32 = 0, kFloat16 = 1, kBFloat16 = 2 };
enum Layout { kPlanes = 0, kChannelsLast8 = 1 };
enum Corner { kTopLeft = 0, kBottomRight = 1 };

}  // namespace cornernet
