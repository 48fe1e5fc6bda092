// A product's work, cut into pieces that threads share out among themselves.

// A piece of the work: rows whose part of a panel, and strips whose sums, stay in the second-level cache. More strips
// read the panel fewer times, more rows pack a strip fewer times.
inline constexpr int64_t kRowChunk = 512;
inline constexpr int64_t kBlockStrips = 2;
inline constexpr int64_t kSumBytes = 256 << 10;  // Of more strips than that, where a packer asks for them.
// Of a panel that comes from beyond a core's own caches every time.
inline constexpr int64_t kLargePanelBytes = 6 << 20;
inline constexpr int64_t kLargePanelRowChunk = 256;
inline constexpr int64_t kLargePanelBlockStrips = 8;

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
