// The processes of the run as this one knows them, and how it waits for them.
#pragma once

#include <mpi.h>
#include <sched.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace nibble_comm {

// Throws what MPI says of a call that failed.
void check(int mpi_status, const char* operation);

class Processes {
  public:
    Processes();

    Processes(const Processes&) = delete;
    Processes& operator=(const Processes&) = delete;

    // Waits for all others, then leaves MPI.
    void leave();

    [[nodiscard]] int rank() const { return rank_; }
    [[nodiscard]] int size() const { return size_; }
    [[nodiscard]] int sharers() const { return sharers_; }
    // For what operations start with, in the order in which they are started,
    [[nodiscard]] MPI_Comm operations() const { return operations_; }
    // and for what some end with, in the order in which they are waited for.
    [[nodiscard]] MPI_Comm endings() const { return endings_; }

    void set_timeout(double seconds) { timeout_ = std::chrono::duration<double>(seconds); }

    // Numbers an operation that starts; all ranks start the same ones, so that its number means the same everywhere.
    int64_t next_operation() { return ++started_; }

    // Waits for an operation, and fails with the names of the ranks that have not come to it when that takes too long.
    void wait(MPI_Request& request, int64_t number, const char* operation);

  private:
    struct Peer {
        char host[64];
        cpu_set_t processors;
        int32_t process;
    };

    void tell(int64_t number);
    void listen();
    [[nodiscard]] std::string missing(int64_t number) const;

    int rank_ = 0;
    int size_ = 1;
    int sharers_ = 1;
    MPI_Comm operations_ = MPI_COMM_NULL;
    MPI_Comm endings_ = MPI_COMM_NULL;
    MPI_Comm notices_ = MPI_COMM_NULL;
    std::chrono::duration<double> timeout_{1800};
    int64_t started_ = 0;
    std::vector<Peer> peers_;
    std::vector<int64_t> outgoing_;  // what each peer is being told,
    std::vector<MPI_Request> sends_;
    std::vector<int64_t> waits_for_;  // and the number of the operation that each was last known to wait for.
};

}  // namespace nibble_comm
