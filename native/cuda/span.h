// What the host and the kernels both know: element types, and device memory with its length.
#pragma once

#include <stdint.h>

#if defined(__CUDA__) || defined(__CUDACC__)
#define NIBBLE_DEVICE __attribute__((device, always_inline)) inline
#define NIBBLE_INLINE __attribute__((always_inline))  // For lambdas: a call would send what they capture to memory.
#define NIBBLE_CONSTANT __attribute__((constant))
#define NIBBLE_UNROLL _Pragma("unroll")  // What such a loop indexes stays in registers.
#else
#define NIBBLE_DEVICE inline
#define NIBBLE_INLINE
#define NIBBLE_CONSTANT inline
#define NIBBLE_UNROLL
#endif

#if defined(NIBBLE_SIMT)
#include "../simt/bounds.h"
#endif

namespace nibble::cuda {

struct bf16 {
    uint16_t bits;
};
struct f16 {
    uint16_t bits;
};

// Device memory with its length, as kernels get it. On a GPU the length costs nothing but its place among the
// arguments; the emulation checks every access against it.
template <typename T>
struct Global {
    T* data;
    int64_t count;

    NIBBLE_DEVICE bool present() const { return data != nullptr; }

    NIBBLE_DEVICE T& operator[](int64_t index) const {
        check(index, sizeof(T));
        return data[index];
    }

    // sizeof(Vector) bytes from element `index` on in one access; they must be aligned to their size.
    template <typename Vector>
    NIBBLE_DEVICE Vector load(int64_t index) const {
        check(index, sizeof(Vector));
        return *reinterpret_cast<const Vector*>(data + index);
    }
    template <typename Vector>
    NIBBLE_DEVICE void store(int64_t index, const Vector& value) const {
        check(index, sizeof(Vector));
        *reinterpret_cast<Vector*>(data + index) = value;
    }

    NIBBLE_DEVICE void check([[maybe_unused]] int64_t index, [[maybe_unused]] uint64_t bytes) const {
#if defined(NIBBLE_SIMT)
        simt::check_global(data, count, index, sizeof(T), bytes);
#endif
    }
};

// 16 bytes in one access.
struct alignas(16) Words4 {
    uint32_t word[4];
};

}  // namespace nibble::cuda
