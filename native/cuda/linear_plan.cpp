#include "linear_plan.h"

#include <algorithm>

#include "checks.h"
#include "tensor_linear.h"

namespace nibble::cuda {

namespace {

template <typename Forward, typename Backward>
LinearPlan plan_of(const char* size, Weights weights, Direction direction) {
    const auto plan = [&]<typename Tile>(Tile, const char* suffix) {
        LinearPlan result;
        result.kernel = std::string(weights == Weights::nf4 ? "nf4_" : "dense_") + size + suffix;
        result.row_tile = Tile::kRows;
        result.column_tile = Tile::kColumns;
        result.threads = Tile::kThreads;
        result.shared_bytes = Tile::shared_bytes(weights);
        return result;
    };
    return direction == Direction::forward ? plan(Forward{}, "_forward") : plan(Backward{}, "_backward");
}

LinearPlan plan_of_few(int64_t m, nibble_dtype dtype) {
    const int rows = m == 1 ? 1 : m == 2 ? 2 : kFewRows;
    LinearPlan result;
    result.kernel = "nf4_few_" + std::to_string(rows);
    result.row_tile = rows;
    result.column_tile = kFewOutputs;
    result.threads = kFewThreads;
    result.shared_bytes = few_shared_bytes(rows, static_cast<int>(element_size(dtype)));
    return result;
}

}  // namespace

LinearPlan plan_linear(const nibble_device& chip, const LinearTask& task) {
    const nibble_weight& weight = task.weight;
    const bool forward = task.direction == Direction::forward;
    const int64_t columns = forward ? task.row_count : weight.cols;
    const int64_t depth = forward ? weight.cols : task.row_count;
    const bool turing = chip.compute_capability < 80;
    const Weights weights = weight.format == NIBBLE_WEIGHT_NF4 ? Weights::nf4 : Weights::dense;
    static const char* const types[] = {"_f32", "_bf16", "_f16"};

    // The fast kernels read whole blocks of 64 weights, 16 bytes at a time, and 64 of the depth. All current models
    // have such sizes.
    if (weight.cols % NIBBLE_NF4_BLOCK != 0 || depth % 64 != 0 || !task.aligned) {
        return {};
    }
    LinearPlan plan;
    int64_t unit = 64;  // What the kernel takes of the depth at a time.
    if (weights == Weights::nf4 && forward && task.m <= kFewRows) {
        // A tensor core's smallest product has 16 rows: up to four cost less by hand, in every element type.
        plan = plan_of_few(task.m, task.dtype);
        unit = kFewDepth;
    } else if (task.dtype == NIBBLE_F32 || (task.dtype == NIBBLE_BF16 && turing)) {
        // Tensor cores would round float32, and Turing's have no bfloat16, whose range float16 does not hold.
        return {};
    } else if (weights == Weights::dense && weight.format != static_cast<int32_t>(task.dtype)) {
        // Weights of another type would have to be converted on the way; no method keeps such.
        return {};
    } else if (task.m <= 16) {
        // One fragment of rows: more would multiply by zeros.
        plan = plan_of<NarrowForward, NarrowBackward>("narrow", weights, task.direction);
    } else if (turing) {
        // Three stages of the wide tile do not fit into its 64 KiB.
        plan = plan_of<TuringForward, TuringBackward>("turing", weights, task.direction);
    } else {
        plan = plan_of<WideForward, WideBackward>("wide", weights, task.direction);
    }
    if (plan.shared_bytes > chip.shared_bytes_per_block) {
        return {};
    }
    plan.kernel += types[task.dtype];

    // Where the tiles would not give every multiprocessor two blocks, the depth is cut. Parts are no shorter than 512,
    // below which writing and adding up partial sums costs more than the idle multiprocessors did.
    const int64_t tiles = ceil_div(columns, plan.column_tile) * ceil_div(task.m, plan.row_tile);
    const int64_t wanted = ceil_div(2 * chip.multiprocessors, tiles);
    const int64_t most = std::max<int64_t>(depth / std::max<int64_t>(unit, 512), 1);
    plan.depth_of_split = ceil_div(ceil_div(depth, std::clamp<int64_t>(wanted, 1, most)), unit) * unit;
    plan.splits = ceil_div(depth, plan.depth_of_split);
    return plan;
}

}  // namespace nibble::cuda
