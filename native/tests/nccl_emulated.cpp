// NCCL without a GPU, for tests: its entry points over TCP on this machine, in host memory. As NCCL does, it returns
// before an operation is done, reads and writes the buffers later, works on calls in the background, and notices when a
// process is gone. The functions of the CUDA driver that tell how far a stream has come go with it: NIBBLE_NCCL and
// NIBBLE_CUDA_DRIVER name this library together. Rank 0 takes what the others bring and gives back what comes of it.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#define EMULATED extern "C" __attribute__((visibility("default")))

namespace {

enum Status : int { kSuccess = 0, kSystem = 2, kInvalidUsage = 5, kRemote = 6, kInProgress = 7 };
enum Type : int { kUint8 = 1, kFloat32 = 7 };
enum class Kind : int32_t { kAllReduce, kReduce, kReduceScatter, kAllGather, kBroadcast };

struct Id {
    int listener;  // Of rank 0's process, in which ncclGetUniqueId is called.
    in_port_t port;
    char unused[128 - sizeof(int) - sizeof(in_port_t) - 2];
};
static_assert(sizeof(Id) == 128);

struct Config {
    size_t size;
    unsigned magic;
    unsigned version;
    int blocking;
};

// All ranks must call for the same.
struct Header {
    Kind kind;
    int32_t type;
    int32_t root;
    uint64_t count;

    bool operator==(const Header&) const = default;
};

struct Lost {
    int status;
    std::string text;
};

// The one stream: operations queued on it and done.
std::atomic<uint64_t> queued{0};
std::atomic<uint64_t> done{0};
thread_local int groups = 0;
std::string last_error;

sockaddr_in loopback(in_port_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = port;
    return address;
}

class Comm {
  public:
    Comm(int size, const Id& id, int rank) : size_(size), rank_(rank), sockets_(static_cast<size_t>(size), -1) {
        push([this, id] { connect(id); });
        worker_ = std::thread([this] { work(); });
    }

    ~Comm() {
        push({});
        worker_.join();
        close_all();
    }

    void queue(Header header, const void* send, void* receive) {
        ++queued;
        push([=, this] {
            run(header, static_cast<const uint8_t*>(send), static_cast<uint8_t*>(receive));
            ++done;
        });
    }

    void finish() {
        push([] {});
    }

    // Sockets are shut down, so that the worker does not wait for them.
    void abort() {
        failed_ = kSystem;
        shut_down();
    }

    // A call is worked on in the background until nothing is left of it to queue, which takes a moment.
    int state() {
        std::lock_guard lock(mutex_);
        if (failed_ != kSuccess) {
            return failed_;
        }
        const bool settled = connected_ && unseen_ == 0;
        unseen_ -= unseen_ > 0 ? 1 : 0;
        return settled ? kSuccess : kInProgress;
    }

    [[nodiscard]] int size() const { return size_; }

  private:
    void push(std::function<void()> task) {
        {
            std::lock_guard lock(mutex_);
            tasks_.push_back(std::move(task));
            unseen_ = 2;
        }
        ready_.notify_one();
    }

    void work() {
        for (;;) {
            std::unique_lock lock(mutex_);
            ready_.wait(lock, [this] { return !tasks_.empty(); });
            const std::function<void()> task = std::move(tasks_.front());
            tasks_.pop_front();
            lock.unlock();
            if (!task) {
                return;
            }
            if (failed_ != kSuccess) {
                continue;
            }
            try {
                task();
            } catch (const Lost& lost) {
                last_error = lost.text;
                failed_ = lost.status;
                shut_down();  // The others are to notice as well.
            }
        }
    }

    void connect(const Id& id) {
        if (rank_ > 0) {
            const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
            sockets_[0] = socket;
            const sockaddr_in address = loopback(id.port);
            if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
                throw Lost{kSystem, std::string("no connection to rank 0: ") + std::strerror(errno)};
            }
            send(0, &rank_, sizeof(rank_));
        } else {
            listener_ = id.listener;
            for (int peer = 1; peer < size_; ++peer) {
                const int socket = accept(listener_, nullptr, nullptr);
                int from = 0;
                if (socket < 0 || recv(socket, &from, sizeof(from), MSG_WAITALL) != sizeof(from)) {
                    throw Lost{kSystem, "a rank did not connect"};
                }
                sockets_[static_cast<size_t>(from)] = socket;
            }
        }
        std::lock_guard lock(mutex_);
        connected_ = true;
    }

