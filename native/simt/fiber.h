// A stack of its own to run a function on, and to leave it in the middle: one CUDA thread of the emulation.
#pragma once

#include <cstddef>
#include <memory>

namespace nibble::simt {

class Fiber {
  public:
    Fiber();
    ~Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    // Makes the next resume() begin `body(argument)` on an empty stack. A body that was left in the middle is dropped,
    // without unwinding.
    void prepare(void (*body)(void*), void* argument);

    // Runs the body until it calls suspend() or returns. True when it has returned.
    bool resume();

    // Called by the body: back to whoever resumed it.
    void suspend();

  private:
    friend void fiber_main(Fiber* fiber);

    static constexpr std::size_t kStackBytes = 128 * 1024;

    std::unique_ptr<unsigned char[]> stack_;
    void* own_stack_pointer_ = nullptr;
    void* resumer_stack_pointer_ = nullptr;
    const void* resumer_stack_ = nullptr;  // Where the resumer's stack lies; the address sanitizer wants to know.
    std::size_t resumer_stack_bytes_ = 0;
    void (*body_)(void*) = nullptr;
    void* argument_ = nullptr;
    bool done_ = true;
};

}  // namespace nibble::simt
