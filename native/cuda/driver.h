// A nibble_device over the CUDA driver API, for programs in C++: the tests and the GPU benchmark. (The engine has its
// own in C#.) The driver is libcuda.so.1 or the emulation.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "nibble.h"
#include "nibble_cuda_driver.h"

namespace nibble::cuda {

// The driver's functions, found at run time. Throws std::runtime_error when the library or a function is missing.
class Driver {
  public:
    explicit Driver(const std::string& library);

    // Throws std::runtime_error with the driver's own text unless result is CUDA_SUCCESS.
    void check(CUresult result, const std::string& what) const;

    CUresult (*init)(unsigned);
    CUresult (*error_string)(CUresult, const char**);
    CUresult (*device_count)(int*);
    CUresult (*device_get)(CUdevice*, int);
    CUresult (*device_name)(char*, int, CUdevice);
    CUresult (*device_attribute)(int*, int, CUdevice);
    CUresult (*primary_context)(CUcontext*, CUdevice);
    CUresult (*set_context)(CUcontext);
    CUresult (*synchronize)();
    CUresult (*module_load)(CUmodule*, const void*);
    CUresult (*module_function)(CUfunction*, CUmodule, const char*);
    CUresult (*function_attribute)(CUfunction, int, int);
    CUresult (*launch_kernel)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                              CUstream, void**, void**);
    CUresult (*allocate)(CUdeviceptr*, size_t);
    CUresult (*release)(CUdeviceptr);

    // Another function of the library. Throws std::runtime_error when it has none of the name.
    template <typename Function>
    Function function(const char* name) const {
        return reinterpret_cast<Function>(symbol(name));
    }

  private:
    void* symbol(const char* name) const;

    void* library_;
};

// One GPU with the kernels loaded.
class Gpu {
  public:
    // `image` is a PTX text or a cubin.
    Gpu(const Driver& driver, int ordinal, const std::string& image);
    ~Gpu();
    Gpu(const Gpu&) = delete;
    Gpu& operator=(const Gpu&) = delete;

    const nibble_device* device() const { return &device_; }
    int compute_capability() const { return device_.compute_capability; }
    std::string name() const;

    // Waits for all work. The workspaces of the calling thread's operators are kept until then; those of others, whose
    // launches may be yet to come, stay.
    void synchronize();

  private:
    static nibble_status launch(void* self, const nibble_launch* request, char* error, int32_t error_bytes);
    static void* workspace(void* self, uint64_t bytes);
    int attribute(int which) const;
    void use() const;  // Makes it the calling thread's.

    const Driver& driver_;
    std::mutex mutex_;
    CUdevice ordinal_{};
    CUcontext context_{};
    CUmodule module_{};
    std::map<std::string, CUfunction> functions_;
    std::map<std::thread::id, std::vector<CUdeviceptr>> workspaces_;
    nibble_device device_{};
};

}  // namespace nibble::cuda
