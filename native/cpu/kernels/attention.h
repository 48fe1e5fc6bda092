// Causal attention over sequences laid end to end, in blocks of queries and keys (FlashAttention, arXiv:2205.14135):
// scores are never in memory as a whole, and blocks that the mask hides are never computed. A block of scores has a row
// for each key and a column for each query, so that what belongs to a query (its maximum, its sum) is a lane of a
// register and no sum runs across one. Matrices of queries are therefore made transposed, [head_dim][queries].

inline constexpr int64_t kAttentionBlock = 64;
inline constexpr int kBlockTileRows = kTileRows < 8 ? 4 : 8;  // Of a tile: a block's rows are a multiple of them.
inline constexpr float kHidden =
    -1e30F;  // A score that the mask hides; unlike infinity it can be subtracted from itself.

// ---- products of small blocks. Left sides are rows; right sides are tiles of kTileCols columns (pack.h).

// c[rows][cols] = a[rows][depth] * panels, or added to what is there.
template <typename Operand>
void block_product(const Operand* a, int64_t a_stride, int64_t rows, int64_t depth, const Operand* panels,
                   int64_t panel_stride, int64_t cols, float* c, int64_t c_stride, bool add) {
    for (int64_t col = 0; col < cols; col += kTileCols) {
        for (int64_t row = 0; row < rows; row += kBlockTileRows) {
            multiply_tile<kBlockTileRows>(a + row * a_stride, a_stride, depth, panels + col / kTileCols * panel_stride,
                                          !add, c + row * c_stride + col, c_stride);
        }
    }
}

// Blocks as operands. A block has kAttentionBlock rows of `width` elements, which is head_dim padded to whole panels;
// rows and elements past the sequence's and the head's are zero.

template <typename T, typename Operand>
void gather_block(const T* src, int64_t stride, int64_t rows, int64_t cols, int64_t width, Operand* block) {
    std::memset(block, 0, sizeof(Operand) * static_cast<size_t>(kAttentionBlock * width));
    for (int64_t r = 0; r < rows; ++r) {
        if constexpr (std::is_same_v<T, Operand>) {
            std::memcpy(block + r * width, src + r * stride, sizeof(T) * static_cast<size_t>(cols));
        } else {
            convert_to_float(src + r * stride, cols, block + r * width);
        }
    }
}

// dst[cols][stride] = src[rows][cols], both multiples of kLanes.
template <typename Element>
void turn(const Element* src, int64_t rows, int64_t cols, Element* dst, int64_t stride) {
    alignas(64) float straight[kLanes * kLanes];
    alignas(64) float turned[kLanes * kLanes];
    for (int64_t r = 0; r < rows; r += kLanes) {
        for (int64_t c = 0; c < cols; c += kLanes) {
            for (int64_t i = 0; i < kLanes; ++i) {
                store(straight + i * kLanes, load_as_float(src + (r + i) * cols + c));
            }
            transpose_square(straight, kLanes, turned, kLanes);
            for (int64_t i = 0; i < kLanes; ++i) {
                store_from_float(dst + (c + i) * stride + r, load(turned + i * kLanes));
            }
        }
    }
}

// Panels whose columns are a block's rows: words of four bytes, one float or a pair, change places.
template <typename Operand>
void panels_of_columns(const Operand* block, int64_t width, Operand* panels) {
    const int64_t words = width * static_cast<int64_t>(sizeof(Operand)) / 4;
    for (int64_t row = 0; row < kAttentionBlock; row += kLanes) {
        const auto* src = reinterpret_cast<const float*>(block) + row * words;
        auto* dst = reinterpret_cast<float*>(panels) + row / kTileCols * kTileCols * words + row % kTileCols;
        for (int64_t word = 0; word < words; word += kLanes) {
            transpose_square(src + word, words, dst + word * kTileCols, kTileCols);
        }
    }
}

// Panels whose depths are a block's rows.
inline void panels_of_rows(const float* block, int64_t width, float* panels) {
    for (int64_t first = 0; first < width; first += kTileCols) {
        for (int64_t r = 0; r < kAttentionBlock; ++r) {
            std::memcpy(panels + first * kAttentionBlock + r * kTileCols, block + r * width + first,
                        sizeof(float) * static_cast<size_t>(kTileCols));
        }
    }
}

