// The code books in shared memory, where the lanes of a warp look up different entries at once.
#pragma once

#include "codes.h"
#include "tensor_linear.h"

namespace nibble::cuda {

struct Nf4Tables {
    Shared<float> codes = shared_memory<float>(0);
    Shared<float> map = shared_memory<float>(kCodesBytes);

    // Entry `nibble & 15` of this lane's copy of the code book.
    NIBBLE_DEVICE float code(uint32_t nibble) const {
        return codes[static_cast<int>((nibble & 15U) * kWarp) + lane_index()];
    }

    template <int kThreads>
    NIBBLE_DEVICE void fill() const {
        for (int i = static_cast<int>(thread_index()); i < 16 * kWarp; i += kThreads) {
            codes[i] = kNf4Codes.value[i / kWarp];
        }
        for (int i = static_cast<int>(thread_index()); i < 256; i += kThreads) {
            map[i] = kSignedMap.value[i];
        }
        block_barrier();
    }
};

}  // namespace nibble::cuda
