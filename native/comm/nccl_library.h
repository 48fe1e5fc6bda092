// NCCL and the part of the CUDA driver that goes with it, loaded at run time, so that neither their headers nor the
// libraries are needed to build. Values and signatures are those of NCCL 2.14 and later, which keep them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace nibble_comm {

enum NcclStatus : int { kNcclSuccess = 0, kNcclInProgress = 7 };
enum NcclType : int { kNcclUint8 = 1, kNcclFloat32 = 7 };
enum NcclOperation : int { kNcclSum = 0 };
enum CudaStatus : int { kCudaSuccess = 0, kCudaNotReady = 600 };

struct NcclId {
    char bytes[128];
};

// ncclConfig_t as version 2.14 has it; later versions take what it lacks as their defaults.
struct NcclConfig {
    size_t size = sizeof(NcclConfig);
    unsigned magic = 0xcafebeef;
    unsigned version = 21400;
    int blocking = 0;
};

using NcclComm = void*;
using CudaStream = void*;
using CudaEvent = void*;

struct Nccl {
    // Loads the library that NIBBLE_NCCL names, else libnccl.so.2, and the driver that NIBBLE_CUDA_DRIVER names, else
    // libcuda.so.1. Throws a Failure that names the library and what is wrong with it.
    static const Nccl& load();

    // A version as people write it: 2.21.5.
    static std::string version_text(int version);

    // Throws what NCCL says of a call that neither succeeded nor goes on.
    void check(int status, const char* operation, NcclComm comm = nullptr) const;

    // The same of the driver.
    void check_cuda(int status, const char* operation) const;

    int (*GetVersion)(int* version);
    const char* (*GetErrorString)(int status);
    const char* (*GetLastError)(NcclComm comm);
    int (*GetUniqueId)(NcclId* id);
    int (*CommInitRankConfig)(NcclComm* comm, int size, NcclId id, int rank, NcclConfig* config);
    int (*CommGetAsyncError)(NcclComm comm, int* status);
    int (*CommFinalize)(NcclComm comm);
    int (*CommDestroy)(NcclComm comm);
    int (*CommAbort)(NcclComm comm);
    int (*GroupStart)();
    int (*GroupEnd)();
    int (*AllReduce)(const void* send, void* receive, size_t count, int type, int operation, NcclComm, CudaStream);
    int (*Reduce)(const void* send, void* receive, size_t count, int type, int operation, int root, NcclComm,
                  CudaStream);
    int (*ReduceScatter)(const void* send, void* receive, size_t each, int type, int operation, NcclComm, CudaStream);
    int (*AllGather)(const void* send, void* receive, size_t each, int type, NcclComm, CudaStream);
    int (*Broadcast)(const void* send, void* receive, size_t count, int type, int root, NcclComm, CudaStream);

    int (*EventCreate)(CudaEvent* event, unsigned flags);
    int (*EventRecord)(CudaEvent event, CudaStream stream);
    int (*EventQuery)(CudaEvent event);
    int (*EventDestroy)(CudaEvent event);
    int (*MemAlloc)(void** memory, size_t bytes);
};

}  // namespace nibble_comm
