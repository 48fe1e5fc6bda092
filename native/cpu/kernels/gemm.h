// One matrix product for everything: C[m, n] = sum over terms of A[m, depth] * B[depth, n], where B is never a matrix
// in memory but a packer that writes a strip of it at a time (decoded from NF4, transposed, masked, ...). Terms share
// their accumulators: a LoRA update is a second term of a few more columns of depth.

// A piece of the work: rows whose part of a panel, and strips whose sums, stay in the second-level cache. More strips
// read the panel fewer times, more rows pack a strip fewer times.
inline constexpr int64_t kRowChunk = 512;
inline constexpr int64_t kBlockStrips = 2;
inline constexpr int64_t kSumBytes = 256 << 10;  // Of more strips than that, where a packer asks for them.
// Of a panel that comes from beyond a core's own caches every time.
inline constexpr int64_t kLargePanelBytes = 6 << 20;
inline constexpr int64_t kLargePanelRowChunk = 256;
inline constexpr int64_t kLargePanelBlockStrips = 8;
// So few rows multiply a strip in less time than short runs of the next one's rows take to come.
inline constexpr int64_t kFlatRows = 256;

// Rows and columns of one piece of the work. Its sums are tiles [rows][kTileCols], one behind the other.
struct Piece {
    int64_t row_first;
    int64_t rows;
    int64_t col_first;
    int64_t cols;
    float* acc;

    template <typename Body>
    void for_each_tile(Body&& body) const {
        for (int64_t c = 0; c < cols; c += kTileCols) {
            body(col_first + c, min_of(kTileCols, cols - c), acc + c * rows);
        }
    }
};

struct Nothing {
    void operator()(const Piece&) const {}
};

// Pack: void(int64_t depth_first, int64_t depth, int64_t col_first, int64_t cols, Element* strip) fills a strip;
// columns past `cols` need not be written. One that reads its right side as it lies, of cols() columns, also has
// flat(), of the same arguments, for flat strips. After: void(const Piece&) may change the sums of this term and those
// before it.
template <typename Element, int Parts, typename Pack, typename After = Nothing>
struct Term {
    // Of a piece of few rows. A packer may know that it reads faster the wider it may.
    static constexpr int64_t kMostStrips = [] {
        if constexpr (requires { Pack::kMostStrips; }) {
            return Pack::kMostStrips;
        } else {
            return kBlockStrips;
        }
    }();
    const Panel<Element, Parts>& a;
    Pack pack;
    After after{};
};

template <typename Element, int Parts, typename Pack>
Term(const Panel<Element, Parts>&, Pack) -> Term<Element, Parts, Pack>;
template <typename Element, int Parts, typename Pack, typename After>
Term(const Panel<Element, Parts>&, Pack, After) -> Term<Element, Parts, Pack, After>;

template <typename Element, int Parts, typename Pack, typename After>
void accumulate_flat(const Term<Element, Parts, Pack, After>& term, const Piece& piece, bool fresh, Element* strip) {
    for (int64_t c = 0; c < piece.cols; c += kFlatCols) {
        const int64_t cols = min_of(kFlatCols, piece.cols - c);
        for (int64_t d = 0; d < term.a.depth(); d += kFlatDepth<Element>) {
            const int64_t depth = min_of(kFlatDepth<Element>, term.a.depth() - d);
            const Element* a = term.a.at(piece.row_first, d);
            term.pack.flat(d, depth, piece.col_first + c, cols, strip);
            for (int64_t t = 0; t < cols; t += kTileCols) {
                multiply_rows<Parts>(a, term.a.stride(), piece.rows, depth, strip + t * kFlatDepth<Element>,
                                     fresh && d == 0, piece.acc + (c + t) * piece.rows, nullptr, 0);
            }
        }
    }
    term.after(piece);
}

