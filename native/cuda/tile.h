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
    static constexpr int kStrideA = kRows + 4;
    static constexpr int kStrideB = kColumns + 4;
    static constexpr int kPartDepth = 256;  // A chain of additions no longer than this keeps float32's digits.

    float sums[kThreadRows][kThreadColumns] = {};

    NIBBLE_DEVICE int first_row() const { return static_cast<int>(thread_index()) / kThreadsAcross * kThreadRows; }
    NIBBLE_DEVICE int first_column() const {
        return static_cast<int>(thread_index()) % kThreadsAcross * kThreadColumns;
    }

    // sums += a * b over the depths [first, end). Operands give zero outside of their matrices; `kDepthFirst` says that
    // neighbours in depth are neighbours in memory.
    template <typename A, typename B>
    NIBBLE_DEVICE void add(int64_t first, int64_t end, const A& a, const B& b) {
        const Shared<float> slab_a = shared_memory<float>(0);
        const Shared<float> slab_b = shared_memory<float>(kTileDepth * kStrideA * 4);
        float part[kThreadRows][kThreadColumns] = {};
        for (int64_t depth = first; depth < end; depth += kTileDepth) {
            fill<kRows, kStrideA, A::kDepthFirst>(slab_a, depth, end,
                                                  [&](int row, int64_t d) NIBBLE_INLINE { return a(row, d); });
            fill<kColumns, kStrideB, B::kDepthFirst>(slab_b, depth, end,
                                                     [&](int column, int64_t d) NIBBLE_INLINE { return b(d, column); });
            block_barrier();
            NIBBLE_UNROLL
            for (int d = 0; d < kTileDepth; ++d) {
                float left[kThreadRows];
                float right[kThreadColumns];
                read<kThreadRows>(slab_a, d * kStrideA + first_row(), left);
                read<kThreadColumns>(slab_b, d * kStrideB + first_column(), right);
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

    template <int kCount, int kStride, bool kDepthFirst, typename Read>
    NIBBLE_DEVICE void fill(Shared<float> slab, int64_t depth, int64_t end, const Read& read) {
        for (int e = static_cast<int>(thread_index()); e < kCount * kTileDepth; e += kTileThreads) {
            const int d = kDepthFirst ? e % kTileDepth : e / kCount;
            const int i = kDepthFirst ? e / kTileDepth : e % kCount;
            slab[d * kStride + i] = depth + d < end ? read(i, depth + d) : 0.0F;
        }
    }
};

}  // namespace nibble::cuda
