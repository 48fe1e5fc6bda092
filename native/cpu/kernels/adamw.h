// AdamW with float32 or 8-bit block-wise states, one pass over parameter, gradient and states.

inline Vec square_root(Vec value) {
#if defined(__AVX512F__)
    return _mm512_sqrt_ps(value);
#elif defined(__AVX2__)
    return _mm256_sqrt_ps(value);
#else
    for (int i = 0; i < kLanes; ++i) {
        value[i] = std::sqrt(value[i]);
    }
    return value;
#endif
}

// Moments are updated in place; returns the new parameter.
inline Vec adamw_update(const AdamWFactors& f, Vec param, Vec grad, Vec& moment1, Vec& moment2) {
    const Vec g = grad * f.grad_scale;
    moment1 = f.beta1 * moment1 + f.one_minus_beta1 * g;
    moment2 = f.beta2 * moment2 + f.one_minus_beta2 * g * g;
    return param * f.kept - f.step_size * moment1 / (square_root(moment2) * f.root_factor + f.epsilon);
}

inline void adamw_32bit(const AdamWFactors& factors, float* param, const float* grad, float* moment1, float* moment2,
                        int64_t count) {
    each_register_in_parallel(count, [&](int64_t i, auto lanes) {
        Vec m = load_as_float(moment1 + i, lanes);
        Vec v = load_as_float(moment2 + i, lanes);
        const Vec p = adamw_update(factors, load_as_float(param + i, lanes), load_as_float(grad + i, lanes), m, v);
        store_from_float(param + i, p, lanes);
        store_from_float(moment1 + i, m, lanes);
        store_from_float(moment2 + i, v, lanes);
    });
}

inline void requantize(const float* values, int64_t count, const uint8_t* nearest, uint8_t* codes, float* absmax) {
    const float scale = largest_magnitude(values, count);
    *absmax = scale;
    const bool scaled = scale > 0.0F;
    int32_t index[NIBBLE_ABSMAX_BLOCK];
    for (int64_t i = 0; i < count; ++i) {
        index[i] = code_grid_index(scaled ? values[i] / scale : 0.0F);
    }
    for (int64_t i = 0; i < count; ++i) {
        codes[i] = nearest[index[i]];
    }
}

inline void adamw_8bit(const AdamWFactors& factors, float* param, const float* grad, uint8_t* codes1, uint8_t* codes2,
                       float* absmax1, float* absmax2, int64_t count) {
    const float* map1 = dynamic_map_signed();
    const float* map2 = dynamic_map_unsigned();
    const int workers = threads_for(count);
#pragma omp parallel for schedule(static) num_threads(workers)
    for (int64_t block = 0; block < ceil_div(count, NIBBLE_ABSMAX_BLOCK); ++block) {
        float moment1[NIBBLE_ABSMAX_BLOCK];
        float moment2[NIBBLE_ABSMAX_BLOCK];
        const int64_t first = block * NIBBLE_ABSMAX_BLOCK;
        const int64_t length = min_of(NIBBLE_ABSMAX_BLOCK, count - first);
        for (int64_t i = 0; i < length; ++i) {
            moment1[i] = map1[codes1[first + i]];
            moment2[i] = map2[codes2[first + i]];
        }
        each_register(0, length, [&](int64_t i, auto lanes) {
            const Vec p = load_as_float(param + first + i, lanes);
            const Vec g = load_as_float(grad + first + i, lanes);
            Vec m = load_as_float(moment1 + i, lanes) * absmax1[block];
            Vec v = load_as_float(moment2 + i, lanes) * absmax2[block];
            store_from_float(param + first + i, adamw_update(factors, p, g, m, v), lanes);
            store_from_float(moment1 + i, m, lanes);
            store_from_float(moment2 + i, v, lanes);
        });
        requantize(moment1, length, nearest_signed(), codes1 + first, absmax1 + block);
        requantize(moment2, length, nearest_unsigned(), codes2 + first, absmax2 + block);
    }
}
