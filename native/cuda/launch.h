// The host's side of a kernel: its arguments from the ABI's structs, and its launch on the device of the call.
#pragma once

#include <string>
#include <type_traits>

#include "adapter.h"
#include "checks.h"
#include "dispatch.h"
#include "weight.h"

namespace nibble::cuda {

struct Grid {
    int64_t x = 1;
    int64_t y = 1;
    int64_t z = 1;
};

void launch_bytes(const std::string& kernel, Grid grid, int threads, int shared_bytes, const void* arguments,
                  size_t argument_bytes);

// Queues `kernel` with its one struct of arguments. Throws DeviceError.
template <typename Arguments>
void launch(const std::string& kernel, Grid grid, int threads, int shared_bytes, const Arguments& arguments) {
    static_assert(std::is_trivially_copyable_v<Arguments>);
    launch_bytes(kernel, grid, threads, shared_bytes, &arguments, sizeof(arguments));
}

// Device memory for the operator under way. Throws DeviceError when there is none.
template <typename T>
Global<T> workspace(int64_t count);

void* workspace_bytes(int64_t bytes);

template <typename T>
Global<T> workspace(int64_t count) {
    return {static_cast<T*>(workspace_bytes(count * static_cast<int64_t>(sizeof(T)))), count};
}

// Memory of the caller; what is null has no elements.
template <typename T>
Global<T> span(std::conditional_t<std::is_const_v<T>, const void*, void*> data, int64_t count) {
    return {static_cast<T*>(data), data == nullptr ? 0 : count};
}

WeightView view(const nibble_weight& weight);
AdapterView view(const nibble_lora* lora, const nibble_weight& weight);

// "rope" and NIBBLE_BF16 -> "rope_bf16".
std::string typed(const std::string& kernel, nibble_dtype dtype);

// Calls body with a value of the element type that dtype names.
template <typename Body>
void with_type(nibble_dtype dtype, Body&& body) {
    switch (dtype) {
        case NIBBLE_F32:
            return body(float{});
        case NIBBLE_BF16:
            return body(bf16{});
        case NIBBLE_F16:
            return body(f16{});
    }
}

}  // namespace nibble::cuda
