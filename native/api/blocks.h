// Memory in blocks that come and go with every step of training.
#pragma once

#include <cstddef>

namespace nibble {

// At least `bytes` bytes on a cache line; null when there are none. Contents are undefined.
void* allocate_block(size_t bytes) noexcept;

// Takes back what allocate_block gave; null is nothing.
void release_block(void* block) noexcept;

}  // namespace nibble
