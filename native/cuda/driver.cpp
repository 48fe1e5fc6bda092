#include "driver.h"

#include <dlfcn.h>

#include <cstdio>
#include <stdexcept>

namespace nibble::cuda {

void* Driver::symbol(const char* name) const {
    void* address = dlsym(library_, name);
    if (address == nullptr) {
        throw std::runtime_error(std::string("the CUDA driver has no ") + name);
    }
    return address;
}

Driver::Driver(const std::string& library) : library_(dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (library_ == nullptr) {
        throw std::runtime_error(dlerror());
    }
    init = function<decltype(init)>("cuInit");
    error_string = function<decltype(error_string)>("cuGetErrorString");
    device_count = function<decltype(device_count)>("cuDeviceGetCount");
    device_get = function<decltype(device_get)>("cuDeviceGet");
    device_name = function<decltype(device_name)>("cuDeviceGetName");
    device_attribute = function<decltype(device_attribute)>("cuDeviceGetAttribute");
    primary_context = function<decltype(primary_context)>("cuDevicePrimaryCtxRetain");
    set_context = function<decltype(set_context)>("cuCtxSetCurrent");
    synchronize = function<decltype(synchronize)>("cuCtxSynchronize");
    module_load = function<decltype(module_load)>("cuModuleLoadData");
    module_function = function<decltype(module_function)>("cuModuleGetFunction");
    function_attribute = function<decltype(function_attribute)>("cuFuncSetAttribute");
    launch_kernel = function<decltype(launch_kernel)>("cuLaunchKernel");
    allocate = function<decltype(allocate)>("cuMemAlloc_v2");
    release = function<decltype(release)>("cuMemFree_v2");
    check(init(0), "cuInit");
}

void Driver::check(CUresult result, const std::string& what) const {
    if (result != CUDA_SUCCESS) {
        const char* text = nullptr;
        error_string(result, &text);
        throw std::runtime_error(what + ": " + (text != nullptr ? text : "unknown error") + " (" +
                                 std::to_string(result) + ")");
    }
}

Gpu::Gpu(const Driver& driver, int ordinal, const std::string& image) : driver_(driver) {
    driver_.check(driver_.device_get(&ordinal_, ordinal), "cuDeviceGet");
    driver_.check(driver_.primary_context(&context_, ordinal_), "cuDevicePrimaryCtxRetain");
    use();
    driver_.check(driver_.module_load(&module_, image.c_str()), "cuModuleLoadData");
    device_.compute_capability = 10 * attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) +
                                 attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    device_.multiprocessors = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    device_.shared_bytes_per_block = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    device_.context = this;
    device_.launch = &Gpu::launch;
    device_.workspace = &Gpu::workspace;
}

Gpu::~Gpu() {
    driver_.set_context(context_);
    for (const auto& [thread, workspaces] : workspaces_) {
        for (const CUdeviceptr memory : workspaces) {
            driver_.release(memory);
        }
    }
}

void Gpu::use() const {
    driver_.check(driver_.set_context(context_), "cuCtxSetCurrent");
}

int Gpu::attribute(int which) const {
    int value = 0;
    driver_.check(driver_.device_attribute(&value, which, ordinal_), "cuDeviceGetAttribute");
    return value;
}

std::string Gpu::name() const {
    char text[256] = "";
    driver_.check(driver_.device_name(text, sizeof(text), ordinal_), "cuDeviceGetName");
    return text;
}

void Gpu::synchronize() {
    const std::lock_guard lock(mutex_);
    use();
    driver_.check(driver_.synchronize(), "cuCtxSynchronize");
    for (const CUdeviceptr memory : workspaces_[std::this_thread::get_id()]) {
        driver_.release(memory);
    }
    workspaces_.erase(std::this_thread::get_id());
}

nibble_status Gpu::launch(void* self, const nibble_launch* request, char* error, int32_t error_bytes) {
    auto& gpu = *static_cast<Gpu*>(self);
    const std::lock_guard lock(gpu.mutex_);
    try {
        gpu.use();
        CUfunction& function = gpu.functions_[request->kernel];
        if (function == nullptr) {
            gpu.driver_.check(gpu.driver_.module_function(&function, gpu.module_, request->kernel),
                              "cuModuleGetFunction");
            gpu.driver_.check(gpu.driver_.function_attribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                                             gpu.device_.shared_bytes_per_block),
                              "cuFuncSetAttribute");
        }
        size_t bytes = request->argument_bytes;
        void* extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, const_cast<void*>(request->arguments),
                         CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
        gpu.driver_.check(
            gpu.driver_.launch_kernel(function, request->grid[0], request->grid[1], request->grid[2], request->threads,
                                      1, 1, request->shared_bytes, nullptr, nullptr, extra),
            "cuLaunchKernel");
        return NIBBLE_OK;
    } catch (const std::exception& failure) {
        std::snprintf(error, static_cast<size_t>(error_bytes), "%s", failure.what());
        return NIBBLE_DEVICE_ERROR;
    }
}

void* Gpu::workspace(void* self, uint64_t bytes) {
    auto& gpu = *static_cast<Gpu*>(self);
    const std::lock_guard lock(gpu.mutex_);
    CUdeviceptr memory = 0;
    if (bytes == 0 || gpu.driver_.set_context(gpu.context_) != CUDA_SUCCESS ||
        gpu.driver_.allocate(&memory, bytes) != CUDA_SUCCESS) {
        return nullptr;
    }
    gpu.workspaces_[std::this_thread::get_id()].push_back(memory);
    return reinterpret_cast<void*>(memory);
}

}  // namespace nibble::cuda
