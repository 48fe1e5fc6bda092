// Philox4x32-10 (Salmon et al., SC'11): random words from their name instead of from memory, and the dropout mask of an
// adapter's input.
#pragma once

#include "adapter.h"
#include "device.h"

namespace nibble::cuda {

struct PhiloxBlock {
    uint32_t word[4];
};

NIBBLE_DEVICE PhiloxBlock philox(uint64_t index, uint32_t step, uint32_t layer, uint64_t seed) {
    uint32_t c0 = static_cast<uint32_t>(index);
    uint32_t c1 = static_cast<uint32_t>(index >> 32);
    uint32_t c2 = step;
    uint32_t c3 = layer;
    uint32_t k0 = static_cast<uint32_t>(seed);
    uint32_t k1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const uint32_t high0 = multiply_high(0xD2511F53U, c0);
        const uint32_t low0 = 0xD2511F53U * c0;
        const uint32_t high1 = multiply_high(0xCD9E8D57U, c2);
        const uint32_t low1 = 0xCD9E8D57U * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9U;
        k1 += 0xBB67AE85U;
    }
    return {{c0, c1, c2, c3}};
}
NIBBLE_DEVICE PhiloxBlock philox(uint64_t index, const DropoutView& mask) {
    return philox(index, mask.step, mask.layer, mask.seed);
}

// Zero or 1 / (1 - rate) for one element of the flattened input.
NIBBLE_DEVICE float dropout_factor(const DropoutView& mask, int64_t element) {
    if (mask.threshold == 0) {
        return 1.0F;
    }
    const PhiloxBlock block = philox(static_cast<uint64_t>(element) / 4, mask);
    const auto place = static_cast<uint32_t>(element) % 4;  // Chosen without an index, which would need memory.
    const uint32_t low = place == 0 ? block.word[0] : block.word[1];
    const uint32_t high = place == 2 ? block.word[2] : block.word[3];
    return (place < 2 ? low : high) < mask.threshold ? 0.0F : mask.kept;
}

// The factors of kCount neighbours: of two, or of some fours, from a multiple of as many on.
template <int kCount>
NIBBLE_DEVICE void dropout_factors(const DropoutView& mask, int64_t first, float (&factors)[kCount]) {
    static_assert(kCount == 2 || kCount % 4 == 0);
    NIBBLE_UNROLL
    for (int i = 0; i < kCount; i += 4) {
        const PhiloxBlock block = philox(static_cast<uint64_t>(first + i) / 4, mask);
        const bool upper = kCount == 2 && first % 4 == 2;
        NIBBLE_UNROLL
        for (int e = 0; e < min_of(kCount, 4); ++e) {
            const uint32_t word = upper ? block.word[2 + e % 2] : block.word[e];
            factors[i + e] = word < mask.threshold ? 0.0F : mask.kept;
        }
    }
}

}  // namespace nibble::cuda
