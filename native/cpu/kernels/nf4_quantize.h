// NF4 quantisation: each element of a block goes to the nearest of 16 values, found by comparing with the 15 midpoints.

inline float nf4_midpoint(int code) {
    return 0.5F * (nf4_code[code] + nf4_code[code + 1]);
}

inline IntVec nearest_nf4(Vec value) {
#if defined(__AVX512F__)
    // Four comparisons, each with the middle of what the ones before it leave.
    __m512i code = {};
#pragma GCC unroll 4
    for (int step = 8; step > 0; step /= 2) {
        Vec middles{};
        for (int first = 0; first < 16; first += 2 * step) {
            middles[first] = nf4_midpoint(first + step - 1);
        }
        const __mmask16 above = _mm512_cmp_ps_mask(value, _mm512_permutexvar_ps(code, middles), _CMP_GT_OQ);
        code = _mm512_mask_add_epi32(code, above, code, _mm512_set1_epi32(step));
    }
    return reinterpret_cast<IntVec>(code);
#else
    IntVec code{};
    for (int i = 0; i < 15; ++i) {
        code -= value > nf4_midpoint(i);  // True is -1.
    }
    return code;
#endif
}

// packed[kLanes / 2]: of each pair of codes the first in the upper half.
inline void pack_codes(IntVec codes, uint8_t* packed) {
#if defined(__AVX512F__)
    const auto pairs = reinterpret_cast<__m512i>(codes);
    const __m512i both = _mm512_or_si512(_mm512_slli_epi64(pairs, 4), _mm512_srli_epi64(pairs, 32));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(packed), _mm512_cvtepi64_epi8(both));
#else
    for (int pair = 0; pair < kLanes / 2; ++pair) {
        packed[pair] = static_cast<uint8_t>(codes[2 * pair] << 4 | codes[2 * pair + 1]);
    }
#endif
}

template <typename T>
void quantize_block(const T* src, int64_t count, uint8_t* packed, float* absmax) {
    *absmax = largest_magnitude(src, count);
    // Divided, not multiplied by 1 / absmax, which is infinite for a subnormal scale.
    const float divisor = *absmax > 0.0F ? *absmax : 1.0F;
    // An odd count's last element has the partner zero.
    each_register(0, count, [&](int64_t i, auto lanes) {
        IntVec codes = nearest_nf4(load_as_float(src + i, lanes) / divisor);
        if constexpr (std::is_same_v<decltype(lanes), AllLanes>) {
            pack_codes(codes, packed + i / 2);
        } else {
            for (int64_t past = lanes; past < kLanes; ++past) {
                codes[past] = 0;
            }
            uint8_t some[kLanes / 2];
            pack_codes(codes, some);
            std::memcpy(packed + i / 2, some, static_cast<size_t>(ceil_div(lanes, 2)));
        }
    });
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
