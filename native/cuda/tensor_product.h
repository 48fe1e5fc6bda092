// A matrix product on tensor cores: activations times weights that a policy brings, as a pipeline through shared memory
// with sums in registers. nf4_linear.cu, nf4_linear_backward.cu and dense_linear.cu have the policies.
//
// Within each half of a stage, the order of the depth is free as long as both operands agree. Lane t of a group of four
// takes the eight neighbours 8t .. 8t + 7, four in each of two products: of activations these are 16 bytes of a row, of
// packed weights four bytes.
#pragma once

#include "device.h"
#include "philox.h"
#include "tensor_linear.h"

namespace nibble::cuda {

// One stage in shared memory.
struct Stage {
    Shared<uint16_t> activations;  // [kRows, 64] in pieces of eight, placed by row_offset.
    Shared<uint8_t> weights;       // As the policy places them.
    Shared<float> scales;
};

// Where piece `piece` (16 bytes) of a row of 64 16-bit elements begins, in elements. Eight lanes read two rows of four
// pieces at a time: odd rows have their halves exchanged, so that those lie in different banks.
NIBBLE_DEVICE int row_offset(int row, int piece) {
    return 64 * row + 8 * (piece ^ ((row & 1) << 2));
}

// Calls body(row, piece) for each of kPieces pieces of each of kRows rows that is this thread's to copy: the same piece
// of rows a constant apart, so that little is left to compute for each.
template <int kThreads, int kRows, int kPieces, typename Body>
NIBBLE_DEVICE void for_each_piece(const Body& body) {
    static_assert(kThreads % kPieces == 0 && kRows * kPieces % kThreads == 0);
    const uint32_t thread = thread_index();
    NIBBLE_UNROLL
    for (int row = 0; row < kRows; row += kThreads / kPieces) {
        body(static_cast<int>(thread / kPieces) + row, static_cast<int>(thread % kPieces));
    }
}

// Sums of a warp's part of the tile, in the layout of the tensor cores' C fragments.
template <typename Tile>
struct Sums {
    float value[Tile::kFragmentsM][Tile::kFragmentsN][4] = {};