template <typename Element, int Parts, typename Pack, typename After>
void accumulate(const Term<Element, Parts, Pack, After>& term, const Piece& piece, bool fresh, float* memory) {
    auto* strip = reinterpret_cast<Element*>(memory);
    if constexpr (requires { &Pack::flat; }) {
        // Not by the piece, for results do not depend on how the work is shared out.
        if (term.a.rows() <= kFlatRows && term.pack.cols() >= kFlatCols) {
            return accumulate_flat(term, piece, fresh, strip);
        }
    }
    for (int64_t d = 0; d < term.a.depth(); d += kTileDepth) {
        const int64_t depth = min_of(kTileDepth, term.a.depth() - d);
        const Element* a = term.a.at(piece.row_first, d);
        // A panel larger than the caches comes from memory for every piece; each tile asks for its share of the rows'
        // next elements.
        const auto* next = reinterpret_cast<const char*>(term.a.at(piece.row_first, d + kTileDepth));
        const int64_t next_depth = min_of(kTileDepth, term.a.depth() - d - depth);
        const int64_t share =
            piece.rows * Parts * next_depth * static_cast<int64_t>(sizeof(Element)) * kTileCols / piece.cols;
        for (int64_t c = 0; c < piece.cols; c += kStripCols) {
            const int64_t cols = min_of(kStripCols, piece.cols - c);
            term.pack(d, depth, piece.col_first + c, cols, strip);
            for (int64_t t = 0; t < cols; t += kTileCols) {
                multiply_rows<Parts>(a, term.a.stride(), piece.rows, depth, strip + t / kTileCols * kTileElements,
                                     fresh && d == 0, piece.acc + (c + t) * piece.rows,
                                     next + (c + t) / kTileCols * share, share);
            }
        }
    }
    term.after(piece);
}

// How a product [m, n] is cut into pieces of `chunk` rows and `block` columns.
struct Cuts {
    int64_t m;
    int64_t n;
    int workers;
    int64_t chunk;
    int64_t block;

    // Of terms of so many elements of depth and bytes of panels in all, each of which reads fastest with so many
    // strips.
    Cuts(int64_t rows, int64_t cols, int64_t depth, int64_t bytes, std::initializer_list<int64_t> strips_of_terms)
        : m(rows), n(cols), workers(threads_for(rows * cols * depth / kLanes)) {
        const bool large = bytes > kLargePanelBytes;
        // Large pieces reuse what they read; but there must be enough of them, or of short rows, for every thread:
        // several, so that a slow one gets fewer, or one where each would pack a right side that is as deep as the
        // panel is large.
        const int64_t wanted = workers > 1 ? (large ? 1 : 4) * workers : 1;
        const int64_t strips = ceil_div(n, kStripCols);
        const int64_t fitting = kSumBytes / (min_of(m, kRowChunk) * kStripCols * static_cast<int64_t>(sizeof(float)));
        int64_t most_strips = kBlockStrips;
        for (const int64_t most : strips_of_terms) {
            most_strips = most > most_strips ? min_of(most, fitting) : most_strips;
        }
        const int64_t block_strips =
            min_of(strips, large ? kLargePanelBlockStrips : min_of(strips / wanted, most_strips));
        block = kStripCols * (block_strips > 1 ? block_strips : 1);
        // Each cut packs all strips once more, so no more of them than give every thread work.
        const int64_t row_cuts = ceil_div(workers, col_blocks());
        const int64_t shortest = min_of(m, 4 * kTileRows);
        const int64_t most = min_of(large ? kLargePanelRowChunk : kRowChunk, ceil_div(m, row_cuts));
        chunk = ceil_div(m, ceil_div(m, most < shortest ? shortest : most));
    }

    int64_t row_chunks() const { return ceil_div(m, chunk); }
    int64_t col_blocks() const { return ceil_div(n, block); }
};

// The pieces of a product. A thread takes those of its own rows first, whose share of the panel it has packed and whose
// results it will most likely read again, then what is left of others'.
class PieceQueue {
  public:
    PieceQueue(int64_t row_chunks, int64_t col_blocks)
        : row_chunks_(row_chunks),
          col_blocks_(col_blocks),
          memory_(row_chunks * static_cast<int64_t>(sizeof(int64_t))),
          taken_(memory_.as<int64_t>()) {
        std::memset(taken_, 0, sizeof(int64_t) * static_cast<size_t>(row_chunks));
    }

    // By every thread of a team. Body: void(int64_t row_chunk, int64_t col_block).
    template <typename Body>
    void take(const Body& body) {
        const int64_t own = row_chunks_ * omp_get_thread_num() / omp_get_num_threads();
        for (int64_t i = 0; i < row_chunks_; ++i) {
            const int64_t row_chunk = (own + i) % row_chunks_;
            for (int64_t block; (block = next(row_chunk)) < col_blocks_;) {
                body(row_chunk, block);
            }
        }
    }

