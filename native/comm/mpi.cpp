// The C interface over MPI: arguments are checked, the operation is started, and what is left to do waits in its
// request.
#include <mpi.h>

#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstring>
#include <functional>
#include <iterator>
#include <memory>
#include <numeric>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "failure.h"
#include "nibble_comm.h"
#include "processes.h"

using namespace nibble_comm;

namespace nibble_comm {
namespace {

// Memory of operations that are through is kept for the next ones, for the system takes longer to find new pages than
// messages to fill them. There are rarely messages of two operations, so one block is kept.
class Received {
  public:
    Received() = default;
    explicit Received(size_t bytes) {
        if (spare.bytes_ < bytes) {
            spare = {};
            memory_ = std::make_unique_for_overwrite<std::byte[]>(bytes);
            bytes_ = bytes;
        } else {
            *this = std::move(spare);
        }
    }
    Received(Received&& other) noexcept { *this = std::move(other); }
    Received& operator=(Received&& other) noexcept {
        memory_ = std::move(other.memory_);
        bytes_ = std::exchange(other.bytes_, 0);
        return *this;
    }
    ~Received() {
        if (this != &spare && bytes_ > spare.bytes_) {
            spare = std::move(*this);
        }
    }

    [[nodiscard]] std::byte* get() const { return memory_.get(); }

  private:
    static Received spare;

    std::unique_ptr<std::byte[]> memory_;
    size_t bytes_ = 0;
};

Received Received::spare;

}  // namespace
}  // namespace nibble_comm

struct nibble_comm_request {
    const char* operation = "";
    int64_t number = 0;
    MPI_Request request = MPI_REQUEST_NULL;
    std::vector<int> counts;  // Each rank's part of the whole. MPI reads these until the operation is complete.
    std::vector<int> offsets;
    std::vector<int> sent_counts;
    std::vector<int> received_counts;
    std::vector<int> received_offsets;
    Received received;  // The others' parts of what is summed here.
    std::vector<float> sums;
    std::vector<uint16_t> rounded;
    std::function<void()> finish;
};

