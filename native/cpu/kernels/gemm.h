// One matrix product for everything: C[m, n] = sum over terms of A[m, depth] * B[depth, n], where B is never a matrix
// in memory but a packer that writes one cache-sized tile of it at a time (decoded from NF4, transposed, masked, ...).
// Terms share their accumulators: a LoRA update is a second term of a few more columns of depth.

inline constexpr int kTileCols = 2 * kLanes;
#if defined(__AVX512F__)
inline constexpr int kTileRows = 12;
#elif defined(__AVX2__)
inline constexpr int kTileRows = 6;
#else
inline constexpr int kTileRows = 4;
#endif
inline constexpr int64_t kTileDepth = 256;
inline constexpr int64_t kRowChunk = 480;  // Rows whose accumulators (60 KB) stay in the second-level cache.

// A, row-major; Element is float, or BFloat16 where the instruction set multiplies it.
template <typename Element>
struct Rows {
    const Element* data;
    int64_t stride;
};

// Pack: void(int64_t depth_first, int64_t depth, int64_t col_first, int64_t cols, float* tile) fills
// tile[depth][kTileCols]; columns past `cols` need not be written.
template <typename Element, typename Pack>
struct Term {
    Rows<Element> a;
    int64_t depth;
    Pack pack;
};

template <typename Element, typename Pack>
Term(Rows<Element>, int64_t, Pack) -> Term<Element, Pack>;

// acc[R][kTileCols] += a[R][depth] * tile[depth][kTileCols]. A tile is summed on its own and then added, so that the
// rounding error of a long sum grows with the number of tiles and not of terms.
template <int R>
void multiply_tile(const float* a, int64_t stride, int64_t depth, const float* tile, float* acc) {
    Vec sum[R][2] = {};
    for (int64_t d = 0; d < depth; ++d) {
        const Vec left = load(tile + d * kTileCols);
        const Vec right = load(tile + d * kTileCols + kLanes);
        for (int r = 0; r < R; ++r) {
            const Vec value = broadcast(a[r * stride + d]);
            sum[r][0] += value * left;
            sum[r][1] += value * right;
        }
    }
    for (int r = 0; r < R; ++r) {
        store(acc + r * kTileCols, load(acc + r * kTileCols) + sum[r][0]);
        store(acc + r * kTileCols + kLanes, load(acc + r * kTileCols + kLanes) + sum[r][1]);
    }
}

#if defined(__AVX512BF16__)
// The same in bfloat16: the tile holds pairs of consecutive depths, [depth / 2][kTileCols][2].
template <int R>
void multiply_tile(const BFloat16* a, int64_t stride, int64_t depth, const BFloat16* tile, float* acc) {
    __m512 sum[R][2] = {};
    for (int64_t d = 0; d < depth; d += 2) {
        const auto left = reinterpret_cast<__m512bh>(_mm512_loadu_si512(tile + d * kTileCols));
        const auto right = reinterpret_cast<__m512bh>(_mm512_loadu_si512(tile + d * kTileCols + 2 * kLanes));
        for (int r = 0; r < R; ++r) {
            int32_t pair;
            std::memcpy(&pair, a + r * stride + d, sizeof(pair));
            const auto value = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
            sum[r][0] = _mm512_dpbf16_ps(sum[r][0], value, left);
            sum[r][1] = _mm512_dpbf16_ps(sum[r][1], value, right);
        }
    }
    for (int r = 0; r < R; ++r) {
        store(acc + r * kTileCols, load(acc + r * kTileCols) + sum[r][0]);
        store(acc + r * kTileCols + kLanes, load(acc + r * kTileCols + kLanes) + sum[r][1]);
    }
}

// tile[depth][kTileCols] -> pairs[depth / 2][kTileCols][2].
inline void pair_up(const float* tile, int64_t depth, BFloat16* pairs) {
    const __m512i low_mask = _mm512_set1_epi32(0xFFFF);
    for (int64_t d = 0; d < depth; d += 2) {
        for (int half = 0; half < 2; ++half) {
            const float* row = tile + d * kTileCols + half * kLanes;
            const auto first = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(row)));
            const auto second = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(row + kTileCols)));
            const __m512i low = _mm512_and_si512(_mm512_cvtepu16_epi32(first), low_mask);
            const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16);
            _mm512_storeu_si512(pairs + d * kTileCols + half * 2 * kLanes, _mm512_or_si512(low, high));
        }
    }
}
#endif

// Rows in steps of kTileRows, the rest with a narrower instance.
template <int R, typename Element>
void multiply_rows(const Element* a, int64_t stride, int64_t rows, int64_t depth, const Element* tile, float* acc) {
    while (rows >= R) {
        multiply_tile<R>(a, stride, depth, tile, acc);
        a += R * stride;
        acc += R * kTileCols;
        rows -= R;
    }
    if constexpr (R > 1) {
        multiply_rows<R / 2>(a, stride, rows, depth, tile, acc);
    }
}

