#!/usr/bin/env bash
# Everything that wants a real GPU, on a machine that has one: builds the kernels for its chip, runs every kernel test on
# it and under compute-sanitizer, and prints the benchmark. Needs native/, bench/gpu, cmake and g++, and nvcc or clang 16
# or newer; GoogleTest for the tests. NIBBLE_CUBLAS and NIBBLE_BENCH_BITSANDBYTES may name libraries to compare with.
set -euo pipefail
cd "$(dirname "$0")"
out=${OUT:-../../artifacts/gpu}
mkdir -p "$out"
out=$(cd "$out" && pwd)

chip=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
tests=OFF
[ -e /usr/include/gtest/gtest.h ] && tests=ON
cmake -S ../../native -B "$out/build" -DCMAKE_BUILD_TYPE=Release -DNIBBLE_BUILD_TESTS=$tests -DNIBBLE_CUDA_IMAGES="$out/images" > "$out/cmake.log"
cmake --build "$out/build" -j "$(nproc)" >> "$out/cmake.log" 2>&1 || { tail -n 30 "$out/cmake.log"; exit 1; }

# The newest image that is not newer than the chip.
for architecture in 90 80 75; do
    [ "$architecture" -le "$chip" ] && break
done
export NIBBLE_CUDA_DRIVER=${NIBBLE_CUDA_DRIVER:-libcuda.so.1}
export NIBBLE_CUDA_IMAGE=$out/images/nibble.sm_$architecture.ptx

if [ -z "${NIBBLE_CUBLAS:-}" ]; then # Python's torch brings one.
    NIBBLE_CUBLAS=$(find / -name 'libcublas.so.1[23]' -not -path '/proc/*' 2> /dev/null | head -n 1 || true)
    export NIBBLE_CUBLAS
fi

if [ $tests = ON ]; then
    program=$out/build/tests/nibble_tests
    "$program" --gtest_brief=1 --gtest_filter='*/sm*:*Golden*:AdamW*' 2>&1 | tee "$out/tests.log" | tail -n 20
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2> /dev/null || true)
    if [ -n "$sanitizer" ]; then
        for tool in memcheck racecheck; do
            "$sanitizer" --tool $tool --error-exitcode 1 "$program" --gtest_brief=1 \
                --gtest_filter='*Linear.forward_and_input*/sm*bf16:*CrossEntropy.losses_and_gradients_equal*/sm*bf16' \
                > "$out/$tool.log" 2>&1 && echo "$tool: clean" || { echo "$tool:"; tail -n 20 "$out/$tool.log"; }
        done
    fi
else
    echo "GoogleTest is not here: the kernel tests did not run"
fi

"$out/build/gpu_bench/nibble_gpu_bench" "$NIBBLE_CUDA_IMAGE" | tee "$out/report.md"