namespace nibble_comm {
namespace {

std::optional<Processes> processes;

Processes& joined(const char* operation) {
    require(processes.has_value(), std::string(operation) + ": nibble_comm_init was not called");
    return *processes;
}

std::unique_ptr<nibble_comm_request> begin(const char* operation, nibble_comm_request** out) {
    require(out != nullptr, std::string(operation) + ": request is null");
    *out = nullptr;
    auto request = std::make_unique<nibble_comm_request>();
    request->operation = operation;
    request->number = joined(operation).next_operation();
    return request;
}

// Each rank's count, as MPI takes them.
std::vector<int> counted(const char* operation, const char* argument, const int64_t* counts) {
    const int size = joined(operation).size();
    require_counts(operation, argument, counts, size, INT_MAX);
    return {counts, counts + size};
}

void require_summable(const char* operation, nibble_dtype dtype) {
    require(dtype == NIBBLE_F32 || dtype == NIBBLE_BF16, std::string(operation) + ": dtype is " +
                                                             std::to_string(static_cast<int>(dtype)) +
                                                             ", expected 0 (float32) or 1 (bfloat16)");
}

float widened(uint16_t bfloat16) {
    const uint32_t wide = static_cast<uint32_t>(bfloat16) << 16;
    float value = 0;
    std::memcpy(&value, &wide, sizeof(wide));
    return value;
}
float widened(float value) {
    return value;
}

// To the nearest, ties to even; NaN stays NaN.
uint16_t narrowed(float value) {
    uint32_t wide = 0;
    std::memcpy(&wide, &value, sizeof(wide));
    const bool nan = (wide & 0x7FFFFFFFU) > 0x7F800000U;
    return static_cast<uint16_t>(nan ? (wide >> 16) | 0x40U : (wide + 0x7FFFU + ((wide >> 16) & 1U)) >> 16);
}

std::vector<int> begins(const std::vector<int>& counts) {
    std::vector<int> offsets(counts.size());
    std::exclusive_scan(counts.begin(), counts.end(), offsets.begin(), 0);
    return offsets;
}

// share += the parts of ranks from `first` on, this one's and those received, in the ranks' order.
template <typename T>
void add_parts(const nibble_comm_request& request, const T* values, size_t self, size_t first, float* share) {
    for (size_t r = first; r < request.counts.size(); ++r) {
        const T* part = r == self ? values + request.offsets[self]
                                  : reinterpret_cast<const T*>(request.received.get()) + request.received_offsets[r];
        for (int i = 0; i < request.counts[self]; ++i) {
            share[i] += widened(part[i]);
        }
    }
}

// Starts to take the others' parts of what this rank adds up at the end. MPI_Ireduce_scatter of Open MPI would hold all
// ranks' parts twice, needs to be called again and again to go on, and adds in an order of its own.
template <typename T>
void exchange_parts(nibble_comm_request& request, std::vector<int> counts, const T* values, MPI_Datatype type,
                    const Processes& all) {
    const auto self = static_cast<size_t>(all.rank());
    request.counts = std::move(counts);
    request.offsets = begins(request.counts);
    request.sent_counts = request.counts;
    request.sent_counts[self] = 0;
    request.received_counts.assign(request.counts.size(), request.counts[self]);
    request.received_counts[self] = 0;
    request.received_offsets = begins(request.received_counts);
    request.received = Received(sizeof(T) * static_cast<size_t>(request.counts[self]) * (request.counts.size() - 1));
    check(MPI_Ialltoallv(values, request.sent_counts.data(), request.offsets.data(), type, request.received.get(),
                         request.received_counts.data(), request.received_offsets.data(), type, all.operations(),
                         &request.request),
          request.operation);
}

template <typename T>
void reduce_scatter(nibble_comm_request& request, std::vector<int> counts, const T* values, float* share,
                    MPI_Datatype type, const Processes& all) {
    exchange_parts(request, std::move(counts), values, type, all);
    request.finish = [&request, &all, values, share] {
        add_parts(request, values, static_cast<size_t>(all.rank()), 0, share);
    };
}

// Each rank adds up an even part, which all then gather. MPI_Iallreduce would add in an order of its own, and in
// bfloat16 round after every rank.
template <typename T>
void all_reduce(nibble_comm_request& request, T* data, int64_t count, MPI_Datatype type, Processes& all) {
    const auto self = static_cast<size_t>(all.rank());
    std::vector<int> counts(static_cast<size_t>(all.size()));
    for (size_t r = 0; r < counts.size(); ++r) {
        counts[r] = static_cast<int>(count / all.size() + (static_cast<int64_t>(r) < count % all.size() ? 1 : 0));
    }
    exchange_parts(request, std::move(counts), data, type, all);
    request.finish = [&request, &all, data, self, type, gathering = all.next_operation()] {
        const void* own = MPI_IN_PLACE;
        if constexpr (std::is_same_v<T, float>) {  // Added to the part of rank 0 where that lies.
            float* sums = self == 0 ? data : reinterpret_cast<float*>(request.received.get());
            add_parts(request, data, self, 1, sums);
            own = self == 0 ? MPI_IN_PLACE : sums;
        } else {
            request.sums.resize(static_cast<size_t>(request.counts[self]));
            add_parts(request, data, self, 0, request.sums.data());
            std::transform(request.sums.begin(), request.sums.end(), std::back_inserter(request.rounded), narrowed);
            own = request.rounded.data();
        }
        check(MPI_Iallgatherv(own, request.counts[self], type, data, request.counts.data(), request.offsets.data(),
                              type, all.endings(), &request.request),
              request.operation);
        all.wait(request.request, gathering, request.operation);
    };
}

}  // namespace

}  // namespace nibble_comm

nibble_status nibble_comm_init(void) {
    return guarded([] {
        int before = 0;
        MPI_Initialized(&before);
        require(before == 0, "init: MPI is initialised already, which it can be once in the life of a process");
        processes.emplace();
    });
}

nibble_status nibble_comm_finalize(void) {
    return guarded([] {
        joined("finalize").leave();
        processes.reset();
    });
}

void nibble_comm_abort(int32_t code) {
    MPI_Abort(MPI_COMM_WORLD, code);
}

int32_t nibble_comm_rank(void) {
    return processes ? processes->rank() : 0;
}

int32_t nibble_comm_size(void) {
    return processes ? processes->size() : 1;
}

