// Errors at the C boundary of the communication library, as native/api/status.h has them for the kernels.
#pragma once

#include <stdexcept>
#include <string>

#include "nibble_comm.h"

namespace nibble_comm_mpi {

struct Failure : std::runtime_error {
    Failure(nibble_status kind, const std::string& text) : std::runtime_error(text), status(kind) {}
    nibble_status status;
};

inline void require(bool condition, const std::string& problem) {
    if (!condition) {
        throw Failure(NIBBLE_INVALID_ARGUMENT, problem);
    }
}

// Throws what MPI says of a call that failed.
void check(int mpi_status, const char* operation);

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

}  // namespace nibble_comm_mpi
