// The emulation finds what it is there to find. Its subjects are small kernels with one mistake each, compiled into the
// emulated library's sibling (simt_faults.cu).
#include <thread>

#include "support.h"

using namespace nibble_test;

namespace {

// Runs a kernel of simt_faults.cu on one chip and gives what the driver says of it; "" when it ran to its end.
std::string fault_of(const char* kernel, int chip = 1) {
    static const nibble::cuda::Driver driver(NIBBLE_CUDA_FAULTS);
    static const auto recover = driver.function<CUresult (*)()>("nibble_simt_recover");
    nibble::cuda::Gpu gpu(driver, chip, "the emulation brings its own kernels");
    std::vector<float> memory(64);
    struct {
        float* data;
        int64_t count;
    } arguments{memory.data(), 64};
    nibble_launch launch{};
    launch.kernel = kernel;
    launch.grid[0] = launch.grid[1] = launch.grid[2] = 1;
    launch.threads = 64;
    launch.shared_bytes = 4096;
    launch.arguments = &arguments;
    launch.argument_bytes = sizeof(arguments);
    char error[512] = "";
    gpu.device()->launch(gpu.device()->context, &launch, error, sizeof(error));
    recover();
    return error;
}

void expect_fault(const char* kernel, const char* part) {
    const std::string fault = fault_of(kernel);
    EXPECT_NE(fault.find(part), std::string::npos) << kernel << " gave '" << fault << "'";
}

}  // namespace

TEST(Simt, a_correct_kernel_runs_to_its_end) {
    EXPECT_EQ(fault_of("correct"), "");
}

TEST(Simt, a_missing_barrier_is_a_race_whichever_side_comes_first) {
    expect_fault("reads_without_barrier", "with no barrier between");
    expect_fault("overwrites_without_barrier", "with no barrier between");
    expect_fault("warp_reads_without_barrier", "with no barrier between");
}

TEST(Simt, asynchronous_copies_must_be_waited_for_and_then_shared_through_a_barrier) {
    expect_fault("reads_copy_in_flight", "while an asynchronous copy");
    expect_fault("waits_for_too_few_groups", "while an asynchronous copy");
    expect_fault("shares_copy_without_barrier", "with no barrier between");
}

TEST(Simt, memory_that_nobody_wrote_or_that_is_not_there_is_not_read) {
    expect_fault("reads_unwritten", "nobody has written");
    expect_fault("reads_past_shared", "of 4096");
    expect_fault("reads_past_global", "of a buffer of 64");
    expect_fault("reads_misaligned", "not aligned");
}

TEST(Simt, threads_that_wait_for_each_other_forever_are_found) {
    expect_fault("half_at_barrier", "cannot go on");
    expect_fault("half_in_shuffle", "cannot go on");
}

TEST(Simt, blocks_and_arguments_must_be_those_that_a_kernel_was_written_for) {
    expect_fault("nobody_wrote_this", "NOT_FOUND");
    expect_fault("of_128_threads", "written for blocks of 128 threads");
}

TEST(Simt, a_chip_runs_only_what_it_has) {
    EXPECT_NE(fault_of("multiplies_bf16", 0).find("have none"), std::string::npos);
    EXPECT_EQ(fault_of("multiplies_bf16", 1), "");
}

TEST(Simt, each_thread_has_a_context_of_its_own) {
    const nibble::cuda::Driver driver(NIBBLE_CUDA_FAULTS);
    const nibble::cuda::Gpu gpu(driver, 1, "the emulation brings its own kernels");
    CUresult elsewhere = CUDA_SUCCESS;
    std::thread([&] {
        CUdeviceptr memory = 0;
        elsewhere = driver.allocate(&memory, 64);
    }).join();
    EXPECT_EQ(elsewhere, CUDA_ERROR_INVALID_CONTEXT);
}

TEST(Simt, more_than_48_kib_of_shared_memory_need_leave) {
    const nibble::cuda::Driver driver(NIBBLE_CUDA_FAULTS);
    const nibble::cuda::Gpu gpu(driver, 2, "the emulation brings its own kernels");  // Which no other test gives leave.
    std::vector<float> memory(64);
    struct {
        float* data;
        int64_t count;
    } arguments{memory.data(), 64};
    size_t bytes = sizeof(arguments);
    void* extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &arguments, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                     CU_LAUNCH_PARAM_END};
    CUmodule module = nullptr;
    CUfunction function = nullptr;
    ASSERT_EQ(driver.module_load(&module, "the emulation brings its own kernels"), CUDA_SUCCESS);
    ASSERT_EQ(driver.module_function(&function, module, "correct"), CUDA_SUCCESS);
    const auto launch = [&](unsigned shared_bytes) {
        return driver.launch_kernel(function, 1, 1, 1, 64, 1, 1, shared_bytes, nullptr, nullptr, extra);
    };
    EXPECT_EQ(launch(48 * 1024), CUDA_SUCCESS);
    EXPECT_EQ(launch(48 * 1024 + 16), CUDA_ERROR_INVALID_VALUE);
    ASSERT_EQ(driver.function_attribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 64 * 1024),
              CUDA_SUCCESS);
    EXPECT_EQ(launch(64 * 1024), CUDA_SUCCESS);
}
