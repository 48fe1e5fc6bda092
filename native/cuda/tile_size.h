// Sizes that tile products (tile.h) and their launches agree on.
#pragma once

namespace nibble::cuda {

inline constexpr int kTileThreads = 256;
inline constexpr int kTileDepth = 32;   // 64 rows of it are one access of 16 bytes a thread, of 16-bit elements.
inline constexpr int kTilePadding = 4;  // More floats a line of a slab, so that lines begin in different banks.

// A slab of each operand.
constexpr int tile_shared_bytes(int rows, int columns) {
    return kTileDepth * (rows + columns + 2 * kTilePadding) * 4;
}

inline constexpr int kWideTileShared = tile_shared_bytes(64, 64);

}  // namespace nibble::cuda
