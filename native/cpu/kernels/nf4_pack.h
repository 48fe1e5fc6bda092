// Packs a weight in whole NF4 blocks as it lies, for the gradient of a layer's input: pairs of a strip are elements of
// two rows, which look up in one register that holds both rows' code books, scaled and rounded.

#if defined(__AVX512BF16__)
// The scales of a weight's blocks, [blocks of a row][rows]: a strip's lie side by side.
class TurnedScales {
  public:
    explicit TurnedScales(const RunReader<BFloat16>& weight)
        : stride_(ceil_div(weight.matrix().rows, kLanes) * kLanes), memory_(bytes(weight)) {
        const int64_t rows = weight.matrix().rows;
        const int64_t blocks = weight.matrix().cols / kRun;
        const int workers = threads_for(rows * blocks);
#pragma omp parallel for schedule(static) num_threads(workers)
        for (int64_t n = 0; n < rows; n += kLanes) {
            for (int64_t block = 0; block < blocks; block += kAtOnce) {
                alignas(64) float square[kLanes][kAtOnce];
                for (int64_t r = 0; r < min_of(kLanes, rows - n); ++r) {
                    weight.scales().fill((n + r) * blocks + block, min_of(kAtOnce, blocks - block), square[r]);
                }
                for (int64_t b = 0; b < kAtOnce; b += kLanes) {
                    transpose_square(square[0] + b, kAtOnce, memory_.as<float>() + (block + b) * stride_ + n, stride_);
                }
            }
        }
    }

    const float* at(int64_t block, int64_t row) const {
        return memory_.as<float>() + block * stride_ + row;
    }

  private:
    static constexpr int64_t kAtOnce = 2 * kLanes;

    int64_t bytes(const RunReader<BFloat16>& weight) const {
        const int64_t blocks = ceil_div(weight.matrix().cols / kRun, kAtOnce) * kAtOnce;
        return blocks * stride_ * static_cast<int64_t>(sizeof(float));
    }

    int64_t stride_;
    Scratch memory_;
};

struct PackNf4 {
    using Element = BFloat16;
    // Asked for into the second-level cache. Rows a power of two apart share a few lines of it, so not more than need
    // be.
    static constexpr int64_t kRowsAhead = 64;
    // A page of memory has only a few rows, of which a strip takes 32 bytes each.
    static constexpr int64_t kMostStrips = 8;

    const RunReader<BFloat16>& weight;
    const TurnedScales& scales;

    void operator()(int64_t depth_first, int64_t depth, int64_t col_first, int64_t, BFloat16* strip) const {
        const int64_t blocks = weight.matrix().cols / kRun;
        const int64_t step = weight.matrix().cols / 2;
        const int64_t last = weight.matrix().rows - depth_first;
        const uint8_t* bytes = weight.block_bytes(depth_first * blocks + col_first / kRun);
        const float* scale = scales.at(col_first / kRun, depth_first);
        for (int64_t d = 0; d < depth; d += 2) {
            const uint8_t* row = bytes + d * step;
            const bool alone = d + 1 == depth;
            if (d + kRowsAhead + 1 < last) {
                __builtin_prefetch(row + kRowsAhead * step, 0, 2);
                __builtin_prefetch(row + (kRowsAhead + 1) * step, 0, 2);
            }
            decode_pairs(row, alone ? row : row + step, scale[d], alone ? 0.0F : scale[d + 1], strip + d * kTileCols);
        }
    }

  private:
    // Two blocks, one above the other, into pairs.
    static void decode_pairs(const uint8_t* first, const uint8_t* second, float first_scale, float second_scale,
                             BFloat16* tiles) {
        const __m512 code = _mm512_loadu_ps(nf4_code);
        const auto table = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(code * second_scale, code * first_scale));
        // The index of an element of the second row has a fifth bit. What brings it to the upper nibbles, that are
        // shifted down, lies beside the bytes.
        const __m512i fifth_bit = _mm512_set1_epi32(0x100000);
        const __m512i beside = _mm512_set1_epi32(0x1000000);
        const __m512i nibbles = _mm512_set1_epi32(0xF000F);
        // In the order that leaves consecutive columns behind when even and odd ones are interleaved within lanes.
        const __m512i lanes = _mm512_set_epi32(15, 14, 7, 6, 13, 12, 5, 4, 11, 10, 3, 2, 9, 8, 1, 0);
        const __m512i order = _mm512_or_si512(lanes, _mm512_slli_epi32(lanes, 16));
        for (int half = 0; half < 2; ++half) {
            const auto sixteen = [&](const uint8_t* row) {
                return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + half * 16)));
            };
            const __m512i upper = _mm512_mask_shuffle_epi8(beside, 0x1111111111111111, sixteen(first), order);
            const __m512i bytes = _mm512_mask_shuffle_epi8(upper, 0x4444444444444444, sixteen(second), order);
            const __m512i even = _mm512_permutexvar_epi16(_mm512_srli_epi32(bytes, 4), table);
            constexpr int kAndOr = 0xEA;
            const __m512i odd =
                _mm512_permutexvar_epi16(_mm512_ternarylogic_epi32(bytes, nibbles, fifth_bit, kAndOr), table);
            BFloat16* tile = tiles + half * kTileElements;
            _mm512_storeu_si512(tile, _mm512_unpacklo_epi32(even, odd));
            _mm512_storeu_si512(tile + kTileCols, _mm512_unpackhi_epi32(even, odd));
        }
    }
};
#endif
