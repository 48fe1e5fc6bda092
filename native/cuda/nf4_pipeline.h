// What forward and backward of the NF4 linear layer share on tensor cores: the pipeline that brings activations, packed
// weights and scales into shared memory ahead of their use, and the sums in registers.
#pragma once

#include "codes.h"
#include "decode.h"
#include "nf4_linear.h"

namespace nibble::cuda {

// Entry `nibble & 15` of this lane's copy of the code book.
NIBBLE_DEVICE float code_of(Shared<float> codes, uint32_t nibble) {
    return codes[static_cast<int>((nibble & 15U) * kWarp) + lane_index()];
}

template <int kThreads>
NIBBLE_DEVICE void fill_tables(Shared<float> codes, Shared<float> map) {
    for (int i = static_cast<int>(thread_index()); i < 16 * kWarp; i += kThreads) {
        codes[i] = kNf4Codes.value[i / kWarp];
    }
    for (int i = static_cast<int>(thread_index()); i < 256; i += kThreads) {
        map[i] = kSignedMap.value[i];
    }
}

// The floats in 16 bytes.
template <typename T, int kCount>
NIBBLE_DEVICE void unpack(const Words4& words, float (&values)[kCount]) {
    NIBBLE_UNROLL
    for (int i = 0; i < kCount; ++i) {
        if constexpr (sizeof(T) == 4) {
            values[i] = bits_to_float(words.word[i]);
        } else {
            values[i] = to_float(T{static_cast<uint16_t>(words.word[i / 2] >> (16 * (i % 2)))});
        }
    }
}

// Writes a sum where the arguments want it: added to what other parts of the depth make, or finished.
template <typename T>
NIBBLE_DEVICE void store(const Nf4ProductArguments<T>& args, int64_t row, int64_t column, int64_t columns, float sum) {
    const int64_t index = row * columns + column;
    if (args.partial.present()) {
        args.partial[block_index(2) * args.m * columns + index] = sum;
        return;
    }
    args.out[index] = from_float<T>(sum + (args.bias.present() ? to_float(args.bias[column]) : 0.0F));
}

// One stage in shared memory.
template <typename Tile>
struct Stage {
    Shared<uint16_t> activations;  // [kRows, 64] in pieces of eight, placed by activation_offset.
    Shared<uint8_t> weights;
    Shared<float> scales;  // [kColumns]
};

// Where piece `piece` of a row of activations begins. Eight lanes read two rows of four pieces at a time: odd rows have
// their halves exchanged, so that those lie in different banks.
NIBBLE_DEVICE int activation_offset(int row, int piece) {
    return 64 * row + 8 * (piece ^ ((row & 1) << 2));
}

// Forward: where half `half` (16 bytes, 32 weights) of a row of packed weights begins. ldmatrix reads eight rows at a
// time: every other four have their halves exchanged.
NIBBLE_DEVICE int forward_weight_offset(int row, int half) {
    return 32 * row + 16 * (half ^ ((row >> 2) & 1));
}

// Sums of a warp's part of the tile, in the layout of the tensor cores' C fragments.
template <typename Tile>
struct Sums {
    float value[Tile::kFragmentsM][Tile::kFragmentsN][4] = {};

    // Adds the product over the 64 of a stage's depth; `fragment(step, j, b)` gives fragment j of the weights for each
    // quarter of it.
    template <typename T, typename Fragment>
    NIBBLE_DEVICE void add(const Stage<Tile>& stage, int warp_row, const Fragment& fragment) {
        const int group = lane_index() / 4;
        const int quarter = lane_index() % 4;
        NIBBLE_UNROLL
        for (int half = 0; half < 2; ++half) {
            Words4 rows[Tile::kFragmentsM][2];
            NIBBLE_UNROLL
            for (int i = 0; i < Tile::kFragmentsM; ++i) {
                NIBBLE_UNROLL
                for (int eight = 0; eight < 2; ++eight) {
                    const int row = warp_row + 16 * i + 8 * eight + group;
                    rows[i][eight] =
                        stage.activations.template load<Words4>(activation_offset(row, 4 * half + quarter));
                }
            }
            NIBBLE_UNROLL
            for (int step = 0; step < 2; ++step) {
                NIBBLE_UNROLL
                for (int j = 0; j < Tile::kFragmentsN; ++j) {
                    uint32_t b[2];
                    fragment(2 * half + step, j, b);
                    NIBBLE_UNROLL
                    for (int i = 0; i < Tile::kFragmentsM; ++i) {
                        const uint32_t a[4] = {rows[i][0].word[2 * step], rows[i][1].word[2 * step],
                                               rows[i][0].word[2 * step + 1], rows[i][1].word[2 * step + 1]};
                        multiply_16x8x16<T>(value[i][j], a, b);
                    }
                }
            }
        }
    }

