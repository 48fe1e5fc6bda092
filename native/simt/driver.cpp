// The CUDA driver API over the emulation: what Nibble calls in libcuda.so.1, with device memory that is the host's.
// Its devices are chips of several generations, whose kernels may use what that generation has.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>

#include "nibble_cuda_driver.h"
#include "registry.h"
#include "stream.h"

#define NIBBLE_DRIVER extern "C" __attribute__((visibility("default"))) CUresult

using namespace nibble::simt;

namespace {

struct Chip {
    const char* name;
    int compute_capability;
    int multiprocessors;
    int shared_bytes;
};

constexpr Chip kChips[] = {
    {"Emulated Turing", 75, 4, 65536}, {"Emulated Ampere", 80, 4, 166912}, {"Emulated Hopper", 90, 4, 232448}};

// What the driver has per process. A fault of a kernel stays: as on a GPU, every later call fails with it.
struct State {
    std::mutex mutex;
    bool initialized = false;
    std::map<std::pair<int, const Kernel*>, unsigned> shared_leave;  // Dynamic shared memory, by device.
    Streams streams;
    std::map<CUdeviceptr, std::size_t> memory;
    std::size_t used = 0;
    std::size_t capacity = std::size_t{1} << 34;
    uint64_t launches = 0;
    CUresult sticky = CUDA_SUCCESS;
    std::string report;
};

// Each thread has its own current context, and none at first.
constexpr int kNoDevice = -1;
thread_local int current_device = kNoDevice;

// What a kernel may have without leave, on every chip.
constexpr unsigned kSharedWithoutLeave = 48 * 1024;

State& state() {
    static auto* instance = new State;  // Never destroyed: handles may outlive static objects.
    return *instance;
}

template <typename Body>
CUresult call(Body&& body) {
    State& s = state();
    const std::lock_guard lock(s.mutex);
    if (!s.initialized) {
        return CUDA_ERROR_NOT_INITIALIZED;
    }
    if (s.sticky != CUDA_SUCCESS) {
        return s.sticky;
    }
    try {
        return body(s);
    } catch (const Fault& fault) {
        s.sticky = CUDA_ERROR_LAUNCH_FAILED;
        s.report = fault.what();
        return s.sticky;
    } catch (const std::out_of_range&) {
        return CUDA_ERROR_INVALID_HANDLE;
    } catch (const std::exception& error) {
        s.report = error.what();
        return CUDA_ERROR_INVALID_VALUE;
    }
}

// A call that goes to the thread's current context.
template <typename Body>
CUresult call_in_context(Body&& body) {
    return call([&](State& s) { return current_device == kNoDevice ? CUDA_ERROR_INVALID_CONTEXT : body(s); });
}

StreamId id_of(CUstream stream) {
    return reinterpret_cast<StreamId>(stream);
}
EventId id_of(CUevent event) {
    return reinterpret_cast<EventId>(event);
}
void* host(CUdeviceptr pointer) {
    return reinterpret_cast<void*>(pointer);
}

CUresult allocate(State& s, std::size_t bytes, void** out) {
    if (bytes == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (bytes > s.capacity - std::min(s.used, s.capacity)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (memory == nullptr) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    std::memset(memory, 0xFF, bytes);  // Not a number, as nobody has written it.
    s.memory[reinterpret_cast<CUdeviceptr>(memory)] = bytes;
    s.used += bytes;
    *out = memory;
    return CUDA_SUCCESS;
}

CUresult release(State& s, void* memory) {
    const auto found = s.memory.find(reinterpret_cast<CUdeviceptr>(memory));
    if (found == s.memory.end()) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    s.streams.synchronize_all();
    s.used -= found->second;
    s.memory.erase(found);
    std::free(memory);
    return CUDA_SUCCESS;
}

}  // namespace

// Beside the driver's own functions: what the last fault was, the memory that a device has, and a state without faults.
extern "C" __attribute__((visibility("default"))) const char* nibble_simt_report() {
    return state().report.c_str();
}
extern "C" __attribute__((visibility("default"))) void nibble_simt_set_memory(uint64_t bytes) {
    state().capacity = bytes;
}
extern "C" __attribute__((visibility("default"))) CUresult nibble_simt_recover() {
    state().sticky = CUDA_SUCCESS;
    state().report.clear();
    return CUDA_SUCCESS;
}

NIBBLE_DRIVER cuInit(unsigned flags) {
    const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
    if (visible != nullptr && *visible == '\0') {
        return CUDA_ERROR_NO_DEVICE;  // Hidden, as the real ones can be.
    }
    state().initialized = true;
    return flags == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
NIBBLE_DRIVER cuDriverGetVersion(int* version) {
    *version = 12080;
    return CUDA_SUCCESS;
}
NIBBLE_DRIVER cuGetErrorName(CUresult result, const char** name) {
    static const std::map<CUresult, const char*> names = {
        {CUDA_SUCCESS, "CUDA_SUCCESS"},
        {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
        {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED"},
        {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE"},
        {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE"},
        {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"},
        {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
        {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
        {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE"},
        {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
        {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY"},
        {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"}};
    const auto found = names.find(result);
    *name = found == names.end() ? "CUDA_ERROR_UNKNOWN" : found->second;
    return CUDA_SUCCESS;
}
NIBBLE_DRIVER cuGetErrorString(CUresult result, const char** text) {
    if (result == CUDA_ERROR_LAUNCH_FAILED) {
        *text = state().report.c_str();
        return CUDA_SUCCESS;
    }
    return cuGetErrorName(result, text);
}
NIBBLE_DRIVER cuDeviceGetCount(int* count) {
    return call([&](State&) {
        *count = static_cast<int>(std::size(kChips));
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuDeviceGet(CUdevice* device, int ordinal) {
    return call([&](State&) {
        *device = ordinal;
        return ordinal >= 0 && ordinal < static_cast<int>(std::size(kChips)) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
    });
}
NIBBLE_DRIVER cuDeviceGetName(char* name, int length, CUdevice device) {
    return call([&](State&) {
        std::snprintf(name, static_cast<std::size_t>(length), "%s", kChips[device].name);
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuDeviceTotalMem_v2(std::size_t* bytes, CUdevice) {
    return call([&](State& s) {
        *bytes = s.capacity;
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuDeviceGetAttribute(int* value, int attribute, CUdevice device) {
    return call([&](State&) {
        const Chip& chip = kChips[device];
        switch (attribute) {
            case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
                *value = chip.multiprocessors;
                return CUDA_SUCCESS;
            case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
                *value = chip.compute_capability / 10;
                return CUDA_SUCCESS;
            case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
                *value = chip.compute_capability % 10;
                return CUDA_SUCCESS;
            case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
                *value = chip.shared_bytes;
                return CUDA_SUCCESS;
            default:
                return CUDA_ERROR_INVALID_VALUE;
        }
    });
}
NIBBLE_DRIVER cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
    return call([&](State&) {
        *context = reinterpret_cast<CUcontext>(static_cast<uintptr_t>(device) + 1);
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuDevicePrimaryCtxRelease_v2(CUdevice) {
    return CUDA_SUCCESS;
}
NIBBLE_DRIVER cuCtxSetCurrent(CUcontext context) {
    return call([&](State&) {
        current_device = static_cast<int>(reinterpret_cast<uintptr_t>(context)) - 1;
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuCtxSynchronize() {
    return call_in_context([&](State& s) {
        s.streams.synchronize_all();
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuModuleLoadData(CUmodule* module, const void* image) {
    return call_in_context([&](State&) {
        *module = reinterpret_cast<CUmodule>(uintptr_t{1});
        return image != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_IMAGE;
    });
}
NIBBLE_DRIVER cuModuleUnload(CUmodule) {
    return CUDA_SUCCESS;
}
NIBBLE_DRIVER cuModuleGetFunction(CUfunction* function, CUmodule, const char* name) {
    return call_in_context([&](State&) {
        const Kernel* kernel = find_kernel(name);
        *function = reinterpret_cast<CUfunction>(const_cast<Kernel*>(kernel));
        return kernel != nullptr ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
    });
}
NIBBLE_DRIVER cuFuncSetAttribute(CUfunction function, int attribute, int value) {
    return call_in_context([&](State& s) {
        if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 ||
            value > kChips[current_device].shared_bytes) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        s.shared_leave[{current_device, reinterpret_cast<const Kernel*>(function)}] = static_cast<unsigned>(value);
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                             unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void**,
                             void** extra) {
    return call_in_context([&](State& s) {
        const auto& kernel = *reinterpret_cast<const Kernel*>(function);
        const Chip& chip = kChips[current_device];
        const auto leave = s.shared_leave.find({current_device, &kernel});
        if (extra == nullptr || extra[0] != CU_LAUNCH_PARAM_BUFFER_POINTER || extra[2] != CU_LAUNCH_PARAM_BUFFER_SIZE ||
            *static_cast<std::size_t*>(extra[3]) != kernel.argument_bytes || block_y != 1 || block_z != 1 ||
            shared_bytes > (leave == s.shared_leave.end() ? kSharedWithoutLeave : leave->second) ||
            shared_bytes > static_cast<unsigned>(chip.shared_bytes) || grid_x == 0 || grid_y == 0 || grid_z == 0) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        const auto* bytes = static_cast<const unsigned char*>(extra[1]);
        std::shared_ptr<void> arguments(std::aligned_alloc(64, (kernel.argument_bytes + 63) / 64 * 64), std::free);
        std::memcpy(arguments.get(), bytes, kernel.argument_bytes);
        const Launch launch{
            {grid_x, grid_y, grid_z}, static_cast<int>(block_x), shared_bytes, chip.compute_capability, s.launches++};
        s.streams.enqueue(id_of(stream), [&kernel, launch, arguments] { run_grid(kernel, arguments.get(), launch); });
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuMemGetInfo_v2(std::size_t* free_bytes, std::size_t* total) {
    return call_in_context([&](State& s) {
        *total = s.capacity;
        *free_bytes = s.capacity - std::min(s.used, s.capacity);
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuMemAlloc_v2(CUdeviceptr* pointer, std::size_t bytes) {
    return call_in_context([&](State& s) {
        void* memory = nullptr;
        const CUresult result = allocate(s, bytes, &memory);
        *pointer = reinterpret_cast<CUdeviceptr>(memory);
        return result;
    });
}
NIBBLE_DRIVER cuMemFree_v2(CUdeviceptr pointer) {
    return call_in_context([&](State& s) { return release(s, host(pointer)); });
}
NIBBLE_DRIVER cuMemAllocManaged(CUdeviceptr* pointer, std::size_t bytes, unsigned) {
    return call_in_context([&](State&) {
        void* memory = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
        *pointer = reinterpret_cast<CUdeviceptr>(memory);
        return memory != nullptr ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    });
}
NIBBLE_DRIVER cuMemHostAlloc(void** memory, std::size_t bytes, unsigned) {
    return call_in_context([&](State&) {
        *memory = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
        return *memory != nullptr ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    });
}
NIBBLE_DRIVER cuMemFreeHost(void* memory) {
    return call_in_context([&](State& s) {
        s.streams.synchronize_all();
        std::free(memory);
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuMemcpyHtoDAsync_v2(CUdeviceptr destination, const void* source, std::size_t bytes, CUstream stream) {
    return call_in_context([&](State& s) {
        s.streams.enqueue(id_of(stream), [=] { std::memcpy(host(destination), source, bytes); });
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuMemcpyDtoHAsync_v2(void* destination, CUdeviceptr source, std::size_t bytes, CUstream stream) {
    return call_in_context([&](State& s) {
        s.streams.enqueue(id_of(stream), [=] { std::memcpy(destination, host(source), bytes); });
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuMemcpyDtoDAsync_v2(CUdeviceptr destination, CUdeviceptr source, std::size_t bytes, CUstream stream) {
    return call_in_context([&](State& s) {
        s.streams.enqueue(id_of(stream), [=] { std::memcpy(host(destination), host(source), bytes); });
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuMemcpyHtoD_v2(CUdeviceptr destination, const void* source, std::size_t bytes) {
    return cuMemcpyHtoDAsync_v2(destination, source, bytes, nullptr);
}
NIBBLE_DRIVER cuMemcpyDtoH_v2(void* destination, CUdeviceptr source, std::size_t bytes) {
    return cuMemcpyDtoHAsync_v2(destination, source, bytes, nullptr);
}
NIBBLE_DRIVER cuStreamCreate(CUstream* stream, unsigned flags) {
    return call_in_context([&](State& s) {
        *stream = reinterpret_cast<CUstream>(s.streams.create((flags & CU_STREAM_NON_BLOCKING) == 0));
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuStreamDestroy_v2(CUstream stream) {
    return call_in_context([&](State& s) {
        s.streams.destroy(id_of(stream));
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuStreamSynchronize(CUstream stream) {
    return call_in_context([&](State& s) {
        s.streams.synchronize(id_of(stream));
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
    return call_in_context([&](State& s) {
        s.streams.wait(id_of(stream), id_of(event));
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuEventCreate(CUevent* event, unsigned) {
    return call_in_context([&](State& s) {
        *event = reinterpret_cast<CUevent>(s.streams.create_event());
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuEventDestroy_v2(CUevent event) {
    return call_in_context([&](State& s) {
        s.streams.destroy_event(id_of(event));
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuEventRecord(CUevent event, CUstream stream) {
    return call_in_context([&](State& s) {
        s.streams.record(id_of(event), id_of(stream));
        return CUDA_SUCCESS;
    });
}
NIBBLE_DRIVER cuEventSynchronize(CUevent event) {
    return call_in_context([&](State& s) {
        s.streams.synchronize_event(id_of(event));
        return CUDA_SUCCESS;
    });
}
// The emulation's own time, which says nothing about a GPU's.
NIBBLE_DRIVER cuEventElapsedTime(float* milliseconds, CUevent begin, CUevent end) {
    return call_in_context([&](State& s) {
        *milliseconds = s.streams.milliseconds_between(id_of(begin), id_of(end));
        return CUDA_SUCCESS;
    });
}
