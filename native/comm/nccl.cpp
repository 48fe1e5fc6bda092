// The C interface over NCCL. The communicator does not block: NCCL is asked for its state, and the GPU for an event
// behind each operation, until time is over. After a failure the communicator is aborted, which ends kernels that wait
// on a GPU.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>

#include "failure.h"
#include "nccl_library.h"
#include "nibble_comm.h"
#include "pause.h"

using namespace nibble_comm;

struct nibble_comm_request {
    const char* operation = "";
    CudaEvent event = nullptr;
};

namespace nibble_comm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

class Group {
  public:
    Group(const NcclId& id, int rank, int size, CudaStream stream) : rank_(rank), size_(size), stream_(stream) {
        NcclConfig config;
        nccl_.check(nccl_.CommInitRankConfig(&comm_, size, id, rank, &config), "init");
        settle("init");
        nccl_.check_cuda(nccl_.MemAlloc(&flag_, sizeof(float)), "init");
    }

    Group(const Group&) = delete;
    Group& operator=(const Group&) = delete;

    [[nodiscard]] int rank() const { return rank_; }
    [[nodiscard]] int size() const { return size_; }
    [[nodiscard]] const Nccl& nccl() const { return nccl_; }
    [[nodiscard]] NcclComm comm() const { return comm_; }
    [[nodiscard]] CudaStream stream() const { return stream_; }
    [[nodiscard]] void* flag() const { return flag_; }

    void set_timeout(double seconds) { timeout_ = std::chrono::duration<double>(seconds); }

    // Calls NCCL, and marks what it queued for the request.
    template <typename Call>
    void start(nibble_comm_request& request, Call&& call) {
        nccl_.check(call(), request.operation, comm_);
        settle(request.operation);
        nccl_.check_cuda(nccl_.EventCreate(&request.event, kWithoutTiming), request.operation);
        nccl_.check_cuda(nccl_.EventRecord(request.event, stream_), request.operation);
    }

    void wait(nibble_comm_request& request) {
        poll(request.operation, [&] {
            check_state(request.operation);
            const int status = nccl_.EventQuery(request.event);
            if (status == kCudaNotReady) {
                return false;
            }
            nccl_.check_cuda(status, request.operation);
            return true;
        });
        nccl_.check_cuda(nccl_.EventDestroy(request.event), request.operation);
    }

    void leave() {
        nccl_.check(nccl_.CommFinalize(comm_), "finalize", comm_);
        settle("finalize");
        nccl_.check(nccl_.CommDestroy(comm_), "finalize");
    }

    void abort() {
        if (comm_ != nullptr) {
            nccl_.CommAbort(comm_);
            comm_ = nullptr;
        }
    }

  private:
    static constexpr unsigned kWithoutTiming = 2;

    // Throws what went wrong since the last call, on this rank or another; false while NCCL works on the call.
    bool check_state(const char* operation) {
        int state = kNcclSuccess;
        nccl_.check(nccl_.CommGetAsyncError(comm_, &state), operation, comm_);
        nccl_.check(state, operation, comm_);
        return state != kNcclInProgress;
    }

    // Until the last call has done what it does on the CPU; only then an event comes after its kernels.
    void settle(const char* operation) {
        poll(operation, [&] { return check_state(operation); });
    }

    template <typename Done>
    void poll(const char* operation, Done&& done) {
        try {
            const auto start = Clock::now();
            for (int turn = 0; !done(); turn = std::min(turn + 1, 1 << 20)) {
                if (Clock::now() - start > timeout_) {
                    char seconds[32];
                    std::snprintf(seconds, sizeof(seconds), "%g", timeout_.count());
                    throw Failure(NIBBLE_DEVICE_ERROR, std::string(operation) + ": not done within " + seconds + " s");
                }
                pause(turn);
            }
        } catch (...) {
            abort();
            throw;
        }
    }

    const Nccl& nccl_ = Nccl::load();
    int rank_;
    int size_;
    CudaStream stream_;
    NcclComm comm_ = nullptr;
    void* flag_ = nullptr;  // What a barrier sums.
    std::chrono::duration<double> timeout_{1800};
};

std::optional<Group> group;

Group& joined(const char* operation) {
    require(group.has_value(), std::string(operation) + ": nibble_comm_nccl_init was not called");
    require(group->comm() != nullptr, std::string(operation) + ": the communicator was aborted");
    return *group;
}

std::unique_ptr<nibble_comm_request> begin(const char* operation, nibble_comm_request** out) {
    require(out != nullptr, std::string(operation) + ": request is null");
    *out = nullptr;
    auto request = std::make_unique<nibble_comm_request>();
    request->operation = operation;
    return request;
}

void require_float32(const char* operation, nibble_dtype dtype) {
    require(dtype == NIBBLE_F32, std::string(operation) + ": dtype is " + std::to_string(static_cast<int>(dtype)) +
                                     ", expected 0 (float32)");
}

bool all_equal(const int64_t* counts, int size) {
    return std::all_of(counts, counts + size, [&](int64_t count) { return count == counts[0]; });
}

// What NCCL has no operation for: each rank is the root of an operation on a part of its own, all of them at once.
template <typename Call>
int for_each_root(const Group& all, const int64_t* counts, Call&& call) {
    const Nccl& nccl = all.nccl();
    nccl.check(nccl.GroupStart(), "group");
    int64_t offset = 0;
    for (int root = 0; root < all.size(); ++root) {
        if (counts[root] > 0) {
            nccl.check(call(root, offset), "group", all.comm());
        }
        offset += counts[root];
    }
    return nccl.GroupEnd();
}

}  // namespace
}  // namespace nibble_comm