#if defined(__AVX512BF16__)
inline void panels_of_rows(const BFloat16* block, int64_t width, BFloat16* panels) {
    const auto wide = [](const BFloat16* row) {
        return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row)));
    };
    for (int64_t first = 0; first < width; first += kLanes) {
        BFloat16* panel = panels + first / kTileCols * kTileCols * kAttentionBlock + first % kTileCols * 2;
        for (int64_t r = 0; r < kAttentionBlock; r += 2) {
            const BFloat16* row = block + r * width + first;
            _mm512_storeu_si512(panel + r * kTileCols,
                                _mm512_or_si512(wide(row), _mm512_slli_epi32(wide(row + width), 16)));
        }
    }
}
#endif

// ---- sizes and the mask

struct AttentionSizes {
    const nibble_attention& given;
    int64_t group;        // Query heads that share a key head.
    int64_t width;        // Of blocks.
    int64_t longest = 0;  // Rows of the longest sequence, in whole blocks.
    int64_t work = 0;

    explicit AttentionSizes(const nibble_attention& attention)
        : given(attention),
          group(attention.heads / attention.kv_heads),
          width(ceil_div(attention.head_dim, kTileCols) * kTileCols) {
        for (int64_t s = 0; s < given.sequences; ++s) {
            const int64_t rows = rows_of(given.lengths[s]);
            longest = rows > longest ? rows : longest;
            work += rows * rows * given.heads * width / kLanes;
        }
    }

    static int64_t rows_of(int64_t length) { return ceil_div(length, kAttentionBlock) * kAttentionBlock; }

    // Tokens before a sequence.
    int64_t start(int64_t sequence) const {
        int64_t sum = 0;
        for (int64_t s = 0; s < sequence; ++s) {
            sum += given.lengths[s];
        }
        return sum;
    }

    // The first block of keys that a block of queries sees; the last is the block itself.
    int64_t first_key_block(int64_t query_block) const {
        const int64_t first = query_block * kAttentionBlock - given.window + 1;
        return given.window == 0 || first < 0 ? 0 : first / kAttentionBlock;
    }

    // The last block of queries that sees a block of keys, of so many blocks.
    int64_t last_query_block(int64_t key_block, int64_t blocks) const {
        const int64_t last = (key_block * kAttentionBlock + kAttentionBlock - 1 + given.window - 1) / kAttentionBlock;
        return given.window == 0 ? blocks - 1 : min_of(last, blocks - 1);
    }

    // Sets the scores of a key with those queries that do not see it; `ahead` is the key's position less the first
    // query's.
    void mask(int64_t ahead, float value, float* scores) const {
        for (int64_t c = 0; c < min_of(ahead, kAttentionBlock); ++c) {
            scores[c] = value;
        }
        const int64_t end = given.window == 0 ? kAttentionBlock : ahead + given.window;
        for (int64_t c = end > 0 ? end : 0; c < kAttentionBlock; ++c) {
            scores[c] = value;
        }
    }
};

// Hands out scratch memory piece by piece; without memory it only counts.
class Pieces {
  public:
    explicit Pieces(char* memory) : memory_(memory) {}

    // Pieces of `count` elements each.
    template <typename... Element>
    void take(int64_t count, Element*&... pieces) {
        (take_one(count, pieces), ...);
    }
    int64_t bytes() const { return bytes_; }

  private:
    template <typename Element>
    void take_one(int64_t count, Element*& piece) {
        piece = memory_ == nullptr ? nullptr : reinterpret_cast<Element*>(memory_ + bytes_);
        bytes_ += ceil_div(count * static_cast<int64_t>(sizeof(Element)), 64) * 64;
    }

    char* memory_;
    int64_t bytes_ = 0;
};

