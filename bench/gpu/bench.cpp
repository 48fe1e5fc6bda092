// Kernels on a GPU as Markdown: each against what a user would pick instead, and against a copy and a matrix product
// measured in the same run. Usage: nibble_gpu_bench IMAGE.ptx [--smoke], with NIBBLE_CUDA_DRIVER, NIBBLE_CUBLAS and
// NIBBLE_BENCH_BITSANDBYTES naming libraries where they are not where they usually are.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "gpu_memory.h"
#include "nibble.h"
#include "peers.h"

using namespace nibble;
using namespace nibble::bench;

namespace {

struct Shape {
    const char* model;
    int64_t n, k;
};

constexpr Shape kShapes[] = {{"1B q/o", 2048, 2048}, {"1B gate/up", 8192, 2048},  {"1B down", 2048, 8192},
                             {"8B q/o", 4096, 4096}, {"8B gate/up", 14336, 4096}, {"8B down", 4096, 14336}};
constexpr Shape kSmokeShapes[] = {{"smoke", 128, 128}};
constexpr int64_t kRows[] = {1, 4, 8, 16, 64, 256, 1024, 4096};
constexpr int64_t kSmokeRows[] = {1, 16, 33};

void ok(nibble_status status) {
    if (status != NIBBLE_OK) {
        throw std::runtime_error(nibble_last_error());
    }
}

std::string cell(std::optional<double> value, const char* format = "%.2f") {
    char text[32];
    if (!value) {
        return "-";
    }
    std::snprintf(text, sizeof(text), format, *value);
    return text;
}

class Bench {
  public:
    Bench(const cuda::Driver& driver, cuda::Gpu& gpu, bool smoke)
        : driver_(driver),
          gpu_(gpu),
          timing_(driver),
          smoke_(smoke),
          cublas_(CuBlas::find(std::getenv("NIBBLE_CUBLAS"))),
          bitsandbytes_(BitsAndBytes::find(std::getenv("NIBBLE_BENCH_BITSANDBYTES"))) {}

    void run() {
        peaks();
        if (smoke_) {
            linear(std::begin(kSmokeShapes), std::end(kSmokeShapes), std::begin(kSmokeRows), std::end(kSmokeRows));
        } else {
            linear(std::begin(kShapes), std::end(kShapes), std::begin(kRows), std::end(kRows));
        }
        adamw();
    }

  private:
    void peaks() {
        const size_t bytes = smoke_ ? 1 << 20 : size_t{1} << 30;
        Buffer from(driver_, bytes);
        Buffer to(driver_, bytes);
        const auto copy =
            driver_.function<CUresult (*)(CUdeviceptr, CUdeviceptr, size_t, CUstream)>("cuMemcpyDtoDAsync_v2");
        copy_rate_ = 2.0 * static_cast<double>(bytes) / timing_.seconds([&] {
            driver_.check(copy(to.address(), from.address(), bytes, nullptr), "cuMemcpyDtoDAsync");
        });
        std::printf("# %s (sm_%d)\n\n", gpu_.name().c_str(), gpu_.compute_capability());
        std::printf("Copy in device memory: %.0f GB/s (read and write counted).\n", copy_rate_ / 1e9);
        if (cublas_) {
            const int size = 8192;
            Buffer a(driver_, 2UL * size * size);
            Buffer b(driver_, 2UL * size * size);
            Buffer c(driver_, 2UL * size * size);
            a.fill_halves(1);
            b.fill_halves(2);
            const double time =
                timing_.seconds([&] { cublas_->forward(a.data(), b.data(), c.data(), size, size, size); });
            std::printf("cuBLAS bf16, 8192 x 8192 x 8192: %.0f TFLOP/s.\n", 2.0 * std::pow(size, 3) / time / 1e12);
        } else {
            std::printf("cuBLAS was not found: NIBBLE_CUBLAS may name it.\n");
        }
        std::printf("\n");
    }

