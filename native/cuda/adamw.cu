// AdamW with float32 or 8-bit block-wise states, one pass over parameter, gradient and states.
#include "adamw.h"

#include "codes.h"
#include "philox.h"

namespace nibble::cuda {

// Moments are updated in place; returns the new parameter.
NIBBLE_DEVICE float update(const AdamWFactors& f, float param, float grad, float& moment1, float& moment2) {
    const float g = grad * f.grad_scale;
    moment1 = f.beta1 * moment1 + f.one_minus_beta1 * g;
    moment2 = f.beta2 * moment2 + f.one_minus_beta2 * g * g;
    return param * f.kept - f.step_size * moment1 / (sqrt_of(moment2) * f.root_factor + f.epsilon);
}

NIBBLE_DEVICE void adamw_32bit(const AdamW32Arguments& args) {
    for (int64_t i = static_cast<int64_t>(block_index(0)) * kAdamWThreads + thread_index(); i < args.param.count;
         i += static_cast<int64_t>(grid_size(0)) * kAdamWThreads) {
        float moment1 = args.moment1[i];
        float moment2 = args.moment2[i];
        args.param[i] = update(args.factors, args.param[i], args.grad[i], moment1, moment2);
        args.moment1[i] = moment1;
        args.moment2[i] = moment2;
    }
}

// The entry nearest to a value of [-1, 1] that was first rounded to an even grid of 65,536 points, as bitsandbytes
// does: a value just beside a midpoint goes where its grid point goes.
NIBBLE_DEVICE uint8_t nearest_entry(Shared<float> map, float value) {
    constexpr float kGridScale = 32767.5F;
    const auto point = static_cast<int>((value + 1.0F) * kGridScale + 0.5F);
    const float rounded = static_cast<float>(point) / kGridScale - 1.0F;
    int code = 0;  // The number of entries whose midpoint with the next lies below.
    for (int step = 128; step > 0; step /= 2) {
        const int next = code + step;
        if (map[next] - rounded < rounded - map[next - 1]) {
            code = next;
        }
    }
    return static_cast<uint8_t>(code);
}

// A block's moments to its 8 bits; a moment that is not finite makes the scale NaN, since codes cannot say so.
NIBBLE_DEVICE void requantize(Shared<float> map, float value, bool present, Shared<float> scratch,
                              Global<uint8_t> codes, int64_t index, Global<float> absmax) {
    const float largest = block_max<kAdamWThreads>(present ? absolute(value) : 0.0F, scratch);
    const float poison = block_sum<kAdamWThreads>(present ? value * 0.0F : 0.0F, scratch);
    const float scale = largest + poison;
    if (thread_index() == 0) {
        absmax[block_index(0)] = scale;
    }
    if (present) {
        codes[index] = nearest_entry(map, scale > 0.0F ? value / largest : 0.0F);
    }
}

// One element of a block's threads: the block of 8-bit states that they are.
template <typename Arguments, typename Store>
NIBBLE_DEVICE void adamw_8bit_block(const Arguments& args, const Store& store) {
    const Shared<float> scratch = shared_memory<float>(0);
    // In shared memory, since threads look up different entries at once; there are as many threads as entries.
    const Shared<float> signed_map = shared_memory<float>(kAdamWScratchBytes);
    const Shared<float> unsigned_map = signed_map.from(256);
    static_assert(kAdamWThreads == 256);
    const int entry = static_cast<int>(thread_index());
    signed_map[entry] = kSignedMap.value[entry];
    unsigned_map[entry] = kUnsignedMap.value[entry];
    block_barrier();
    const int64_t i = static_cast<int64_t>(block_index(0)) * kAdamWThreads + thread_index();
    const bool present = i < args.param.count;
    float moment1 = 0.0F;
    float moment2 = 0.0F;
    if (present) {
        moment1 = signed_map[args.codes1[i]] * args.absmax1[block_index(0)];
        moment2 = unsigned_map[args.codes2[i]] * args.absmax2[block_index(0)];
        store(i, update(args.factors, to_float(args.param[i]), to_float(args.grad[i]), moment1, moment2));
    }
    // The first barrier within comes after every thread has read the old scales.
    requantize(signed_map, moment1, present, scratch, args.codes1, i, args.absmax1);
    requantize(unsigned_map, moment2, present, scratch, args.codes2, i, args.absmax2);
}

NIBBLE_DEVICE void adamw_8bit(const AdamW8Arguments& args) {
    adamw_8bit_block(args, [&](int64_t i, float value) NIBBLE_INLINE { args.param[i] = value; });
}

// The random words of the block's elements from `first` on; the threads of the first warp make those of a counter each,
// which serves eight elements. A barrier must follow.
NIBBLE_DEVICE void write_rounding_words(const RoundingName& name, int64_t first, Shared<uint32_t> words) {
    static_assert(kAdamWThreads == 2 * kRoundingRun);
    if (thread_index() < kWarp) {
        const auto counter = static_cast<int>(thread_index());
        const auto run = static_cast<uint64_t>((name.first + first) / kRoundingRun);
        const PhiloxBlock block =
            philox(run * 16 + static_cast<uint64_t>(counter), name.step, kRoundingLayer | name.parameter, name.seed);
        const Shared<uint32_t> own = words.from(counter / 16 * 64 + counter % 16);
        NIBBLE_UNROLL
        for (int w = 0; w < 4; ++w) {
            own[16 * w] = block.word[w];
        }
    }
}

// Rounded by this thread's random bits; what is not finite stays what it is.
NIBBLE_DEVICE bf16 rounded(float value, Shared<uint32_t> words) {
    const auto element = static_cast<int>(thread_index());
    const int half = element % 128 / 16;
    const uint32_t random = words[element / 128 * 64 + half / 2 * 16 + element % 16] >> (half % 2 * 16) & 0xFFFFU;
    const uint32_t bits = float_to_bits(value);
    bf16 result;
    result.bits = static_cast<uint16_t>(value == value ? (bits + random) >> 16 : bits >> 16 | 0x40U);
    return result;
}

template <typename G>
NIBBLE_DEVICE void adamw_32bit_rounded(const RoundedAdamW32Arguments<G>& args) {
    const Shared<uint32_t> words = shared_memory<uint32_t>(0);
    for (int64_t first = static_cast<int64_t>(block_index(0)) * kAdamWThreads; first < args.param.count;
         first += static_cast<int64_t>(grid_size(0)) * kAdamWThreads) {
        write_rounding_words(args.rounding, first, words);
        block_barrier();
        const int64_t i = first + thread_index();
        if (i < args.param.count) {
            float moment1 = args.moment1[i];
            float moment2 = args.moment2[i];
            args.param[i] =
                rounded(update(args.factors, to_float(args.param[i]), to_float(args.grad[i]), moment1, moment2), words);
            args.moment1[i] = moment1;
            args.moment2[i] = moment2;
        }
        block_barrier();
    }
}

template <typename G>
NIBBLE_DEVICE void adamw_8bit_rounded(const RoundedAdamW8Arguments<G>& args) {
    const Shared<uint32_t> words = shared_memory<uint32_t>(kAdamWShared);
    // The block's first barrier comes before they are read.
    write_rounding_words(args.rounding, static_cast<int64_t>(block_index(0)) * kAdamWThreads, words);
    adamw_8bit_block(args, [&](int64_t i, float value) NIBBLE_INLINE { args.param[i] = rounded(value, words); });
}

NIBBLE_KERNEL(adamw_32bit_step, AdamW32Arguments, kAdamWThreads, adamw_32bit)
NIBBLE_KERNEL(adamw_8bit_step, AdamW8Arguments, kAdamWThreads, adamw_8bit)
NIBBLE_KERNEL(adamw_32bit_rounded_f32, RoundedAdamW32Arguments<float>, kAdamWThreads, adamw_32bit_rounded)
NIBBLE_KERNEL(adamw_32bit_rounded_bf16, RoundedAdamW32Arguments<bf16>, kAdamWThreads, adamw_32bit_rounded)
NIBBLE_KERNEL(adamw_8bit_rounded_f32, RoundedAdamW8Arguments<float>, kAdamWThreads, adamw_8bit_rounded)
NIBBLE_KERNEL(adamw_8bit_rounded_bf16, RoundedAdamW8Arguments<bf16>, kAdamWThreads, adamw_8bit_rounded)

}  // namespace nibble::cuda
