// Every kernel that was compiled for the host, by name.
#pragma once

#include <string_view>

#include "block.h"

namespace nibble::simt {

// Enters a kernel when its file is loaded.
struct Registration {
    explicit Registration(const Kernel& kernel);
};

// Null when no kernel has the name.
const Kernel* find_kernel(std::string_view name);

// Runs all blocks of a grid. Throws Fault.
void run_grid(const Kernel& kernel, const void* arguments, const Launch& launch);

}  // namespace nibble::simt
