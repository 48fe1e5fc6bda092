// Errors at the C boundary: a kernel's entry point throws, `guarded` turns that into a status and this thread's text.
#pragma once

#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>

#include "nibble.h"

namespace nibble {

void set_last_error(const char* text) noexcept;

// Clears this thread's error text and fixes the number of threads that threads() gives until the next call.
void begin_call() noexcept;

// Thrown for arguments a caller got wrong; its text names the operator, the argument, what was found and expected.
struct InvalidArgument : std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};

template <typename Body>
nibble_status guarded(Body&& body) noexcept {
    try {
        begin_call();
        body();
        return NIBBLE_OK;
    } catch (const InvalidArgument& error) {
        set_last_error(error.what());
        return NIBBLE_INVALID_ARGUMENT;
    } catch (const std::bad_alloc&) {
        set_last_error("out of memory for scratch buffers");
        return NIBBLE_OUT_OF_MEMORY;
    } catch (const std::exception& error) {
        set_last_error(error.what());
        return NIBBLE_INTERNAL_ERROR;
    } catch (...) {
        set_last_error("unknown error");
        return NIBBLE_INTERNAL_ERROR;
    }
}

}  // namespace nibble