// Every sequence and key head, with the query heads that share it, is one thread's, whatever their number is.
template <typename Memory, typename Body>
void for_each_key_head(const AttentionSizes& sizes, const Body& body) {
    Pieces count(nullptr);
    Memory(sizes, count);
    const int workers = threads_for(sizes.work);
    Scratch scratch(count.bytes() * workers);
#pragma omp parallel for schedule(dynamic) num_threads(workers)
    for (int64_t item = 0; item < sizes.given.sequences * sizes.given.kv_heads; ++item) {
        Pieces pieces(scratch.as<char>() + omp_get_thread_num() * count.bytes());
        const Memory memory(sizes, pieces);
        const int64_t sequence = item / sizes.given.kv_heads;
        body(memory, sizes.start(sequence), static_cast<int64_t>(sizes.given.lengths[sequence]),
             item % sizes.given.kv_heads);
    }
}

// A head's rows in a tensor [tokens, heads, head_dim].
template <typename T>
struct HeadRows {
    T* data;
    int64_t stride;

    HeadRows(T* tensor, int64_t heads, int64_t head_dim, int64_t start, int64_t head)
        : data(tensor + (start * heads + head) * head_dim), stride(heads * head_dim) {}
    T* row(int64_t token) const { return data + token * stride; }
};

// dst.row(first + r)[c] = src[c][r] * factors[r] for a block's rows and a head's elements; src has whole registers.
template <typename T>
void store_turned(const float* src, int64_t stride, const float* factors, int64_t rows, int64_t cols,
                  const HeadRows<T>& dst, int64_t first) {
    alignas(64) float turned[kLanes * kLanes];
    for (int64_t r = 0; r < rows; r += kLanes) {
        for (int64_t c = 0; c < cols; c += kLanes) {
            transpose_square(src + c * stride + r, stride, turned, kLanes);
            for (int64_t i = 0; i < min_of(kLanes, rows - r); ++i) {
                T* row = dst.row(first + r + i) + c;
                each_register(0, min_of(kLanes, cols - c), [&](int64_t, auto lanes) {
                    store_from_float(row, load(turned + i * kLanes) * factors[r + i], lanes);
                });
            }
        }
    }
}

// ---- forward

template <typename Operand>
struct AttentionMemory {
    Operand* keys;           // [keys][width]
    Operand* values;         // [width][keys]
    Operand* block;          // [block][width]
    Operand* queries;        // Panels whose columns are queries.
    Operand* probabilities;  // [block][block]
    Operand* panels;         // The same, its rows as depths.
    float* scores;           // [block][block]
    float* sums;             // [width][block]

    AttentionMemory(const AttentionSizes& sizes, Pieces& pieces) {
        pieces.take(sizes.longest * sizes.width, keys, values);
        pieces.take(kAttentionBlock * sizes.width, block, queries, sums);
        pieces.take(kAttentionBlock * kAttentionBlock, probabilities, panels, scores);
    }
};

// Scores to probabilities of a query's highest score so far, which they may raise: what was summed before shrinks. They
// are summed as they are rounded to be multiplied, so that they add up to one.
template <typename Operand>
void soften(const AttentionSizes& sizes, int64_t ahead, float* scores, float* highest, float* total, float* shrink,
            Operand* probabilities) {
    std::memcpy(shrink, highest, sizeof(float) * kAttentionBlock);
    for (int64_t k = 0; k < kAttentionBlock; ++k) {
        float* row = scores + k * kAttentionBlock;
        for (int64_t c = 0; c < kAttentionBlock; ++c) {
            row[c] *= sizes.given.scale;
        }
        sizes.mask(ahead + k, kHidden, row);
        for (int64_t c = 0; c < kAttentionBlock; ++c) {
            highest[c] = row[c] > highest[c] ? row[c] : highest[c];
        }
    }
    for (int64_t c = 0; c < kAttentionBlock; ++c) {
        shrink[c] = fast_exp(shrink[c] - highest[c]);
        total[c] *= shrink[c];
    }
    for (int64_t k = 0; k < kAttentionBlock; ++k) {
        float* row = scores + k * kAttentionBlock;
        for (int64_t c = 0; c < kAttentionBlock; c += kLanes) {
            store(row + c, fast_exp(load(row + c) - load(highest + c)));
        }
        sizes.mask(ahead + k, 0.0F, row);
        Operand* rounded = probabilities + k * kAttentionBlock;
        for (int64_t c = 0; c < kAttentionBlock; c += kLanes) {
            store_from_float(rounded + c, load(row + c));
            store(total + c, load(total + c) + load_as_float(rounded + c));
        }
    }
}

