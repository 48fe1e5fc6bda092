// Rotary embedding. A pair is read before it is written, so x and y may be the same buffer; turning back is turning by
// the negative angle.

template <typename T>
void rope_of(const T* x, const float* cos, const float* sin, int64_t tokens, int64_t heads, int64_t head_dim,
             int64_t rotary_dim, bool inverse, T* y) {
    const int64_t half = rotary_dim / 2;
    const float sign = inverse ? -1.0F : 1.0F;
    const int workers = threads_for(tokens * heads * head_dim);
#pragma omp parallel for schedule(static) num_threads(workers)
    for (int64_t row = 0; row < tokens * heads; ++row) {
        const float* c = cos + row / heads * half;
        const float* s = sin + row / heads * half;
        const T* in = x + row * head_dim;
        T* out = y + row * head_dim;
        for (int64_t i = 0; i < half; ++i) {
            const float first = to_float(in[i]);
            const float second = to_float(in[i + half]);
            out[i] = from_float<T>(first * c[i] - second * sign * s[i]);
            out[i + half] = from_float<T>(second * c[i] + first * sign * s[i]);
        }
        for (int64_t i = rotary_dim; i < head_dim; ++i) {
            out[i] = in[i];
        }
    }
}

inline void rope(nibble_dtype dtype, const void* x, const float* cos, const float* sin, int64_t tokens, int64_t heads,
                 int64_t head_dim, int64_t rotary_dim, bool inverse, void* y) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        rope_of(static_cast<const T*>(x), cos, sin, tokens, heads, head_dim, rotary_dim, inverse, static_cast<T*>(y));
    });
}
