#include "fiber.h"

#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__)
#error "fibers switch stacks in x86-64 assembly"
#endif

// Saves what the System V ABI lets a callee keep, stores the stack pointer at *save, and goes on from the stack `load`.
extern "C" void nibble_simt_switch(void** save, void* load);
asm(R"(
.text
.type nibble_simt_switch, @function
nibble_simt_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size nibble_simt_switch, . - nibble_simt_switch
)");

namespace nibble::simt {

namespace {

thread_local Fiber* entering = nullptr;  // Handed to a fiber's first frame, which has no arguments.

[[noreturn]] void first_frame();

}  // namespace

void fiber_main(Fiber* fiber) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &fiber->resumer_stack_, &fiber->resumer_stack_bytes_);
#endif
    fiber->body_(fiber->argument_);
    fiber->done_ = true;
    fiber->suspend();
}

namespace {

void first_frame() {
    fiber_main(entering);
    __builtin_unreachable();
}

}  // namespace

Fiber::Fiber() : stack_(new unsigned char[kStackBytes]) {}

Fiber::~Fiber() {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack_.get(), kStackBytes);
#endif
}

void Fiber::prepare(void (*body)(void*), void* argument) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack_.get(), kStackBytes);
#endif
    body_ = body;
    argument_ = argument;
    done_ = false;
    auto top = reinterpret_cast<std::uintptr_t>(stack_.get() + kStackBytes) & ~std::uintptr_t{15};
    auto* frame = reinterpret_cast<void**>(top);
    *--frame = nullptr;  // Where first_frame would return to; also aligns its stack as after a call.
    *--frame = reinterpret_cast<void*>(&first_frame);
    for (int saved = 0; saved < 6; ++saved) {
        *--frame = nullptr;
    }
    own_stack_pointer_ = frame;
}

bool Fiber::resume() {
    entering = this;
#if defined(__SANITIZE_ADDRESS__)
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, stack_.get(), kStackBytes);
    nibble_simt_switch(&resumer_stack_pointer_, own_stack_pointer_);
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#else
    nibble_simt_switch(&resumer_stack_pointer_, own_stack_pointer_);
#endif
    return done_;
}

void Fiber::suspend() {
#if defined(__SANITIZE_ADDRESS__)
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(done_ ? nullptr : &fake_stack, resumer_stack_, resumer_stack_bytes_);
    nibble_simt_switch(&own_stack_pointer_, resumer_stack_pointer_);
    __sanitizer_finish_switch_fiber(fake_stack, &resumer_stack_, &resumer_stack_bytes_);
#else
    nibble_simt_switch(&own_stack_pointer_, resumer_stack_pointer_);
#endif
}

}  // namespace nibble::simt
