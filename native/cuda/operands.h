// What tile products multiply: matrices, inputs under a dropout mask, weights of any format; each as the block's tile
// sees it, from its first row or column on, with its depth along the lines in memory or across them.
#pragma once

#include "decode.h"
#include "philox.h"

namespace nibble::cuda {

// A row-major matrix [lines, width]; zero outside of it.
template <typename T>
struct Matrix {
    static constexpr int kRun = 16 / static_cast<int>(sizeof(T));  // Neighbours in a line that one access reads.
    Global<const T> data;
    int64_t lines;
    int64_t width;

    // Whether every line is made of whole runs.
    NIBBLE_DEVICE bool in_runs() const {
        return width % kRun == 0 && reinterpret_cast<uintptr_t>(data.data) % sizeof(Words4) == 0;
    }

    NIBBLE_DEVICE float element(int64_t line, int64_t place) const {
        return line < lines && place < width ? to_float(data[line * width + place]) : 0.0F;
    }

    // The elements from `place` on, a multiple of their number.
    NIBBLE_DEVICE void run(int64_t line, int64_t place, float (&values)[kRun]) const {
        Words4 words{};
        if (line < lines && place < width) {
            words = data.template load<Words4>(line * width + place);
        }
        unpack<T>(words, values);
    }
};

// A matrix under a dropout mask.
template <typename T>
struct Dropped {
    static constexpr int kRun = Matrix<T>::kRun;
    Matrix<T> x;
    DropoutView dropout;

    NIBBLE_DEVICE bool in_runs() const { return x.in_runs(); }

    NIBBLE_DEVICE float element(int64_t line, int64_t place) const {
        return x.element(line, place) * dropout_factor(dropout, line * x.width + place);
    }

    NIBBLE_DEVICE void run(int64_t line, int64_t place, float (&values)[kRun]) const {
        x.run(line, place, values);
        if (dropout.threshold > 0) {
            float factors[kRun];
            dropout_factors(dropout, line * x.width + place, factors);
            NIBBLE_UNROLL
            for (int i = 0; i < kRun; ++i) {
                values[i] *= factors[i];
            }
        }
    }
};

// An operand whose rows (of the left one) or columns (of the right one) are lines.
template <typename M>
struct Lines {
    static constexpr bool kDepthFirst = true;
    static constexpr int kRun = M::kRun;
    M matrix;
    int64_t first;

    NIBBLE_DEVICE bool in_runs() const { return matrix.in_runs(); }
    NIBBLE_DEVICE float operator()(int i, int64_t depth) const { return matrix.element(first + i, depth); }
    NIBBLE_DEVICE void run(int i, int64_t depth, float (&values)[kRun]) const { matrix.run(first + i, depth, values); }
};

// An operand whose depth counts the lines.
template <typename M>
struct Across {
    static constexpr bool kDepthFirst = false;
    static constexpr int kRun = M::kRun;
    M matrix;
    int64_t first;

    NIBBLE_DEVICE bool in_runs() const { return matrix.in_runs(); }
    NIBBLE_DEVICE float operator()(int i, int64_t depth) const { return matrix.element(depth, first + i); }
    NIBBLE_DEVICE void run(int i, int64_t depth, float (&values)[kRun]) const { matrix.run(depth, first + i, values); }
};

// Rows of W [N, K] from `first` on, for y = x * W^T.
struct WeightLines {
    static constexpr bool kDepthFirst = true;
    static constexpr int kRun = 1;
    const WeightView& weight;
    int64_t first;

    NIBBLE_DEVICE float operator()(int i, int64_t depth) const {
        return first + i < weight.rows ? decode(weight, (first + i) * weight.cols + depth) : 0.0F;
    }
};

// Columns of W [N, K] from `first` on, for dx = dy * W.
struct WeightAcross {
    static constexpr bool kDepthFirst = false;
    static constexpr int kRun = 1;
    const WeightView& weight;
    int64_t first;

    NIBBLE_DEVICE float operator()(int i, int64_t depth) const {
        return first + i < weight.cols ? decode(weight, depth * weight.cols + first + i) : 0.0F;
    }
};

}  // namespace nibble::cuda
