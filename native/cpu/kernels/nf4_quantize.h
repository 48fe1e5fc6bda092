// NF4 quantisation: each element of a block goes to the nearest of 16 values, found by comparing with the 15 midpoints.

inline uint8_t nearest_nf4(float value) {
    int code = 0;
    for (int i = 0; i < 15; ++i) {
        code += value > 0.5F * (nf4_code[i] + nf4_code[i + 1]) ? 1 : 0;
    }
    return static_cast<uint8_t>(code);
}

template <typename T>
void quantize_block(const T* src, int64_t count, uint8_t* packed, float* absmax) {
    float values[NIBBLE_NF4_BLOCK] = {};
    convert_to_float(src, count, values);
    float largest = 0.0F;
    float poison = 0.0F;  // Becomes NaN with any value that is not finite, which a comparison would pass over.
    for (const float value : values) {
        const float magnitude = std::fabs(value);
        largest = magnitude > largest ? magnitude : largest;
        poison += value * 0.0F;
    }
    *absmax = largest + poison;
    // Divided, not multiplied by 1 / largest, which is infinite for a subnormal scale.
    const float divisor = largest > 0.0F ? largest : 1.0F;
    for (int64_t i = 0; i < count; i += 2) {
        const uint8_t high = nearest_nf4(values[i] / divisor);
        const uint8_t low = i + 1 < count ? nearest_nf4(values[i + 1] / divisor) : uint8_t{0};
        packed[i / 2] = static_cast<uint8_t>(high << 4 | low);
    }
}

inline void nf4_quantize(nibble_dtype dtype, const void* src, int64_t count, uint8_t* packed, float* absmax) {
    with_type(dtype, [&](auto type) {
        const auto* values = static_cast<const decltype(type)*>(src);
        const int workers = threads_for(count);
#pragma omp parallel for schedule(static) num_threads(workers)
        for (int64_t block = 0; block < ceil_div(count, NIBBLE_NF4_BLOCK); ++block) {
            const int64_t first = block * NIBBLE_NF4_BLOCK;
            quantize_block(values + first, min_of(NIBBLE_NF4_BLOCK, count - first), packed + first / 2, absmax + block);
        }
    });
}
