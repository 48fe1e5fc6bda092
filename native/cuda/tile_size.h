// Sizes that tile products (tile.h) and their launches agree on.
#pragma once

namespace nibble::cuda {

inline constexpr int kTileThreads = 256;
inline constexpr int kTileDepth = 16;

// A slab of each operand, with four more floats a line, so that lines begin in different banks.
constexpr int tile_shared_bytes(int rows, int columns) {
    return kTileDepth * (rows + 4 + columns + 4) * 4;
}

inline constexpr int kWideTileShared = tile_shared_bytes(64, 64);
inline constexpr int kSkinnyTileShared = tile_shared_bytes(64, 16);

}  // namespace nibble::cuda
