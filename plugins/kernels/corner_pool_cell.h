// What one thread of the corner pooling kernel holds of a map: a cell, in one of three layouts.
//
// A layout names the element type in memory, the Value (a loaded cell), the Carry (what a cell hands to the
// next one along its row) and how many columns a cell spans. All maxima let a NaN through.
#pragma once
#include "numbers.h"

namespace cornernet {

template <typename P, int kPacks> struct alignas(kPacks * 4) Cell {
    P pack[kPacks];
};

template <typename P, int kPacks> __device__ inline Cell<P, kPacks> lowest_cell() {
    Cell<P, kPacks> cell;
#pragma unroll
    for (int i = 0; i < kPacks; ++i) cell.pack[i] = lowest_pack<P>();
    return cell;
}

template <typename P, int kPacks> __device__ inline Cell<P, kPacks> join(Cell<P, kPacks> a, Cell<P, kPacks> const& b) {
#pragma unroll
    for (int i = 0; i < kPacks; ++i) a.pack[i] = max_or_nan(a.pack[i], b.pack[i]);
    return a;
}

template <typename P, int kPacks> __device__ inline Cell<P, kPacks> sum(Cell<P, kPacks> a, Cell<P, kPacks> const& b) {
#pragma unroll
    for (int i = 0; i < kPacks; ++i) a.pack[i] = add_packs(a.pack[i], b.pack[i]);
    return a;
}

// The cell of the lane `delta` below, within groups of `width` lanes; a lane without one gets its own back.
template <typename P, int kPacks>
__device__ inline Cell<P, kPacks> shuffle_up(Cell<P, kPacks> cell, int delta, int width) {
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
        uint32_t bits;
        memcpy(&bits, &cell.pack[i], 4);
        cell.pack[i] = pack_from_bits<P>(__shfl_up_sync(0xffffffffu, bits, delta, width));
    }
    return cell;
}

// One 128-bit load or store. (Copying the struct itself may be split into 32-bit pieces.)
template <typename Value> __device__ inline Value load_vector(void const* at) {
    uint4 const bits = *static_cast<uint4 const*>(at);
    Value value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}
template <typename Value> __device__ inline void store_vector(void* at, Value const& value) {
    uint4 bits;
    memcpy(&bits, &value, sizeof(bits));
    *static_cast<uint4*>(at) = bits;
}
// A cell from shared memory, by value: a reference would be read again and in pieces.
template <typename P, int kPacks> __device__ inline Cell<P, kPacks> fetch(Cell<P, kPacks> const* at) {
    if constexpr (sizeof(Cell<P, kPacks>) == 16) return load_vector<Cell<P, kPacks>>(at);
    return *at;
}

// NCHW, 16 bytes: 4 or 8 neighbouring columns of one row. The carry is the maximum of the columns seen so far,
// in all places of one pack.
template <typename T> struct RowVector {
    using Element = T;
    using P = Pack<T>;
    using Value = Cell<P, 4>;
    using Carry = Cell<P, 1>;
    static constexpr int kColumns = Vector<T>::kElements;

    __device__ static Value load(T const* at) { return load_vector<Value>(at); }
    __device__ static void store(T* at, Value const& value) { store_vector(at, value); }

    // Running maximum inside the cell, from its last column to its first when backwards.
    template <bool kBackwards> __device__ static Carry scan(Value& value) {
        P running = lowest_pack<P>();
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            P& pack = value.pack[kBackwards ? 3 - i : i];
            // Element next to the border first: it joins its neighbour inside the pack, then all earlier packs join both.
            pack = max_or_nan(max_or_nan(pack, kBackwards ? spread_last(pack) : spread_first(pack)), running);
            running = kBackwards ? spread_first(pack) : spread_last(pack);
        }
        return {running};
    }
    __device__ static Value absorb(Value value, Carry const& carry) {
#pragma unroll
        for (int i = 0; i < 4; ++i) value.pack[i] = max_or_nan(value.pack[i], carry.pack[0]);
        return value;
    }
    template <bool kBackwards> __device__ static Carry carry_of(Value const& value) {
        return {kBackwards ? spread_first(value.pack[0]) : spread_last(value.pack[3])};
    }
};

// NCHW, one element, computed as float: odd widths and unaligned pointers.
template <typename T> struct SingleElement {
    using Element = T;
    using P = float;
    using Value = Cell<float, 1>;
    using Carry = Cell<float, 1>;
    static constexpr int kColumns = 1;

    __device__ static Value load(T const* at) { return {to_float(*at)}; }
    __device__ static void store(T* at, Value const& value) { *at = from_float<T>(value.pack[0]); }
    template <bool> __device__ static Carry scan(Value& value) { return value; }
    __device__ static Value absorb(Value value, Carry const& carry) { return join(value, carry); }
    template <bool> __device__ static Carry carry_of(Value const& value) { return value; }
};

// Channels last by 8 (kHWC8): 8 channels of one column. The channels never meet, so a row hands on the whole cell.
template <typename T> struct ChannelVector {
    using Element = T;
    using P = Pack<T>;
    using Value = Cell<P, 4>;
    using Carry = Value;
    static constexpr int kColumns = 1;

    __device__ static Value load(T const* at) { return load_vector<Value>(at); }
    __device__ static void store(T* at, Value const& value) { store_vector(at, value); }
    template <bool> __device__ static Carry scan(Value& value) { return value; }
    __device__ static Value absorb(Value value, Carry const& carry) { return join(value, carry); }
    template <bool> __device__ static Carry carry_of(Value const& value) { return value; }
};

}  // namespace cornernet