    void run(const Header& header, const uint8_t* send_buffer, uint8_t* receive_buffer) {
        const size_t bytes = header.count * (header.type == kFloat32 ? sizeof(float) : 1);
        const auto ranks = static_cast<size_t>(size_);
        const bool brings = header.kind != Kind::kBroadcast || rank_ == header.root;
        const size_t brought = header.kind == Kind::kReduceScatter ? ranks * bytes : bytes;
        const size_t taken = header.kind == Kind::kAllGather ? ranks * bytes : bytes;
        const bool takes = header.kind != Kind::kReduce || rank_ == header.root;
        if (rank_ > 0) {
            send(0, &header, sizeof(header));
            if (brings) {
                send(0, send_buffer, brought);
            }
            if (takes) {
                receive(0, receive_buffer, taken);
            }
            return;
        }
        std::vector<std::vector<uint8_t>> all(ranks);
        all[0].assign(send_buffer, send_buffer + (brings ? brought : 0));
        for (int peer = 1; peer < size_; ++peer) {
            Header theirs{};
            receive(peer, &theirs, sizeof(theirs));
            if (theirs != header) {
                throw Lost{kInvalidUsage, "rank " + std::to_string(peer) + " calls for another operation"};
            }
            all[static_cast<size_t>(peer)].resize(header.kind != Kind::kBroadcast || peer == header.root ? brought : 0);
            receive(peer, all[static_cast<size_t>(peer)].data(), all[static_cast<size_t>(peer)].size());
        }
        const std::vector<uint8_t> result = combined(header, all);
        for (int peer = 0; peer < size_; ++peer) {
            const size_t offset = header.kind == Kind::kReduceScatter ? static_cast<size_t>(peer) * bytes : 0;
            if (header.kind == Kind::kReduce && peer != header.root) {
                continue;
            }
            if (peer == 0) {
                std::copy_n(result.begin() + static_cast<ptrdiff_t>(offset), taken, receive_buffer);
            } else {
                send(peer, result.data() + offset, taken);
            }
        }
    }

    static std::vector<uint8_t> combined(const Header& header, const std::vector<std::vector<uint8_t>>& all) {
        if (header.kind == Kind::kBroadcast) {
            return all[static_cast<size_t>(header.root)];
        }
        std::vector<uint8_t> result = all[0];
        for (size_t peer = 1; peer < all.size(); ++peer) {
            if (header.kind == Kind::kAllGather) {
                result.insert(result.end(), all[peer].begin(), all[peer].end());
                continue;
            }
            for (size_t i = 0; i < result.size(); i += sizeof(float)) {
                float sum = 0;
                float term = 0;
                std::memcpy(&sum, &result[i], sizeof(sum));
                std::memcpy(&term, &all[peer][i], sizeof(term));
                sum += term;
                std::memcpy(&result[i], &sum, sizeof(sum));
            }
        }
        return result;
    }

    void send(int peer, const void* data, size_t bytes) {
        const auto* from = static_cast<const uint8_t*>(data);
        while (bytes > 0) {
            const ssize_t sent = ::send(sockets_[static_cast<size_t>(peer)], from, bytes, MSG_NOSIGNAL);
            if (sent <= 0) {
                throw Lost{kRemote, "rank " + std::to_string(peer) + " closed its connection"};
            }
            from += sent;
            bytes -= static_cast<size_t>(sent);
        }
    }

    void receive(int peer, void* data, size_t bytes) {
        if (bytes > 0 &&
            recv(sockets_[static_cast<size_t>(peer)], data, bytes, MSG_WAITALL) != static_cast<ssize_t>(bytes)) {
            throw Lost{kRemote, "rank " + std::to_string(peer) + " closed its connection"};
        }
    }

    void shut_down() {
        for (const int socket : sockets_) {
            shutdown(socket, SHUT_RDWR);
        }
        shutdown(listener_, SHUT_RDWR);
    }

    void close_all() {
        for (const int socket : sockets_) {
            if (socket >= 0) {
                close(socket);
            }
        }
        if (listener_ >= 0) {
            close(listener_);
        }
    }

    int size_;
    int rank_;
    int listener_ = -1;
    std::vector<int> sockets_;  // To every rank from rank 0, to rank 0 from the others.
    std::mutex mutex_;
    std::condition_variable ready_;
    std::deque<std::function<void()>> tasks_;
    std::atomic<int> failed_{kSuccess};
    bool connected_ = false;
    int unseen_ = 0;
    std::thread worker_;
};

