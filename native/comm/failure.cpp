#include "failure.h"

#include <cstdio>

namespace nibble_comm {
namespace {

char last_error[1024] = "";

}  // namespace

void set_last_error(const char* text) noexcept {
    std::snprintf(last_error, sizeof(last_error), "%s", text);
}

void require_seconds(const char* operation, double seconds) {
    require(seconds > 0, std::string(operation) + ": seconds is " + std::to_string(seconds) + ", expected more than 0");
}

void require_root(const char* operation, int root, int size) {
    require(root >= 0 && root < size, std::string(operation) + ": root is " + std::to_string(root) +
                                          ", expected 0 to " + std::to_string(size - 1));
}

void require_buffer(const char* operation, const char* argument, const void* data, int64_t count, int64_t limit) {
    require(count >= 0 && count <= limit, std::string(operation) + ": " + argument + " has " + std::to_string(count) +
                                              " elements, expected 0 to " + std::to_string(limit));
    require(data != nullptr || count == 0, std::string(operation) + ": " + argument + " is null");
}

int64_t require_counts(const char* operation, const char* argument, const int64_t* counts, int size, int64_t limit) {
    require(counts != nullptr, std::string(operation) + ": " + argument + " is null");
    int64_t sum = 0;
    for (int rank = 0; rank < size; ++rank) {
        const int64_t count = counts[rank];
        require(count >= 0 && count <= limit - sum, std::string(operation) + ": " + argument + "[" +
                                                        std::to_string(rank) + "] is " + std::to_string(count) +
                                                        ", expected 0 to " + std::to_string(limit) + " in all");
        sum += count;
    }
    return sum;
}

}  // namespace nibble_comm

int32_t nibble_comm_abi_version(void) {
    return NIBBLE_COMM_ABI_VERSION;
}

const char* nibble_comm_last_error(void) {
    return nibble_comm::last_error;
}