  private:
    int64_t next(int64_t row_chunk) {
        int64_t block;
#pragma omp atomic capture
        block = taken_[row_chunk]++;
        return block;
    }

    int64_t row_chunks_;
    int64_t col_blocks_;
    Scratch memory_;
    int64_t* taken_;  // Blocks of each chunk.
};

// Work that any number of threads share.
class Work {
  public:
    Work() = default;
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;

    // Threads that it keeps busy, and floats that each of them needs.
    virtual int workers() const = 0;
    virtual int64_t memory() const = 0;

    // By every thread of a team: takes pieces until none is left.
    virtual void take(float* memory) = 0;

  protected:
    ~Work() = default;
};

// Does several works that do not need each other's results. A thread that finds nothing left of one goes on to the next
// instead of waiting for the others, so those of small pieces should come last.
inline void run(std::initializer_list<Work*> works) {
    int workers = 1;
    int64_t most_memory = 0;
    for (const Work* work : works) {
        workers = std::max(workers, work->workers());
        most_memory = std::max(most_memory, work->memory());
    }
    Scratch scratch(most_memory * workers * static_cast<int64_t>(sizeof(float)));
    auto* memory = scratch.as<float>();
#pragma omp parallel num_threads(workers)
    for (Work* work : works) {
        work->take(memory + omp_get_thread_num() * most_memory);
    }
}

// Finish: void(const Piece&) takes the sums of a piece, which are its to change. Every sum is made by one thread in one
// order, so results do not depend on the number of threads, nor on which of them comes first.
template <typename Finish, typename... Terms>
class Product final : public Work {
  public:
    Product(int64_t m, int64_t n, const Finish& finish, const Terms&... terms)
        : Product(Cuts(m, n, (... + terms.a.depth()), (... + terms.a.bytes()), {Terms::kMostStrips...}), finish,
                  terms...) {}

    int workers() const override { return cuts_.workers; }
    int64_t memory() const override { return kStripElements + cuts_.chunk * cuts_.block; }

    void take(float* memory) override {
        queue_.take([&](int64_t row_chunk, int64_t col_block) {
            const int64_t row_first = row_chunk * cuts_.chunk;
            const int64_t col_first = col_block * cuts_.block;
            const Piece piece{row_first, min_of(cuts_.chunk, cuts_.m - row_first), col_first,
                              min_of(cuts_.block, cuts_.n - col_first), memory + kStripElements};
            bool fresh = true;
            std::apply(
                [&](const Terms&... term) { (accumulate(term, piece, std::exchange(fresh, false), memory), ...); },
                terms_);
            finish_(piece);
        });
    }

  private:
    Product(const Cuts& cuts, const Finish& finish, const Terms&... terms)
        : cuts_(cuts), finish_(finish), terms_(terms...), queue_(cuts.row_chunks(), cuts.col_blocks()) {}

    Cuts cuts_;
    Finish finish_;
    std::tuple<Terms...> terms_;
    PieceQueue queue_;
};

template <typename Finish, typename... Terms>
void multiply(int64_t m, int64_t n, const Finish& finish, const Terms&... terms) {
    Product product(m, n, finish, terms...);
    run({&product});
}

// Writes tiles to a row-major matrix, times a factor, plus a bias for every row and a matrix like it, which may be it.
template <typename T>
struct StoreTiles {
    T* dst;
    int64_t stride;
    float factor = 1.0F;
    const T* bias = nullptr;
    const T* residual = nullptr;

    void operator()(const Piece& piece) const {
        piece.for_each_tile([&](int64_t col_first, int64_t cols, const float* acc) {
            float offset[kTileCols] = {};
            if (bias != nullptr) {
                convert_to_float(bias + col_first, cols, offset);
            }
            for (int64_t r = 0; r < piece.rows; ++r) {
                const float* sums = acc + r * kTileCols;
                const int64_t first = (piece.row_first + r) * stride + col_first;
                each_register(0, cols, [&](int64_t c, auto lanes) {
                    Vec sum = load(sums + c) * factor + load(offset + c);
                    if (residual != nullptr) {
                        sum += load_as_float(residual + first + c, lanes);
                    }
                    store_from_float(dst + first + c, sum, lanes);
                });
            }
        });
    }
};
