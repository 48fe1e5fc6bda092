// Runs a kernel as a GPU would, on one CPU thread: the blocks of a grid one after another, the threads of a block as
// fibers, in warps whose order a seed decides anew at every turn. A thread runs until it has to wait for others; a
// barrier that is missing in the kernel therefore shows as a race, a wrong result or a block that cannot go on.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "fault.h"
#include "fiber.h"
#include "shared_memory.h"

namespace nibble::simt {

inline constexpr int kWarpSize = 32;

// A kernel compiled for the host, under its name.
struct Kernel {
    const char* name;
    std::size_t argument_bytes;
    int threads;  // Of a block; what the kernel was written for.
    void (*body)(const void* arguments);
};

struct Launch {
    std::array<uint32_t, 3> grid;
    int threads;
    std::size_t shared_bytes;
    int compute_capability;
    uint64_t seed;  // Decides in which order warps run.
};

// One lane's part in an operation of the whole warp: where its inputs lie and where its results go.
struct LaneOperands {
    const void* input;
    void* output;
};
using WarpOperation = void (*)(const std::array<LaneOperands, kWarpSize>& lanes);

class Block {
  public:
    // Throws Fault with the kernel, block and thread when the kernel breaks a rule.
    void run(const Kernel& kernel, const void* arguments, const Launch& launch, std::array<uint32_t, 3> index);

    // The block that this CPU thread is running.
    static Block& current();

    // What kernels see; called from within a thread of the block.
    uint32_t thread_index() const { return static_cast<uint32_t>(running_); }
    uint32_t block_index(int axis) const { return index_[static_cast<std::size_t>(axis)]; }
    uint32_t grid_size(int axis) const { return launch_->grid[static_cast<std::size_t>(axis)]; }
    int compute_capability() const { return launch_->compute_capability; }
    void require(bool holds, const char* fault) const;
    void block_barrier();
    void warp_barrier();
    void warp_operation(WarpOperation operation, const void* input, void* output);

    const unsigned char* read_shared(std::size_t offset, std::size_t bytes) {
        return shared_.read(offset, bytes, now());
    }
    unsigned char* write_shared(std::size_t offset, std::size_t bytes) { return shared_.write(offset, bytes, now()); }

    // cp.async: 16 bytes arrive when their group is waited for.
    void copy_async(std::size_t offset, const void* source);
    void commit_copies();
    void wait_copies(std::size_t groups_left);

  private:
    enum class State { ready, at_warp_barrier, at_warp_operation, at_block_barrier, done };

    struct Copy {
        std::size_t offset;
        std::array<unsigned char, 16> data;
        uint32_t group;
    };
    struct Thread {
        std::unique_ptr<Fiber> fiber = std::make_unique<Fiber>();
        State state = State::done;
        WarpOperation operation = nullptr;
        LaneOperands operands{};
        std::vector<Copy> copies;
        uint32_t groups = 0;  // Groups of copies that were committed.
    };

    Moment now() const;
    void wait(State state);
    bool run_warp(int warp);
    bool release_warp(int warp);
    bool release_block();
    [[noreturn]] void explain_deadlock() const;
    static void thread_main(void* block);

    const Kernel* kernel_ = nullptr;
    const void* arguments_ = nullptr;
    const Launch* launch_ = nullptr;
    std::array<uint32_t, 3> index_{};
    std::vector<Thread> threads_;
    std::vector<uint32_t> warp_barriers_;
    uint32_t block_barriers_ = 0;
    SharedMemory shared_;
    int running_ = 0;
    std::mt19937_64 order_;
    std::string fault_;
};

}  // namespace nibble::simt
