// Device memory, copies and timing for the benchmark.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "driver.h"

namespace nibble::bench {

// The driver's functions that only the benchmark needs.
struct Timing {
    explicit Timing(const cuda::Driver& driver);

    // Median seconds of one call; each sample runs it often enough to last some milliseconds.
    double seconds(const std::function<void()>& call) const;

    const cuda::Driver& driver;
    CUresult (*event_create)(CUevent*, unsigned);
    CUresult (*event_record)(CUevent, CUstream);
    CUresult (*event_synchronize)(CUevent);
    CUresult (*event_elapsed)(float*, CUevent, CUevent);
    CUevent begin{};
    CUevent end{};
};

class Buffer {
  public:
    Buffer(const cuda::Driver& driver, size_t bytes);
    ~Buffer();
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    // Bytes drawn from a seed, in halves whose exponent keeps float16 and bfloat16 values small and finite.
    void fill_halves(uint32_t seed);
    void fill_floats(uint32_t seed, float scale);
    void fill_bytes(uint32_t seed);
    void upload(const void* source, size_t bytes);
    std::vector<uint8_t> download() const;

    void* data() const { return reinterpret_cast<void*>(memory_); }
    template <typename T>
    T* as() const {
        return reinterpret_cast<T*>(memory_);
    }
    CUdeviceptr address() const { return memory_; }
    size_t bytes() const { return bytes_; }

  private:
    const cuda::Driver& driver_;
    CUdeviceptr memory_{};
    size_t bytes_;
};

}  // namespace nibble::bench
