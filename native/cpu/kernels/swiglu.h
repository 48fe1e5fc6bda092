// silu(gate) * up, where silu(g) = g * sigmoid(g); backward recomputes the sigmoid instead of keeping it.

inline Vec sigmoid(Vec x) {
    return 1.0F / (1.0F + fast_exp(-x));
}

template <typename T>
void glu_forward_of(const T* gate, const T* up, int64_t count, T* y) {
    each_register_in_parallel(count, [&](int64_t i, auto lanes) {
        const Vec g = load_as_float(gate + i, lanes);
        store_from_float(y + i, g * sigmoid(g) * load_as_float(up + i, lanes), lanes);
    });
}

inline void swiglu_forward(nibble_dtype dtype, const void* gate, const void* up, int64_t count, void* y) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        glu_forward_of(static_cast<const T*>(gate), static_cast<const T*>(up), count, static_cast<T*>(y));
    });
}

template <typename T>
void glu_backward_of(const T* gate, const T* up, const T* dy, int64_t count, T* dgate, T* dup) {
    each_register_in_parallel(count, [&](int64_t i, auto lanes) {
        const Vec g = load_as_float(gate + i, lanes);
        const Vec u = load_as_float(up + i, lanes);
        const Vec d = load_as_float(dy + i, lanes);
        const Vec s = sigmoid(g);
        store_from_float(dup + i, d * g * s, lanes);
        store_from_float(dgate + i, d * u * s * (1.0F + g * (1.0F - s)), lanes);
    });
}

inline void swiglu_backward(nibble_dtype dtype, const void* gate, const void* up, const void* dy, int64_t count,
                            void* dgate, void* dup) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        glu_backward_of(static_cast<const T*>(gate), static_cast<const T*>(up), static_cast<const T*>(dy), count,
                        static_cast<T*>(dgate), static_cast<T*>(dup));
    });
}
