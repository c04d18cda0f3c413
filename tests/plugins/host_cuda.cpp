// The scheduler behind host_cuda.h: one fiber per CUDA thread, one cluster of blocks at a time.
#include "host_cuda.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <memory>
#include <numeric>
#include <random>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

// racecheck.cpp replaces these.
extern "C" __attribute__((weak)) void racecheck_launch() {}
extern "C" __attribute__((weak)) void racecheck_new_memory(void const*, size_t) {}
extern "C" __attribute__((weak)) void racecheck_end_of_block(void const*, size_t) {}
extern "C" __attribute__((weak)) void racecheck_atomic(void const*) {}

namespace host_cuda {
namespace {

constexpr size_t kStackBytes = 256 << 10;
constexpr size_t kDefaultSharedBytes = 48 << 10;

enum class Wait { kNothing, kWarp, kBlock, kCluster, kFinished };

struct Block;
struct Fiber {
    Thread place = {};
    Block* block = nullptr;
    Wait waits_for = Wait::kNothing;
    ucontext_t context = {};
    void* stack = nullptr;
    void* asan_stack = nullptr;
};
struct Warp {
    int arrived = 0;
    unsigned calls = 0;
    uint64_t values[2][32] = {};  // by parity of the call: a fast lane may already be in the next one
};
struct Block {
    unsigned rank = 0;
    int arrived = 0;
    std::unique_ptr<char[]> memory;  // exactly as many bytes as were asked for, so that sanitizers see an overrun
    char* shared = nullptr;
    size_t shared_bytes = 0, finished = 0;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
};
struct Emulator {
    unsigned seed = 0;  // 0 runs threads in order, 1 in reverse, others shuffle
    int device = 0, compute_capability = 9, multiprocessors = 132;
    int compiled_for = 90;           // below 90 there is no cluster code in the kernels: clusters are single blocks
    int active_clusters = 16;        // 0: none fits, as on a small partition of a GPU
    unsigned cluster_questions = 0, cluster_launches = 0;
    dim3 block_dim, grid_dim;
    std::vector<Block> blocks;  // of the running cluster
    int arrived = 0;
    std::function<void()> const* kernel = nullptr;
    Fiber* running = nullptr;
    ucontext_t scheduler = {};
    void* scheduler_asan_stack = nullptr;
    void const* scheduler_stack = nullptr;
    size_t scheduler_stack_bytes = 0;
    std::vector<void*> stacks;
} emulator;

void switch_to_scheduler(Fiber& fiber, bool finished) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(
        finished ? nullptr : &fiber.asan_stack, emulator.scheduler_stack, emulator.scheduler_stack_bytes);
#endif
    (void)finished;
    swapcontext(&fiber.context, &emulator.scheduler);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fiber.asan_stack, nullptr, nullptr);
#endif
}

void fiber_main() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &emulator.scheduler_stack, &emulator.scheduler_stack_bytes);
#endif
    (*emulator.kernel)();
    emulator.running->waits_for = Wait::kFinished;
    Block& block = *emulator.running->block;
    if (++block.finished == block.fibers.size()) racecheck_end_of_block(block.shared, block.shared_bytes);
    switch_to_scheduler(*emulator.running, true);
}

void resume(Fiber& fiber) {
    emulator.running = &fiber;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&emulator.scheduler_asan_stack, fiber.stack, kStackBytes);
#endif
    swapcontext(&emulator.scheduler, &fiber.context);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(emulator.scheduler_asan_stack, nullptr, nullptr);
#endif
}

// The running thread has arrived; the last of `expected` lets everybody of that scope go on.
template <typename Release> void arrive(Wait scope, int& arrived, int expected, Release release) {
    Fiber& fiber = *emulator.running;
    fiber.waits_for = scope;
    if (++arrived == expected) {
        arrived = 0;
        release();
    }
    switch_to_scheduler(fiber, false);
}

void* stack_number(size_t number) {
    while (emulator.stacks.size() <= number) {
        int const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        emulator.stacks.push_back(mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, flags, -1, 0));
    }
    return emulator.stacks[number];
}

