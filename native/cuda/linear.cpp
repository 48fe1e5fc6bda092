// Linear layers: the adapter's own products, and the layer's by the kernel that linear_plan.cpp names.
#include "linear.h"

#include <algorithm>

#include "launch.h"
#include "linear_plan.h"
#include "operators.h"
#include "tensor_linear.h"
#include "tile_size.h"

namespace nibble::cuda {

namespace {

// A skinny product has few tiles, so its depth is cut until every multiprocessor has two blocks; parts shorter than 256
// would spend their time on the sum that follows.
int64_t splits_of(int64_t tiles, int64_t depth) {
    const int64_t wanted = ceil_div(2 * device()->multiprocessors, std::max<int64_t>(tiles, 1));
    return std::clamp<int64_t>(wanted, 1, std::max<int64_t>(depth / 256, 1));
}

// One of the adapter's products into out[lines, rank], or out[rank, lines] where `rank_first`.
template <typename T>
void adapter_product(const std::string& kernel, nibble_dtype dtype, AdapterProductArguments<T> args, int64_t lines,
                     bool rank_first, int64_t depth, float* out) {
    const int64_t rank = args.adapter.rank;
    const int rank_tile = rank <= kFewRanks ? kFewRanks : kRankTile;
    const Grid tiles = rank_first ? Grid{ceil_div(lines, kTileLines), ceil_div(rank, rank_tile)}
                                  : Grid{ceil_div(rank, rank_tile), ceil_div(lines, kTileLines)};
    const Global<float> result{out, lines * rank};
    args.depth_of_split =
        ceil_div(ceil_div(std::max<int64_t>(depth, 1), splits_of(tiles.x * tiles.y, depth)), kTileDepth) * kTileDepth;
    const int64_t splits = std::max<int64_t>(ceil_div(depth, args.depth_of_split), 1);
    args.out = splits == 1 ? result : workspace<float>(splits * result.count);
    launch(typed(kernel + "_" + std::to_string(rank_tile), dtype), {tiles.x, tiles.y, splits}, kTileThreads,
           tile_shared_bytes(kTileLines, rank_tile), args);
    if (splits > 1) {
        launch("sum_splits", {std::min(ceil_div(result.count, kSumThreads), int64_t{4096})}, kSumThreads, 0,
               SumSplitsArguments{{args.out.data, args.out.count}, result, splits});
    }
}

template <typename T>
AdapterProductArguments<T> product_arguments(const nibble_weight& weight, const nibble_lora& lora, int64_t m) {
    AdapterProductArguments<T> args{};
    args.adapter = view(&lora, weight);
    args.m = m;
    args.n = weight.rows;
    args.k = weight.cols;
    return args;
}

template <typename T>
void make_hidden(const nibble_weight& weight, const nibble_lora& lora, nibble_dtype dtype, Global<const T> x, int64_t m,
                 float* hidden) {
    auto args = product_arguments<T>(weight, lora, m);
    args.activation = x;
    adapter_product("adapter_hidden", dtype, args, m, false, weight.cols, hidden);
}

bool aligned(const void* data) {
    return reinterpret_cast<uintptr_t>(data) % 16 == 0;
}

// The product by the fast kernel that there is for it; false when there is none. Sums that are added to are not cut
// into parts of the depth.
template <typename T>
bool fast_product(Direction direction, const nibble_weight& weight, nibble_dtype dtype, TensorLinearArguments<T> args) {
    const LinearTask task{direction, weight, args.row_count,
                          dtype,     args.m, aligned(weight.data) && aligned(args.in.data) && aligned(args.out.data)};
    LinearPlan plan = plan_linear(*device(), task);
    if (plan.general()) {
        return false;
    }
    const int64_t columns = direction == Direction::forward ? args.row_count : weight.cols;
    const int64_t depth = direction == Direction::forward ? weight.cols : args.row_count;
    if (args.sums.present()) {
        plan.splits = 1;
        plan.depth_of_split = depth;
    }
    args.depth_of_split = plan.depth_of_split;
    args.in_stride = args.in_stride == 0 ? depth : args.in_stride;
    if (plan.splits > 1) {
        args.sums = workspace<float>(plan.splits * args.m * columns);
    }
    launch(plan.kernel, {ceil_div(columns, plan.column_tile), ceil_div(args.m, plan.row_tile), plan.splits},
           plan.threads, plan.shared_bytes, args);
    if (plan.splits > 1) {
        launch(typed("linear_finish", dtype),
               {std::min(ceil_div(args.m * columns, kFinishThreads), int64_t{32} * device()->multiprocessors)},
               kFinishThreads, 0,
               LinearFinishArguments<T>{
                   {args.sums.data, args.sums.count}, args.bias, args.residual, args.out, columns, plan.splits});
    }
    return true;
}

}  // namespace

void linear_forward(const nibble_weight& weight, const void* bias, const nibble_lora* lora, nibble_dtype dtype,
                    const void* x, const void* residual, int64_t m, void* y, float* lora_hidden) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        LinearForwardArguments<T, T> args{};
        args.weight = view(weight);
        args.row_count = weight.rows;
        args.adapter = view(lora, weight);
        args.bias = span<const T>(bias, weight.rows);
        args.x = span<const T>(x, m * weight.cols);
        args.residual = span<const T>(residual, m * weight.rows);
        args.y = span<T>(y, m * weight.rows);
        args.m = m;
        if (lora != nullptr) {
            float* hidden = lora_hidden != nullptr ? lora_hidden : workspace<float>(m * lora->rank).data;
            make_hidden<T>(weight, *lora, dtype, args.x, m, hidden);
            args.hidden = {hidden, m * lora->rank};
        }
        if (y == nullptr) {
            return;
        }
        TensorLinearArguments<T> fast{};
        fast.weight = args.weight;
        fast.row_count = weight.rows;
        fast.adapter = args.adapter;
        fast.bias = args.bias;
        fast.in = args.x;
        fast.hidden = args.hidden;
        fast.residual = args.residual;
        fast.out = args.y;
        fast.m = m;
        if (!fast_product(Direction::forward, weight, dtype, fast)) {
            launch(typed("linear_forward", dtype), {ceil_div(weight.rows, 64), ceil_div(m, 64)}, kTileThreads,
                   kWideTileShared, args);
        }
    });
}

