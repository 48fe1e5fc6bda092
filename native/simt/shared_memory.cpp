#include "shared_memory.h"

#include <cstring>
#include <string>

#include "fault.h"

namespace nibble::simt {

namespace {

constexpr int kWarp = 32;
constexpr uint64_t kPoison = ~uint64_t{0};  // NaN in every floating-point type.

std::string place(std::size_t offset) {
    return "shared byte " + std::to_string(offset);
}

}  // namespace

bool SharedMemory::Touch::ordered_before(Moment now) const {
    if (thread == kNobody || thread == now.thread || block_barriers < now.block_barriers) {
        return true;
    }
    return warp == now.thread / kWarp && warp_barriers < now.warp_barriers;
}

void SharedMemory::reset(std::size_t bytes) {
    storage_.assign((bytes + 7) / 8, kPoison);
    shadows_.assign((bytes + kGranule - 1) / kGranule, Shadow{});
}

void SharedMemory::check_range(std::size_t offset, std::size_t bytes) const {
    if (offset + bytes > shadows_.size() * kGranule) {
        throw Fault(std::to_string(bytes) + " bytes at " + place(offset) + " of " +
                    std::to_string(shadows_.size() * kGranule));
    }
    if (offset % bytes != 0 || bytes % kGranule != 0) {
        throw Fault(std::to_string(bytes) + " bytes at " + place(offset) + ", which is not aligned");
    }
}

const unsigned char* SharedMemory::read(std::size_t offset, std::size_t bytes, Moment now) {
    check_range(offset, bytes);
    const auto warp = static_cast<int16_t>(now.thread / kWarp);
    for (std::size_t i = offset / kGranule; i < (offset + bytes) / kGranule; ++i) {
        Shadow& shadow = shadows_[i];
        // Most reads say nothing new.
        if (shadow.read.warp == kSeveral && shadow.read.block_barriers == now.block_barriers && !shadow.in_flight &&
            shadow.write.block_barriers < now.block_barriers) {
            continue;
        }
        if (shadow.in_flight) {
            throw Fault("reads " + place(i * kGranule) + " while an asynchronous copy to it is under way");
        }
        if (!shadow.written) {
            throw Fault("reads " + place(i * kGranule) + ", which nobody has written");
        }
        if (!shadow.write.ordered_before(now)) {
            throw Fault("reads " + place(i * kGranule) + ", which thread " + std::to_string(shadow.write.thread) +
                        " wrote with no barrier between");
        }
        const bool newer = shadow.read.block_barriers != now.block_barriers || shadow.read.thread == kNobody;
        const bool same = shadow.read.thread == now.thread;
        shadow.read.warp = newer || shadow.read.warp == warp ? warp : static_cast<int16_t>(kSeveral);
        shadow.read.thread = static_cast<int16_t>(newer || same ? now.thread : kSeveral);
        shadow.read.block_barriers = now.block_barriers;
        shadow.read.warp_barriers = now.warp_barriers;
    }
    return reinterpret_cast<const unsigned char*>(storage_.data()) + offset;
}

void SharedMemory::check_write(std::size_t offset, std::size_t bytes, Moment now, const char* what) {
    check_range(offset, bytes);
    for (std::size_t i = offset / kGranule; i < (offset + bytes) / kGranule; ++i) {
        const Shadow& shadow = shadows_[i];
        if (shadow.in_flight) {
            throw Fault(std::string(what) + " " + place(i * kGranule) +
                        " while an asynchronous copy to it is under way");
        }
        if (!shadow.write.ordered_before(now)) {
            throw Fault(std::string(what) + " " + place(i * kGranule) + ", which thread " +
                        std::to_string(shadow.write.thread) + " wrote with no barrier between");
        }
        if (!shadow.read.ordered_before(now)) {
            throw Fault(std::string(what) + " " + place(i * kGranule) + ", which thread " +
                        (shadow.read.thread == kSeveral ? "others" : std::to_string(shadow.read.thread)) +
                        " read with no barrier between");
        }
    }
}

unsigned char* SharedMemory::write(std::size_t offset, std::size_t bytes, Moment now) {
    check_write(offset, bytes, now, "writes");
    for (std::size_t i = offset / kGranule; i < (offset + bytes) / kGranule; ++i) {
        Shadow& shadow = shadows_[i];
        shadow.written = true;
        shadow.write = {static_cast<int16_t>(now.thread), static_cast<int16_t>(now.thread / kWarp), now.block_barriers,
                        now.warp_barriers};
    }
    return reinterpret_cast<unsigned char*>(storage_.data()) + offset;
}

void SharedMemory::copy_begins(std::size_t offset, std::size_t bytes, Moment now) {
    check_write(offset, bytes, now, "copies to");
    for (std::size_t i = offset / kGranule; i < (offset + bytes) / kGranule; ++i) {
        shadows_[i].in_flight = true;
    }
}

void SharedMemory::copy_ends(std::size_t offset, const unsigned char* data, std::size_t bytes, Moment now) {
    for (std::size_t i = offset / kGranule; i < (offset + bytes) / kGranule; ++i) {
        shadows_[i].in_flight = false;
    }
    std::memcpy(write(offset, bytes, now), data, bytes);
}

}  // namespace nibble::simt