void prepare_fiber(Fiber& fiber, Block& block, Thread const& place, void* stack) {
    fiber.place = place;
    fiber.block = &block;
    fiber.stack = stack;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stack;
    fiber.context.uc_stack.ss_size = kStackBytes;
    makecontext(&fiber.context, fiber_main, 0);
}

void prepare_cluster(unsigned first_block, unsigned blocks, size_t shared_bytes) {
    int const threads = static_cast<int>(emulator.block_dim.x);
    // The fibers of the next blocks may lie where shared memory was, and kernels read them: who they are.
    for (Block& block : emulator.blocks) racecheck_new_memory(block.shared, block.shared_bytes);
    emulator.blocks = std::vector<Block>(blocks);
    emulator.arrived = 0;
    for (unsigned rank = 0; rank < blocks; ++rank) {
        Block& block = emulator.blocks[rank];
        block.rank = rank;
        block.memory.reset(new char[shared_bytes + 1]);
        memset(block.memory.get(), 0xcd, shared_bytes);  // like the hardware: nothing to rely on
        block.shared = block.memory.get(), block.shared_bytes = shared_bytes;
        racecheck_new_memory(block.shared, shared_bytes);
        block.warps.resize(threads / 32);
        block.fibers.resize(threads);
        for (int t = 0; t < threads; ++t) {
            int const number = static_cast<int>(first_block + rank);
            Thread const place = {
                dim3(t, 0, 0), dim3(number, 0, 0), number, static_cast<int>(first_block / blocks), t, t / 32, 0, 0, 0};
            prepare_fiber(block.fibers[t], block, place, stack_number(rank * threads + t));
        }
    }
}

bool run_cluster(std::mt19937& random) {
    std::vector<Fiber*> order;
    for (Block& block : emulator.blocks)
        for (Fiber& fiber : block.fibers) order.push_back(&fiber);
    if (emulator.seed == 1) std::reverse(order.begin(), order.end());
    size_t finished = 0;
    while (finished < order.size()) {
        if (emulator.seed > 1) std::shuffle(order.begin(), order.end(), random);
        bool progress = false;
        for (Fiber* fiber : order) {
            if (fiber->waits_for != Wait::kNothing) continue;
            resume(*fiber), progress = true;
            if (fiber->waits_for == Wait::kFinished) ++finished;
        }
        if (!progress) {
            fprintf(stderr, "host_cuda: deadlock, %zu of %zu threads finished, the others wait at barriers\n", finished,
                order.size());
            return false;
        }
    }
    return true;
}

}  // namespace

bool in_kernel() { return emulator.running != nullptr; }
bool on_own_stack(void const* address) {
    auto const* const stack = static_cast<char*>(emulator.running->stack);
    return address >= stack && address < stack + kStackBytes;
}
Thread const& self() { return emulator.running->place; }
dim3 thread_index() { return self().thread_index; }
dim3 block_index() { return self().block_index; }
dim3 block_dim() { return emulator.block_dim; }
dim3 grid_dim() { return emulator.grid_dim; }
void* shared_memory() { return emulator.running->block->shared; }
void* peer_shared_memory(void* mine, unsigned rank) {
    if (emulator.compiled_for < 90) return mine;
    return emulator.blocks.at(rank).shared + (static_cast<char*>(mine) - emulator.running->block->shared);
}

void sync_block() {
    Block& block = *emulator.running->block;
    arrive(Wait::kBlock, block.arrived, static_cast<int>(block.fibers.size()), [&] {
        for (Fiber& fiber : block.fibers) fiber.waits_for = Wait::kNothing, ++fiber.place.block_epoch;
    });
}
void sync_cluster() {
    if (emulator.compiled_for < 90) return sync_block();
    arrive(Wait::kCluster, emulator.arrived, static_cast<int>(emulator.blocks.size() * emulator.block_dim.x), [&] {
        for (Block& block : emulator.blocks)
            for (Fiber& fiber : block.fibers)
                fiber.waits_for = Wait::kNothing, ++fiber.place.block_epoch, ++fiber.place.cluster_epoch;
    });
}
static uint64_t const* exchange(uint64_t value) {
    Fiber& fiber = *emulator.running;
    Block& block = *fiber.block;
    Warp& warp = block.warps[fiber.place.warp];
    uint64_t* const values = warp.values[warp.calls % 2];
    values[fiber.place.thread % 32] = value;
    arrive(Wait::kWarp, warp.arrived, 32, [&] {
        ++warp.calls;
        for (int lane = 0; lane < 32; ++lane) {
            Fiber& other = block.fibers[fiber.place.warp * 32 + lane];
            other.waits_for = Wait::kNothing, ++other.place.warp_epoch;
        }
    });
    return values;
}
void sync_warp() { exchange(0); }
uint64_t from_lane(uint64_t value, int lane) { return exchange(value)[lane % 32]; }
uint32_t ballot(bool vote) {
    uint64_t const* const votes = exchange(vote);
    uint32_t bits = 0;
    for (int lane = 0; lane < 32; ++lane) bits |= static_cast<uint32_t>(votes[lane]) << lane;
    return bits;
}

