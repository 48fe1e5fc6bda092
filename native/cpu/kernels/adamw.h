// AdamW with float32 or 8-bit block-wise states, one pass over parameter, gradient and states.

// Moments are updated in place; returns the new parameter.
inline float adamw_update(const AdamWFactors& f, float param, float grad, float& moment1, float& moment2) {
    const float g = grad * f.grad_scale;
    moment1 = f.beta1 * moment1 + f.one_minus_beta1 * g;
    moment2 = f.beta2 * moment2 + f.one_minus_beta2 * g * g;
    return param * f.kept - f.step_size * moment1 / (std::sqrt(moment2) * f.root_factor + f.epsilon);
}

inline void adamw_32bit(const AdamWFactors& factors, float* param, const float* grad, float* moment1, float* moment2,
                        int64_t count) {
    const int workers = threads_for(count);
#pragma omp parallel for schedule(static) num_threads(workers)
    for (int64_t i = 0; i < count; ++i) {
        param[i] = adamw_update(factors, param[i], grad[i], moment1[i], moment2[i]);
    }
}

inline void requantize(const float* values, int64_t count, const uint8_t* nearest, uint8_t* codes, float* absmax) {
    float largest = 0.0F;
    float poison = 0.0F;  // NaN with any value that is not finite; the codes cannot say so, the scale can.
    for (int64_t i = 0; i < count; ++i) {
        const float magnitude = std::fabs(values[i]);
        largest = magnitude > largest ? magnitude : largest;
        poison += values[i] * 0.0F;
    }
    *absmax = largest + poison;
    const bool scaled = *absmax > 0.0F;
    for (int64_t i = 0; i < count; ++i) {
        codes[i] = nearest[code_grid_index(scaled ? values[i] / largest : 0.0F)];
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
            moment1[i] = map1[codes1[first + i]] * absmax1[block];
            moment2[i] = map2[codes2[first + i]] * absmax2[block];
            param[first + i] = adamw_update(factors, param[first + i], grad[first + i], moment1[i], moment2[i]);
        }
        requantize(moment1, length, nearest_signed(), codes1 + first, absmax1 + block);
        requantize(moment2, length, nearest_unsigned(), codes2 + first, absmax2 + block);
    }
}
