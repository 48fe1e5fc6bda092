// Errors at the C boundary of the communication libraries, as native/api/status.h has them for the kernels, and the
// checks of arguments that they share.
#pragma once

#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>

#include "nibble_comm.h"

namespace nibble_comm {

struct Failure : std::runtime_error {
    Failure(nibble_status kind, const std::string& text) : std::runtime_error(text), status(kind) {}
    nibble_status status;
};

inline void require(bool condition, const std::string& problem) {
    if (!condition) {
        throw Failure(NIBBLE_INVALID_ARGUMENT, problem);
    }
}

void require_seconds(const char* operation, double seconds);
void require_root(const char* operation, int root, int size);
void require_buffer(const char* operation, const char* argument, const void* data, int64_t count, int64_t limit);

// The sum of each rank's count, which must stay within `limit`.
int64_t require_counts(const char* operation, const char* argument, const int64_t* counts, int size, int64_t limit);

void set_last_error(const char* text) noexcept;

template <typename Body>
nibble_status guarded(Body&& body) noexcept {
    try {
        set_last_error("");
        body();
        return NIBBLE_OK;
    } catch (const Failure& failure) {
        set_last_error(failure.what());
        return failure.status;
    } catch (const std::bad_alloc&) {
        set_last_error("out of memory for messages");
        return NIBBLE_OUT_OF_MEMORY;
    } catch (const std::exception& error) {
        set_last_error(error.what());
        return NIBBLE_INTERNAL_ERROR;
    }
}

}  // namespace nibble_comm