int start(void* comm, Kind kind, int type, int root, size_t count, const void* send, void* receive) {
    const bool sums = kind == Kind::kAllReduce || kind == Kind::kReduce || kind == Kind::kReduceScatter;
    if (comm == nullptr || (type != kFloat32 && (sums || type != kUint8))) {
        return kInvalidUsage;
    }
    static_cast<Comm*>(comm)->queue({kind, type, root, count}, send, receive);
    return groups > 0 ? kSuccess : kInProgress;
}

struct Event {
    uint64_t mark = 0;
};

}  // namespace

// A test may let it be another version.
EMULATED int ncclGetVersion(int* version) {
    const char* other = std::getenv("NIBBLE_NCCL_EMULATED_VERSION");
    *version = other != nullptr ? std::atoi(other) : 21400;
    return kSuccess;
}

EMULATED const char* ncclGetErrorString(int status) {
    return status == kRemote         ? "remote process exited or there was a network error"
           : status == kInvalidUsage ? "invalid usage"
                                     : "unhandled system error";
}

EMULATED const char* ncclGetLastError(void*) {
    return last_error.c_str();
}

EMULATED int ncclGetUniqueId(Id* id) {
    *id = {};
    id->listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = loopback(0);
    socklen_t length = sizeof(address);
    if (bind(id->listener, reinterpret_cast<sockaddr*>(&address), length) != 0 || listen(id->listener, 64) != 0 ||
        getsockname(id->listener, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
        return kSystem;
    }
    id->port = address.sin_port;
    return kSuccess;
}

EMULATED int ncclCommInitRankConfig(void** comm, int size, Id id, int rank, Config* config) {
    if (config->magic != 0xcafebeef || config->version < 21400 || config->size < sizeof(Config) ||
        config->blocking != 0) {
        return kInvalidUsage;
    }
    *comm = new Comm(size, id, rank);
    return kInProgress;
}

EMULATED int ncclCommGetAsyncError(void* comm, int* status) {
    *status = static_cast<Comm*>(comm)->state();
    return kSuccess;
}

EMULATED int ncclCommFinalize(void* comm) {
    static_cast<Comm*>(comm)->finish();
    return kInProgress;
}

EMULATED int ncclCommDestroy(void* comm) {
    delete static_cast<Comm*>(comm);
    return kSuccess;
}

EMULATED int ncclCommAbort(void* comm) {
    static_cast<Comm*>(comm)->abort();
    return ncclCommDestroy(comm);
}

EMULATED int ncclGroupStart() {
    ++groups;
    return kSuccess;
}

EMULATED int ncclGroupEnd() {
    return groups-- > 0 ? kInProgress : kInvalidUsage;
}

EMULATED int ncclAllReduce(const void* send, void* receive, size_t count, int type, int, void* comm, void*) {
    return start(comm, Kind::kAllReduce, type, 0, count, send, receive);
}

EMULATED int ncclReduce(const void* send, void* receive, size_t count, int type, int, int root, void* comm, void*) {
    return start(comm, Kind::kReduce, type, root, count, send, receive);
}

EMULATED int ncclReduceScatter(const void* send, void* receive, size_t each, int type, int, void* comm, void*) {
    return start(comm, Kind::kReduceScatter, type, 0, each, send, receive);
}

EMULATED int ncclAllGather(const void* send, void* receive, size_t each, int type, void* comm, void*) {
    return start(comm, Kind::kAllGather, type, 0, each, send, receive);
}

EMULATED int ncclBroadcast(const void* send, void* receive, size_t count, int type, int root, void* comm, void*) {
    return start(comm, Kind::kBroadcast, type, root, count, send, receive);
}

EMULATED int cuEventCreate(void** event, unsigned) {
    *event = new Event;
    return 0;
}

EMULATED int cuEventRecord(void* event, void*) {
    static_cast<Event*>(event)->mark = queued;
    return 0;
}

EMULATED int cuEventQuery(void* event) {
    constexpr int kNotReady = 600;
    return done >= static_cast<Event*>(event)->mark ? 0 : kNotReady;
}

EMULATED int cuEventDestroy_v2(void* event) {
    delete static_cast<Event*>(event);
    return 0;
}

EMULATED int cuMemAlloc_v2(void** memory, size_t bytes) {
    *memory = std::calloc(1, bytes);
    return 0;
}
