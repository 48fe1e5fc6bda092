// Memory for the time of one call, aligned to a cache line, out of a few blocks that each calling thread keeps: fresh
// memory from the system costs more than a small product.
#pragma once

#include <cstdint>
#include <utility>

namespace nibble {

class Scratch {
  public:
    explicit Scratch(int64_t bytes);  // Throws std::bad_alloc.
    ~Scratch();
    Scratch(Scratch&& other) noexcept : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_) {}
    Scratch& operator=(Scratch&&) = delete;

    template <typename T>
    T* as() const {
        return static_cast<T*>(data_);
    }

  private:
    void* data_;
    int64_t bytes_;
};

}  // namespace nibble