template <typename Element, typename Pack>
void accumulate(const Term<Element, Pack>& term, int64_t row_first, int64_t rows, int64_t col_first, int64_t cols,
                float* tile, float* acc) {
    for (int64_t d = 0; d < term.depth; d += kTileDepth) {
        const int64_t depth = min_of(kTileDepth, term.depth - d);
        if (cols < kTileCols) {
            std::memset(tile, 0, sizeof(float) * static_cast<size_t>(depth * kTileCols));
        }
        term.pack(d, depth, col_first, cols, tile);
        const Element* a = term.a.data + row_first * term.a.stride + d;
        if constexpr (sizeof(Element) == sizeof(float)) {
            multiply_rows<kTileRows>(a, term.a.stride, rows, depth, tile, acc);
        } else {
#if defined(__AVX512BF16__)
            auto* pairs = reinterpret_cast<BFloat16*>(tile + kTileDepth * kTileCols);
            pair_up(tile, depth, pairs);
            multiply_rows<kTileRows>(a, term.a.stride, rows, depth, static_cast<const BFloat16*>(pairs), acc);
#endif
        }
    }
}

// Finish: void(int thread, int64_t row_first, int64_t rows, int64_t col_first, int64_t cols, float* acc) takes the
// sums, acc[rows][kTileCols]. Every sum is made by one thread in one order, so results do not depend on the number of
// threads.
template <typename Finish, typename... Terms>
void multiply(int64_t m, int64_t n, const Finish& finish, const Terms&... terms) {
    const int workers = threads_for(m * n * (... + terms.depth) / kLanes);
    const int64_t col_tiles = ceil_div(n, kTileCols);
    // Few columns (an adapter's rank) leave threads idle unless the rows are cut as well.
    const int64_t wanted = col_tiles >= 2 * workers ? 1 : ceil_div(2 * workers, col_tiles);
    const int64_t chunk = min_of(kRowChunk, ceil_div(ceil_div(m, wanted), kTileRows) * kTileRows);
    const int64_t row_chunks = ceil_div(m, chunk);
    const int64_t per_worker = 2 * kTileDepth * kTileCols + chunk * kTileCols;
    Scratch scratch(per_worker * workers * static_cast<int64_t>(sizeof(float)));
    auto* memory = scratch.as<float>();
#pragma omp parallel for schedule(static) num_threads(workers)
    for (int64_t item = 0; item < row_chunks * col_tiles; ++item) {
        const int thread = omp_get_thread_num();
        float* tile = memory + thread * per_worker;
        float* acc = tile + 2 * kTileDepth * kTileCols;
        const int64_t row_first = item / col_tiles * chunk;
        const int64_t rows = min_of(chunk, m - row_first);
        const int64_t col_first = item % col_tiles * kTileCols;
        const int64_t cols = min_of(kTileCols, n - col_first);
        std::memset(acc, 0, sizeof(float) * static_cast<size_t>(rows * kTileCols));
        (accumulate(terms, row_first, rows, col_first, cols, tile, acc), ...);
        finish(thread, row_first, rows, col_first, cols, acc);
    }
}

// Writes tiles to a row-major matrix, times a factor, plus a bias.
template <typename T>
struct StoreTiles {
    T* dst;
    int64_t stride;
    float factor = 1.0F;
    const T* bias = nullptr;

    void operator()(int, int64_t row_first, int64_t rows, int64_t col_first, int64_t cols, const float* acc) const {
        float offset[kTileCols] = {};
        if (bias != nullptr) {
            convert_to_float(bias + col_first, cols, offset);
        }
        for (int64_t r = 0; r < rows; ++r) {
            T* row = dst + (row_first + r) * stride + col_first;
            for (int64_t c = 0; c < cols; ++c) {
                row[c] = from_float<T>(acc[r * kTileCols + c] * factor + offset[c]);
            }
        }
    }
};

// Packs tiles of W^T, W [n, depth] of any format: runs of rows are decoded and transposed.
struct PackTransposed {
    const nibble_weight& weight;

    void operator()(int64_t depth_first, int64_t depth, int64_t col_first, int64_t cols, float* tile) const {
        alignas(64) float rows[kLanes][kTileDepth];
        for (int64_t c = 0; c < cols; c += kLanes) {
            const int64_t group = min_of(kLanes, cols - c);
            for (int64_t r = 0; r < group; ++r) {
                decode(weight, (col_first + c + r) * weight.cols + depth_first, depth, rows[r]);
            }
            transpose(rows, group, depth, tile + c);
        }
    }

    static void transpose(const float (*rows)[kTileDepth], int64_t group, int64_t depth, float* tile) {
        if (group == kLanes) {
            for (int64_t d = 0; d < depth; ++d) {
                for (int r = 0; r < kLanes; ++r) {
                    tile[d * kTileCols + r] = rows[r][d];
                }
            }
            return;
        }
        for (int64_t d = 0; d < depth; ++d) {
            for (int64_t r = 0; r < group; ++r) {
                tile[d * kTileCols + r] = rows[r][d];
            }
        }
    }
};

// Packs tiles of W, W [depth, n]: rows of the tile are runs of the weight.
struct PackStraight {
    const nibble_weight& weight;

    void operator()(int64_t depth_first, int64_t depth, int64_t col_first, int64_t cols, float* tile) const {
        for (int64_t d = 0; d < depth; ++d) {
            decode(weight, (depth_first + d) * weight.cols + col_first, cols, tile + d * kTileCols);
        }
    }
};

inline nibble_weight dense(const void* data, int64_t rows, int64_t cols, nibble_dtype dtype) {
    nibble_weight view{};
    view.rows = rows;
    view.cols = cols;
    view.format = dtype;  // nibble_dtype and the dense nibble_formats share their numbers.
    view.data = data;
    return view;
}
