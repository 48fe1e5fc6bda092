// Compiled once per instruction set, with NIBBLE_ISA naming the namespace and -m flags naming the instructions.
#include <omp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "blocks.h"
#include "dispatch.h"

namespace nibble::NIBBLE_ISA {
namespace {
// In the order of dependence.
// clang-format off
#include "kernels/scratch.h"
#include "kernels/numeric.h"
#include "kernels/lanes.h"
#include "kernels/philox.h"
#include "kernels/dynamic_map.h"
#include "kernels/transpose.h"
#include "kernels/code_book.h"
#include "kernels/turned.h"
#include "kernels/decode.h"
#include "kernels/runs.h"
#include "kernels/pack.h"
#include "kernels/tile.h"
#include "kernels/pieces.h"
#include "kernels/gemm.h"
#include "kernels/parts.h"
#include "kernels/nf4_term.h"
#include "kernels/nf4_pack.h"
#include "kernels/nf4_straight_term.h"
#include "kernels/few_rows.h"
#include "kernels/nf4_quantize.h"
#include "kernels/linear.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/swiglu.h"
#include "kernels/attention.h"
#include "kernels/cross_entropy.h"
#include "kernels/rounding.h"
#include "kernels/adamw.h"
// clang-format on
}  // namespace

const KernelTable table = {
    nf4_quantize,
    nf4_turn,
    dequantize,
    linear_forward,
    linear_backward,
    rms_norm_forward,
    rms_norm_backward,
    rope,
    swiglu_forward,
    swiglu_backward,
    attention_forward,
    attention_backward,
    cross_entropy_forward,
    cross_entropy_backward,
    adamw_32bit,
    adamw_8bit,
    adamw_32bit_rounded,
    adamw_8bit_rounded,
};

}  // namespace nibble::NIBBLE_ISA