    // Adds a product of small float32 matrices, rounded to T, straight from where they lie: left(row of the warp, d)
    // and right(fragment, d) for this lane's column of the fragment.
    template <typename T, typename Left, typename Right>
    NIBBLE_DEVICE void add_dense(int64_t depth, const Left& left, const Right& right) {
        const int group = lane_index() / 4;
        const int quarter = lane_index() % 4;
        for (int64_t first = 0; first < depth; first += 16) {
            const auto pair = [&](const auto& read, int index, int eight) NIBBLE_INLINE {
                const int64_t d = first + 8 * eight + 2 * quarter;
                return pack_pair<T>(d < depth ? read(index, d) : 0.0F, d + 1 < depth ? read(index, d + 1) : 0.0F);
            };
            uint32_t a[Tile::kFragmentsM][4];
            NIBBLE_UNROLL
            for (int i = 0; i < Tile::kFragmentsM; ++i) {
                NIBBLE_UNROLL
                for (int e = 0; e < 4; ++e) {
                    a[i][e] = pair(left, 16 * i + 8 * (e % 2) + group, e / 2);
                }
            }
            NIBBLE_UNROLL
            for (int j = 0; j < Tile::kFragmentsN; ++j) {
                const uint32_t b[2] = {pair(right, j, 0), pair(right, j, 1)};
                NIBBLE_UNROLL
                for (int i = 0; i < Tile::kFragmentsM; ++i) {
                    multiply_16x8x16<T>(value[i][j], a[i], b);
                }
            }
        }
    }
};

template <typename T, typename Tile>
struct Pipeline {
    Shared<float> codes = shared_memory<float>(0);
    Shared<float> map = shared_memory<float>(Tile::kCodesBytes);
    Global<const T> in;
    int64_t m;
    int64_t row;
    int64_t width;

    NIBBLE_DEVICE Pipeline(Global<const T> in_, int64_t m_, int64_t row_, int64_t width_)
        : in(in_), m(m_), row(row_), width(width_) {
        fill_tables<Tile::kThreads>(codes, map);
        block_barrier();
    }

    NIBBLE_DEVICE static Stage<Tile> stage(int64_t number) {
        const int base =
            Tile::kCodesBytes + Tile::kMapBytes + static_cast<int>(number % Tile::kStages) * Tile::kStageBytes;
        return {shared_memory<uint16_t>(base), shared_memory<uint8_t>(base + Tile::kRows * Tile::kRowBytes),
                shared_memory<float>(base + Tile::kRows * Tile::kRowBytes + Tile::kWeightBytes)};
    }

    // Runs the depths [first, end), multiples of 64: copy_weights(stage, depth) starts the copies of a stage's weights,
    // read_scale(i, depth) gives its i-th scale, and multiply(stage) uses it. Copies run kStages - 1 stages ahead; a
    // scale is asked for before a stage's product and put down after it, so that nobody waits for memory.
    template <typename CopyWeights, typename ReadScale, typename Multiply>
    NIBBLE_DEVICE void run(int64_t first, int64_t end, const CopyWeights& copy_weights, const ReadScale& read_scale,
                           const Multiply& multiply) {
        const int64_t steps = (end - first) / Tile::kDepth;
        const auto copy = [&](int64_t step) NIBBLE_INLINE {
            if (step < steps) {
                const int64_t depth = first + step * Tile::kDepth;
                copy_activations(stage(step), depth);
                copy_weights(stage(step), depth);
            }
            copy_async_commit();
        };
        constexpr int kScalesOfThread = (Tile::kColumns + Tile::kThreads - 1) / Tile::kThreads;
        const auto scale_index = [](int i) NIBBLE_INLINE { return static_cast<int>(thread_index()) + i * Tile::kThreads; };
        for (int step = 0; step < Tile::kStages - 1; ++step) {
            copy(step);
            for (int i = 0; i < kScalesOfThread && step < steps; ++i) {
                if (scale_index(i) < Tile::kColumns) {
                    stage(step).scales[scale_index(i)] = read_scale(scale_index(i), first + step * Tile::kDepth);
                }
            }
        }
        for (int64_t step = 0; step < steps; ++step) {
            const int64_t next = step + Tile::kStages - 1;
            copy_async_wait<Tile::kStages - 2>();
            block_barrier();  // The stage has arrived for all, and the one before is free.
            copy(next);
            float scales[kScalesOfThread];
            NIBBLE_UNROLL
            for (int i = 0; i < kScalesOfThread; ++i) {
                const bool wanted = next < steps && scale_index(i) < Tile::kColumns;
                scales[i] = wanted ? read_scale(scale_index(i), first + next * Tile::kDepth) : 0.0F;
            }
            multiply(stage(step));
            NIBBLE_UNROLL
            for (int i = 0; i < kScalesOfThread; ++i) {
                if (next < steps && scale_index(i) < Tile::kColumns) {
                    stage(next).scales[scale_index(i)] = scales[i];
                }
            }
        }
    }

  private:
    NIBBLE_DEVICE void copy_activations(const Stage<Tile>& to, int64_t depth) const {
        for (int e = static_cast<int>(thread_index()); e < Tile::kRows * 8; e += Tile::kThreads) {
            const int r = e / 8;
            const int piece = e % 8;
            copy_async(to.activations.from(activation_offset(r, piece)), in, (row + r) * width + depth + 8 * piece,
                       row + r < m);
        }
    }
};

}  // namespace nibble::cuda
