#if defined(__AVX512BF16__)
// A term of no more rows than kMostRows whose right side is a turned NF4 weight as it lies, for the gradient of a
// layer's input. Tiles would be decoded into memory first, which takes half as long as so few rows multiply them. Here
// pairs of the weight's rows are looked up while they are multiplied, without their scales, which the panel's elements
// take instead; and what the next strip needs is made between the products of this one.
struct Nf4StraightTerm {
    static constexpr int64_t kMostRows = kTileRows;
    // A page of memory has only a few groups of a strip.
    static constexpr int64_t kMostStrips = PackNf4Straight<BFloat16>::kMostStrips;

    const Panel<BFloat16>& a;
    const TurnedWeight& weight;
    const TurnedScales& scales;
};

// Of a strip, kTileDepth deep, both sides as they are multiplied.
struct Nf4StripOperands {
    // Of rows 2 i and 2 i + 1; see pair_rows.
    alignas(64) __m512i pairs[kTileDepth / 2];
    BFloat16 scaled[Nf4StraightTerm::kMostRows][kTileDepth];
};

// How they are made, kLanes of the weight's rows at a time; steps beyond the last make nothing. No strip is deeper than
// the one before it.
class Nf4StripMaker {
  public:
    // Nothing is made of a strip that is not there.
    Nf4StripMaker() = default;

    // Of a panel's rows from `a` on.
    Nf4StripMaker(const Nf4StraightTerm& term, const BFloat16* a, int64_t depth_first, int64_t block,
                  Nf4StripOperands* operands)
        : group_(term.weight.groups(depth_first, block)),
          group_step_(term.weight.blocks() * kGroupBytes),
          scales_(term.scales.of(depth_first, block)),
          a_(a),
          a_step_(term.a.stride()),
          steps_(min_of(kTileDepth, term.a.depth() - depth_first) / kLanes),
          operands_(operands) {}

    int64_t steps() const { return steps_; }

    const Nf4StripOperands& operands() const { return *operands_; }

    // The groups of the strip behind this one are asked for.
    void pair(int64_t step, const Nf4StripMaker& behind) const {
        if (step >= steps_) {
            return;
        }
        __m512i pairs[kRowPairs];
        pair_rows(group(step), pairs);
        std::memcpy(operands_->pairs + step * kRowPairs, pairs, sizeof(pairs));
        for (int64_t w = 0; w < kRowWords && step < behind.steps_; ++w) {
            __builtin_prefetch(behind.group(step) + w * kTurnedRows * kWordBytes, 0, 2);
        }
    }

    template <int R>
    void scale(int64_t step) const {
        if (step >= steps_) {
            return;
        }
        const int64_t first = step * kLanes;
        const Vec scales = load(scales_ + first);
        for (int r = 0; r < R; ++r) {
            store_from_float(operands_->scaled[r] + first, load_as_float(a_ + r * a_step_ + first) * scales);
        }
    }

  private:
    const uint8_t* group(int64_t step) const {
        constexpr int64_t kSteps = kTurnedRows / kLanes;  // Of a group.
        return group_ + step / kSteps * group_step_ + step % kSteps * kLanes * kWordBytes;
    }

    const uint8_t* group_ = nullptr;
    int64_t group_step_ = 0;
    const float* scales_ = nullptr;
    const BFloat16* a_ = nullptr;
    int64_t a_step_ = 0;
    int64_t steps_ = 0;
    Nf4StripOperands* operands_ = nullptr;
};

// acc[R][kTileCols] += scaled[R][depth] * the columns of one tile, or = where acc is fresh. Meanwhile: void(int64_t
// step) does other work beside each.
template <int R, int Tile, typename Meanwhile>
void multiply_pairs(const Nf4StripOperands& operands, int64_t steps, bool fresh, float* acc,
                    const Meanwhile& meanwhile) {
    // Sums that take turns, where rows are too few to keep the multipliers busy.
    constexpr int kTurns = 4 * R <= kTileRows ? 4 : 2 * R <= kTileRows ? 2 : 1;
    const Nf4Products<BFloat16> products;
    Vec sum[kTurns][R][2] = {};
    for (int64_t step = 0; step < steps; ++step) {
        meanwhile(step);
#pragma GCC unroll 8
        for (int p = 0; p < kRowPairs; ++p) {
            const auto words = reinterpret_cast<WordVec>(operands.pairs[step * kRowPairs + p]);
            const __m512bh left = products.look_up(words, 2 * Tile);
            const __m512bh right = products.look_up(words, 2 * Tile + 1);
            for (int r = 0; r < R; ++r) {
                const BFloat16* pair = operands.scaled[r] + step * kLanes + 2 * p;
                Vec(&one)[2] = sum[p % kTurns][r];
                one[0] = products.add(one[0], pair, left);
                one[1] = products.add(one[1], pair, right);
            }
        }
    }
    for (int turn = 1; turn < kTurns; ++turn) {
        for (int r = 0; r < R; ++r) {
            sum[0][r][0] += sum[turn][r][0];
            sum[0][r][1] += sum[turn][r][1];
        }
    }
    add_sums<R>(sum[0], fresh, acc, kTileCols);
}

// Of a piece of R rows.
template <int R>
void accumulate_rows(const Nf4StraightTerm& term, const Piece& piece, bool fresh) {
    Nf4StripOperands operands[2];  // They take turns.
    const int64_t strips = piece.cols / kStripCols;
    const int64_t count = ceil_div(term.a.depth(), kTileDepth) * strips;
    const auto maker = [&](int64_t i) {
        if (i >= count) {
            return Nf4StripMaker{};
        }
        const int64_t d = i / strips * kTileDepth;
        return Nf4StripMaker{term, term.a.at(piece.row_first, d), d, piece.col_first / kRun + i % strips,
                             &operands[i % 2]};
    };
    Nf4StripMaker now = maker(0);
    Nf4StripMaker next = maker(1);
    for (int64_t step = 0; step < now.steps(); ++step) {
        now.pair(step, next);
        now.scale<R>(step);
    }
    for (int64_t i = 0; i < count; ++i) {
        const Nf4StripMaker behind = maker(i + 2);
        float* acc = piece.acc + i % strips * kStripCols * R;
        const bool first = fresh && i < strips;
        multiply_pairs<R, 0>(now.operands(), now.steps(), first, acc, [&](int64_t step) { next.pair(step, behind); });
        multiply_pairs<R, 1>(now.operands(), now.steps(), first, acc + kTileCols * R,
                             [&](int64_t step) { next.scale<R>(step); });
        now = next;
        next = behind;
    }
}

inline void accumulate(const Nf4StraightTerm& term, const Piece& piece, bool fresh, float*) {
    for_each_group<Nf4StraightTerm::kMostRows>(piece.rows,
                                               [&](auto rows, int64_t) { accumulate_rows<rows>(term, piece, fresh); });
}
#endif
