// The code books of NF4 and of 8-bit blocks, made when compiled by the rules of api/nf4.cpp, which the host uses.
#pragma once

#include "device.h"

namespace nibble::cuda {

inline constexpr int kNf4Block = 64;
inline constexpr int kAbsmaxBlock = 256;

struct Nf4Codes {
    float value[16];
};

struct DynamicMap {
    float value[256];
};

// Seven decades; decade i holds the midpoints of an even division of [0.1, 1], twice as many as the decade below.
constexpr DynamicMap make_dynamic_map(bool is_signed) {
    constexpr double kDecades[7] = {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0};
    DynamicMap map{};
    int filled = 0;
    for (int decade = 0; decade < 7; ++decade) {
        const int intervals = is_signed ? 1 << decade : 1 << (decade + 1);
        for (int i = 0; i < intervals; ++i) {
            const auto low = static_cast<float>(0.1 + 0.9 * i / intervals);
            const auto high = static_cast<float>(0.1 + 0.9 * (i + 1) / intervals);
            const float value = (low + high) / 2.0F * static_cast<float>(kDecades[decade]);
            map.value[filled++] = value;
            if (is_signed) {
                map.value[filled++] = -value;
            }
        }
    }
    map.value[filled++] = 0.0F;
    map.value[filled++] = 1.0F;
    for (int i = 1; i < 256; ++i) {
        const float value = map.value[i];
        int place = i;
        for (; place > 0 && map.value[place - 1] > value; --place) {
            map.value[place] = map.value[place - 1];
        }
        map.value[place] = value;
    }
    return map;
}

NIBBLE_CONSTANT constexpr Nf4Codes kNf4Codes = {
    {-1.0F, -0.6961928009986877F, -0.5250730514526367F, -0.39491748809814453F, -0.28444138169288635F,
     -0.18477343022823334F, -0.09105003625154495F, 0.0F, 0.07958029955625534F, 0.16093020141124725F,
     0.24611230194568634F, 0.33791524171829224F, 0.44070982933044434F, 0.5626170039176941F, 0.7229568362236023F, 1.0F}};
NIBBLE_CONSTANT constexpr DynamicMap kSignedMap = make_dynamic_map(true);
NIBBLE_CONSTANT constexpr DynamicMap kUnsignedMap = make_dynamic_map(false);

}  // namespace nibble::cuda