    // Adds the product over a stage's depth; fragment(step, j, b) gives fragment j of the weights for each quarter.
    template <typename T, typename Fragment>
    NIBBLE_DEVICE void add(const Stage& stage, int warp_row, const Fragment& fragment) {
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
                    rows[i][eight] = stage.activations.template load<Words4>(row_offset(row, 4 * half + quarter));
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
    NIBBLE_DEVICE void add_small(int64_t depth, const Left& left, const Right& right) {
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

// Runs the depths [first, end), multiples of 64. `copy(stage, depth)` starts a stage's copies, `read_scale(i, depth)`
// gives its i-th scale, and `multiply(stage)` uses it. Copies run kStages - 1 stages ahead; a scale is asked for before
// a stage's product and put down after it, so that nobody waits for memory.
template <typename Tile, Weights kWeights, typename Copy, typename ReadScale, typename Multiply>
NIBBLE_DEVICE void run_pipeline(int64_t first, int64_t end, const Copy& copy, const ReadScale& read_scale,
                                const Multiply& multiply) {
    const int steps = static_cast<int>((end - first) / Tile::kDepth);
    const auto stage = [](int number) NIBBLE_INLINE {
        const int place = static_cast<int>(static_cast<uint32_t>(number) % Tile::kStages);
        const int activations = Tile::table_bytes(kWeights) + place * Tile::stage_bytes(kWeights);
        const int weights = activations + Tile::activation_bytes();
        return Stage{shared_memory<uint16_t>(activations), shared_memory<uint8_t>(weights),
                     shared_memory<float>(weights + Tile::weight_bytes(kWeights))};
    };
    const auto depth_of = [&](int step) NIBBLE_INLINE { return first + static_cast<int64_t>(step) * Tile::kDepth; };
    const auto begin = [&](int step) NIBBLE_INLINE {
        if (step < steps) {
            copy(stage(step), depth_of(step));
        }
        copy_async_commit();
    };
    constexpr int kScales = kWeights == Weights::nf4 ? Tile::kColumns : 0;
    constexpr int kScalesOfThread = (kScales + Tile::kThreads - 1) / Tile::kThreads;
    // Calls body(i, scale) for each scale of a stage that is this thread's.
    const auto for_each_scale = [&](int step, const auto& body) NIBBLE_INLINE {
        NIBBLE_UNROLL
        for (int i = 0; i < kScalesOfThread; ++i) {
            const int scale = static_cast<int>(thread_index()) + i * Tile::kThreads;
            if (step < steps && scale < kScales) {
                body(i, scale);
            }
        }
    };
    for (int step = 0; step < Tile::kStages - 1; ++step) {
        begin(step);
        for_each_scale(
            step, [&](int, int scale) NIBBLE_INLINE { stage(step).scales[scale] = read_scale(scale, depth_of(step)); });
    }
    for (int step = 0; step < steps; ++step) {
        const int next = step + Tile::kStages - 1;
        copy_async_wait<Tile::kStages - 2>();
        block_barrier();  // The stage has arrived for all, and the one before is free.
        begin(next);
        float scales[kScalesOfThread > 0 ? kScalesOfThread : 1] = {};
        for_each_scale(next, [&](int i, int scale) NIBBLE_INLINE { scales[i] = read_scale(scale, depth_of(next)); });
        multiply(stage(step));
        for_each_scale(next, [&](int i, int scale) NIBBLE_INLINE { stage(next).scales[scale] = scales[i]; });
    }
}

// Writes neighbours among the float32 sums, or adds them to what is there, two or four in one access.
template <int kCount, typename T>
NIBBLE_DEVICE void store_sums(const TensorLinearArguments<T>& args, int64_t place, const float (&values)[kCount]) {
    constexpr int kTogether = kCount < 4 ? kCount : 4;
    struct alignas(4 * kTogether) Floats {
        float value[kTogether];
    };
    NIBBLE_UNROLL
    for (int i = 0; i < kCount; i += kTogether) {
        Floats floats = args.adds ? args.sums.template load<Floats>(place + i) : Floats{};
        NIBBLE_UNROLL
        for (int e = 0; e < kTogether; ++e) {
            floats.value[e] += values[i + e];
        }
        args.sums.template store<Floats>(place + i, floats);
    }
}

// Writes neighbours of a row of the result, in one access where the rows allow it.
template <int kCount, typename T>
NIBBLE_DEVICE void store_run(const TensorLinearArguments<T>& args, int64_t row, int64_t column, int64_t columns,
                             float (&values)[kCount]) {
    const int64_t index = row * columns + column;
    if (args.sums.present()) {
        const int64_t place = block_index(2) * args.m * columns + index;
        if constexpr (kCount > 1) {
            if (columns % kCount == 0) {
                store_sums(args, place, values);
                return;
            }
        }
        NIBBLE_UNROLL
        for (int i = 0; i < kCount; ++i) {
            if (column + i < columns) {
                args.sums[place + i] = args.adds ? args.sums[place + i] + values[i] : values[i];
            }
        }
        return;
    }
    NIBBLE_UNROLL
    for (int i = 0; i < kCount; ++i) {
        if (args.bias.present() && column + i < columns) {
            values[i] += to_float(args.bias[column + i]);
        }
        if (args.residual.present() && column + i < columns) {
            values[i] += to_float(args.residual[index + i]);
        }
    }
    if constexpr (kCount > 1) {
        if (columns % kCount == 0) {
            struct alignas(2 * kCount) Pairs {
                uint32_t pair[kCount / 2];
            } pairs;
            NIBBLE_UNROLL
            for (int i = 0; i < kCount / 2; ++i) {
                pairs.pair[i] = pack_pair<T>(values[2 * i], values[2 * i + 1]);
            }
            args.out.template store<Pairs>(index, pairs);
            return;
        }
    }
    NIBBLE_UNROLL
    for (int i = 0; i < kCount; ++i) {
        if (column + i < columns) {
            args.out[index + i] = from_float<T>(values[i]);
        }
    }
}

// The whole product. A policy P<T, Tile> is made of the arguments and the block's first column, and has
//   kWeights, kBackward  what it multiplies by;
//   kRun                 how many neighbours of a row a lane's sums are: 2 (those of a fragment) or 8 (one of each);
//   own_column(j)        the lane's column of fragment j, within the warp's;
//   copy(stage, depth)   starts the copies of a stage's weights;
//   scale(i, depth)      the stage's i-th scale;
//   fragments(stage, warp_column), with get(step, j, b).
template <typename T, typename Tile, template <typename, typename> class Policy>
NIBBLE_DEVICE void tensor_product(const TensorLinearArguments<T>& args) {
    using P = Policy<T, Tile>;
    const int64_t columns = P::kBackward ? args.weight.cols : args.row_count;
    const int64_t depth = P::kBackward ? args.row_count : args.weight.cols;
    const int64_t row = static_cast<int64_t>(block_index(1)) * Tile::kRows;
    const int64_t column = static_cast<int64_t>(block_index(0)) * Tile::kColumns;
    const int warp_row = warp_index() / Tile::kWarpsN * Tile::kFragmentsM * 16;
    const int warp_column = warp_index() % Tile::kWarpsN * Tile::kFragmentsN * 8;
    const int quarter = lane_index() % 4;
    const AdapterView& adapter = args.adapter;
    P policy(args, column);
    Sums<Tile> sums;

    // Calls body(row, first column, values...) for each run of neighbours that is this lane's.
    const auto for_each_run = [&](const auto& body) NIBBLE_INLINE {
        NIBBLE_UNROLL
        for (int i = 0; i < Tile::kFragmentsM; ++i) {
            NIBBLE_UNROLL
            for (int half = 0; half < 2; ++half) {
                const int64_t r = row + warp_row + 16 * i + 8 * half + lane_index() / 4;
                NIBBLE_UNROLL
                for (int run = 0; run < 2 * Tile::kFragmentsN / P::kRun; ++run) {
                    const int64_t c =
                        column + warp_column + (P::kRun == 2 ? 8 * run + 2 * quarter : 16 * quarter + 8 * run);
                    float* of_run[P::kRun];
                    NIBBLE_UNROLL
                    for (int e = 0; e < P::kRun; ++e) {
                        if constexpr (P::kRun == 2) {
                            of_run[e] = &sums.value[i][run][2 * half + e];
                        } else {
                            of_run[e] = &sums.value[i][e][2 * half + run];
                        }
                    }
                    if (r < args.m && c < columns) {
                        body(r, c, of_run);
                    }
                }
            }
        }
    };

    // The adapter is `rank` more of the depth. In backward its share comes first, since the mask acts on it alone.
    if (adapter.rank > 0 && block_index(2) == 0) {
        const float factor = P::kBackward ? 1.0F : adapter.scale;
        sums.template add_small<T>(
            adapter.rank,
            [&](int r, int64_t d) NIBBLE_INLINE {
                const int64_t of = row + warp_row + r;
                return of < args.m ? args.hidden[of * adapter.rank + d] * factor : 0.0F;
            },
            [&](int j, int64_t d) NIBBLE_INLINE {
                const int64_t of = column + warp_column + P::own_column(j);
                if (of >= columns) {
                    return 0.0F;
                }
                return P::kBackward ? static_cast<float>(adapter.a[d * columns + of])
                                    : static_cast<float>(adapter.b[of * adapter.rank + d]);
            });
        if (P::kBackward && adapter.dropout.threshold > 0) {
            for_each_run([&](int64_t r, int64_t c, float*(&of_run)[P::kRun]) NIBBLE_INLINE {
                float factors[P::kRun];
                dropout_factors(adapter.dropout, r * columns + c, factors);
                NIBBLE_UNROLL
                for (int e = 0; e < P::kRun; ++e) {
                    *of_run[e] *= factors[e];
                }
            });
        }
    }

    run_pipeline<Tile, P::kWeights>(
        block_index(2) * args.depth_of_split, min_of((block_index(2) + 1) * args.depth_of_split, depth),
        [&](const Stage& stage, int64_t d) NIBBLE_INLINE {
            for_each_piece<Tile::kThreads, Tile::kRows, 8>([&](int r, int piece) NIBBLE_INLINE {
                copy_async(stage.activations.from(row_offset(r, piece)), args.in,
                           (row + r) * args.in_stride + 8 * piece + d, row + r < args.m);
            });
            policy.copy(stage, d);
        },
        [&](int i, int64_t d) NIBBLE_INLINE { return policy.scale(i, d); },
        [&](const Stage& stage) NIBBLE_INLINE {
            auto fragments = policy.fragments(stage, warp_column);
            sums.template add<T>(stage, warp_row,
                                 [&](int step, int j, uint32_t(&b)[2]) NIBBLE_INLINE { fragments.get(step, j, b); });
        });

    for_each_run([&](int64_t r, int64_t c, float*(&of_run)[P::kRun]) NIBBLE_INLINE {
        float values[P::kRun];
        NIBBLE_UNROLL
        for (int e = 0; e < P::kRun; ++e) {
            values[e] = *of_run[e];
        }
        store_run(args, r, c, columns, values);
    });
}

}  // namespace nibble::cuda
