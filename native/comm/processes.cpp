// How ranks meet, wait, and notice who is missing. A rank that has waited for a while tells the others for which
// operation. When its time is over, those that it has heard nothing of are the ones that hang. Notices are small enough
// for MPI to send without the receiver's help, and cost nothing as long as nobody has to wait.
#include "processes.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "failure.h"
#include "pause.h"

namespace nibble_comm {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::duration<double> kPatience{1};

}  // namespace

void check(int mpi_status, const char* operation) {
    if (mpi_status != MPI_SUCCESS) {
        char text[MPI_MAX_ERROR_STRING] = "";
        int length = 0;
        MPI_Error_string(mpi_status, text, &length);
        throw Failure(NIBBLE_DEVICE_ERROR, std::string(operation) + ": " + text);
    }
}

Processes::Processes() {
    int provided = 0;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "init");
    if (provided < MPI_THREAD_SERIALIZED) {
        throw Failure(NIBBLE_DEVICE_ERROR, "init: this MPI cannot be called from more than one thread");
    }
    for (MPI_Comm* own : {&operations_, &endings_, &notices_}) {
        check(MPI_Comm_dup(MPI_COMM_WORLD, own), "init");
        check(MPI_Comm_set_errhandler(*own, MPI_ERRORS_RETURN), "init");
    }
    check(MPI_Comm_rank(operations_, &rank_), "init");
    check(MPI_Comm_size(operations_, &size_), "init");

    Peer self{};
    gethostname(self.host, sizeof(self.host) - 1);
    sched_getaffinity(0, sizeof(self.processors), &self.processors);
    self.process = getpid();
    peers_.resize(static_cast<size_t>(size_));
    check(MPI_Allgather(&self, sizeof(self), MPI_BYTE, peers_.data(), sizeof(self), MPI_BYTE, operations_), "init");
    sharers_ = static_cast<int>(std::count_if(peers_.begin(), peers_.end(), [&](const Peer& peer) {
        return std::strcmp(peer.host, self.host) == 0 && CPU_EQUAL(&peer.processors, &self.processors);
    }));

    outgoing_.resize(peers_.size());
    sends_.resize(peers_.size(), MPI_REQUEST_NULL);
    waits_for_.resize(peers_.size(), 0);
}

void Processes::leave() {
    MPI_Request request = MPI_REQUEST_NULL;
    const int64_t number = next_operation();
    check(MPI_Ibarrier(operations_, &request), "finalize");
    wait(request, number, "finalize");
    listen();  // Whatever was told has arrived by now.
    check(MPI_Finalize(), "finalize");
}

void Processes::wait(MPI_Request& request, int64_t number, const char* operation) {
    const auto start = Clock::now();
    const auto patience = std::min(kPatience, timeout_ / 2);
    bool told = false;
    for (int turn = 0;; turn = std::min(turn + 1, 1 << 20)) {
        int done = 0;
        check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), operation);
        if (done != 0) {
            return;
        }
        const std::chrono::duration<double> waited = Clock::now() - start;
        if (!told && waited > patience) {
            tell(number);
            told = true;
        }
        if (told) {
            listen();
        }
        if (waited > timeout_) {
            char seconds[32];
            std::snprintf(seconds, sizeof(seconds), "%g", timeout_.count());
            throw Failure(NIBBLE_DEVICE_ERROR,
                          std::string(operation) + ": " + missing(number) + " within " + seconds + " s");
        }
        pause(turn);
    }
}

void Processes::tell(int64_t number) {
    for (int peer = 0; peer < size_; ++peer) {
        const auto i = static_cast<size_t>(peer);
        int sent = 0;
        check(MPI_Test(&sends_[i], &sent, MPI_STATUS_IGNORE), "notice");
        if (peer != rank_ && sent != 0) {
            outgoing_[i] = number;
            check(MPI_Isend(&outgoing_[i], 1, MPI_INT64_T, peer, 0, notices_, &sends_[i]), "notice");
        }
    }
}

void Processes::listen() {
    for (;;) {
        int there = 0;
        MPI_Status status;
        check(MPI_Iprobe(MPI_ANY_SOURCE, 0, notices_, &there, &status), "notice");
        if (there == 0) {
            return;
        }
        int64_t number = 0;
        check(MPI_Recv(&number, 1, MPI_INT64_T, status.MPI_SOURCE, 0, notices_, MPI_STATUS_IGNORE), "notice");
        waits_for_[static_cast<size_t>(status.MPI_SOURCE)] = number;
    }
}

std::string Processes::missing(int64_t number) const {
    std::string names;
    for (int peer = 0; peer < size_; ++peer) {
        const auto i = static_cast<size_t>(peer);
        if (peer != rank_ && waits_for_[i] < number) {
            names += (names.empty() ? "rank " : ", rank ") + std::to_string(peer) + " (process " +
                     std::to_string(peers_[i].process) + " on " + peers_[i].host + ")";
        }
    }
    return names.empty() ? "all ranks have come, but their messages do not arrive"
                         : names + " did not come to this step";
}

}  // namespace nibble_comm
