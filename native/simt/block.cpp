#include "block.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace nibble::simt {

namespace {

thread_local Block* current_block = nullptr;

}  // namespace

Block& Block::current() {
    return *current_block;
}

void Block::run(const Kernel& kernel, const void* arguments, const Launch& launch, std::array<uint32_t, 3> index) {
    kernel_ = &kernel;
    arguments_ = arguments;
    launch_ = &launch;
    index_ = index;
    fault_.clear();
    block_barriers_ = 0;
    order_.seed(launch.seed + 0x9E3779B97F4A7C15ULL * (index[0] + 65536ULL * (index[1] + 65536ULL * index[2])));
    shared_.reset(launch.shared_bytes);
    threads_.resize(static_cast<std::size_t>(launch.threads));
    warp_barriers_.assign(static_cast<std::size_t>(launch.threads / kWarpSize), 0);
    for (Thread& thread : threads_) {
        thread.state = State::ready;
        thread.copies.clear();
        thread.groups = 0;
        thread.fiber->prepare(&Block::thread_main, this);
    }

    Block* outer = current_block;
    current_block = this;
    std::vector<int> warps(warp_barriers_.size());
    std::iota(warps.begin(), warps.end(), 0);
    bool progress = true;
    while (fault_.empty() && progress) {
        std::shuffle(warps.begin(), warps.end(), order_);
        progress = false;
        for (const int warp : warps) {
            progress = run_warp(warp) || progress;
        }
        progress = release_block() || progress;
    }
    current_block = outer;
    if (fault_.empty() &&
        !std::all_of(threads_.begin(), threads_.end(), [](const Thread& t) { return t.state == State::done; })) {
        explain_deadlock();
    }
    if (!fault_.empty()) {
        throw Fault(fault_);
    }
}

void Block::thread_main(void* block) {
    auto* self = static_cast<Block*>(block);
    try {
        self->kernel_->body(self->arguments_);
    } catch (const std::exception& error) {
        self->fault_ = std::string(self->kernel_->name) + ": thread " + std::to_string(self->running_) + " of block " +
                       std::to_string(self->index_[0]) + "," + std::to_string(self->index_[1]) + "," +
                       std::to_string(self->index_[2]) + " " + error.what();
    }
    self->threads_[static_cast<std::size_t>(self->running_)].state = State::done;
}

// Runs each lane as far as it goes, and then the warp's operation if all lanes came to one.
bool Block::run_warp(int warp) {
    bool progress = false;
    for (int lane = 0; lane < kWarpSize && fault_.empty(); ++lane) {
        running_ = warp * kWarpSize + lane;
        Thread& thread = threads_[static_cast<std::size_t>(running_)];
        if (thread.state == State::ready) {
            thread.fiber->resume();
            progress = true;
        }
    }
    return (fault_.empty() && release_warp(warp)) || progress;
}

bool Block::release_warp(int warp) {
    const auto first = threads_.begin() + warp * kWarpSize;
    const auto last = first + kWarpSize;
    const State state = first->state;
    if (state != State::at_warp_barrier && state != State::at_warp_operation) {
        return false;
    }
    const WarpOperation operation = first->operation;
    if (!std::all_of(first, last, [&](const Thread& t) { return t.state == state && t.operation == operation; })) {
        return false;
    }
    if (state == State::at_warp_barrier) {
        ++warp_barriers_[static_cast<std::size_t>(warp)];
    } else {
        std::array<LaneOperands, kWarpSize> lanes;
        std::transform(first, last, lanes.begin(), [](const Thread& t) { return t.operands; });
        operation(lanes);
    }
    std::for_each(first, last, [](Thread& t) {
        t.state = State::ready;
        t.operation = nullptr;
    });
    return true;
}

bool Block::release_block() {
    if (!std::all_of(threads_.begin(), threads_.end(),
                     [](const Thread& t) { return t.state == State::at_block_barrier; })) {
        return false;
    }
    ++block_barriers_;
    for (Thread& thread : threads_) {
        thread.state = State::ready;
    }
    return true;
}

void Block::explain_deadlock() const {
    static const char* const names[] = {"ready", "at a warp barrier", "in a warp operation", "at a block barrier",
                                        "at the end"};
    std::string text = std::string(kernel_->name) + ": block " + std::to_string(index_[0]) + "," +
                       std::to_string(index_[1]) + "," + std::to_string(index_[2]) + " cannot go on:";
    for (int state = 1; state < 5; ++state) {
        const auto count = std::count_if(threads_.begin(), threads_.end(),
                                         [&](const Thread& t) { return t.state == static_cast<State>(state); });
        if (count > 0) {
            text.append(" ").append(std::to_string(count)).append(" threads are ").append(names[state]).append(",");
        }
    }
    text.back() = '.';
    throw Fault(text);
}

void Block::require(bool holds, const char* fault) const {
    if (!holds) {
        throw Fault(fault);
    }
}

Moment Block::now() const {
    return {running_, block_barriers_, warp_barriers_[static_cast<std::size_t>(running_ / kWarpSize)]};
}

void Block::wait(State state) {
    Thread& self = threads_[static_cast<std::size_t>(running_)];
    self.state = state;
    self.fiber->suspend();
}

void Block::block_barrier() {
    wait(State::at_block_barrier);
}

void Block::warp_barrier() {
    wait(State::at_warp_barrier);
}

void Block::warp_operation(WarpOperation operation, const void* input, void* output) {
    Thread& self = threads_[static_cast<std::size_t>(running_)];
    self.operation = operation;
    self.operands = {input, output};
    wait(State::at_warp_operation);
}

void Block::copy_async(std::size_t offset, const void* source) {
    Thread& self = threads_[static_cast<std::size_t>(running_)];
    Copy copy{offset, {}, self.groups};
    shared_.copy_begins(offset, copy.data.size(), now());
    std::memcpy(copy.data.data(), source, copy.data.size());
    self.copies.push_back(copy);
}

void Block::commit_copies() {
    ++threads_[static_cast<std::size_t>(running_)].groups;
}

void Block::wait_copies(std::size_t groups_left) {
    Thread& self = threads_[static_cast<std::size_t>(running_)];
    auto& copies = self.copies;
    const auto arrived = std::stable_partition(
        copies.begin(), copies.end(), [&](const Copy& copy) { return copy.group + groups_left >= self.groups; });
    for (auto copy = arrived; copy != copies.end(); ++copy) {
        shared_.copy_ends(copy->offset, copy->data.data(), copy->data.size(), now());
    }
    copies.erase(arrived, copies.end());
}

}  // namespace nibble::simt
