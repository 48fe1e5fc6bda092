// The innermost product: R rows of a panel times one tile of a strip, added to sums in memory.

// Rows whose sums stay in registers beside one row of the tile.
#if defined(__AVX512F__)
inline constexpr int kTileRows = 12;
#elif defined(__AVX2__)
inline constexpr int kTileRows = 6;
#else
inline constexpr int kTileRows = 4;
#endif

template <int R>
[[gnu::always_inline]] inline void add_sums(const Vec (*sum)[2], bool fresh, float* acc, int64_t acc_stride) {
    for (int r = 0; r < R; ++r) {
        float* row = acc + r * acc_stride;
        store(row, fresh ? sum[r][0] : load(row) + sum[r][0]);
        store(row + kLanes, fresh ? sum[r][1] : load(row + kLanes) + sum[r][1]);
    }
}

// acc[R][kTileCols] += a[R][depth] * tile[depth][kTileCols], or = where acc is fresh. A tile is summed on its own and
// then added, so that the rounding error of a long sum grows with the number of tiles and not of terms. Of no depth
// there are no tiles: a loop that might not run at all would keep its sums in memory.
template <int R, int Parts = 1, typename Stride>
void multiply_tile(const float* a, Stride stride, int64_t depth, const float* tile, bool fresh, float* acc,
                   int64_t acc_stride = kTileCols) {
    Vec sum[R][2] = {};
    int64_t d = 0;
    do {
        const Vec left = load(tile + d * kTileCols);
        const Vec right = load(tile + d * kTileCols + kLanes);
        for (int r = 0; r < R; ++r) {
            const Vec value = broadcast(a[r * stride + d]);
            sum[r][0] += value * left;
            sum[r][1] += value * right;
        }
    } while (++d < depth);
    add_sums<R>(sum, fresh, acc, acc_stride);
}

#if defined(__AVX512BF16__)
// The same over pairs of BFloat16; of an odd depth the last pair's second half is zero in the tile. Each row may be the
// sum of several.
template <int R, int Parts = 1, typename Stride>
void multiply_tile(const BFloat16* a, Stride stride, int64_t depth, const BFloat16* tile, bool fresh, float* acc,
                   int64_t acc_stride = kTileCols) {
    Vec sum[R][2] = {};
    int64_t d = 0;
    do {
        const auto left = reinterpret_cast<__m512bh>(_mm512_loadu_si512(tile + d * kTileCols));
        const auto right = reinterpret_cast<__m512bh>(_mm512_loadu_si512(tile + d * kTileCols + 2 * kLanes));
        for (int i = 0; i < R * Parts; ++i) {
            const int r = i % R;
            int32_t pair;
            std::memcpy(&pair, a + (r * Parts + i / R) * stride + d, sizeof(pair));
            const auto value = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
            sum[r][0] = _mm512_dpbf16_ps(sum[r][0], value, left);
            sum[r][1] = _mm512_dpbf16_ps(sum[r][1], value, right);
        }
        d += 2;
    } while (d < depth);
    add_sums<R>(sum, fresh, acc, acc_stride);
}
#endif

// Any number of rows, in groups that are as even as they can be: a narrow last one would leave the units waiting. Those
// of one height follow each other, so that one call is for all of them. Body: void(std::integral_constant<int, R>,
// int64_t first) takes R <= Most rows.
template <int Most, typename Body>
void for_each_group(int64_t rows, const Body& body) {
    using Call = void (*)(const Body&, int64_t, int64_t);
    static constexpr auto kCalls = []<int... R>(std::integer_sequence<int, R...>) {
        return std::array<Call, sizeof...(R)>{[](const Body& of, int64_t first, int64_t end) {
            for (; first < end; first += R + 1) {
                of(std::integral_constant<int, R + 1>{}, first);
            }
        }...};
    }
    (std::make_integer_sequence<int, Most>{});
    if (rows == 0) {
        return;
    }
    const int64_t groups = ceil_div(rows, Most);
    const auto height = static_cast<size_t>(rows / groups);
    const int64_t taller = rows % groups * static_cast<int64_t>(height + 1);
    if (taller > 0) {
        kCalls[height](body, 0, taller);
    }
    kCalls[height - 1](body, taller, rows);
}

// Meanwhile `bytes` behind `ahead` are asked for into the second-level cache.
template <int Parts, typename Element>
void multiply_rows(const Element* a, int64_t stride, int64_t rows, int64_t depth, const Element* tile, bool fresh,
                   float* acc, const char* ahead, int64_t bytes) {
    constexpr int64_t kLine = 64;
    const int64_t bytes_a_row = ceil_div(bytes, rows);
    const auto multiply_by = [&](auto step) {
        for_each_group<kTileRows>(rows, [&](auto count, int64_t row) {
            for (int64_t at = row * bytes_a_row; at < (row + count) * bytes_a_row; at += kLine) {
                __builtin_prefetch(ahead + at, 0, 2);
            }
            multiply_tile<count, Parts>(a + row * Parts * step, step, depth, tile, fresh, acc + row * kTileCols);
        });
    };
    // Rows at fixed distances need no registers.
    if (stride == kTileDepth) {
        multiply_by(std::integral_constant<int64_t, kTileDepth>{});
    } else if (stride == kRun) {
        multiply_by(std::integral_constant<int64_t, kRun>{});
    } else {
        multiply_by(stride);
    }
}
