#include "launch.h"

namespace nibble::cuda {

void launch_bytes(const std::string& kernel, Grid grid, int threads, int shared_bytes, const void* arguments,
                  size_t argument_bytes) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) {
        return;
    }
    // The limits of every CUDA device.
    if (grid.x > INT32_MAX || grid.y > 65535 || grid.z > 65535) {
        throw InvalidArgument(kernel + " would need a grid of " + std::to_string(grid.x) + " x " +
                              std::to_string(grid.y) + " x " + std::to_string(grid.z) + " blocks");
    }
    nibble_launch request{};
    request.kernel = kernel.c_str();
    request.grid[0] = static_cast<uint32_t>(grid.x);
    request.grid[1] = static_cast<uint32_t>(grid.y);
    request.grid[2] = static_cast<uint32_t>(grid.z);
    request.threads = static_cast<uint32_t>(threads);
    request.shared_bytes = static_cast<uint32_t>(shared_bytes);
    request.arguments = arguments;
    request.argument_bytes = static_cast<uint32_t>(argument_bytes);
    char error[512] = "";
    const nibble_status status = device()->launch(device()->context, &request, error, sizeof(error));
    if (status != NIBBLE_OK) {
        throw DeviceError(status, kernel + ": " + error);
    }
}

void* workspace_bytes(int64_t bytes) {
    void* memory = device()->workspace(device()->context, static_cast<uint64_t>(bytes));
    if (memory == nullptr && bytes > 0) {
        throw DeviceError(NIBBLE_OUT_OF_MEMORY,
                          "no device memory for a workspace of " + std::to_string(bytes) + " bytes");
    }
    return memory;
}

WeightView view(const nibble_weight& weight) {
    const int64_t count = weight.rows * weight.cols;
    WeightView result{};
    result.rows = weight.rows;
    result.cols = weight.cols;
    result.format = static_cast<Format>(weight.format);
    result.absmax_offset = weight.absmax_offset;
    if (weight.format != NIBBLE_WEIGHT_NF4) {
        result.data = span<const uint8_t>(weight.data, count * element_size(weight.format));
        return result;
    }
    const int64_t blocks = ceil_div(count, NIBBLE_NF4_BLOCK);
    result.data = span<const uint8_t>(weight.data, ceil_div(count, 2));
    result.absmax = span<const float>(weight.absmax, blocks);
    result.absmax_codes = span<const uint8_t>(weight.absmax_codes, blocks);
    result.nested_absmax = span<const float>(weight.nested_absmax, ceil_div(blocks, NIBBLE_ABSMAX_BLOCK));
    return result;
}

AdapterView view(const nibble_lora* lora, const nibble_weight& weight) {
    AdapterView result{};
    if (lora == nullptr) {
        return result;
    }
    result.rank = static_cast<int32_t>(lora->rank);
    result.scale = lora->scale;
    result.a = span<const float>(lora->a, lora->rank * weight.cols);
    result.b = span<const float>(lora->b, weight.rows * lora->rank);
    result.dropout.seed = lora->seed;
    result.dropout.step = lora->step;
    result.dropout.layer = lora->layer;
    result.dropout.threshold = static_cast<uint32_t>(static_cast<double>(lora->dropout) * 4294967296.0);
    result.dropout.kept = 1.0F / (1.0F - lora->dropout);
    return result;
}

std::string typed(const std::string& kernel, nibble_dtype dtype) {
    static const char* const suffixes[] = {"_f32", "_bf16", "_f16"};
    return kernel + suffixes[dtype];
}

}  // namespace nibble::cuda
