// NF4 entry points and the code books of bitsandbytes: the 16 values of QLoRA's appendix E, and the 8-bit dynamic maps
// (dynamic tree quantisation, arXiv:2110.02861), which are made here by their rule.
#include <algorithm>
#include <array>
#include <cmath>

#include "checks.h"
#include "dispatch.h"

namespace nibble {

const float nf4_code[16] = {-1.0F,
                            -0.6961928009986877F,
                            -0.5250730514526367F,
                            -0.39491748809814453F,
                            -0.28444138169288635F,
                            -0.18477343022823334F,
                            -0.09105003625154495F,
                            0.0F,
                            0.07958029955625534F,
                            0.16093020141124725F,
                            0.24611230194568634F,
                            0.33791524171829224F,
                            0.44070982933044434F,
                            0.5626170039176941F,
                            0.7229568362236023F,
                            1.0F};

namespace {

using Map = std::array<float, 256>;

// Seven decades; decade i holds the midpoints of an even division of [0.1, 1], twice as many as the decade below.
Map make_dynamic_map(bool is_signed) {
    Map map{};
    size_t filled = 0;
    for (int decade = 0; decade < 7; ++decade) {
        const int intervals = is_signed ? 1 << decade : 1 << (decade + 1);
        const auto scale = static_cast<float>(std::pow(10.0, decade - 6));
        const auto boundary = [&](int i) { return static_cast<float>(0.1 + 0.9 * i / intervals); };
        for (int i = 0; i < intervals; ++i) {
            const float value = (boundary(i) + boundary(i + 1)) / 2.0F * scale;
            map[filled++] = value;
            if (is_signed) {
                map[filled++] = -value;
            }
        }
    }
    map[filled++] = 0.0F;
    map[filled++] = 1.0F;
    std::sort(map.begin(), map.end());
    return map;
}

// The nearest entry of each of 65536 evenly spaced values in [-1, 1].
std::array<uint8_t, kCodeGrid> make_nearest(const Map& map) {
    std::array<uint8_t, kCodeGrid> nearest{};
    size_t code = 0;
    for (size_t i = 0; i < nearest.size(); ++i) {
        const float value = static_cast<float>(i) / kCodeGridScale - 1.0F;
        while (code + 1 < map.size() && map[code + 1] - value < value - map[code]) {
            ++code;
        }
        nearest[i] = static_cast<uint8_t>(code);
    }
    return nearest;
}

std::array<uint16_t, 256> make_starts(const std::array<uint8_t, kCodeGrid>& nearest) {
    std::array<uint16_t, 256> starts{};
    for (size_t code = 0; code < starts.size(); ++code) {
        starts[code] = static_cast<uint16_t>(std::lower_bound(nearest.begin(), nearest.end(), code) - nearest.begin());
    }
    return starts;
}

struct Tables {
    Map values;
    std::array<uint8_t, kCodeGrid> nearest;
    std::array<uint16_t, 256> starts;
    DynamicMap view;

    explicit Tables(bool is_signed)
        : values(make_dynamic_map(is_signed)),
          nearest(make_nearest(values)),
          starts(make_starts(nearest)),
          view{values.data(), nearest.data(), starts.data()} {}
};

const Tables signed_tables(true);
const Tables unsigned_tables(false);

nibble_status turn(const char* name, int64_t rows, int64_t cols, bool back, uint8_t* packed, float* absmax,
                   uint8_t* absmax_codes) {
    return guarded([&] {
        const Checks check(name);
        check.turned_shape(rows, cols);
        const int64_t blocks = check.product("packed", rows, cols) / NIBBLE_NF4_BLOCK;
        check.optional_buffer("packed", packed, rows * cols / 2, 1);
        check.optional_buffer("absmax", absmax, blocks, 4);
        check.optional_buffer("absmax_codes", absmax_codes, blocks, 1);
        kernels().nf4_turn(rows, cols, back, packed, absmax, absmax_codes);
    });
}

}  // namespace

const DynamicMap& signed_map() noexcept {
    return signed_tables.view;
}
const DynamicMap& unsigned_map() noexcept {
    return unsigned_tables.view;
}

}  // namespace nibble

using namespace nibble;

