// The shared memory of one block, and what is known of each pair of its bytes (no kernel has smaller elements): whether
// it was ever written, whether an asynchronous copy is on its way to it, and who touched it last. Two threads that
// touch it with no barrier between, one of them writing, are a race.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nibble::simt {

// When something happened: what a thread did before a barrier is ordered before what others do after it.
struct Moment {
    int thread;
    uint32_t block_barriers;  // Block barriers that the thread has passed.
    uint32_t warp_barriers;   // Warp barriers that its warp has passed.
};

class SharedMemory {
  public:
    // Everything is poisoned anew.
    void reset(std::size_t bytes);

    // Each checks range, alignment and races, and throws Fault with the reason.
    const unsigned char* read(std::size_t offset, std::size_t bytes, Moment now);
    unsigned char* write(std::size_t offset, std::size_t bytes, Moment now);

    // An asynchronous copy to these bytes begins, and ends with its data in place as if `now.thread` had written it.
    void copy_begins(std::size_t offset, std::size_t bytes, Moment now);
    void copy_ends(std::size_t offset, const unsigned char* data, std::size_t bytes, Moment now);

  private:
    static constexpr std::size_t kGranule = 2;
    static constexpr int kNobody = -1;
    static constexpr int kSeveral = -2;  // Readers of one warp, or, with kSeveral as the warp too, of several.

    struct Touch {
        int16_t thread = kNobody;
        int16_t warp = kNobody;
        uint32_t block_barriers = 0;
        uint32_t warp_barriers = 0;

        bool ordered_before(Moment now) const;
    };
    struct Shadow {
        Touch write;
        Touch read;
        bool written = false;
        bool in_flight = false;
    };

    void check_range(std::size_t offset, std::size_t bytes) const;
    void check_write(std::size_t offset, std::size_t bytes, Moment now, const char* what);

    std::vector<uint64_t> storage_;  // Words, so that it is aligned.
    std::vector<Shadow> shadows_;
};

}  // namespace nibble::simt
