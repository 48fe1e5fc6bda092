#include "nf4.h"

#include "launch.h"
#include "operators.h"

namespace nibble::cuda {

void nf4_quantize(nibble_dtype dtype, const void* src, int64_t count, uint8_t* packed, float* absmax) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        const int64_t blocks = ceil_div(count, NIBBLE_NF4_BLOCK);
        launch(typed("nf4_quantize", dtype), {ceil_div(blocks, kQuantizeThreads / 32)}, kQuantizeThreads, 0,
               Nf4QuantizeArguments<T>{span<const T>(src, count), {packed, ceil_div(count, 2)}, {absmax, blocks}});
    });
}

void dequantize(const nibble_weight& weight, nibble_dtype dtype, void* dst) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        const int64_t count = weight.rows * weight.cols;
        launch(typed("dequantize", dtype), {ceil_div(count, 2 * kDequantizeThreads)}, kDequantizeThreads, 0,
               DequantizeArguments<T>{view(weight), span<T>(dst, count)});
    });
}

}  // namespace nibble::cuda
