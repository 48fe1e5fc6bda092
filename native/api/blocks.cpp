// The C library's heap mixes activations of megabytes with objects of bytes that outlive them, and so keeps half as
// much again as is alive in it; given back to the system at once instead, their pages cost a quarter of a step to fetch
// again. So large blocks are mapped apart and kept for the next of about their size. Before there is a new mapping, as
// many bytes of free blocks beyond a few are given back, and what is mapped stays near the most that was alive.
#include "blocks.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

#include "nibble.h"

namespace nibble {
namespace {

constexpr size_t kLarge = size_t{64} << 10;  // Smaller ones are the heap's.
constexpr size_t kStep = size_t{64} << 10;   // Sizes are multiples of it.
constexpr size_t kAlignment = 64;
constexpr size_t kSpare = size_t{48} << 20;  // Free blocks that are kept in any case: a step asks for many sizes.
constexpr size_t kHugePage =
    size_t{2} << 20;  // Where there are such: one fault fetches it, one entry of a TLB finds it.

struct Block {
    void* memory;
    size_t bytes;
};

std::mutex gate;

// Never destroyed: other libraries release blocks while the process ends.
std::unordered_map<void*, size_t>& lent() {
    static auto& blocks = *new std::unordered_map<void*, size_t>;
    return blocks;
}

// The one that was released last is at the end.
std::vector<Block>& kept() {
    static auto& blocks = *new std::vector<Block>;
    return blocks;
}

// The smallest kept block that holds so many bytes and wastes little: its new owner may keep it for long.
void* reuse(size_t bytes) {
    auto best = kept().end();
    for (auto block = kept().begin(); block != kept().end(); ++block) {
        const bool fits = block->bytes >= bytes && block->bytes <= bytes + bytes / 16;
        if (fits && (best == kept().end() || block->bytes <= best->bytes)) {
            best = block;
        }
    }
    if (best == kept().end()) {
        return nullptr;
    }
    void* memory = best->memory;
    lent().emplace(memory, best->bytes);
    kept().erase(best);
    return memory;
}

// Gives kept blocks back, those first that nobody wanted for longest, until so many bytes went or few are left.
void give_back(size_t bytes, size_t spare) {
    size_t left = 0;
    for (const Block& block : kept()) {
        left += block.bytes;
    }
    size_t given = 0;
    auto block = kept().begin();
    for (; block != kept().end() && given < bytes && left > spare; ++block) {
        munmap(block->memory, block->bytes);
        given += block->bytes;
        left -= block->bytes;
    }
    kept().erase(kept().begin(), block);
}

void* map(size_t bytes) {
    const size_t spare = bytes < kHugePage ? 0 : kHugePage;  // To begin where a huge page does.
    void* mapped = mmap(nullptr, bytes + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) {
        return nullptr;
    }
    auto* memory = static_cast<char*>(mapped);
    if (spare != 0) {
        const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(memory) % kHugePage) % kHugePage;
        if (before > 0) {
            munmap(memory, before);
        }
        memory += before;
        if (before < spare) {
            munmap(memory + bytes, spare - before);
        }
        madvise(memory, bytes, MADV_HUGEPAGE);
    }
    lent().emplace(memory, bytes);
    return memory;
}

}  // namespace

void* allocate_block(size_t bytes) noexcept {
    if (bytes < kLarge) {
        return std::aligned_alloc(kAlignment, (bytes + kAlignment) / kAlignment * kAlignment);
    }
    if (bytes > SIZE_MAX - kStep) {
        return nullptr;
    }
    const size_t size = (bytes + kStep - 1) / kStep * kStep;
    try {
        const std::lock_guard lock(gate);
        if (void* memory = reuse(size)) {
            return memory;
        }
        give_back(size, kSpare);
        void* memory = map(size);
        if (memory == nullptr) {
            give_back(SIZE_MAX, 0);
            memory = map(size);
        }
        return memory;
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void release_block(void* block) noexcept {
    const std::lock_guard lock(gate);
    const auto found = lent().find(block);
    if (found == lent().end()) {
        std::free(block);
        return;
    }
    try {
        kept().push_back({found->first, found->second});
    } catch (const std::bad_alloc&) {
        munmap(found->first, found->second);
    }
    lent().erase(found);
}

}  // namespace nibble

void* nibble_allocate(uint64_t bytes) {
    return nibble::allocate_block(bytes);
}

void nibble_release(void* memory) {
    nibble::release_block(memory);
}
