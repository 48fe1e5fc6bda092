// The code books in shared memory, where the lanes of a warp look up different entries at once.
#pragma once

#include "codes.h"
#include "tensor_linear.h"

namespace nibble::cuda {

struct Nf4Tables {
    Shared<uint8_t> codes = shared_memory<uint8_t>(0);
    Shared<float> map = shared_memory<float>(kCodesBytes);

    // The entry that four bits of `word` name, from bit `first` on, in this lane's copy of the code book. Moved to
    // where they are the entry's place in bytes, they need one shift and one bitwise operation; this is the inner loop.
    NIBBLE_DEVICE float code(uint32_t word, int first) const {
        constexpr int kEntry = 7;  // 2^7 bytes to an entry, four for each lane.
        static_assert(kWarp * sizeof(float) == 1U << kEntry);
        const uint32_t moved = first > kEntry ? word >> (first - kEntry) : word << (kEntry - first);
        const uint32_t lane = thread_index() % kWarp * 4;
        return codes.template load<float>(static_cast<int>((moved & 15U << kEntry) | lane));
    }

    template <int kThreads>
    NIBBLE_DEVICE void fill() const {
        for (int i = static_cast<int>(thread_index()); i < 16 * kWarp; i += kThreads) {
            codes.template store<float>(4 * i, kNf4Codes.value[i / kWarp]);
        }
        for (int i = static_cast<int>(thread_index()); i < 256; i += kThreads) {
            map[i] = kSignedMap.value[i];
        }
        block_barrier();
    }
};

}  // namespace nibble::cuda
