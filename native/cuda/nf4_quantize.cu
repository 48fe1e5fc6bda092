// NF4 quantisation: a warp takes a block of 64, a lane two elements, which make a byte. Values are divided by the scale
// and compared with the 15 midpoints exactly as on the CPU.
#include "codes.h"
#include "nf4.h"

namespace nibble::cuda {

NIBBLE_DEVICE uint32_t nearest_nf4(float value) {
    uint32_t code = 0;
    NIBBLE_UNROLL
    for (int i = 0; i < 15; ++i) {
        code += value > 0.5F * (kNf4Codes.value[i] + kNf4Codes.value[i + 1]) ? 1 : 0;
    }
    return code;
}

template <typename T>
NIBBLE_DEVICE void nf4_quantize(const Nf4QuantizeArguments<T>& args) {
    const int64_t count = args.src.count;
    const int64_t block = static_cast<int64_t>(block_index(0)) * (kQuantizeThreads / kWarp) + warp_index();
    const int64_t first = block * kNf4Block + 2 * lane_index();
    const float high = first < count ? to_float(args.src[first]) : 0.0F;
    const float low = first + 1 < count ? to_float(args.src[first + 1]) : 0.0F;
    // NaN once any value is not finite, which a maximum would pass over.
    const float poison = warp_sum(high * 0.0F + low * 0.0F);
    const float largest = warp_max(max_of(absolute(high), absolute(low)));
    if (first >= count) {
        return;
    }
    if (lane_index() == 0) {
        args.absmax[block] = largest + poison;
    }
    const float divisor = largest > 0.0F ? largest : 1.0F;
    const uint32_t low_code = first + 1 < count ? nearest_nf4(low / divisor) : 0;
    args.packed[first / 2] = static_cast<uint8_t>(nearest_nf4(high / divisor) << 4 | low_code);
}

NIBBLE_KERNEL(nf4_quantize_f32, Nf4QuantizeArguments<float>, kQuantizeThreads, nf4_quantize)
NIBBLE_KERNEL(nf4_quantize_bf16, Nf4QuantizeArguments<bf16>, kQuantizeThreads, nf4_quantize)
NIBBLE_KERNEL(nf4_quantize_f16, Nf4QuantizeArguments<f16>, kQuantizeThreads, nf4_quantize)

}  // namespace nibble::cuda
