// The library's own state: error texts, thread count, instruction set. The one place that decides which kernels run.
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <string>

#include "checks.h"
#include "dispatch.h"

namespace nibble {
namespace {

thread_local char last_error[512] = "";

std::atomic<int32_t> thread_count{0};  // 0: as many as the OpenMP runtime offers.

// Scratch memory is sized by the number of threads, so a change by another thread must wait for the next call.
thread_local int32_t call_threads = 1;
thread_local const nibble_device* call_device = nullptr;

int32_t chosen_threads() noexcept {
    const int32_t chosen = thread_count.load(std::memory_order_relaxed);
    return chosen > 0 ? chosen : std::clamp(omp_get_max_threads(), 1, NIBBLE_MAX_THREADS);
}

nibble_isa detect_best_isa() {
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi")) {
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

void begin_call(const nibble_device* device) noexcept {
    set_last_error("");
    call_threads = chosen_threads();
    call_device = device;
}

const nibble_device* device() noexcept {
    return call_device;
}

int threads() noexcept {
    return call_threads;
}

int threads_for(int64_t work) noexcept {
    constexpr int64_t kWorkPerThread = 1 << 13;
    return static_cast<int>(std::clamp<int64_t>(work / kWorkPerThread, 1, threads()));
}

const KernelTable& kernels() noexcept {
    return call_device != nullptr ? cuda::table : *tables[current_isa.load(std::memory_order_relaxed)];
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
        if (threads < 1 || threads > NIBBLE_MAX_THREADS) {
            Checks("set_num_threads")
                .fail("threads is " + std::to_string(threads) + ", expected 1 to " +
                      std::to_string(NIBBLE_MAX_THREADS));
        }
        thread_count = threads;
    });
}

int32_t nibble_get_num_threads(void) {
    return chosen_threads();
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
