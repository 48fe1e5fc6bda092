// A whole weight in an element type, for merging and export; layers never need it.
#include "decode.h"
#include "nf4.h"

namespace nibble::cuda {

template <typename T>
NIBBLE_DEVICE void dequantize(const DequantizeArguments<T>& args) {
    const int64_t first = 2 * (static_cast<int64_t>(block_index(0)) * kDequantizeThreads + thread_index());
    for (int64_t i = first; i < min_of(first + 2, args.dst.count); ++i) {
        args.dst[i] = from_float<T>(decode(args.weight, i));
    }
}

NIBBLE_KERNEL(dequantize_f32, DequantizeArguments<float>, kDequantizeThreads, dequantize)
NIBBLE_KERNEL(dequantize_bf16, DequantizeArguments<bf16>, kDequantizeThreads, dequantize)
NIBBLE_KERNEL(dequantize_f16, DequantizeArguments<f16>, kDequantizeThreads, dequantize)

}  // namespace nibble::cuda