    void linear(const Shape* shape, const Shape* last_shape, const int64_t* first_rows, const int64_t* last_rows) {
        std::printf("## NF4 linear layer, bf16\n\n");
        std::printf(
            "Times in microseconds. GB/s counts packed weights and scales, TFLOP/s 2 M N K; 'of copy' is GB/s "
            "over the copy's.\nRatios are the peer's time over ours: above 1 we are faster. 'LoRA' is the "
            "layer with an adapter of rank 16 over the\nbare layer.\n\n");
        std::printf(
            "| layer | M | forward | GB/s | of copy | TFLOP/s | cuBLAS, ready weights | dequantise + cuBLAS | "
            "bitsandbytes | LoRA | backward | cuBLAS, ready | dequantise + cuBLAS |\n");
        std::printf("|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
        for (; shape != last_shape; ++shape) {
            for (const int64_t* m = first_rows; m != last_rows; ++m) {
                row(*shape, *m);
                std::fflush(stdout);
            }
        }
        std::printf("\n");
    }

    void row(const Shape& s, int64_t m) {
        const auto bytes = [](int64_t count, int64_t size) { return static_cast<size_t>(count * size); };
        Buffer packed(driver_, bytes(s.n * s.k / 2, 1));
        Buffer absmax(driver_, bytes(s.n * s.k / 64, 4));
        Buffer ready(driver_, bytes(s.n * s.k, 2));
        Buffer x(driver_, bytes(m * s.k, 2));
        Buffer y(driver_, bytes(m * s.n, 2));
        Buffer a(driver_, bytes(16 * s.k, 4));
        Buffer b(driver_, bytes(16 * s.n, 4));
        Buffer hidden(driver_, bytes(16 * m, 4));
        packed.fill_bytes(1);
        absmax.fill_floats(2, 0.01F);
        x.fill_halves(3);
        y.fill_halves(4);
        a.fill_floats(5, 0.01F);
        b.fill_floats(6, 0.01F);
        nibble_weight weight{};
        weight.rows = s.n;
        weight.cols = s.k;
        weight.format = NIBBLE_WEIGHT_NF4;
        weight.data = packed.data();
        weight.absmax = absmax.as<float>();
        const nibble_lora lora{16, 1.0F, 0.0F, a.as<float>(), b.as<float>(), 0, 0, 0};
        const nibble_device* device = gpu_.device();

        // Workspaces live until the next synchronisation; a sample's are given back after it.
        const auto time = [&](const std::function<void()>& call) {
            const double result = timing_.seconds(call);
            gpu_.synchronize();
            return result;
        };
        const auto forward = [&] {
            ok(nibble_linear_forward(device, &weight, nullptr, nullptr, NIBBLE_BF16, x.data(), nullptr, m, y.data(),
                                     nullptr));
        };
        const auto backward = [&] {
            ok(nibble_linear_backward(device, &weight, nullptr, NIBBLE_BF16, nullptr, nullptr, y.data(), nullptr, m,
                                      x.data(), nullptr, nullptr));
        };
        const auto dequantize = [&] { ok(nibble_dequantize(device, &weight, NIBBLE_BF16, ready.data())); };
        const auto [mi, ni, ki] = std::tuple(static_cast<int>(m), static_cast<int>(s.n), static_cast<int>(s.k));
        const double ours = time(forward);
        const double adapted = time([&] {
            ok(nibble_linear_forward(device, &weight, nullptr, &lora, NIBBLE_BF16, x.data(), nullptr, m, y.data(),
                                     hidden.as<float>()));
        });
        const double ours_backward = time(backward);
        std::optional<double> blas, both, blas_backward, both_backward, peer;
        if (cublas_) {
            const auto product = [&] { cublas_->forward(x.data(), ready.data(), y.data(), mi, ni, ki); };
            const auto turned = [&] { cublas_->backward(y.data(), ready.data(), x.data(), mi, ni, ki); };
            dequantize();
            blas = time(product) / ours;
            both = time([&] { dequantize(), product(); }) / ours;
            blas_backward = time(turned) / ours_backward;
            both_backward = time([&] { dequantize(), turned(); }) / ours_backward;
        }
        if (bitsandbytes_) {
            peer = time([&] {
                       bitsandbytes_->forward(x.data(), packed.as<uint8_t>(), absmax.as<float>(), y.data(), mi, ni, ki);
                   }) /
                   ours;
        }
        const double rate = static_cast<double>(packed.bytes() + absmax.bytes()) / ours;
        const double operations = 2.0 * static_cast<double>(m) * static_cast<double>(s.n) * static_cast<double>(s.k);
        std::printf("| %s %lld x %lld | %lld | %.1f | %.0f | %.2f | %.1f | %s | %s | %s | %.2f | %.1f | %s | %s |\n",
                    s.model, static_cast<long long>(s.n), static_cast<long long>(s.k), static_cast<long long>(m),
                    ours * 1e6, rate / 1e9, rate / copy_rate_, operations / ours / 1e12, cell(blas).c_str(),
                    cell(both).c_str(), cell(peer).c_str(), adapted / ours, ours_backward * 1e6,
                    cell(blas_backward).c_str(), cell(both_backward).c_str());
    }

    void adamw() {
        const int64_t count = smoke_ ? 4096 : int64_t{1} << 26;
        const auto floats = static_cast<size_t>(4 * count);
        Buffer param(driver_, floats);
        Buffer grad(driver_, floats);
        Buffer moment1(driver_, floats);
        Buffer moment2(driver_, floats);
        param.fill_floats(1, 1.0F);
        grad.fill_floats(2, 0.1F);
        moment1.fill_floats(3, 0.0F);
        moment2.fill_floats(4, 0.0F);
        const nibble_adamw config{1e-4, 0.9, 0.999, 1e-8, 0.01, 1.0, 1};
        const double wide = timing_.seconds([&] {
            ok(nibble_adamw_step_32bit(gpu_.device(), &config, param.as<float>(), grad.as<float>(), moment1.as<float>(),
                                       moment2.as<float>(), count));
        });
        // Codes and scales in the places of the moments, all zero.
        const double narrow = timing_.seconds([&] {
            ok(nibble_adamw_step_8bit(gpu_.device(), &config, param.as<float>(), grad.as<float>(),
                                      moment1.as<uint8_t>(), moment2.as<uint8_t>(), moment1.as<float>() + count / 2,
                                      moment2.as<float>() + count / 2, count));
        });
        std::printf("## AdamW, %lld parameters\n\n", static_cast<long long>(count));
        std::printf("| states | ms | GB/s | of copy |\n|---|---|---|---|\n");
        const auto line = [&](const char* states, double time, double bytes_each) {
            const double rate = bytes_each * static_cast<double>(count) / time;
            std::printf("| %s | %.2f | %.0f | %.2f |\n", states, time * 1e3, rate / 1e9, rate / copy_rate_);
        };
        line("32-bit", wide, 28.0);
        line("8-bit", narrow, 16.0 + 16.0 / 256);
    }

    const cuda::Driver& driver_;
    cuda::Gpu& gpu_;
    Timing timing_;
    bool smoke_;
    std::optional<CuBlas> cublas_;
    std::optional<BitsAndBytes> bitsandbytes_;
    double copy_rate_ = 0.0;
};

}  // namespace

int main(int count, char** arguments) {
    try {
        if (count < 2) {
            throw std::runtime_error("usage: nibble_gpu_bench IMAGE.ptx [--smoke]");
        }
        std::ifstream file(arguments[1], std::ios::binary);
        const std::string image((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
        if (image.empty()) {
            throw std::runtime_error(std::string(arguments[1]) + " cannot be read");
        }
        const char* library = std::getenv("NIBBLE_CUDA_DRIVER");
        const cuda::Driver driver(library != nullptr ? library : "libcuda.so.1");
        const bool smoke = count > 2 && std::strcmp(arguments[2], "--smoke") == 0;
        cuda::Gpu gpu(driver, smoke ? 1 : 0, image);
        Bench(driver, gpu, smoke).run();
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "nibble_gpu_bench: %s\n", error.what());
        return 1;
    }
}
