// The library's own state: error texts, thread count, instruction set. The one place that decides which kernels run.
#include <omp.h>

#include <atomic>
#include <cstdio>
#include <string>

#include "checks.h"
#include "dispatch.h"

namespace nibble {
namespace {

thread_local char last_error[512] = "";

std::atomic<int32_t> thread_count{0};  // 0: as many as the OpenMP runtime offers.

nibble_isa detect_best_isa() {
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx512 && __builtin_cpu_supports("avx512bf16")) {
        return NIBBLE_ISA_AVX512_BF16;
    }
    return avx512 ? NIBBLE_ISA_AVX512 : avx2 ? NIBBLE_ISA_AVX2 : NIBBLE_ISA_PORTABLE;
}

const nibble_isa best_isa = detect_best_isa();
std::atomic<nibble_isa> current_isa{best_isa};

const KernelTable* const tables[] = {&portable::table, &avx2::table, &avx512::table, &avx512_bf16::table};

}  // namespace

void set_last_error(const char* text) noexcept {
    std::snprintf(last_error, sizeof(last_error), "%s", text);
}

int threads() noexcept {
    const int32_t chosen = thread_count.load(std::memory_order_relaxed);
    return chosen > 0 ? chosen : omp_get_max_threads();
}

const KernelTable& kernels() noexcept {
    return *tables[current_isa.load(std::memory_order_relaxed)];
}

}  // namespace nibble

using namespace nibble;

int32_t nibble_abi_version(void) {
    return NIBBLE_ABI_VERSION;
}

const char* nibble_last_error(void) {
    return last_error;
}

nibble_status nibble_set_num_threads(int32_t threads) {
    return guarded([&] {
        Checks("set_num_threads").positive("threads", threads);
        thread_count = threads;
    });
}

int32_t nibble_get_num_threads(void) {
    return threads();
}

nibble_isa nibble_best_isa(void) {
    return best_isa;
}

nibble_isa nibble_get_isa(void) {
    return current_isa;
}

nibble_status nibble_set_isa(nibble_isa isa) {
    return guarded([&] {
        if (isa < NIBBLE_ISA_PORTABLE || isa > best_isa) {
            Checks("set_isa").fail("instruction set " + std::to_string(isa) +
                                   " is not to be had; the best of this machine is " + std::to_string(best_isa));
        }
        current_isa = isa;
    });
}
