// The language that kernels are written in: threads, barriers, memory, and the instructions that C++ has no words for.
// Each is inline PTX where a GPU compiler reads this (nvcc or clang; no toolkit header is needed), and a call into
// native/simt where the host compiler does, so that the very same kernel runs, checked, on a CPU.
#pragma once

#include "span.h"

#if defined(NIBBLE_SIMT)
#include "device_simt.h"
#else
#include "device_ptx.h"
#endif

namespace nibble::cuda {

inline constexpr int kWarp = 32;

NIBBLE_DEVICE int lane_index() {
    return static_cast<int>(thread_index() % kWarp);
}
NIBBLE_DEVICE int warp_index() {
    return static_cast<int>(thread_index() / kWarp);
}

template <typename T>
NIBBLE_DEVICE T min_of(T a, T b) {
    return a < b ? a : b;
}
template <typename T>
NIBBLE_DEVICE T max_of(T a, T b) {
    return a > b ? a : b;
}

// The floats in 16 bytes.
template <typename T, int kCount>
NIBBLE_DEVICE void unpack(const Words4& words, float (&values)[kCount]) {
    NIBBLE_UNROLL
    for (int i = 0; i < kCount; ++i) {
        if constexpr (sizeof(T) == 4) {
            values[i] = bits_to_float(words.word[i]);
        } else {
            values[i] = to_float(T{static_cast<uint16_t>(words.word[i / 2] >> (16 * (i % 2)))});
        }
    }
}

// e^x to about 2 units in the last place, from the hardware's 2^x. What rounding takes from x * log2(e), which grows
// with x, is put back as a factor.
NIBBLE_DEVICE float exp_of(float x) {
    constexpr float kLog2E = 1.44269502F;
    constexpr float kLog2ERest = 1.92596303e-8F;
    const float power = min_of(max_of(x, -104.0F), 89.0F) * kLog2E;
    const float clamped = min_of(max_of(x, -104.0F), 89.0F);
    const float rest = fused_multiply_add(clamped, kLog2E, -power) + clamped * kLog2ERest;
    const float result = exp2_of(power) * (1.0F + rest * 0.693147182F);
    return x == x ? result : x;
}

NIBBLE_DEVICE float log_of(float x) {
    return log2_of(x) * 0.693147182F;
}

// Sums and maxima over the lanes of a warp, always in the same order; every lane has the result.
NIBBLE_DEVICE float warp_sum(float value) {
    for (int step = kWarp / 2; step > 0; step /= 2) {
        value += shuffle_xor(value, step);
    }
    return value;
}
NIBBLE_DEVICE float warp_max(float value) {
    for (int step = kWarp / 2; step > 0; step /= 2) {
        value = max_of(value, shuffle_xor(value, step));
    }
    return value;
}

// Sums and maxima over the threads of a block; every thread has the result. `scratch` holds a float for each warp and
// is free again afterwards.
template <int kThreads>
NIBBLE_DEVICE float block_sum(float value, Shared<float> scratch) {
    value = warp_sum(value);
    if (lane_index() == 0) {
        scratch[warp_index()] = value;
    }
    block_barrier();
    float sum = 0.0F;
    for (int warp = 0; warp < kThreads / kWarp; ++warp) {
        sum += scratch[warp];
    }
    block_barrier();
    return sum;
}
template <int kThreads>
NIBBLE_DEVICE float block_max(float value, Shared<float> scratch) {
    value = warp_max(value);
    if (lane_index() == 0) {
        scratch[warp_index()] = value;
    }
    block_barrier();
    float largest = scratch[0];
    for (int warp = 1; warp < kThreads / kWarp; ++warp) {
        largest = max_of<float>(largest, scratch[warp]);
    }
    block_barrier();
    return largest;
}

}  // namespace nibble::cuda
