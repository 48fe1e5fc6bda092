// Argument checks that every entry point shares. Each throws InvalidArgument with a text that names the argument.
#pragma once

#include "status.h"

namespace nibble {

// Collects the name of the operator, so that each message can say whose argument it is about.
class Checks {
  public:
    explicit Checks(const char* operator_name) : name_(operator_name) {}

    [[noreturn]] void fail(const std::string& problem) const;

    void dtype(int32_t dtype) const;
    void positive(const char* argument, int64_t value) const;
    void not_negative(const char* argument, int64_t value) const;
    void finite(const char* argument, double value) const;

    // A buffer of `count` elements: present (unless there are none), aligned to its element, and addressable. Sizes
    // that pass leave room for the kernels' own sums and products.
    void buffer(const char* argument, const void* data, int64_t count, int64_t element_size) const;
    void optional_buffer(const char* argument, const void* data, int64_t count, int64_t element_size) const;

    // a * b, refused when it does not fit.
    [[nodiscard]] int64_t product(const char* argument, int64_t a, int64_t b) const;

    void weight(const nibble_weight* weight) const;
    void turned_shape(int64_t rows, int64_t cols) const;
    void lora(const nibble_lora* lora, const nibble_weight& weight) const;

  private:
    const char* name_;
};

// a / b rounded up, without overflow whatever a is.
constexpr int64_t ceil_div(int64_t a, int64_t b) {
    return a / b + (a % b != 0 ? 1 : 0);
}

// Whether NF4 of this shape has an order for nibble_nf4_turn.
constexpr bool can_be_turned(int64_t rows, int64_t cols) {
    return rows > 0 && rows % NIBBLE_TURNED_ROWS == 0 && cols >= 4 * NIBBLE_NF4_BLOCK && cols % NIBBLE_NF4_BLOCK == 0;
}

// Bytes of one element.
int64_t element_size(int32_t dtype) noexcept;

}  // namespace nibble
