// All kernels of the project in one translation unit, compiled with g++ on the emulation of CUDA in host_cuda.h.
#include "corner_group.cu"
#include "corner_peaks.cu"
#include "corner_pool.cu"
#include "corner_pool_channels.cu"
#include "corner_soft_nms.cu"
#include "corner_windows.cu"
#include "cuda_version.cu"
