// What tile products multiply: matrices, their transposes, weights of any format, inputs under a dropout mask. Each is
// seen from the first row (or column) of the block's tile.
#pragma once

#include "decode.h"
#include "philox.h"

namespace nibble::cuda {

// x[row, depth] of a row-major matrix [rows, depth], times a factor.
template <typename T>
struct Rows {
    static constexpr bool kDepthFirst = true;
    Global<const T> data;
    int64_t rows;
    int64_t depth;
    int64_t first;
    float factor = 1.0F;

    NIBBLE_DEVICE float operator()(int row, int64_t d) const {
        return first + row < rows ? to_float(data[(first + row) * depth + d]) * factor : 0.0F;
    }
};

// x[depth, row]: the transpose of a row-major matrix [depth, rows] with `stride` elements from row to row.
template <typename T>
struct Turned {
    static constexpr bool kDepthFirst = false;
    Global<const T> data;
    int64_t rows;
    int64_t stride;
    int64_t first;
    float factor = 1.0F;

    NIBBLE_DEVICE float operator()(int row, int64_t d) const {
        return first + row < rows ? to_float(data[d * stride + first + row]) * factor : 0.0F;
    }
};

// x[depth, column] of a row-major matrix [depth, columns].
template <typename T>
struct Columns {
    static constexpr bool kDepthFirst = false;
    Global<const T> data;
    int64_t columns;
    int64_t first;

    NIBBLE_DEVICE float operator()(int64_t d, int column) const {
        return first + column < columns ? to_float(data[d * columns + first + column]) : 0.0F;
    }
};

// x[column, depth]: the transpose of a row-major matrix [columns, depth].
template <typename T>
struct TurnedColumns {
    static constexpr bool kDepthFirst = true;
    Global<const T> data;
    int64_t columns;
    int64_t depth;
    int64_t first;

    NIBBLE_DEVICE float operator()(int64_t d, int column) const {
        return first + column < columns ? to_float(data[(first + column) * depth + d]) : 0.0F;
    }
};

// drop(x)[row, depth] and, for the gradient of A, drop(x)[depth, column] of x [rows, width].
template <typename T>
struct DroppedRows {
    static constexpr bool kDepthFirst = true;
    Global<const T> x;
    int64_t rows;
    int64_t width;
    int64_t first;
    DropoutView dropout;

    NIBBLE_DEVICE float operator()(int row, int64_t d) const {
        if (first + row >= rows) {
            return 0.0F;
        }
        const int64_t element = (first + row) * width + d;
        return to_float(x[element]) * dropout_factor(dropout, element);
    }
};
template <typename T>
struct DroppedColumns {
    static constexpr bool kDepthFirst = false;
    Global<const T> x;
    int64_t width;
    int64_t first;
    DropoutView dropout;

    NIBBLE_DEVICE float operator()(int64_t d, int column) const {
        if (first + column >= width) {
            return 0.0F;
        }
        const int64_t element = d * width + first + column;
        return to_float(x[element]) * dropout_factor(dropout, element);
    }
};

// W^T [K, N], for y = x * W^T.
struct WeightTurned {
    static constexpr bool kDepthFirst = true;
    const WeightView& weight;
    int64_t first;

    NIBBLE_DEVICE float operator()(int64_t d, int column) const {
        return first + column < weight.rows ? decode(weight, (first + column) * weight.cols + d) : 0.0F;
    }
};

// W [N, K], for dx = dy * W.
struct WeightStraight {
    static constexpr bool kDepthFirst = false;
    const WeightView& weight;
    int64_t first;

    NIBBLE_DEVICE float operator()(int64_t d, int column) const {
        return first + column < weight.cols ? decode(weight, d * weight.cols + first + column) : 0.0F;
    }
};

}  // namespace nibble::cuda