int32_t nibble_comm_sharers(void) {
    return processes ? processes->sharers() : 1;
}

nibble_status nibble_comm_set_timeout(double seconds) {
    return guarded([&] {
        require_seconds("set_timeout", seconds);
        joined("set_timeout").set_timeout(seconds);
    });
}

nibble_status nibble_comm_broadcast(void* data, int64_t bytes, int32_t root, nibble_comm_request** request) {
    return guarded([&] {
        Processes& all = joined("broadcast");
        require_buffer("broadcast", "data", data, bytes, INT_MAX);
        require_root("broadcast", root, all.size());
        auto started = begin("broadcast", request);
        check(MPI_Ibcast(data, static_cast<int>(bytes), MPI_BYTE, root, all.operations(), &started->request),
              "broadcast");
        *request = started.release();
    });
}

nibble_status nibble_comm_all_reduce(nibble_dtype dtype, void* data, int64_t count, nibble_comm_request** request) {
    return guarded([&] {
        Processes& all = joined("all_reduce");
        require_summable("all_reduce", dtype);
        require_buffer("all_reduce", "data", data, count, INT_MAX);
        auto started = begin("all_reduce", request);
        if (count > 0 && dtype == NIBBLE_F32) {
            all_reduce(*started, static_cast<float*>(data), count, MPI_FLOAT, all);
        } else if (count > 0) {
            all_reduce(*started, static_cast<uint16_t*>(data), count, MPI_UINT16_T, all);
        }
        *request = started.release();
    });
}

nibble_status nibble_comm_reduce_scatter(nibble_dtype dtype, const void* values, const int64_t* counts, float* share,
                                         nibble_comm_request** request) {
    return guarded([&] {
        Processes& all = joined("reduce_scatter");
        require_summable("reduce_scatter", dtype);
        std::vector<int> parts = counted("reduce_scatter", "counts", counts);
        const auto total = std::accumulate(parts.begin(), parts.end(), size_t{0});
        require_buffer("reduce_scatter", "values", values, static_cast<int64_t>(total), INT_MAX);
        require_buffer("reduce_scatter", "share", share, parts[static_cast<size_t>(all.rank())], INT_MAX);
        auto started = begin("reduce_scatter", request);
        if (total > 0 && dtype == NIBBLE_F32) {
            reduce_scatter(*started, std::move(parts), static_cast<const float*>(values), share, MPI_FLOAT, all);
        } else if (total > 0) {
            reduce_scatter(*started, std::move(parts), static_cast<const uint16_t*>(values), share, MPI_UINT16_T, all);
        }
        *request = started.release();
    });
}

nibble_status nibble_comm_all_gather(const void* share, const int64_t* bytes, void* all,
                                     nibble_comm_request** request) {
    return guarded([&] {
        Processes& ranks = joined("all_gather");
        std::vector<int> parts = counted("all_gather", "bytes", bytes);
        const auto total = std::accumulate(parts.begin(), parts.end(), int64_t{0});
        const int own = parts[static_cast<size_t>(ranks.rank())];
        require_buffer("all_gather", "share", share, own, INT_MAX);
        require_buffer("all_gather", "all", all, total, INT_MAX);
        auto started = begin("all_gather", request);
        started->offsets = begins(parts);
        started->counts = std::move(parts);
        if (total > 0) {
            check(MPI_Iallgatherv(share, own, MPI_BYTE, all, started->counts.data(), started->offsets.data(), MPI_BYTE,
                                  ranks.operations(), &started->request),
                  "all_gather");
        }
        *request = started.release();
    });
}

nibble_status nibble_comm_barrier(nibble_comm_request** request) {
    return guarded([&] {
        Processes& all = joined("barrier");
        auto started = begin("barrier", request);
        check(MPI_Ibarrier(all.operations(), &started->request), "barrier");
        *request = started.release();
    });
}

nibble_status nibble_comm_wait(nibble_comm_request* request) {
    return guarded([&] {
        require(request != nullptr, "wait: request is null");
        std::unique_ptr<nibble_comm_request> started(request);
        try {
            joined("wait").wait(started->request, started->number, started->operation);
            if (started->finish) {
                started->finish();
            }
        } catch (...) {
            started.release();  // MPI may still write to its buffers.
            throw;
        }
    });
}
