// A tile of a matrix product in float32 on the ordinary cores: the slow, exact and general product. It takes any
// operand that can say its value at (row, depth) or (depth, column), with sizes that fit nothing.
#pragma once

#include "device.h"
#include "tile_size.h"

namespace nibble::cuda {

// Rows x Columns sums, four rows a thread (or fewer) and as many columns as it takes.
template <int kRows, int kColumns>
struct Tile {
    static constexpr int kThreadRows = 4;
    static constexpr int kThreadColumns = kRows * kColumns / kTileThreads / kThreadRows;
    static constexpr int kThreadsAcross = kColumns / kThreadColumns;
    static constexpr int kPartDepth = 256;  // A chain of additions no longer than this keeps float32's digits.

    float sums[kThreadRows][kThreadColumns] = {};

    NIBBLE_DEVICE int first_row() const { return static_cast<int>(thread_index()) / kThreadsAcross * kThreadRows; }
    NIBBLE_DEVICE int first_column() const {
        return static_cast<int>(thread_index()) % kThreadsAcross * kThreadColumns;
    }

    // sums += a * b over the depths [first, end). An operand says its value at (row or column, depth), zero outside of
    // its matrix; `kDepthFirst` tells that neighbours in depth are neighbours in memory. Where `kRun` is
    // above 1 and in_runs(), it reads so many neighbours at a time, from multiples of that on; `first` must be one.
    template <typename A, typename B>
    NIBBLE_DEVICE void add(int64_t first, int64_t end, const A& a, const B& b) {
        const Shared<float> slab_a = shared_memory<float>(0);
        const Shared<float> slab_b = shared_memory<float>(kTileDepth * (kRows + kTilePadding) * 4);
        float part[kThreadRows][kThreadColumns] = {};
        for (int64_t depth = first; depth < end; depth += kTileDepth) {
            fill<kRows>(slab_a, depth, end, a);
            fill<kColumns>(slab_b, depth, end, b);
            block_barrier();
            NIBBLE_UNROLL
            for (int d = 0; d < kTileDepth; ++d) {
                float left[kThreadRows];
                float right[kThreadColumns];
                read<kThreadRows>(slab_a, place<kRows>(d, first_row()), left);
                read<kThreadColumns>(slab_b, place<kColumns>(d, first_column()), right);
                NIBBLE_UNROLL
                for (int i = 0; i < kThreadRows; ++i) {
                    NIBBLE_UNROLL
                    for (int j = 0; j < kThreadColumns; ++j) {
                        part[i][j] = fused_multiply_add(left[i], right[j], part[i][j]);
                    }
                }
            }
            block_barrier();
            if ((depth - first) % kPartDepth == kPartDepth - kTileDepth || depth + kTileDepth >= end) {
                NIBBLE_UNROLL
                for (int i = 0; i < kThreadRows; ++i) {
                    NIBBLE_UNROLL
                    for (int j = 0; j < kThreadColumns; ++j) {
                        sums[i][j] += part[i][j];
                        part[i][j] = 0.0F;
                    }
                }
            }
        }
    }

    // Calls body(row, column, sum) for each sum of this thread that lies within the matrix.
    template <typename Body>
    NIBBLE_DEVICE void for_each(int64_t row_first, int64_t rows, int64_t column_first, int64_t columns,
                                const Body& body) {
        NIBBLE_UNROLL
        for (int i = 0; i < kThreadRows; ++i) {
            NIBBLE_UNROLL
            for (int j = 0; j < kThreadColumns; ++j) {
                const int64_t row = row_first + first_row() + i;
                const int64_t column = column_first + first_column() + j;
                if (row < rows && column < columns) {
                    body(row, column, sums[i][j]);
                }
            }
        }
    }

  private:
    template <int kCount>
    NIBBLE_DEVICE static void read(Shared<float> slab, int first, float (&values)[kCount]) {
        if constexpr (kCount == 4) {
            const auto four = slab.template load<Words4>(first);
            NIBBLE_UNROLL
            for (int i = 0; i < kCount; ++i) {
                values[i] = bits_to_float(four.word[i]);
            }
        } else {
            NIBBLE_UNROLL
            for (int i = 0; i < kCount; ++i) {
                values[i] = slab[first + i];
            }
        }
    }

    // Where a slab of kCount rows or columns has (index, depth). A warp writes runs of eight depths of eight rows at a
    // time; moved by eight for each such run, they lie in different banks, and fours stay together.
    template <int kCount>
    NIBBLE_DEVICE static int place(int depth, int index) {
        return depth * (kCount + kTilePadding) + (index ^ (depth / 8 * 8 % kCount));
    }

    template <int kCount, typename Operand>
    NIBBLE_DEVICE void fill(Shared<float> slab, int64_t depth, int64_t end, const Operand& operand) {
        constexpr int kRun = Operand::kRun;
        if constexpr (kRun > 1) {
            if (operand.in_runs()) {
                for (int e = static_cast<int>(thread_index()); e < kCount * kTileDepth / kRun; e += kTileThreads) {
                    const int d = Operand::kDepthFirst ? e % (kTileDepth / kRun) * kRun : e / (kCount / kRun);
                    const int i = Operand::kDepthFirst ? e / (kTileDepth / kRun) : e % (kCount / kRun) * kRun;
                    float values[kRun] = {};
                    if (depth + d < end) {
                        operand.run(i, depth + d, values);
                    }
                    write<kCount, Operand::kDepthFirst>(slab, d, i, values);
                }
                return;
            }
        }
        for (int e = static_cast<int>(thread_index()); e < kCount * kTileDepth; e += kTileThreads) {
            const int d = Operand::kDepthFirst ? e % kTileDepth : e / kCount;
            const int i = Operand::kDepthFirst ? e / kTileDepth : e % kCount;
            slab[place<kCount>(d, i)] = depth + d < end ? operand(i, depth + d) : 0.0F;
        }
    }

    // A run, down the slab or along one of its lines.
    template <int kCount, bool kDepthFirst, int kRun>
    NIBBLE_DEVICE static void write(Shared<float> slab, int depth, int index, const float (&values)[kRun]) {
        NIBBLE_UNROLL
        for (int r = 0; r < kRun; r += kDepthFirst ? 1 : 4) {
            if constexpr (kDepthFirst) {
                slab[place<kCount>(depth + r, index)] = values[r];
            } else {
                Words4 four;
                NIBBLE_UNROLL
                for (int i = 0; i < 4; ++i) {
                    four.word[i] = float_to_bits(values[r + i]);
                }
                slab.template store<Words4>(place<kCount>(depth, index + r), four);
            }
        }
    }
};

}  // namespace nibble::cuda
