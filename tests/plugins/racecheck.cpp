// Finds data races in the emulated kernels, as compute-sanitizer's racecheck does on a GPU.
//
// emulated_kernels.cpp is compiled with -fsanitize=thread, which calls a __tsan_* function at every memory access.
// This file is the runtime behind those calls: it knows which CUDA thread is running (host_cuda::self) and calls it a
// race when two threads touch the same byte, one of them writes, and no barrier of a scope they share lies between.
// Within a warp, shuffles and __syncwarp order accesses; within a cluster, its barriers; other blocks never.
#include <cstdio>
#include <unordered_map>

#include "host_cuda.h"

namespace {

using host_cuda::Thread;

struct Access {
    int block = -1, cluster = 0, thread = 0, warp = 0;
    unsigned block_epoch = 0, warp_epoch = 0, cluster_epoch = 0;
    bool atomic = false;
};
// The last write, and two reads by different threads: enough, because a third concurrent reader adds no new kind of race
// with a later writer unless the writer is one of the two kept.
struct History {
    Access write, read, other_read;
};

std::unordered_map<uintptr_t, History>& histories() {
    static std::unordered_map<uintptr_t, History> map;
    return map;
}
unsigned races = 0;

bool concurrent(Access const& before, Access const& now) {
    if (before.block < 0 || (before.block == now.block && before.thread == now.thread)) return false;
    if (before.atomic && now.atomic) return false;
    if (before.cluster != now.cluster) return true;
    if (before.block != now.block) return before.cluster_epoch == now.cluster_epoch;
    if (before.block_epoch != now.block_epoch) return false;
    return before.warp != now.warp || before.warp_epoch == now.warp_epoch;
}

void report(char const* kinds, uintptr_t address, Access const& before, Access const& now) {
    if (++races <= 10)
        fprintf(stderr, "racecheck: %s at %#zx: block %d thread %d, then block %d thread %d, no barrier between\n",
            kinds, static_cast<size_t>(address), before.block, before.thread, now.block, now.thread);
}

void touch(uintptr_t address, size_t size, bool writes, bool atomic) {
    if (!host_cuda::in_kernel() || host_cuda::on_own_stack(reinterpret_cast<void*>(address))) return;
    Thread const& self = host_cuda::self();
    Access const now = {self.block, self.cluster, self.thread, self.warp, self.block_epoch, self.warp_epoch,
        self.cluster_epoch, atomic};
    for (uintptr_t byte = address; byte < address + size; ++byte) {
        History& history = histories()[byte];
        if (concurrent(history.write, now))
            report(writes ? "write after write" : "read after write", byte, history.write, now);
        if (!writes) {
            if (history.read.block != now.block || history.read.thread != now.thread) history.other_read = history.read;
            history.read = now;
            continue;
        }
        if (concurrent(history.read, now)) report("write after read", byte, history.read, now);
        if (concurrent(history.other_read, now)) report("write after read", byte, history.other_read, now);
        history.write = now;
    }
}

}  // namespace

extern "C" {
// Called by host_cuda.cpp: a new launch sees everything that earlier ones wrote.
void racecheck_launch() { histories().clear(); }
// The shared memory of a new block may lie where that of a finished one was.
void racecheck_new_memory(void const* begin, size_t size) {
    for (size_t i = 0; i < size; ++i) histories().erase(reinterpret_cast<uintptr_t>(begin) + i);
}
// When a block of a cluster ends its shared memory is gone: a race with every access of a peer that no barrier orders.
void racecheck_end_of_block(void const* begin, size_t size) {
    Thread const& self = host_cuda::self();
    Access const end = {
        self.block, self.cluster, self.thread, self.warp, self.block_epoch, self.warp_epoch, self.cluster_epoch, false};
    for (size_t i = 0; i < size; ++i) {
        uintptr_t const byte = reinterpret_cast<uintptr_t>(begin) + i;
        auto const found = histories().find(byte);
        if (found == histories().end()) continue;
        for (Access const* access : {&found->second.read, &found->second.other_read})
            if (access->block != self.block && concurrent(*access, end))
                report("end of block after read", byte, *access, end);
        found->second.write = end;
    }
}
void racecheck_atomic(void const* address) { touch(reinterpret_cast<uintptr_t>(address), 4, true, true); }

// For the tests.
__attribute__((visibility("default"))) unsigned racecheck_races() { return races; }

// What g++ calls. Names and signatures are the compiler's.
#define RACECHECK_SIZE(n)                                                                              \
    void __tsan_read##n(void* p) { touch(reinterpret_cast<uintptr_t>(p), n, false, false); }           \
    void __tsan_write##n(void* p) { touch(reinterpret_cast<uintptr_t>(p), n, true, false); }           \
    void __tsan_unaligned_read##n(void* p) { touch(reinterpret_cast<uintptr_t>(p), n, false, false); } \
    void __tsan_unaligned_write##n(void* p) { touch(reinterpret_cast<uintptr_t>(p), n, true, false); }
RACECHECK_SIZE(1)
RACECHECK_SIZE(2)
RACECHECK_SIZE(4)
RACECHECK_SIZE(8)
RACECHECK_SIZE(16)
void __tsan_read_range(void* p, size_t size) { touch(reinterpret_cast<uintptr_t>(p), size, false, false); }
void __tsan_write_range(void* p, size_t size) { touch(reinterpret_cast<uintptr_t>(p), size, true, false); }
void __tsan_vptr_update(void**, void*) {}
// Of the launchers alone, which run on the host; kernels use atomicAdd.
uint8_t __tsan_atomic8_load(uint8_t const volatile* p, int) { return *p; }
void __tsan_atomic8_store(uint8_t volatile* p, uint8_t value, int) { *p = value; }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
}
