// Arguments of the NF4 kernels.
#pragma once

#include "weight.h"

namespace nibble::cuda {

inline constexpr int kQuantizeThreads = 256;    // Eight blocks of 64, a warp each.
inline constexpr int kDequantizeThreads = 256;  // Two elements a thread.

template <typename T>
struct Nf4QuantizeArguments {
    Global<const T> src;
    Global<uint8_t> packed;
    Global<float> absmax;
};

template <typename T>
struct DequantizeArguments {
    WeightView weight;
    Global<T> dst;
};

}  // namespace nibble::cuda