void linear_backward(const nibble_weight& weight, const nibble_lora* lora, nibble_dtype dtype, const void* x,
                     const float* lora_hidden, const void* dy, const void* residual, int64_t m, void* dx, float* da,
                     float* db) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        const int64_t n = weight.rows;
        const int64_t k = weight.cols;
        LinearInputGradientArguments<T> args{};
        args.weight = view(weight);
        args.adapter = view(lora, weight);
        args.dy = span<const T>(dy, m * n);
        args.residual = span<const T>(residual, m * k);
        args.dx = span<T>(dx, m * k);
        args.m = m;
        if (lora != nullptr) {
            const auto in = span<const T>(x, m * k);
            const float* hidden = lora_hidden;
            if (hidden == nullptr) {
                float* own = workspace<float>(m * lora->rank).data;
                make_hidden<T>(weight, *lora, dtype, in, m, own);
                hidden = own;
            }
            auto product = product_arguments<T>(weight, *lora, m);
            product.activation = args.dy;
            const Global<float> grad_hidden = workspace<float>(m * lora->rank);
            adapter_product("adapter_hidden_gradient", dtype, product, m, false, n, grad_hidden.data);
            args.hidden_gradient = {grad_hidden.data, grad_hidden.count};

            product.hidden = {hidden, m * lora->rank};
            adapter_product("adapter_b_gradient", dtype, product, n, false, m, db);
            product.hidden = args.hidden_gradient;
            product.activation = in;
            adapter_product("adapter_a_gradient", dtype, product, k, true, m, da);
        }
        if (dx == nullptr || m == 0) {
            return;
        }
        TensorLinearArguments<T> fast{};
        fast.weight = args.weight;
        fast.row_count = n;
        fast.adapter = args.adapter;
        fast.in = args.dy;
        fast.hidden = args.hidden_gradient;
        fast.residual = args.residual;
        fast.out = args.dx;
        fast.m = m;
        if (!fast_product(Direction::backward, weight, dtype, fast)) {
            launch(typed("linear_input_gradient", dtype), {ceil_div(k, 64), ceil_div(m, 64)}, kTileThreads,
                   kWideTileShared, args);
        }
    });
}

void linear_logits(const nibble_weight& head, int64_t first_row, int64_t row_count, nibble_dtype dtype,
                   const void* hidden, int64_t tokens, Global<float> logits) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        LinearForwardArguments<T, float> args{};
        args.weight = view(head);
        args.first_row = first_row;
        args.row_count = row_count;
        args.x = span<const T>(hidden, tokens * head.cols);
        args.y = logits;
        args.m = tokens;
        TensorLinearArguments<T> fast{};
        fast.weight = args.weight;
        fast.first_row = first_row;
        fast.row_count = row_count;
        fast.in = args.x;
        fast.sums = logits;
        fast.m = tokens;
        if (!fast_product(Direction::forward, head, dtype, fast)) {
            launch(typed("linear_logits", dtype), {ceil_div(row_count, 64), ceil_div(tokens, 64)}, kTileThreads,
                   kWideTileShared, args);
        }
    });
}

bool has_logits_backward(const nibble_weight& head, int64_t row_count, nibble_dtype dtype, int64_t tokens) {
    return !plan_linear(*device(), {Direction::backward, head, row_count, dtype, tokens, aligned(head.data)}).general();
}

void linear_logits_backward(const nibble_weight& head, int64_t first_row, int64_t row_count, nibble_dtype dtype,
                            const void* gradient, int64_t stride, int64_t tokens, Global<float> dhidden) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        TensorLinearArguments<T> fast{};
        fast.weight = view(head);
        fast.first_row = first_row;
        fast.row_count = row_count;
        fast.in = span<const T>(gradient, tokens * stride);
        fast.in_stride = stride;
        fast.sums = dhidden;
        fast.adds = true;
        fast.m = tokens;
        fast_product(Direction::backward, head, dtype, fast);
    });
}

}  // namespace nibble::cuda
