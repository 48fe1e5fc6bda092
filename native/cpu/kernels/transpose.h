// Squares of 32-bit words, kLanes on a side: floats, or pairs of bfloat16.

// dst[c * dst_stride + r] = src[r * src_stride + c] for r, c < kLanes; strides in words.
#if defined(__AVX512F__)
inline void transpose_square(const float* src, int64_t src_stride, float* dst, int64_t dst_stride) {
    __m512 a[16];
    __m512 b[16];
    for (int r = 0; r < 16; ++r) {
        a[r] = _mm512_loadu_ps(src + r * src_stride);
    }
    for (int r = 0; r < 16; r += 2) {
        b[r] = _mm512_unpacklo_ps(a[r], a[r + 1]);
        b[r + 1] = _mm512_unpackhi_ps(a[r], a[r + 1]);
    }
    for (int r = 0; r < 16; r += 4) {  // a[r + i]: column 4 * lane + i of rows r to r + 3.
        for (int half = 0; half < 2; ++half) {
            const __m512d low = _mm512_castps_pd(b[r + half]);
            const __m512d high = _mm512_castps_pd(b[r + 2 + half]);
            a[r + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            a[r + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    }
    for (int i = 0; i < 4; ++i) {
        const __m512 even_low = _mm512_shuffle_f32x4(a[i], a[4 + i], 0x88);
        const __m512 odd_low = _mm512_shuffle_f32x4(a[i], a[4 + i], 0xDD);
        const __m512 even_high = _mm512_shuffle_f32x4(a[8 + i], a[12 + i], 0x88);
        const __m512 odd_high = _mm512_shuffle_f32x4(a[8 + i], a[12 + i], 0xDD);
        _mm512_storeu_ps(dst + i * dst_stride, _mm512_shuffle_f32x4(even_low, even_high, 0x88));
        _mm512_storeu_ps(dst + (4 + i) * dst_stride, _mm512_shuffle_f32x4(odd_low, odd_high, 0x88));
        _mm512_storeu_ps(dst + (8 + i) * dst_stride, _mm512_shuffle_f32x4(even_low, even_high, 0xDD));
        _mm512_storeu_ps(dst + (12 + i) * dst_stride, _mm512_shuffle_f32x4(odd_low, odd_high, 0xDD));
    }
}
#elif defined(__AVX2__)
inline void transpose_square(const float* src, int64_t src_stride, float* dst, int64_t dst_stride) {
    __m256 a[8];
    __m256 b[8];
    for (int r = 0; r < 8; ++r) {
        a[r] = _mm256_loadu_ps(src + r * src_stride);
    }
    for (int r = 0; r < 8; r += 2) {
        b[r] = _mm256_unpacklo_ps(a[r], a[r + 1]);
        b[r + 1] = _mm256_unpackhi_ps(a[r], a[r + 1]);
    }
    for (int r = 0; r < 8; r += 4) {  // a[r + i]: column 4 * lane + i of rows r to r + 3.
        for (int half = 0; half < 2; ++half) {
            const __m256d low = _mm256_castps_pd(b[r + half]);
            const __m256d high = _mm256_castps_pd(b[r + 2 + half]);
            a[r + 2 * half] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, high));
            a[r + 2 * half + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, high));
        }
    }
    for (int i = 0; i < 4; ++i) {
        _mm256_storeu_ps(dst + i * dst_stride, _mm256_permute2f128_ps(a[i], a[4 + i], 0x20));
        _mm256_storeu_ps(dst + (4 + i) * dst_stride, _mm256_permute2f128_ps(a[i], a[4 + i], 0x31));
    }
}
#else
inline void transpose_square(const float* src, int64_t src_stride, float* dst, int64_t dst_stride) {
    for (int c = 0; c < kLanes; ++c) {
        for (int r = 0; r < kLanes; ++r) {
            dst[c * dst_stride + r] = src[r * src_stride + c];
        }
    }
}
#endif

// The same of no more than kLanes rows and columns, with zeros in place of the others: dst[kLanes][kLanes].
inline void transpose_part(const float* src, int64_t src_stride, int64_t rows, int64_t cols, float* dst) {
    if (rows == kLanes && cols == kLanes) {
        return transpose_square(src, src_stride, dst, kLanes);
    }
    float square[kLanes * kLanes] = {};
    for (int64_t r = 0; r < rows; ++r) {
        std::memcpy(square + r * kLanes, src + r * src_stride, sizeof(float) * static_cast<size_t>(cols));
    }
    transpose_square(square, kLanes, dst, kLanes);
}