const float* nibble_nf4_code(void) {
    return nf4_code;
}
const float* nibble_dynamic_map_signed(void) {
    return signed_map().values;
}
const float* nibble_dynamic_map_unsigned(void) {
    return unsigned_map().values;
}

nibble_status nibble_nf4_quantize(const nibble_device* device, nibble_dtype dtype, const void* src, int64_t count,
                                  uint8_t* packed, float* absmax) {
    return guarded(device, [&] {
        const Checks check("nf4_quantize");
        check.dtype(dtype);
        check.not_negative("count", count);
        check.buffer("src", src, count, element_size(dtype));
        check.buffer("packed", packed, ceil_div(count, 2), 1);
        check.buffer("absmax", absmax, ceil_div(count, NIBBLE_NF4_BLOCK), 4);
        kernels().nf4_quantize(dtype, src, count, packed, absmax);
        for (int64_t block = 0; device == nullptr && block * NIBBLE_NF4_BLOCK < count; ++block) {
            if (!std::isfinite(absmax[block])) {
                check.fail("src has a value that is not finite in elements " +
                           std::to_string(block * NIBBLE_NF4_BLOCK) + " to " +
                           std::to_string((block + 1) * NIBBLE_NF4_BLOCK - 1));
            }
        }
    });
}

nibble_status nibble_nf4_quantize_absmax(const float* absmax, int64_t blocks, uint8_t* codes, float* nested_absmax,
                                         float* offset) {
    return guarded([&] {
        const Checks check("nf4_quantize_absmax");
        check.positive("blocks", blocks);
        check.buffer("absmax", absmax, blocks, 4);
        check.buffer("codes", codes, blocks, 1);
        check.buffer("nested_absmax", nested_absmax, ceil_div(blocks, NIBBLE_ABSMAX_BLOCK), 4);
        check.buffer("offset", offset, 1, 4);
        double sum = 0.0;
        for (int64_t i = 0; i < blocks; ++i) {
            if (!(absmax[i] >= 0.0F && std::isfinite(absmax[i]))) {
                check.fail("absmax[" + std::to_string(i) + "] is " + std::to_string(absmax[i]) +
                           ", expected a finite number that is not negative");
            }
            sum += static_cast<double>(absmax[i]);
        }
        const auto mean = static_cast<float>(sum / static_cast<double>(blocks));
        *offset = mean;
        for (int64_t first = 0; first < blocks; first += NIBBLE_ABSMAX_BLOCK) {
            const int64_t end = std::min<int64_t>(first + NIBBLE_ABSMAX_BLOCK, blocks);
            float largest = 0.0F;
            for (int64_t i = first; i < end; ++i) {
                largest = std::max(largest, std::fabs(absmax[i] - mean));
            }
            nested_absmax[first / NIBBLE_ABSMAX_BLOCK] = largest;
            // Divided, not multiplied by 1 / largest, which is infinite for a subnormal scale.
            const float divisor = largest > 0.0F ? largest : 1.0F;
            for (int64_t i = first; i < end; ++i) {
                codes[i] = signed_map().nearest[code_grid_index((absmax[i] - mean) / divisor)];
            }
        }
    });
}

int32_t nibble_nf4_turns(int64_t rows, int64_t cols) {
    return nibble_get_isa() != NIBBLE_ISA_PORTABLE && can_be_turned(rows, cols) ? 1 : 0;
}

nibble_status nibble_nf4_turn(int64_t rows, int64_t cols, uint8_t* packed, float* absmax, uint8_t* absmax_codes) {
    return turn("nf4_turn", rows, cols, /*back=*/false, packed, absmax, absmax_codes);
}

nibble_status nibble_nf4_turn_back(int64_t rows, int64_t cols, uint8_t* packed, float* absmax, uint8_t* absmax_codes) {
    return turn("nf4_turn_back", rows, cols, /*back=*/true, packed, absmax, absmax_codes);
}

nibble_status nibble_dequantize(const nibble_device* device, const nibble_weight* weight, nibble_dtype dtype,
                                void* dst) {
    return guarded(device, [&] {
        const Checks check("dequantize");
        check.weight(weight);
        check.dtype(dtype);
        check.buffer("dst", dst, weight->rows * weight->cols, element_size(dtype));
        kernels().dequantize(*weight, dtype, dst);
    });
}
