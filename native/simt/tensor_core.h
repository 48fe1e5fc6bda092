// The tensor cores' warp-wide instructions, with the fragment layouts of the PTX manual (9.7.14 of its version 8):
// with g = lane / 4 and t = lane % 4, a register of A holds row g (or g + 8) at columns 2t and 2t + 1 (or 8 more), one
// of B holds rows 2t and 2t + 1 (or 8 more) of column g, and C holds rows g and g + 8 at columns 2t and 2t + 1.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nibble::simt {

// ldmatrix.x4: lane i gives the place of row i % 8 of matrix i / 8, and gets row g, elements 2t and 2t + 1 of each;
// with .trans, of the turned matrices.
void load_matrix(uint32_t (&matrix)[4], std::size_t row_offset, bool turned);

// mma.m16n8kK with float32 sums, K = 16 or 8; for K = 8 the first two registers of a and the first of b count.
template <int K>
void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bool is_bf16);

}  // namespace nibble::simt
