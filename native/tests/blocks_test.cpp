#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "support.h"

using namespace nibble_test;

namespace {

constexpr uint64_t kMegabyte = uint64_t{1} << 20;

// Bytes of this process that lie in memory.
uint64_t resident() {
    std::ifstream file("/proc/self/statm");
    uint64_t all = 0;
    uint64_t pages = 0;
    file >> all >> pages;
    return pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

void* filled(uint64_t bytes) {
    void* memory = nibble_allocate(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 64, 0U);
    std::memset(memory, 1, bytes);
    return memory;
}

}  // namespace

TEST(Blocks, a_block_is_handed_out_again_to_whoever_needs_about_as_much) {
    void* first = filled(8 * kMegabyte);
    nibble_release(first);
    void* second = filled(8 * kMegabyte - kMegabyte / 4);
    EXPECT_EQ(second, first);
    void* third = filled(8 * kMegabyte);
    EXPECT_NE(third, first);
    nibble_release(second);
    nibble_release(third);
    void* small = filled(100);
    nibble_release(small);
    nibble_release(nullptr);
}

TEST(Blocks, little_more_is_held_than_was_in_use_at_once_whatever_the_sizes) {
    const uint64_t before = resident();
    for (uint64_t size = 1; size < 40; ++size) {
        void* one = filled(size * kMegabyte);
        void* other = filled(kMegabyte / 2);
        nibble_release(one);
        nibble_release(other);
    }
    EXPECT_LT(resident(), before + (40 + 48 + 12) * kMegabyte);  // In use, spare, and the heap's own.
}

TEST(Blocks, what_cannot_be_had_is_null) {
    EXPECT_EQ(nibble_allocate(UINT64_MAX), nullptr);
    EXPECT_EQ(nibble_allocate(uint64_t{1} << 60), nullptr);
}
