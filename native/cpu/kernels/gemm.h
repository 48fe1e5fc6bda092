// One matrix product for everything: C[m, n] = sum over terms of A[m, depth] * B[depth, n], where B is never a matrix
// in memory but a packer that writes a strip of it at a time (decoded from NF4, transposed, masked, ...). Terms share
// their accumulators: a LoRA update is a second term of a few more columns of depth.

// So few rows multiply a strip in less time than short runs of the next one's rows take to come.
inline constexpr int64_t kFlatRows = 256;

struct Nothing {
    void operator()(const Piece&) const {}
};

// Pack: void(int64_t depth_first, int64_t depth, int64_t col_first, int64_t cols, Element* strip) fills a strip;
// columns past `cols` need not be written. One that reads a right side as it lies tells its columns by cols(), and
// fills flat strips where it is told how deep their tiles are. After: void(const Piece&) may change the sums of this
// term and those before it.
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
            term.pack(d, depth, piece.col_first + c, cols, strip, kFlatDepth<Element>);
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
    if constexpr (requires { term.pack.cols(); }) {
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
