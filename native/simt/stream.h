// Queues of work, as CUDA has them. Work on a stream of its own waits here until somebody waits for it, or, where the
// stream is a blocking one, until the legacy default stream is used; which of several streams goes first is drawn by
// lot, so that a missing event shows.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <set>

namespace nibble::simt {

using StreamId = uint64_t;
using EventId = uint64_t;

inline constexpr StreamId kDefaultStream = 0;

class Streams {
  public:
    StreamId create(bool blocking);
    void destroy(StreamId stream);

    // Queues work; on the default stream it runs at once, after all that blocking streams have. Throws what the work
    // throws.
    void enqueue(StreamId stream, std::function<void()> work);

    EventId create_event();
    void destroy_event(EventId event);
    void record(EventId event, StreamId stream);
    void wait(StreamId stream, EventId event);
    bool happened(EventId event) const;
    float milliseconds_between(EventId begin, EventId end) const;

    void synchronize(StreamId stream);
    void synchronize_event(EventId event);
    void synchronize_all();

  private:
    struct Item {
        std::function<void()> work;
        EventId waits_for = 0;  // With the number of its record.
        uint64_t record = 0;
    };
    struct Event {
        uint64_t recorded = 0;
        uint64_t happened = 0;
        std::chrono::steady_clock::time_point time;
    };

    bool ready(const Item& item) const;
    void synchronize_blocking();
    bool step();  // Runs one item of a stream drawn by lot; false when none can go on.
    void run_until(const std::function<bool()>& done);

    std::map<StreamId, std::deque<Item>> queues_;
    std::set<StreamId> blocking_;
    std::map<EventId, Event> events_;
    uint64_t next_id_ = 1;
    std::mt19937 lot_{20240521};
};

}  // namespace nibble::simt