template <typename T>
void attention_forward_of(const nibble_attention& given, const T* query, const T* key, const T* value, T* output,
                          float* log_sum_exp) {
    using Operand = Multiplied<T>;
    const AttentionSizes sizes(given);
    const int64_t dim = given.head_dim;
    const int64_t width = sizes.width;
    const auto body = [&](const AttentionMemory<Operand>& memory, int64_t start, int64_t length, int64_t kv_head) {
        const HeadRows<const T> k(key, given.kv_heads, dim, start, kv_head);
        const HeadRows<const T> v(value, given.kv_heads, dim, start, kv_head);
        const int64_t keys = AttentionSizes::rows_of(length);
        for (int64_t first = 0; first < length; first += kAttentionBlock) {
            const int64_t count = min_of(kAttentionBlock, length - first);
            gather_block(k.row(first), k.stride, count, dim, width, memory.keys + first * width);
            gather_block(v.row(first), v.stride, count, dim, width, memory.block);
            turn(memory.block, kAttentionBlock, width, memory.values + first, keys);
        }
        for (int64_t head = kv_head * sizes.group; head < (kv_head + 1) * sizes.group; ++head) {
            const HeadRows<const T> q(query, given.heads, dim, start, head);
            const HeadRows<T> out(output, given.heads, dim, start, head);
            for (int64_t first = 0; first < length; first += kAttentionBlock) {
                const int64_t count = min_of(kAttentionBlock, length - first);
                gather_block(q.row(first), q.stride, count, dim, width, memory.block);
                panels_of_columns(memory.block, width, memory.queries);
                std::memset(memory.sums, 0, sizeof(float) * static_cast<size_t>(kAttentionBlock * width));
                float highest[kAttentionBlock];
                float total[kAttentionBlock] = {};
                float shrink[kAttentionBlock];
                for (float& score : highest) {
                    score = kHidden;
                }
                const int64_t block = first / kAttentionBlock;
                for (int64_t j = sizes.first_key_block(block); j <= block; ++j) {
                    const int64_t key_first = j * kAttentionBlock;
                    block_product(memory.keys + key_first * width, width, kAttentionBlock, width, memory.queries,
                                  width * kTileCols, kAttentionBlock, memory.scores, kAttentionBlock, false);
                    soften(sizes, key_first - first, memory.scores, highest, total, shrink, memory.probabilities);
                    for (int64_t d = 0; d < dim; ++d) {
                        for (int64_t c = 0; c < kAttentionBlock; ++c) {
                            memory.sums[d * kAttentionBlock + c] *= shrink[c];
                        }
                    }
                    panels_of_rows(memory.probabilities, kAttentionBlock, memory.panels);
                    block_product(memory.values + key_first, keys, width, kAttentionBlock, memory.panels,
                                  kAttentionBlock * kTileCols, kAttentionBlock, memory.sums, kAttentionBlock, true);
                }
                for (int64_t r = 0; r < count && log_sum_exp != nullptr; ++r) {
                    log_sum_exp[(start + first + r) * given.heads + head] = highest[r] + std::log(total[r]);
                }
                for (float& sum : total) {
                    sum = 1.0F / sum;
                }
                store_turned(memory.sums, kAttentionBlock, total, count, dim, out, first);
            }
        }
    };
    for_each_key_head<AttentionMemory<Operand>>(sizes, body);
}

inline void attention_forward(const nibble_attention& attention, nibble_dtype dtype, const void* query, const void* key,
                              const void* value, void* output, float* log_sum_exp) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        attention_forward_of(attention, static_cast<const T*>(query), static_cast<const T*>(key),
                             static_cast<const T*>(value), static_cast<T*>(output), log_sum_exp);
    });
}

// ---- backward: probabilities are made again, from the logarithms of their sums.

