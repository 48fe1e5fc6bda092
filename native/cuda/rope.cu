// Rotary embedding, a thread a pair of elements; what lies past rotary_dim is copied. In place is safe: each element is
// read and written by one thread.
#include "device.h"
#include "layers.h"

namespace nibble::cuda {

template <typename T>
NIBBLE_DEVICE void rope(const RopeArguments<T>& args) {
    const int64_t half = args.rotary_dim / 2;
    const int64_t work = half + (args.head_dim - args.rotary_dim);  // Pairs and single elements of a head.
    const int64_t count = args.x.count / args.head_dim * work;
    for (int64_t i = static_cast<int64_t>(block_index(0)) * kElementThreads + thread_index(); i < count;
         i += static_cast<int64_t>(grid_size(0)) * kElementThreads) {
        const int64_t head = i / work;
        const int64_t place = i % work;
        const int64_t first = head * args.head_dim + place;
        if (place >= half) {
            args.y[first + half] = args.x[first + half];
            continue;
        }
        const int64_t angle = head / args.heads * half + place;
        const float cosine = args.cos[angle];
        const float sine = args.sin[angle] * args.direction;
        const float a = to_float(args.x[first]);
        const float b = to_float(args.x[first + half]);
        args.y[first] = from_float<T>(a * cosine - b * sine);
        args.y[first + half] = from_float<T>(b * cosine + a * sine);
    }
}

NIBBLE_KERNEL(rope_f32, RopeArguments<float>, kElementThreads, rope)
NIBBLE_KERNEL(rope_bf16, RopeArguments<bf16>, kElementThreads, rope)
NIBBLE_KERNEL(rope_f16, RopeArguments<f16>, kElementThreads, rope)

}  // namespace nibble::cuda
