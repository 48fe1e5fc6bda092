// What a machine can do at best, for benchmarks to be shares of: its widest multiply-add instruction in a loop that
// touches no memory, copying and reading. Each function does a fixed amount of work, which its caller times.
#include <immintrin.h>
#include <omp.h>

#include <cstdint>
#include <cstring>

namespace {

constexpr int64_t kSteps = 1 << 20;
constexpr int kChains = 16;  // Enough to hide the latency of two instructions a cycle.

// Keeps a value in its register, so that the loop that makes it is not optimised away.
template <typename Register>
void keep(Register& value) {
    asm volatile("" : "+v"(value));
}

__attribute__((target("avx512f,avx512bf16"))) int64_t bf16_pairs_in_512_bits() {
    __m512 sums[kChains] = {};
    auto one = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3F803F80));
    for (int64_t step = 0; step < kSteps; ++step) {
        for (__m512& sum : sums) {
            keep(one);
            sum = _mm512_dpbf16_ps(sum, one, one);
        }
    }
    for (__m512& sum : sums) {
        keep(sum);
    }
    return kSteps * kChains * 16 * 4;
}

__attribute__((target("avx512f"))) int64_t float32_in_512_bits() {
    __m512 sums[kChains] = {};
    __m512 one = _mm512_set1_ps(1.0F);
    for (int64_t step = 0; step < kSteps; ++step) {
        for (__m512& sum : sums) {
            keep(one);
            sum = _mm512_fmadd_ps(one, one, sum);
        }
    }
    for (__m512& sum : sums) {
        keep(sum);
    }
    return kSteps * kChains * 16 * 2;
}

__attribute__((target("avx2,fma"))) int64_t float32_in_256_bits() {
    constexpr int kRegisters = 12;  // Of the 16 that there are.
    __m256 sums[kRegisters] = {};
    __m256 one = _mm256_set1_ps(1.0F);
    for (int64_t step = 0; step < kSteps; ++step) {
        for (__m256& sum : sums) {
            keep(one);
            sum = _mm256_fmadd_ps(one, one, sum);
        }
    }
    for (__m256& sum : sums) {
        keep(sum);
    }
    return kSteps * kRegisters * 8 * 2;
}

using Loop = int64_t (*)();

Loop float32_loop() {
    return __builtin_cpu_supports("avx512f") ? float32_in_512_bits : float32_in_256_bits;
}

// Where no instruction multiplies bfloat16, float32's does.
Loop bf16_loop() {
    return __builtin_cpu_supports("avx512bf16") ? bf16_pairs_in_512_bits : float32_loop();
}

int64_t run(Loop loop, int32_t threads) {
    int64_t operations = 0;
#pragma omp parallel num_threads(threads) reduction(+ : operations)
    operations += loop();
    return operations;
}

// The bytes as 64-bit words, exclusive-ored.
__attribute__((target_clones("avx512f", "avx2", "default"))) uint64_t read_all(const char* data, int64_t bytes) {
    typedef uint64_t Words __attribute__((vector_size(64)));
    Words sums[4] = {};
    for (int64_t i = 0; i + 256 <= bytes; i += 256) {
        for (int chain = 0; chain < 4; ++chain) {
            Words words;
            std::memcpy(&words, data + i + 64 * chain, sizeof(words));
            sums[chain] ^= words;
        }
    }
    const Words sum = (sums[0] ^ sums[1]) ^ (sums[2] ^ sums[3]);
    return sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
}

// Body: void(first, length) on each thread's share of the bytes, in whole cache lines.
template <typename Body>
void share_out(int64_t bytes, int32_t threads, const Body& body) {
#pragma omp parallel num_threads(threads)
    {
        const int64_t share = (bytes / omp_get_num_threads() + 63) / 64 * 64;
        const int64_t first = share * omp_get_thread_num();
        if (first < bytes) {
            body(first, first + share < bytes ? share : bytes - first);
        }
    }
}

}  // namespace

#define NIBBLE_PEAK extern "C" __attribute__((visibility("default")))

// The operations made: two for each product that is added.
NIBBLE_PEAK int64_t nibble_peak_bf16(int32_t threads) {
    return run(bf16_loop(), threads);
}
NIBBLE_PEAK int64_t nibble_peak_float32(int32_t threads) {
    return run(float32_loop(), threads);
}

NIBBLE_PEAK void nibble_peak_copy(void* dst, const void* src, int64_t bytes, int32_t threads) {
    share_out(bytes, threads, [&](int64_t first, int64_t length) {
        std::memcpy(static_cast<char*>(dst) + first, static_cast<const char*>(src) + first,
                    static_cast<size_t>(length));
    });
}

NIBBLE_PEAK uint64_t nibble_peak_read(const void* src, int64_t bytes, int32_t threads) {
    uint64_t all = 0;
    share_out(bytes, threads, [&](int64_t first, int64_t length) {
        const uint64_t own = read_all(static_cast<const char*>(src) + first, length);
#pragma omp atomic
        all ^= own;
    });
    return all;
}
