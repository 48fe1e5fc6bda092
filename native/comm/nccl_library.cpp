#include "nccl_library.h"

#include <dlfcn.h>

#include <cstdlib>

#include "failure.h"

namespace nibble_comm {
namespace {

constexpr int kOldestVersion = 21400;  // The first that can be asked for its state instead of being waited for.

class Library {
  public:
    Library(const char* what, const char* variable, const char* usual) : what_(what) {
        const char* named = std::getenv(variable);
        name_ = named != nullptr && *named != '\0' ? named : usual;
        handle_ = dlopen(name_.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (handle_ == nullptr) {
            throw Failure(NIBBLE_DEVICE_ERROR, what_ + " does not load: " + dlerror() + " (" + variable + " names it)");
        }
    }

    [[nodiscard]] const std::string& name() const { return name_; }

    template <typename Function>
    void find(Function& function, const char* symbol) const {
        void* address = dlsym(handle_, symbol);
        if (address == nullptr) {
            throw Failure(NIBBLE_DEVICE_ERROR, name_ + " is not " + what_ + " that can be used: it has no " + symbol);
        }
        function = reinterpret_cast<Function>(address);
    }

  private:
    std::string what_;
    std::string name_;
    void* handle_;
};

Nccl opened() {
    const Library library("NCCL", "NIBBLE_NCCL", "libnccl.so.2");
    Nccl nccl{};
    library.find(nccl.GetVersion, "ncclGetVersion");
    library.find(nccl.GetErrorString, "ncclGetErrorString");
    int version = 0;
    nccl.GetVersion(&version);
    if (version < kOldestVersion) {
        throw Failure(NIBBLE_DEVICE_ERROR, library.name() + " is NCCL " + Nccl::version_text(version) + "; " +
                                               Nccl::version_text(kOldestVersion) + " or later is needed");
    }
    library.find(nccl.GetLastError, "ncclGetLastError");
    library.find(nccl.GetUniqueId, "ncclGetUniqueId");
    library.find(nccl.CommInitRankConfig, "ncclCommInitRankConfig");
    library.find(nccl.CommGetAsyncError, "ncclCommGetAsyncError");
    library.find(nccl.CommFinalize, "ncclCommFinalize");
    library.find(nccl.CommDestroy, "ncclCommDestroy");
    library.find(nccl.CommAbort, "ncclCommAbort");
    library.find(nccl.GroupStart, "ncclGroupStart");
    library.find(nccl.GroupEnd, "ncclGroupEnd");
    library.find(nccl.AllReduce, "ncclAllReduce");
    library.find(nccl.Reduce, "ncclReduce");
    library.find(nccl.ReduceScatter, "ncclReduceScatter");
    library.find(nccl.AllGather, "ncclAllGather");
    library.find(nccl.Broadcast, "ncclBroadcast");

    const Library driver("the CUDA driver", "NIBBLE_CUDA_DRIVER", "libcuda.so.1");
    driver.find(nccl.EventCreate, "cuEventCreate");
    driver.find(nccl.EventRecord, "cuEventRecord");
    driver.find(nccl.EventQuery, "cuEventQuery");
    driver.find(nccl.EventDestroy, "cuEventDestroy_v2");
    driver.find(nccl.MemAlloc, "cuMemAlloc_v2");
    return nccl;
}

}  // namespace

const Nccl& Nccl::load() {
    static const Nccl nccl = opened();
    return nccl;
}

// Two digits each for minor version and patch, since 2.9.
std::string Nccl::version_text(int version) {
    const bool early = version < 10000;
    const int major = version / (early ? 1000 : 10000);
    const int minor = version / 100 % (early ? 10 : 100);
    return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(version % 100);
}

void Nccl::check(int status, const char* operation, NcclComm comm) const {
    if (status != kNcclSuccess && status != kNcclInProgress) {
        const char* detail = GetLastError(comm);
        const std::string more = detail != nullptr && *detail != '\0' ? std::string(" (") + detail + ")" : "";
        throw Failure(NIBBLE_DEVICE_ERROR, std::string(operation) + ": NCCL: " + GetErrorString(status) + more);
    }
}

void Nccl::check_cuda(int status, const char* operation) const {
    if (status != kCudaSuccess) {
        throw Failure(NIBBLE_DEVICE_ERROR,
                      std::string(operation) + ": the CUDA driver reports status " + std::to_string(status));
    }
}

}  // namespace nibble_comm
