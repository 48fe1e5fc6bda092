#include "linear_plan.h"

#include <algorithm>

#include "checks.h"
#include "nf4_linear.h"

namespace nibble::cuda {

namespace {

template <typename Tile>
LinearPlan plan_of(const char* kernel) {
    return {kernel, Tile::kRows, Tile::kColumns, 1, 0, Tile::kThreads, Tile::kSharedBytes};
}

}  // namespace

LinearPlan plan_linear(const nibble_device& chip, Direction direction, const nibble_weight& weight, nibble_dtype dtype,
                       int64_t m, bool aligned) {
    const bool forward = direction == Direction::forward;
    const int64_t columns = forward ? weight.rows : weight.cols;
    const int64_t depth = forward ? weight.cols : weight.rows;
    const bool turing = chip.compute_capability < 80;
    constexpr LinearPlan kGeneral{};

    // The fast kernels read whole blocks of 64 weights, 16 bytes at a time. All current models have such sizes.
    if (weight.format != NIBBLE_WEIGHT_NF4 || weight.cols % NIBBLE_NF4_BLOCK != 0 || depth % 64 != 0 || !aligned) {
        return kGeneral;
    }
    LinearPlan plan = kGeneral;
    if (forward && m <= kFewRows) {
        // A tensor core's smallest product has 16 rows: up to four cost less by hand, in every element type.
        const int rows = m == 1 ? 1 : m == 2 ? 2 : 4;
        const char* const kernels[] = {"nf4_few_1", "nf4_few_2", "nf4_few_4"};
        plan = {kernels[rows / 2],
                m,
                kFewOutputs,
                1,
                0,
                kFewThreads,
                few_shared_bytes(rows, static_cast<int>(element_size(dtype)))};
    } else if (dtype == NIBBLE_F32 || (dtype == NIBBLE_BF16 && turing)) {
        // Tensor cores would round float32, and Turing's have no bfloat16, whose range float16 does not hold.
        return kGeneral;
    } else if (m <= 16) {
        // One fragment of rows: more would multiply by zeros.
        plan = forward ? plan_of<NarrowForward>("nf4_narrow") : plan_of<NarrowBackward>("nf4_narrow");
    } else if (turing) {
        // Three stages of the wide tile do not fit into its 64 KiB.
        plan = forward ? plan_of<TuringForward>("nf4_turing") : plan_of<TuringBackward>("nf4_turing");
    } else {
        plan = forward ? plan_of<WideForward>("nf4_wide") : plan_of<WideBackward>("nf4_wide");
    }

    // Where the tiles would not give every multiprocessor two blocks, the depth is cut. Parts are multiples of what a
    // kernel takes at a time, and no shorter than 512, below which writing and adding up partial sums costs more than the
    // idle multiprocessors did.
    const int64_t tiles = ceil_div(columns, plan.column_tile) * ceil_div(m, plan.row_tile);
    const int64_t wanted = ceil_div(2 * chip.multiprocessors, tiles);
    const int64_t unit = plan.threads == kFewThreads && m <= kFewRows && forward ? kFewDepth : 64;
    const int64_t splits = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(depth / std::max<int64_t>(unit, 512), 1));
    plan.depth_of_split = ceil_div(ceil_div(depth, splits), unit) * unit;
    plan.splits = ceil_div(depth, plan.depth_of_split);
    return plan;
}

}  // namespace nibble::cuda
