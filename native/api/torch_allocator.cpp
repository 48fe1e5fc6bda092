// libtorch's tensors on the CPU in blocks that are kept (blocks.cpp). The two types mirror c10::DataPtr and
// c10::Allocator of libtorch 2.10: what they hold, and the order of what is virtual. They have a name outside of this
// file, or the compiler would know of no other allocator than the one below and call that in the original's place.
#include <cstdint>
#include <cstring>

#include "blocks.h"
#include "nibble.h"

namespace nibble::torch {

using Deleter = void (*)(void*);

struct DataPtr {
    explicit DataPtr(void* block) : data(block), deleter(release_block), context(block) {}
    DataPtr(const DataPtr&) = delete;
    DataPtr& operator=(const DataPtr&) = delete;
    ~DataPtr() {}  // libtorch's is not trivial either, which decides how one is returned.

    void* data;
    Deleter deleter;
    void* context;           // What the deleter is given.
    int8_t device_type = 0;  // The CPU.
    int8_t device_index = -1;
};

class Allocator {
  public:
    virtual ~Allocator() = default;
    virtual DataPtr allocate(size_t bytes) = 0;
    virtual bool is_simple_data_ptr(const DataPtr& pointer) const { return pointer.context == pointer.data; }
    virtual Deleter raw_deleter() const = 0;
    virtual void copy_data(void* dst, const void* src, size_t bytes) const = 0;
};

class BlockAllocator final : public Allocator {
  public:
    explicit BlockAllocator(Allocator* original) : original_(original) {}

    DataPtr allocate(size_t bytes) override {
        void* block = bytes == 0 ? nullptr : allocate_block(bytes);
        return block == nullptr ? original_->allocate(bytes) : DataPtr(block);
    }
    Deleter raw_deleter() const override { return release_block; }
    void copy_data(void* dst, const void* src, size_t bytes) const override { std::memcpy(dst, src, bytes); }

  private:
    Allocator* original_;
};

}  // namespace nibble::torch

void* nibble_torch_allocator(void* original) {
    return new nibble::torch::BlockAllocator(static_cast<nibble::torch::Allocator*>(original));
}
