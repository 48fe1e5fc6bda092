#include "scratch.h"

#include <algorithm>
#include <new>

namespace nibble {
namespace {

constexpr int64_t kSmallest = 4096;
#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kMostKept = 0;  // Every block is then exactly as long as asked for.
#else
constexpr int64_t kMostKept = 48 << 20;
#endif
constexpr int kBlocks = 8;

struct Block {
    void* data = nullptr;
    int64_t bytes = 0;
};

void release(Block& block) {
    ::operator delete (block.data, std::align_val_t{64});
    block = {};
}

// Blocks that nobody uses, of one thread.
class Cache {
  public:
    ~Cache() {
        for (Block& block : blocks_) {
            release(block);
        }
    }

    // The smallest that is large enough and not wastefully so; empty if there is none.
    Block take(int64_t bytes) {
        Block* best = nullptr;
        for (Block& block : blocks_) {
            if (block.bytes >= bytes && block.bytes <= 2 * bytes && (best == nullptr || block.bytes < best->bytes)) {
                best = &block;
            }
        }
        Block found;
        if (best != nullptr) {
            std::swap(found, *best);
            total_ -= found.bytes;
        }
        return found;
    }

    // In the place of the blocks that came longest ago, so that sizes no longer asked for leave in the end.
    void give(Block block) {
        do {
            next_ = (next_ + 1) % kBlocks;
            total_ -= blocks_[next_].bytes;
            release(blocks_[next_]);
        } while (total_ + block.bytes > kMostKept);
        total_ += block.bytes;
        blocks_[next_] = block;
    }

  private:
    Block blocks_[kBlocks];
    int next_ = 0;
    int64_t total_ = 0;
};

thread_local Cache cache;

}  // namespace

Scratch::Scratch(int64_t bytes) : bytes_(std::max(bytes, kSmallest)) {
    const Block block = cache.take(bytes_);
    if (block.data != nullptr) {
        data_ = block.data;
        bytes_ = block.bytes;
        return;
    }
    data_ = ::operator new (static_cast<size_t>(bytes_), std::align_val_t{64});
}

Scratch::~Scratch() {
    Block block{data_, bytes_};
    if (data_ != nullptr && bytes_ <= kMostKept) {
        cache.give(block);
    } else {
        release(block);
    }
}

}  // namespace nibble
