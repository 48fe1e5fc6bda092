#include "checks.h"

#include <cmath>

#include "dispatch.h"

namespace nibble {

int64_t element_size(int32_t dtype) noexcept {
    return dtype == NIBBLE_F32 ? 4 : 2;
}

void Checks::fail(const std::string& problem) const {
    throw InvalidArgument(std::string(name_) + ": " + problem);
}

void Checks::dtype(int32_t dtype) const {
    if (dtype < NIBBLE_F32 || dtype > NIBBLE_F16) {
        fail("dtype is " + std::to_string(dtype) + ", expected 0 (f32), 1 (bf16) or 2 (f16)");
    }
}

void Checks::positive(const char* argument, int64_t value) const {
    if (value <= 0) {
        fail(std::string(argument) + " is " + std::to_string(value) + ", expected a positive number");
    }
}

void Checks::not_negative(const char* argument, int64_t value) const {
    if (value < 0) {
        fail(std::string(argument) + " is " + std::to_string(value) + ", expected zero or a positive number");
    }
}

void Checks::finite(const char* argument, double value) const {
    if (!std::isfinite(value)) {
        fail(std::string(argument) + " is not finite");
    }
}

void Checks::buffer(const char* argument, const void* data, int64_t count, int64_t element_size) const {
    if (data == nullptr && count > 0) {
        fail(std::string(argument) + " is null, expected " + std::to_string(count) + " elements");
    }
    optional_buffer(argument, data, count, element_size);
}

void Checks::optional_buffer(const char* argument, const void* data, int64_t count, int64_t element_size) const {
    constexpr int64_t kMostBytes = int64_t{1} << 48;
    const int64_t bytes = product(argument, count, element_size);
    if (bytes > kMostBytes) {
        fail(std::string(argument) + " would have " + std::to_string(bytes) +
             " bytes, more than a process can address");
    }
    if (reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(element_size) != 0) {
        fail(std::string(argument) + " is not aligned to its element size of " + std::to_string(element_size) +
             " bytes");
    }
}

int64_t Checks::product(const char* argument, int64_t a, int64_t b) const {
    int64_t result = 0;
    if (__builtin_mul_overflow(a, b, &result)) {
        fail(std::string(argument) + " would have " + std::to_string(a) + " x " + std::to_string(b) +
             " elements, which does not fit into 64 bits");
    }
    return result;
}

void Checks::weight(const nibble_weight* weight) const {
    if (weight == nullptr) {
        fail("weight is null");
    }
    positive("weight.rows", weight->rows);
    positive("weight.cols", weight->cols);
    const int64_t count = product("weight", weight->rows, weight->cols);
    if (weight->format < NIBBLE_WEIGHT_F32 || weight->format > NIBBLE_WEIGHT_NF4_TURNED) {
        fail("weight.format is " + std::to_string(weight->format) +
             ", expected 0 (f32), 1 (bf16), 2 (f16), 3 (nf4) or 4 (nf4, turned)");
    }
    if (weight->format == NIBBLE_WEIGHT_NF4_TURNED) {
        turned_shape(weight->rows, weight->cols);
        if (device() != nullptr) {
            fail("weight is turned, which is for the CPU only");
        }
    }
    if (weight->format < NIBBLE_WEIGHT_NF4) {
        buffer("weight.data", weight->data, count, element_size(weight->format));
        return;
    }
    const int64_t blocks = ceil_div(count, NIBBLE_NF4_BLOCK);
    buffer("weight.data", weight->data, ceil_div(count, 2), 1);
    if (weight->absmax != nullptr) {
        buffer("weight.absmax", weight->absmax, blocks, 4);
        return;
    }
    buffer("weight.absmax_codes (as weight.absmax is null)", weight->absmax_codes, blocks, 1);
    buffer("weight.nested_absmax", weight->nested_absmax, ceil_div(blocks, NIBBLE_ABSMAX_BLOCK), 4);
}

void Checks::turned_shape(int64_t rows, int64_t cols) const {
    if (!can_be_turned(rows, cols)) {
        fail("weight is " + std::to_string(rows) + " x " + std::to_string(cols) +
             ", expected rows in groups of 32 and columns in blocks of 64, at least 256, as it is turned");
    }
}

void Checks::lora(const nibble_lora* lora, const nibble_weight& weight) const {
    if (lora == nullptr) {
        return;
    }
    positive("lora.rank", lora->rank);
    finite("lora.scale", static_cast<double>(lora->scale));
    if (!(lora->dropout >= 0.0F && lora->dropout < 1.0F)) {
        fail("lora.dropout is " + std::to_string(lora->dropout) + ", expected a rate in [0, 1)");
    }
    buffer("lora.a", lora->a, product("lora.a", lora->rank, weight.cols), 4);
    buffer("lora.b", lora->b, product("lora.b", weight.rows, lora->rank), 4);
}

}  // namespace nibble
