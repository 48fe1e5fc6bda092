// Memory that host and GPU both see, for all that the tests allocate, when NIBBLE_CUDA_DRIVER names a driver: so the
// tests that pass vectors to operators run on a real GPU as they stand. Otherwise the heap, as always.
#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <mutex>
#include <new>

#include "nibble_cuda_driver.h"

namespace {

constexpr size_t kPoolBytes = size_t{2} << 30;
constexpr size_t kSmallest = 256;  // What kernels may ask of an allocation's alignment.
constexpr unsigned kAttachGlobal = 1;

class Pool {
  public:
    // Null when there is no driver, or nothing left.
    void* allocate(size_t bytes) {
        const std::lock_guard lock(mutex_);
        if (!begun_) {
            begun_ = true;  // First, since the driver allocates too.
            begin();
        }
        const size_t size_class = class_of(bytes);
        if (Free* const reused = free_[size_class]) {
            free_[size_class] = reused->next;
            return reused;
        }
        const size_t size = kSmallest << size_class;
        if (size > kPoolBytes - used_ || start_ == nullptr) {
            return nullptr;
        }
        used_ += size;
        return start_ + used_ - size;
    }

    bool release(void* memory, size_t bytes) {
        const auto* at = static_cast<char*>(memory);
        if (start_ == nullptr || at < start_ || at >= start_ + kPoolBytes) {
            return false;
        }
        const std::lock_guard lock(mutex_);
        auto* entry = static_cast<Free*>(memory);
        Free*& list = free_[class_of(bytes)];
        entry->next = list;
        list = entry;
        return true;
    }

  private:
    struct Free {
        Free* next;
    };

    static size_t class_of(size_t bytes) {
        size_t result = 0;
        while (kSmallest << result < bytes) {
            ++result;
        }
        return result;
    }

    void begin() {
        const char* name = std::getenv("NIBBLE_CUDA_DRIVER");
        void* library = name == nullptr ? nullptr : dlopen(name, RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr) {
            return;
        }
        const auto init = reinterpret_cast<CUresult (*)(unsigned)>(dlsym(library, "cuInit"));
        const auto context =
            reinterpret_cast<CUresult (*)(CUcontext*, CUdevice)>(dlsym(library, "cuDevicePrimaryCtxRetain"));
        const auto use = reinterpret_cast<CUresult (*)(CUcontext)>(dlsym(library, "cuCtxSetCurrent"));
        const auto managed =
            reinterpret_cast<CUresult (*)(CUdeviceptr*, size_t, unsigned)>(dlsym(library, "cuMemAllocManaged"));
        CUcontext primary = nullptr;
        CUdeviceptr memory = 0;
        if (init(0) == CUDA_SUCCESS && context(&primary, 0) == CUDA_SUCCESS && use(primary) == CUDA_SUCCESS &&
            managed(&memory, kPoolBytes, kAttachGlobal) == CUDA_SUCCESS) {
            start_ = reinterpret_cast<char*>(memory);
        }
    }

    std::recursive_mutex mutex_;
    bool begun_ = false;
    char* start_ = nullptr;
    size_t used_ = 0;
    std::array<Free*, 40> free_{};
};

Pool& pool() {
    alignas(Pool) static unsigned char place[sizeof(Pool)];  // Never destroyed: the last delete comes after everything.
    static Pool* const instance = new (place) Pool;
    return *instance;
}

}  // namespace

void* operator new(size_t bytes) {
    if (void* memory = pool().allocate(bytes)) {
        return memory;
    }
    if (void* memory = std::malloc(bytes > 0 ? bytes : 1)) {
        return memory;
    }
    throw std::bad_alloc();
}

void operator delete(void* memory, size_t bytes) noexcept {
    if (memory != nullptr && !pool().release(memory, bytes)) {
        std::free(memory);
    }
}

// Only memory from the heap comes here, and from the pool what is then not used again: nobody says its size.
void operator delete(void* memory) noexcept {
    if (memory != nullptr && !pool().release(memory, 1)) {
        std::free(memory);
    }
}
