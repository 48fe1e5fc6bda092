// What a kernel did wrong, with block and thread; the launch ends with it.
#pragma once

#include <stdexcept>
#include <string>

namespace nibble::simt {

struct Fault : std::runtime_error {
    explicit Fault(const std::string& what) : std::runtime_error(what) {}
};

}  // namespace nibble::simt
