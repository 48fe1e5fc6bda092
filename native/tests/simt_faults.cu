// Kernels with one mistake each, for simt_test.cpp.
#include "../cuda/device.h"

namespace nibble::cuda {

namespace {

struct Arguments {
    Global<float> out;
};

void correct(const Arguments& args) {
    const Shared<float> shared = shared_memory<float>(0);
    const int thread = static_cast<int>(thread_index());
    shared[thread] = static_cast<float>(thread);
    block_barrier();
    args.out[thread] = shared[63 - thread];
    block_barrier();
    shared[thread] = 0.0F;
    warp_barrier();
    args.out[thread] += shared[thread ^ 1];
}

void reads_without_barrier(const Arguments& args) {
    const Shared<float> shared = shared_memory<float>(0);
    const int thread = static_cast<int>(thread_index());
    shared[thread] = 0.0F;
    shared[64 + thread] = 0.0F;
    block_barrier();
    shared[thread] = 1.0F;
    args.out[thread] = shared[63 - thread];
}

void overwrites_without_barrier(const Arguments& args) {
    const Shared<float> shared = shared_memory<float>(0);
    const int thread = static_cast<int>(thread_index());
    shared[thread] = 0.0F;
    block_barrier();
    args.out[thread] = shared[63 - thread];
    shared[thread] = 1.0F;
}

void warp_reads_without_barrier(const Arguments& args) {
    const Shared<float> shared = shared_memory<float>(0);
    const int thread = static_cast<int>(thread_index());
    shared[thread] = 0.0F;
    warp_barrier();
    shared[thread] = 1.0F;
    args.out[thread] = shared[thread ^ 1];
}

void copy(const Arguments& args, Shared<float> shared, int thread) {
    copy_async(shared.from(4 * thread), Global<const float>{args.out.data, args.out.count}, 0, true);
    copy_async_commit();
}

void reads_copy_in_flight(const Arguments& args) {
    const Shared<float> shared = shared_memory<float>(0);
    const int thread = static_cast<int>(thread_index());
    copy(args, shared, thread);
    args.out[thread] = shared[4 * thread];
}

void waits_for_too_few_groups(const Arguments& args) {
    const Shared<float> shared = shared_memory<float>(0);
    const int thread = static_cast<int>(thread_index());
    copy(args, shared, thread);
    copy(args, shared.from(512), thread);
    copy_async_wait<1>();
    args.out[thread] = shared[4 * thread];
    args.out[thread] = shared[512 + 4 * thread];
}

void shares_copy_without_barrier(const Arguments& args) {
    const Shared<float> shared = shared_memory<float>(0);
    const int thread = static_cast<int>(thread_index());
    copy(args, shared, thread);
    copy_async_wait<0>();
    warp_barrier();
    args.out[thread] = shared[4 * (63 - thread)];
}

void reads_unwritten(const Arguments& args) {
    args.out[0] = shared_memory<float>(0)[7];
}

void reads_past_shared(const Arguments& args) {
    args.out[0] = shared_memory<float>(0)[1024];
}

void reads_past_global(const Arguments& args) {
    args.out[static_cast<int64_t>(thread_index()) + 1] = 0.0F;
}

void reads_misaligned(const Arguments& args) {
    args.out.store<Words4>(1, Words4{});
}

void half_at_barrier(const Arguments&) {
    if (thread_index() < 32) {
        block_barrier();
    }
}

void half_in_shuffle(const Arguments&) {
    if (thread_index() % 2 == 0) {
        shuffle_xor(1.0F, 1);
    }
}

void of_128_threads(const Arguments&) {}

void multiplies_bf16(const Arguments&) {
    float d[4] = {};
    const uint32_t a[4] = {};
    const uint32_t b[2] = {};
    multiply_16x8x16<bf16>(d, a, b);
}

}  // namespace

NIBBLE_KERNEL(correct, Arguments, 64, correct)
NIBBLE_KERNEL(reads_without_barrier, Arguments, 64, reads_without_barrier)
NIBBLE_KERNEL(overwrites_without_barrier, Arguments, 64, overwrites_without_barrier)
NIBBLE_KERNEL(warp_reads_without_barrier, Arguments, 64, warp_reads_without_barrier)
NIBBLE_KERNEL(reads_copy_in_flight, Arguments, 64, reads_copy_in_flight)
NIBBLE_KERNEL(waits_for_too_few_groups, Arguments, 64, waits_for_too_few_groups)
NIBBLE_KERNEL(shares_copy_without_barrier, Arguments, 64, shares_copy_without_barrier)
NIBBLE_KERNEL(reads_unwritten, Arguments, 64, reads_unwritten)
NIBBLE_KERNEL(reads_past_shared, Arguments, 64, reads_past_shared)
NIBBLE_KERNEL(reads_past_global, Arguments, 64, reads_past_global)
NIBBLE_KERNEL(reads_misaligned, Arguments, 64, reads_misaligned)
NIBBLE_KERNEL(half_at_barrier, Arguments, 64, half_at_barrier)
NIBBLE_KERNEL(half_in_shuffle, Arguments, 64, half_in_shuffle)
NIBBLE_KERNEL(of_128_threads, Arguments, 128, of_128_threads)
NIBBLE_KERNEL(multiplies_bf16, Arguments, 64, multiplies_bf16)

}  // namespace nibble::cuda
