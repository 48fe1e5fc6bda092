// AdamW with float32 or 8-bit block-wise states, one pass over parameter, gradient and states.

struct AdamWFactors {
    float step_size;       // learning rate / (1 - beta1^t)
    float root_factor;     // 1 / sqrt(1 - beta2^t)
    float kept;            // 1 - learning rate * weight decay
    const nibble_adamw& config;

    explicit AdamWFactors(const nibble_adamw& c)
        : step_size(static_cast<float>(c.learning_rate / (1.0 - std::pow(static_cast<double>(c.beta1), c.step)))),
          root_factor(static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(static_cast<double>(c.beta2), c.step)))),
          kept(static_cast<float>(1.0 - static_cast<double>(c.learning_rate) * static_cast<double>(c.weight_decay))),
          config(c) {}

    // Moments are updated in place; returns the new parameter.
    float operator()(float param, float grad, float& moment1, float& moment2) const {
        const float g = grad * config.grad_scale;
        moment1 = config.beta1 * moment1 + (1.0F - config.beta1) * g;
        moment2 = config.beta2 * moment2 + (1.0F - config.beta2) * g * g;
        return param * kept - step_size * moment1 / (std::sqrt(moment2) * root_factor + config.epsilon);
    }
};

inline void adamw_32bit(const nibble_adamw& config, float* param, const float* grad, float* moment1, float* moment2,
                        int64_t count) {
    const AdamWFactors update(config);
#pragma omp parallel for schedule(static) num_threads(threads())
    for (int64_t i = 0; i < count; ++i) {
        param[i] = update(param[i], grad[i], moment1[i], moment2[i]);
    }
}

// Index of the entry of an ascending map of 256 that is nearest to value.
inline uint8_t nearest_in_map(const float* map, float value) {
    int low = 0;
    int high = 255;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        (map[middle] <= value ? low : high) = middle;
    }
    return static_cast<uint8_t>(value - map[low] > map[high] - value ? high : low);
}

inline void requantize(const float* values, int64_t count, const float* map, uint8_t* codes, float* absmax) {
    float largest = 0.0F;
    for (int64_t i = 0; i < count; ++i) {
        const float magnitude = std::fabs(values[i]);
        largest = magnitude > largest ? magnitude : largest;
    }
    *absmax = largest;
    for (int64_t i = 0; i < count; ++i) {
        codes[i] = nearest_in_map(map, largest > 0.0F ? values[i] / largest : 0.0F);
    }
}

inline void adamw_8bit(const nibble_adamw& config, float* param, const float* grad, uint8_t* codes1, uint8_t* codes2,
                       float* absmax1, float* absmax2, int64_t count) {
    const AdamWFactors update(config);
    const float* map1 = dynamic_map_signed();
    const float* map2 = dynamic_map_unsigned();
#pragma omp parallel for schedule(static) num_threads(threads())
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
        requantize(moment1, length, map1, codes1 + first, absmax1 + block);
        requantize(moment2, length, map2, codes2 + first, absmax2 + block);
    }
}