unsigned atomic_add(unsigned* address, unsigned value) {
    racecheck_atomic(address);
    unsigned const before = *address;
    *address += value;
    return before;
}

cudaError_t launch(cudaLaunchConfig_t const& config, std::function<void()> const& kernel) {
    unsigned const cluster = config.numAttrs ? config.attrs[0].val.clusterDim.x : 1;
    bool const shape_is_valid
        = config.blockDim.x % 32 == 0 && config.blockDim.x >= 32 && config.blockDim.x <= 1024 && config.gridDim.x > 0;
    bool const cluster_is_valid
        = cluster <= 8 && config.gridDim.x % cluster == 0 && (cluster == 1 || emulator.compute_capability >= 9);
    if (!shape_is_valid || !cluster_is_valid || config.dynamicSmemBytes > kDefaultSharedBytes)
        return cudaErrorInvalidConfiguration;
    emulator.cluster_launches += cluster > 1;
    racecheck_launch();
    emulator.kernel = &kernel;
    emulator.block_dim = config.blockDim;
    emulator.grid_dim = config.gridDim;
    std::mt19937 random(emulator.seed);
    for (unsigned block = 0; block < config.gridDim.x; block += cluster) {
        prepare_cluster(block, cluster, config.dynamicSmemBytes);
        bool const finished = run_cluster(random);
        emulator.running = nullptr;
        if (!finished) return cudaErrorLaunchFailure;
    }
    return cudaSuccess;
}

}  // namespace host_cuda

cudaError_t cudaGetDevice(int* device) { return *device = host_cuda::emulator.device, cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    *value = attribute == cudaDevAttrComputeCapabilityMajor ? host_cuda::emulator.compute_capability
                                                            : host_cuda::emulator.multiprocessors;
    return cudaSuccess;
}
cudaError_t host_func_attributes(cudaFuncAttributes* attributes) {
    attributes->ptxVersion = host_cuda::emulator.compiled_for;
    return cudaSuccess;
}
cudaError_t host_active_clusters(int* clusters, cudaLaunchConfig_t const*) {
    ++host_cuda::emulator.cluster_questions;
    *clusters = host_cuda::emulator.active_clusters;
    return cudaSuccess;
}

// For the tests: thread order of the next launches, and the GPU that the launchers believe to see.
#define HOST_CUDA_API extern "C" __attribute__((visibility("default")))
HOST_CUDA_API void host_cuda_configure(
    unsigned seed, int compute_capability, int multiprocessors) {
    host_cuda::emulator.seed = seed;
    host_cuda::emulator.device = compute_capability;  // another GPU, about which nothing is known yet
    host_cuda::emulator.compute_capability = compute_capability;
    host_cuda::emulator.multiprocessors = multiprocessors;
}
HOST_CUDA_API void host_cuda_clusters(int device, int compiled_for, int active_clusters) {
    host_cuda::emulator.device = device;
    host_cuda::emulator.compiled_for = compiled_for;
    host_cuda::emulator.active_clusters = active_clusters;
}
HOST_CUDA_API unsigned host_cuda_cluster_questions() { return host_cuda::emulator.cluster_questions; }
HOST_CUDA_API unsigned host_cuda_cluster_launches() { return host_cuda::emulator.cluster_launches; }