nibble_status nibble_comm_nccl_id(uint8_t* id) {
    return guarded([&] {
        require(id != nullptr, "nccl_id: id is null");
        NcclId made{};
        const Nccl& nccl = Nccl::load();
        nccl.check(nccl.GetUniqueId(&made), "nccl_id");
        static_assert(sizeof(made) == NIBBLE_COMM_ID_BYTES);
        std::memcpy(id, &made, sizeof(made));
    });
}

nibble_status nibble_comm_nccl_init(const uint8_t* id, int32_t rank, int32_t size, void* stream) {
    return guarded([&] {
        require(!group.has_value(), "nccl_init: was called already, which it can be once in the life of a process");
        require(id != nullptr, "nccl_init: id is null");
        require(size > 0 && rank >= 0 && rank < size, "nccl_init: rank is " + std::to_string(rank) + ", size " +
                                                          std::to_string(size) + ", expected 0 to size - 1");
        NcclId given{};
        std::memcpy(&given, id, sizeof(given));
        group.emplace(given, rank, size, stream);
    });
}

nibble_status nibble_comm_finalize(void) {
    return guarded([] {
        joined("finalize").leave();
        group.reset();
    });
}

void nibble_comm_abort(int32_t) {
    if (group) {
        group->abort();
    }
}

int32_t nibble_comm_rank(void) {
    return group ? group->rank() : 0;
}

int32_t nibble_comm_size(void) {
    return group ? group->size() : 1;
}

nibble_status nibble_comm_set_timeout(double seconds) {
    return guarded([&] {
        require_seconds("set_timeout", seconds);
        joined("set_timeout").set_timeout(seconds);
    });
}

nibble_status nibble_comm_broadcast(void* data, int64_t bytes, int32_t root, nibble_comm_request** request) {
    return guarded([&] {
        Group& all = joined("broadcast");
        require_buffer("broadcast", "data", data, bytes, kMost);
        require_root("broadcast", root, all.size());
        auto started = begin("broadcast", request);
        all.start(*started, [&] {
            return all.nccl().Broadcast(data, data, static_cast<size_t>(bytes), kNcclUint8, root, all.comm(),
                                        all.stream());
        });
        *request = started.release();
    });
}

nibble_status nibble_comm_all_reduce(nibble_dtype dtype, void* data, int64_t count, nibble_comm_request** request) {
    return guarded([&] {
        Group& all = joined("all_reduce");
        require_float32("all_reduce", dtype);
        require_buffer("all_reduce", "data", data, count, kMost);
        auto started = begin("all_reduce", request);
        all.start(*started, [&] {
            return all.nccl().AllReduce(data, data, static_cast<size_t>(count), kNcclFloat32, kNcclSum, all.comm(),
                                        all.stream());
        });
        *request = started.release();
    });
}

nibble_status nibble_comm_reduce_scatter(nibble_dtype dtype, const void* values, const int64_t* counts, float* share,
                                         nibble_comm_request** request) {
    return guarded([&] {
        Group& all = joined("reduce_scatter");
        require_float32("reduce_scatter", dtype);
        const int64_t total = require_counts("reduce_scatter", "counts", counts, all.size(), kMost);
        require_buffer("reduce_scatter", "values", values, total, kMost);
        require_buffer("reduce_scatter", "share", share, counts[all.rank()], kMost);
        auto started = begin("reduce_scatter", request);
        all.start(*started, [&] {
            const Nccl& nccl = all.nccl();
            if (all_equal(counts, all.size())) {
                return nccl.ReduceScatter(values, share, static_cast<size_t>(counts[0]), kNcclFloat32, kNcclSum,
                                          all.comm(), all.stream());
            }
            return for_each_root(all, counts, [&](int root, int64_t offset) {
                return nccl.Reduce(static_cast<const float*>(values) + offset, share, static_cast<size_t>(counts[root]),
                                   kNcclFloat32, kNcclSum, root, all.comm(), all.stream());
            });
        });
        *request = started.release();
    });
}

nibble_status nibble_comm_all_gather(const void* share, const int64_t* bytes, void* all,
                                     nibble_comm_request** request) {
    return guarded([&] {
        Group& ranks = joined("all_gather");
        const int64_t total = require_counts("all_gather", "bytes", bytes, ranks.size(), kMost);
        require_buffer("all_gather", "share", share, bytes[ranks.rank()], kMost);
        require_buffer("all_gather", "all", all, total, kMost);
        auto started = begin("all_gather", request);
        ranks.start(*started, [&] {
            const Nccl& nccl = ranks.nccl();
            if (all_equal(bytes, ranks.size())) {
                return nccl.AllGather(share, all, static_cast<size_t>(bytes[0]), kNcclUint8, ranks.comm(),
                                      ranks.stream());
            }
            return for_each_root(ranks, bytes, [&](int root, int64_t offset) {
                return nccl.Broadcast(share, static_cast<uint8_t*>(all) + offset, static_cast<size_t>(bytes[root]),
                                      kNcclUint8, root, ranks.comm(), ranks.stream());
            });
        });
        *request = started.release();
    });
}

nibble_status nibble_comm_barrier(nibble_comm_request** request) {
    return guarded([&] {
        Group& all = joined("barrier");
        auto started = begin("barrier", request);
        all.start(*started, [&] {
            return all.nccl().AllReduce(all.flag(), all.flag(), 1, kNcclFloat32, kNcclSum, all.comm(), all.stream());
        });
        *request = started.release();
    });
}

nibble_status nibble_comm_wait(nibble_comm_request* request) {
    return guarded([&] {
        require(request != nullptr, "wait: request is null");
        std::unique_ptr<nibble_comm_request> started(request);
        joined(started->operation).wait(*started);
    });
}