template <typename Operand>
struct AttentionGradientMemory {
    Operand* keys;         // [keys][width]
    Operand* values;       // [keys][width]
    Operand* keys_turned;  // [width][keys]
    Operand* block;        // [block][width]
    Operand* queries;      // Panels of every block: its rows as columns, and as depths.
    Operand* queries_deep;
    Operand* doutput;  // The same.
    Operand* doutput_deep;
    Operand* probabilities;  // [block][block]
    Operand* dscores;        // [block][block]
    Operand* panels;         // The same, its rows as depths.
    float* scores;           // [block][block]
    float* slopes;           // [block][block]
    float* dquery;           // [width][keys]
    float* dkey;             // [keys][width]
    float* dvalue;           // [keys][width]
    float* log_sum_exp;      // [keys]
    float* dots;             // [keys], each query's output times its gradient.

    AttentionGradientMemory(const AttentionSizes& sizes, Pieces& pieces) {
        pieces.take(sizes.longest * sizes.width, keys, values, keys_turned, queries, queries_deep, doutput,
                    doutput_deep, dquery, dkey, dvalue);
        pieces.take(kAttentionBlock * sizes.width, block);
        pieces.take(kAttentionBlock * kAttentionBlock, probabilities, dscores, panels, scores, slopes);
        pieces.take(sizes.longest, log_sum_exp, dots);
    }
};

// scores: to probabilities; slopes: from gradients of probabilities to gradients of scores, but for the scale.
inline void soften_gradients(const AttentionSizes& sizes, int64_t ahead, const float* log_sum_exp, const float* dots,
                             float* scores, float* slopes) {
    for (int64_t k = 0; k < kAttentionBlock; ++k) {
        float* row = scores + k * kAttentionBlock;
        float* slope = slopes + k * kAttentionBlock;
        for (int64_t c = 0; c < kAttentionBlock; c += kLanes) {
            store(row + c, fast_exp(load(row + c) * sizes.given.scale - load(log_sum_exp + c)));
        }
        sizes.mask(ahead + k, 0.0F, row);
        for (int64_t c = 0; c < kAttentionBlock; ++c) {
            slope[c] = row[c] * (slope[c] - dots[c]);
        }
    }
}

