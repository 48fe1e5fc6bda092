// Bounds and alignment of accesses to global memory.
#pragma once

#include <cstdint>
#include <string>

#include "fault.h"

namespace nibble::simt {

inline void check_global(const void* data, int64_t count, int64_t index, uint64_t element_bytes, uint64_t bytes) {
    const auto elements = static_cast<int64_t>(bytes / element_bytes);
    if (index < 0 || index + elements > count) {
        throw Fault("touches element " + std::to_string(index) + " (" + std::to_string(bytes) +
                    " bytes) of a buffer of " + std::to_string(count));
    }
    const auto address = reinterpret_cast<uintptr_t>(data) + static_cast<uint64_t>(index) * element_bytes;
    if (address % bytes != 0) {
        throw Fault("touches " + std::to_string(bytes) + " bytes at element " + std::to_string(index) +
                    " of a buffer, which is not aligned");
    }
}

}  // namespace nibble::simt
