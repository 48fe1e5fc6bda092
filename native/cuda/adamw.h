// Arguments of AdamW's kernels.
#pragma once

#include "../api/adamw_factors.h"
#include "span.h"

namespace nibble::cuda {

inline constexpr int kAdamWThreads = 256;  // Also the block of 8-bit states, one element a thread.

// Of 8-bit steps: a float for each warp, and both dynamic maps.
inline constexpr int kAdamWScratchBytes = kAdamWThreads / 32 * 4;
inline constexpr int kAdamWShared = kAdamWScratchBytes + 2 * 256 * 4;

struct AdamW32Arguments {
    AdamWFactors factors;
    Global<float> param;
    Global<const float> grad;
    Global<float> moment1;
    Global<float> moment2;
};

// Of parameters in bfloat16: two runs' random words, of 16 counters each, behind what else a kernel shares.
inline constexpr int kRoundingShared = kAdamWThreads / kRoundingRun * 16 * 4 * 4;

template <typename G>
struct RoundedAdamW32Arguments {
    AdamWFactors factors;
    RoundingName rounding;
    Global<bf16> param;
    Global<const G> grad;
    Global<float> moment1;
    Global<float> moment2;
};

template <typename G>
struct RoundedAdamW8Arguments {
    AdamWFactors factors;
    RoundingName rounding;
    Global<bf16> param;
    Global<const G> grad;
    Global<uint8_t> codes1;
    Global<uint8_t> codes2;
    Global<float> absmax1;
    Global<float> absmax2;
};

struct AdamW8Arguments {
    AdamWFactors factors;
    Global<float> param;
    Global<const float> grad;
    Global<uint8_t> codes1;
    Global<uint8_t> codes2;
    Global<float> absmax1;
    Global<float> absmax2;
};

}  // namespace nibble::cuda
