// Any element of a weight as float32, whatever its format.
#pragma once

#include "codes.h"
#include "weight.h"

namespace nibble::cuda {

// The scale of one NF4 block; double-quantised scales are decoded here, in registers. `map` is the signed dynamic map,
// best in shared memory where lanes look up different entries at once.
template <typename Map>
NIBBLE_DEVICE float block_scale(const WeightView& weight, const Map& map, int64_t block) {
    if (weight.absmax.present()) {
        return weight.absmax[block];
    }
    return map[weight.absmax_codes[block]] * weight.nested_absmax[block / kAbsmaxBlock] + weight.absmax_offset;
}

template <typename T>
NIBBLE_DEVICE Global<const T> elements(const WeightView& weight) {
    return {reinterpret_cast<const T*>(weight.data.data), weight.data.count / static_cast<int64_t>(sizeof(T))};
}

NIBBLE_DEVICE float decode(const WeightView& weight, int64_t index) {
    switch (weight.format) {
        case Format::f32:
            return elements<float>(weight)[index];
        case Format::bf16:
            return to_float(elements<bf16>(weight)[index]);
        case Format::f16:
            return to_float(elements<f16>(weight)[index]);
        default: {
            const uint8_t byte = weight.data[index / 2];
            return kNf4Codes.value[index % 2 == 0 ? byte >> 4 : byte & 15] *
                   block_scale(weight, kSignedMap.value, index / kNf4Block);
        }
    }
}

}  // namespace nibble::cuda
