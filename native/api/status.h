// Errors at the C boundary: a kernel's entry point throws, `guarded` turns that into a status and this thread's text.
#pragma once

#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>

#include "nibble.h"

namespace nibble {

void set_last_error(const char* text) noexcept;

// Clears this thread's error text and fixes the device and the number of threads until the next call.
void begin_call(const nibble_device* device) noexcept;

// Thrown for arguments a caller got wrong; its text names the operator, the argument, what was found and expected.
struct InvalidArgument : std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};

// Thrown where a GPU or its driver refused.
struct DeviceError : std::runtime_error {
    DeviceError(nibble_status kind, const std::string& text) : std::runtime_error(text), status(kind) {}
    nibble_status status;
};

template <typename Body>
nibble_status guarded(const nibble_device* device, Body&& body) noexcept {
    try {
        begin_call(device);
        body();
        return NIBBLE_OK;
    } catch (const InvalidArgument& error) {
        set_last_error(error.what());
        return NIBBLE_INVALID_ARGUMENT;
    } catch (const DeviceError& error) {
        set_last_error(error.what());
        return error.status;
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

// For what concerns the CPU only.
template <typename Body>
nibble_status guarded(Body&& body) noexcept {
    return guarded(nullptr, static_cast<Body&&>(body));
}

}  // namespace nibble
