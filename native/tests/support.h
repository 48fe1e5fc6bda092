// What the tests share: random data, element types, instruction sets, golden files.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "driver.h"
#include "nibble.h"

namespace nibble_test {

// Element conversions of the tests' own, so that a wrong one in the library shows.
inline float bf16_to_float(uint16_t bits) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, sizeof(value));
    return value;
}

inline uint16_t float_to_bf16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    bits += 0x7FFFU + ((bits >> 16) & 1U);
    return static_cast<uint16_t>(bits >> 16);
}

inline float half_to_float(uint16_t bits) {
    const int exponent = (bits >> 10) & 31;
    const int mantissa = bits & 1023;
    if (exponent == 31) {
        return mantissa != 0 ? NAN : (bits & 0x8000) != 0 ? -INFINITY : INFINITY;
    }
    const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                          : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
    return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

inline uint16_t float_to_half(float value) {
    const auto half = static_cast<_Float16>(value);
    uint16_t bits;
    std::memcpy(&bits, &half, sizeof(bits));
    return bits;
}

// A tensor in the element type of a call, with the float values that it really has.
class Tensor {
  public:
    Tensor(nibble_dtype dtype, size_t count)
        : dtype_(dtype), bytes_(count * (dtype == NIBBLE_F32 ? 4 : 2)), count_(count) {}

    Tensor(nibble_dtype dtype, const std::vector<float>& values) : Tensor(dtype, values.size()) {
        for (size_t i = 0; i < values.size(); ++i) {
            if (dtype == NIBBLE_F32) {
                std::memcpy(bytes_.data() + 4 * i, &values[i], 4);
            } else {
                const uint16_t bits = dtype == NIBBLE_BF16 ? float_to_bf16(values[i]) : float_to_half(values[i]);
                std::memcpy(bytes_.data() + 2 * i, &bits, 2);
            }
        }
    }

    void* data() { return bytes_.data(); }
    const void* data() const { return bytes_.data(); }
    size_t size() const { return count_; }

    double operator[](size_t i) const {
        if (dtype_ == NIBBLE_F32) {
            float value;
            std::memcpy(&value, bytes_.data() + 4 * i, 4);
            return static_cast<double>(value);
        }
        uint16_t bits;
        std::memcpy(&bits, bytes_.data() + 2 * i, 2);
        return static_cast<double>(dtype_ == NIBBLE_BF16 ? bf16_to_float(bits) : half_to_float(bits));
    }

    bool operator==(const Tensor& other) const { return bytes_ == other.bytes_; }

  private:
    nibble_dtype dtype_;
    std::vector<uint8_t> bytes_;
    size_t count_;
};

inline std::vector<float> random_values(size_t count, uint32_t seed, float scale = 1.0F) {
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal(0.0F, scale);
    std::vector<float> values(count);
    for (float& value : values) {
        value = normal(engine);
    }
    return values;
}

// Relative error that rounding to the type explains.
inline double tolerance(nibble_dtype dtype) {
    return dtype == NIBBLE_F32 ? 2e-5 : dtype == NIBBLE_BF16 ? 1.2e-2 : 2e-3;
}

// |found - expected| against the largest value of its row of outputs, which is what a sum's rounding scales with.
template <typename Found, typename Expected>
void expect_close(const Found& found, const Expected& expected, double relative, const char* what) {
    ASSERT_EQ(found.size(), expected.size());
    double scale = 1e-30;
    for (size_t i = 0; i < expected.size(); ++i) {
        scale = std::max(scale, std::fabs(static_cast<double>(expected[i])));
    }
    for (size_t i = 0; i < expected.size(); ++i) {
        const double difference = std::fabs(static_cast<double>(found[i]) - static_cast<double>(expected[i]));
        ASSERT_LE(difference, relative * scale) << what << "[" << i << "] is " << static_cast<double>(found[i])
                                                << ", expected " << static_cast<double>(expected[i]);
    }
}

// The GPUs to test on: those of the emulation, Turing and Ampere, since every later chip runs Ampere's kernels. Or,
// where NIBBLE_CUDA_IMAGE names compiled kernels, the first GPU of the driver that NIBBLE_CUDA_DRIVER names
// (gpu_memory.cpp).
inline std::vector<std::unique_ptr<nibble::cuda::Gpu>>& gpus() {
    const char* library = std::getenv("NIBBLE_CUDA_DRIVER");
    static const nibble::cuda::Driver driver(library != nullptr ? library : NIBBLE_CUDA_EMULATED);
    static std::vector<std::unique_ptr<nibble::cuda::Gpu>> all;
    if (!all.empty()) {
        return all;
    }
    if (const char* path = std::getenv("NIBBLE_CUDA_IMAGE")) {
        std::ifstream file(path, std::ios::binary);
        const std::string image((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
        all.push_back(std::make_unique<nibble::cuda::Gpu>(driver, 0, image));
    } else {
        for (int ordinal = 0; ordinal < 2; ++ordinal) {
            all.push_back(std::make_unique<nibble::cuda::Gpu>(driver, ordinal, "the emulation brings its own kernels"));
        }
    }
    return all;
}

// Parameters of a test that runs on one instruction set of the CPU or one GPU, with one element type.
struct Machine {
    nibble_isa isa;
    nibble_dtype dtype;
    int gpu = -1;
};

inline std::vector<Machine> machines(std::vector<nibble_dtype> dtypes = {NIBBLE_F32, NIBBLE_BF16, NIBBLE_F16}) {
    std::vector<Machine> all;
    for (const nibble_dtype dtype : dtypes) {
        for (int isa = 0; isa <= nibble_best_isa(); ++isa) {
            all.push_back({static_cast<nibble_isa>(isa), dtype});
        }
        for (size_t gpu = 0; gpu < gpus().size(); ++gpu) {
            all.push_back({NIBBLE_ISA_PORTABLE, dtype, static_cast<int>(gpu)});
        }
    }
    return all;
}

// For operators that only the CPU has.
inline std::vector<Machine> instruction_sets() {
    std::vector<Machine> all = machines();
    std::erase_if(all, [](const Machine& machine) { return machine.gpu >= 0; });
    return all;
}

// The GPU that the test runs on; null for the CPU.
inline nibble::cuda::Gpu* current_gpu = nullptr;

inline const nibble_device* on() {
    return current_gpu == nullptr ? nullptr : current_gpu->device();
}

inline void expect_ok(nibble_status status) {
    ASSERT_EQ(status, NIBBLE_OK) << nibble_last_error();
    if (current_gpu != nullptr) {
        current_gpu->synchronize();
    }
}

// While it lives, calls go to a machine.
class Using {
  public:
    explicit Using(const Machine& machine) {
        if (machine.gpu < 0) {
            expect_ok(nibble_set_isa(machine.isa));
            return;
        }
        current_gpu = gpus()[static_cast<size_t>(machine.gpu)].get();
    }
    ~Using() {
        current_gpu = nullptr;
        nibble_set_isa(nibble_best_isa());
    }
    Using(const Using&) = delete;
    Using& operator=(const Using&) = delete;
};

inline std::string name_of(const testing::TestParamInfo<Machine>& info) {
    const char* const sets[] = {"portable", "avx2", "avx512", "avx512_bf16"};
    const char* const types[] = {"f32", "bf16", "f16"};
    const Machine& machine = info.param;
    return (machine.gpu < 0 ? sets[machine.isa]
                            : "sm" + std::to_string(gpus()[static_cast<size_t>(machine.gpu)]->compute_capability())) +
           "_" + types[machine.dtype];
}

class OnEachMachine : public testing::TestWithParam<Machine> {
  protected:
    void TearDown() override { expect_ok(nibble_set_num_threads(2)); }

  private:
    Using machine_{GetParam()};
};

// A golden vector from shared/vectors/nf4; skips the test where the folder is absent.
inline std::filesystem::path shared_folder() {
    if (const char* given = std::getenv("NIBBLE_SHARED")) {
        return given;
    }
    for (auto folder = std::filesystem::current_path(); folder != folder.parent_path(); folder = folder.parent_path()) {
        if (std::filesystem::exists(folder / "shared" / "README.md")) {
            return folder / "shared";
        }
    }
    return {};
}

template <typename T>
std::vector<T> golden(const std::string& name) {
    std::ifstream file(shared_folder() / "vectors" / "nf4" / (name + ".bin"), std::ios::binary);
    const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
    return values;
}

#define REQUIRE_GOLDEN_VECTORS()                                                                    \
    if (nibble_test::shared_folder().empty()) {                                                     \
        GTEST_SKIP() << "the folder 'shared' with the golden vectors is not beside the repository"; \
    }

}  // namespace nibble_test
