// Which CUDA runtime is inside this library: it fails on a driver of an older major version, and says only a number then.
#include "entry_points.h"
#include "numbers.h"

int32_t cornernet_cuda_version() { return CUDART_VERSION; }
