#include "gpu_memory.h"

#include <algorithm>
#include <cstring>
#include <random>

namespace nibble::bench {

Timing::Timing(const cuda::Driver& driver_)
    : driver(driver_),
      event_create(driver.function<decltype(event_create)>("cuEventCreate")),
      event_record(driver.function<decltype(event_record)>("cuEventRecord")),
      event_synchronize(driver.function<decltype(event_synchronize)>("cuEventSynchronize")),
      event_elapsed(driver.function<decltype(event_elapsed)>("cuEventElapsedTime")) {
    driver.check(event_create(&begin, 0), "cuEventCreate");
    driver.check(event_create(&end, 0), "cuEventCreate");
}

double Timing::seconds(const std::function<void()>& call) const {
    const auto time = [&](int calls) {
        driver.check(event_record(begin, nullptr), "cuEventRecord");
        for (int i = 0; i < calls; ++i) {
            call();
        }
        driver.check(event_record(end, nullptr), "cuEventRecord");
        driver.check(event_synchronize(end), "cuEventSynchronize");
        float milliseconds = 0.0F;
        driver.check(event_elapsed(&milliseconds, begin, end), "cuEventElapsedTime");
        return std::max(static_cast<double>(milliseconds) / 1e3, 1e-9);
    };
    constexpr double kSampleSeconds = 4e-3;
    constexpr int kSamples = 9;
    const double once = std::max(time(1), time(1));  // Also warms up: loads the kernel, raises the clock.
    const int calls = std::clamp(static_cast<int>(kSampleSeconds / once), 1, 200);
    std::vector<double> samples;
    for (int i = 0; i < kSamples; ++i) {
        samples.push_back(time(calls) / calls);
    }
    std::nth_element(samples.begin(), samples.begin() + kSamples / 2, samples.end());
    return samples[kSamples / 2];
}

Buffer::Buffer(const cuda::Driver& driver, size_t bytes) : driver_(driver), bytes_(bytes) {
    driver_.check(driver_.allocate(&memory_, bytes), "cuMemAlloc");
}

Buffer::~Buffer() {
    driver_.release(memory_);
}

void Buffer::upload(const void* source, size_t bytes) {
    static const auto copy = driver_.function<CUresult (*)(CUdeviceptr, const void*, size_t)>("cuMemcpyHtoD_v2");
    driver_.check(copy(memory_, source, bytes), "cuMemcpyHtoD");
}

std::vector<uint8_t> Buffer::download() const {
    static const auto copy = driver_.function<CUresult (*)(void*, CUdeviceptr, size_t)>("cuMemcpyDtoH_v2");
    std::vector<uint8_t> result(bytes_);
    driver_.check(copy(result.data(), memory_, bytes_), "cuMemcpyDtoH");
    return result;
}

void Buffer::fill_bytes(uint32_t seed) {
    std::mt19937 engine(seed);
    std::vector<uint32_t> words((bytes_ + 3) / 4);
    for (uint32_t& word : words) {
        word = static_cast<uint32_t>(engine());
    }
    upload(words.data(), bytes_);
}

void Buffer::fill_halves(uint32_t seed) {
    std::mt19937 engine(seed);
    std::vector<uint16_t> halves(bytes_ / 2);
    for (uint16_t& half : halves) {
        half = static_cast<uint16_t>(0x3C00U | (engine() & 0x80FFU));  // As bfloat16 about 0.008, as float16 1 to 1.25.
    }
    upload(halves.data(), bytes_);
}

void Buffer::fill_floats(uint32_t seed, float scale) {
    std::mt19937 engine(seed);
    std::vector<float> values(bytes_ / 4);
    for (float& value : values) {
        value = scale * (static_cast<float>(engine() >> 8) / 8388608.0F - 1.0F);
    }
    upload(values.data(), bytes_);
}

}  // namespace nibble::bench
