// AdamW with float32 or 8-bit block-wise states, one pass over parameter, gradient and states.

struct AdamWFactors {
    float step_size;    // learning rate / (1 - beta1^t)
    float root_factor;  // 1 / sqrt(1 - beta2^t)
    float kept;         // 1 - learning rate * weight decay
    float beta1;
    float beta2;
    float one_minus_beta1;
    float one_minus_beta2;
    float epsilon;
    float grad_scale;

    explicit AdamWFactors(const nibble_adamw& c)
        : step_size(static_cast<float>(c.learning_rate / (1.0 - std::pow(c.beta1, static_cast<double>(c.step))))),
          root_factor(static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(c.beta2, static_cast<double>(c.step))))),
          kept(static_cast<float>(1.0 - c.learning_rate * c.weight_decay)),
          beta1(static_cast<float>(c.beta1)),
          beta2(static_cast<float>(c.beta2)),
          one_minus_beta1(static_cast<float>(1.0 - c.beta1)),
          one_minus_beta2(static_cast<float>(1.0 - c.beta2)),
          epsilon(static_cast<float>(c.epsilon)),
          grad_scale(static_cast<float>(c.grad_scale)) {}

    // Moments are updated in place; returns the new parameter.
    float operator()(float param, float grad, float& moment1, float& moment2) const {
        const float g = grad * grad_scale;
        moment1 = beta1 * moment1 + one_minus_beta1 * g;
        moment2 = beta2 * moment2 + one_minus_beta2 * g * g;
        return param * kept - step_size * moment1 / (std::sqrt(moment2) * root_factor + epsilon);
    }
};

inline void adamw_32bit(const nibble_adamw& config, float* param, const float* grad, float* moment1, float* moment2,
                        int64_t count) {
    const AdamWFactors update(config);
    const int workers = threads_for(count);
#pragma omp parallel for schedule(static) num_threads(workers)
    for (int64_t i = 0; i < count; ++i) {
        param[i] = update(param[i], grad[i], moment1[i], moment2[i]);
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

inline void adamw_8bit(const nibble_adamw& config, float* param, const float* grad, uint8_t* codes1, uint8_t* codes2,
                       float* absmax1, float* absmax2, int64_t count) {
    const AdamWFactors update(config);
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
            param[first + i] = update(param[first + i], grad[first + i], moment1[i], moment2[i]);
        }
        requantize(moment1, length, nearest_signed(), codes1 + first, absmax1 + block);
        requantize(moment2, length, nearest_unsigned(), codes2 + first, absmax2 + block);
    }
}
