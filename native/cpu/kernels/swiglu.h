// silu(gate) * up, where silu(g) = g * sigmoid(g); backward recomputes the sigmoid instead of keeping it.

inline float sigmoid(float x) {
    return 1.0F / (1.0F + fast_exp(-x));
}

template <typename T>
void glu_forward_of(const T* gate, const T* up, int64_t count, T* y) {
    const int workers = threads_for(count);
#pragma omp parallel for simd schedule(static) num_threads(workers)
    for (int64_t i = 0; i < count; ++i) {
        const float g = to_float(gate[i]);
        y[i] = from_float<T>(g * sigmoid(g) * to_float(up[i]));
    }
}

inline void swiglu_forward(nibble_dtype dtype, const void* gate, const void* up, int64_t count, void* y) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        glu_forward_of(static_cast<const T*>(gate), static_cast<const T*>(up), count, static_cast<T*>(y));
    });
}

template <typename T>
void glu_backward_of(const T* gate, const T* up, const T* dy, int64_t count, T* dgate, T* dup) {
    const int workers = threads_for(count);
#pragma omp parallel for simd schedule(static) num_threads(workers)
    for (int64_t i = 0; i < count; ++i) {
        const float g = to_float(gate[i]);
        const float d = to_float(dy[i]);
        const float s = sigmoid(g);
        const float u = to_float(up[i]);
        dup[i] = from_float<T>(d * g * s);
        dgate[i] = from_float<T>(d * u * s * (1.0F + g * (1.0F - s)));
    }
}

inline void swiglu_backward(nibble_dtype dtype, const void* gate, const void* up, const void* dy, int64_t count,
                            void* dgate, void* dup) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        glu_backward_of(static_cast<const T*>(gate), static_cast<const T*>(up), static_cast<const T*>(dy), count,
                        static_cast<T*>(dgate), static_cast<T*>(dup));
    });
}
