// How a thread waits for what others do.
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

namespace nibble_comm {

// Others may need the processor to come to where this one waits: after a few turns it sleeps, at most 0.1 ms.
inline void pause(int turn) {
    if (turn < 64) {
        return;
    }
    if (turn < 256) {
        std::this_thread::yield();
        return;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(std::min(100, turn / 16)));
}

}  // namespace nibble_comm
