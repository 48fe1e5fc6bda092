#include "registry.h"

#include <map>
#include <memory>

namespace nibble::simt {

namespace {

std::map<std::string_view, Kernel>& kernels() {
    static std::map<std::string_view, Kernel> all;
    return all;
}

}  // namespace

Registration::Registration(const Kernel& kernel) {
    kernels().emplace(kernel.name, kernel);
}

const Kernel* find_kernel(std::string_view name) {
    const auto found = kernels().find(name);
    return found == kernels().end() ? nullptr : &found->second;
}

void run_grid(const Kernel& kernel, const void* arguments, const Launch& launch) {
    if (launch.threads != kernel.threads) {
        throw Fault(std::string(kernel.name) + " is written for blocks of " + std::to_string(kernel.threads) +
                    " threads and was launched with " + std::to_string(launch.threads));
    }
    thread_local const auto block = std::make_unique<Block>();  // Its fibers are used again.
    for (uint32_t z = 0; z < launch.grid[2]; ++z) {
        for (uint32_t y = 0; y < launch.grid[1]; ++y) {
            for (uint32_t x = 0; x < launch.grid[0]; ++x) {
                block->run(kernel, arguments, launch, {x, y, z});
            }
        }
    }
}

}  // namespace nibble::simt