template <typename T>
void attention_backward_of(const nibble_attention& given, const T* query, const T* key, const T* value, const T* output,
                           const float* log_sum_exp, const T* doutput, T* dquery, T* dkey, T* dvalue) {
    using Operand = Multiplied<T>;
    const AttentionSizes sizes(given);
    const int64_t dim = given.head_dim;
    const int64_t width = sizes.width;
    const auto body = [&](const AttentionGradientMemory<Operand>& memory, int64_t start, int64_t length,
                          int64_t kv_head) {
        const HeadRows<const T> k(key, given.kv_heads, dim, start, kv_head);
        const HeadRows<const T> v(value, given.kv_heads, dim, start, kv_head);
        const int64_t keys = AttentionSizes::rows_of(length);
        const int64_t blocks = keys / kAttentionBlock;
        for (int64_t first = 0; first < length; first += kAttentionBlock) {
            const int64_t count = min_of(kAttentionBlock, length - first);
            gather_block(k.row(first), k.stride, count, dim, width, memory.keys + first * width);
            gather_block(v.row(first), v.stride, count, dim, width, memory.values + first * width);
            turn(memory.keys + first * width, kAttentionBlock, width, memory.keys_turned + first, keys);
        }
        std::memset(memory.dkey, 0, sizeof(float) * static_cast<size_t>(keys * width));
        std::memset(memory.dvalue, 0, sizeof(float) * static_cast<size_t>(keys * width));
        for (int64_t head = kv_head * sizes.group; head < (kv_head + 1) * sizes.group; ++head) {
            const HeadRows<const T> q(query, given.heads, dim, start, head);
            const HeadRows<const T> out(output, given.heads, dim, start, head);
            const HeadRows<const T> dout(doutput, given.heads, dim, start, head);
            const HeadRows<T> dq(dquery, given.heads, dim, start, head);
            for (int64_t first = 0; first < length; first += kAttentionBlock) {
                const int64_t count = min_of(kAttentionBlock, length - first);
                gather_block(q.row(first), q.stride, count, dim, width, memory.block);
                panels_of_columns(memory.block, width, memory.queries + first * width);
                panels_of_rows(memory.block, width, memory.queries_deep + first * width);
                gather_block(dout.row(first), dout.stride, count, dim, width, memory.block);
                panels_of_columns(memory.block, width, memory.doutput + first * width);
                panels_of_rows(memory.block, width, memory.doutput_deep + first * width);
                for (int64_t r = 0; r < kAttentionBlock; ++r) {
                    const int64_t token = first + r;
                    memory.dots[token] = sum_registers(r < count ? dim : 0, [&](int64_t d, auto lanes) {
                        return load_as_float(dout.row(token) + d, lanes) * load_as_float(out.row(token) + d, lanes);
                    });
                    memory.log_sum_exp[token] = r < count ? log_sum_exp[(start + token) * given.heads + head] : 0.0F;
                }
            }
            std::memset(memory.dquery, 0, sizeof(float) * static_cast<size_t>(keys * width));
            for (int64_t j = 0; j < blocks; ++j) {
                const int64_t key_first = j * kAttentionBlock;
                for (int64_t i = j; i <= sizes.last_query_block(j, blocks); ++i) {
                    const int64_t first = i * kAttentionBlock;
                    block_product(memory.keys + key_first * width, width, kAttentionBlock, width,
                                  memory.queries + first * width, width * kTileCols, kAttentionBlock, memory.scores,
                                  kAttentionBlock, false);
                    block_product(memory.values + key_first * width, width, kAttentionBlock, width,
                                  memory.doutput + first * width, width * kTileCols, kAttentionBlock, memory.slopes,
                                  kAttentionBlock, false);
                    soften_gradients(sizes, key_first - first, memory.log_sum_exp + first, memory.dots + first,
                                     memory.scores, memory.slopes);
                    convert_from_float(memory.scores, kAttentionBlock * kAttentionBlock, memory.probabilities);
                    convert_from_float(memory.slopes, kAttentionBlock * kAttentionBlock, memory.dscores);
                    panels_of_rows(memory.dscores, kAttentionBlock, memory.panels);
                    block_product(memory.probabilities, kAttentionBlock, kAttentionBlock, kAttentionBlock,
                                  memory.doutput_deep + first * width, kAttentionBlock * kTileCols, width,
                                  memory.dvalue + key_first * width, width, true);
                    block_product(memory.dscores, kAttentionBlock, kAttentionBlock, kAttentionBlock,
                                  memory.queries_deep + first * width, kAttentionBlock * kTileCols, width,
                                  memory.dkey + key_first * width, width, true);
                    block_product(memory.keys_turned + key_first, keys, width, kAttentionBlock, memory.panels,
                                  kAttentionBlock * kTileCols, kAttentionBlock, memory.dquery + first, keys, true);
                }
            }
            float scales[kAttentionBlock];
            for (float& scale : scales) {
                scale = given.scale;
            }
            for (int64_t first = 0; first < length; first += kAttentionBlock) {
                store_turned(memory.dquery + first, keys, scales, min_of(kAttentionBlock, length - first), dim, dq,
                             first);
            }
        }
        const HeadRows<T> dk(dkey, given.kv_heads, dim, start, kv_head);
        const HeadRows<T> dv(dvalue, given.kv_heads, dim, start, kv_head);
        for (int64_t token = 0; token < length; ++token) {
            each_register(0, dim, [&](int64_t d, auto lanes) {
                const int64_t place = token * width + d;
                store_from_float(dk.row(token) + d, load(memory.dkey + place) * given.scale, lanes);
                store_from_float(dv.row(token) + d, load(memory.dvalue + place), lanes);
            });
        }
    };
    for_each_key_head<AttentionGradientMemory<Operand>>(sizes, body);
}

inline void attention_backward(const nibble_attention& attention, nibble_dtype dtype, const void* query,
                               const void* key, const void* value, const void* output, const float* log_sum_exp,
                               const void* doutput, void* dquery, void* dkey, void* dvalue) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        attention_backward_of(attention, static_cast<const T*>(query), static_cast<const T*>(key),
                              static_cast<const T*>(value), static_cast<const T*>(output), log_sum_exp,
                              static_cast<const T*>(doutput), static_cast<T*>(dquery), static_cast<T*>(dkey),
                              static_cast<T*>(dvalue));
    });
}
