#include "stream.h"

#include <stdexcept>
#include <vector>

namespace nibble::simt {

StreamId Streams::create(bool blocking) {
    queues_[next_id_];
    if (blocking) {
        blocking_.insert(next_id_);
    }
    return next_id_++;
}

void Streams::destroy(StreamId stream) {
    synchronize(stream);
    queues_.erase(stream);
    blocking_.erase(stream);
}

void Streams::enqueue(StreamId stream, std::function<void()> work) {
    if (stream == kDefaultStream) {
        synchronize_blocking();
        work();
        return;
    }
    queues_.at(stream).push_back({std::move(work)});
}

EventId Streams::create_event() {
    events_[next_id_];
    return next_id_++;
}

void Streams::destroy_event(EventId event) {
    synchronize_event(event);
    events_.erase(event);
}

void Streams::record(EventId event, StreamId stream) {
    const uint64_t record = ++events_.at(event).recorded;
    const auto happen = [this, event, record] {
        if (const auto found = events_.find(event); found != events_.end()) {
            found->second.happened = record;
            found->second.time = std::chrono::steady_clock::now();
        }
    };
    enqueue(stream, happen);
}

void Streams::wait(StreamId stream, EventId event) {
    const uint64_t record = events_.at(event).recorded;
    if (stream == kDefaultStream) {
        run_until([&] { return events_.at(event).happened >= record; });
        return;
    }
    queues_.at(stream).push_back({[] {}, event, record});
}

bool Streams::happened(EventId event) const {
    const Event& state = events_.at(event);
    return state.happened == state.recorded;
}

float Streams::milliseconds_between(EventId begin, EventId end) const {
    return std::chrono::duration<float, std::milli>(events_.at(end).time - events_.at(begin).time).count();
}

bool Streams::ready(const Item& item) const {
    const auto found = events_.find(item.waits_for);
    return found == events_.end() || found->second.happened >= item.record;
}

bool Streams::step() {
    std::vector<std::deque<Item>*> able;
    for (auto& [id, queue] : queues_) {
        if (!queue.empty() && ready(queue.front())) {
            able.push_back(&queue);
        }
    }
    if (able.empty()) {
        return false;
    }
    auto& queue = *able[lot_() % able.size()];
    const Item item = std::move(queue.front());
    queue.pop_front();
    item.work();
    return true;
}

void Streams::run_until(const std::function<bool()>& done) {
    while (!done()) {
        if (!step()) {
            throw std::logic_error("streams wait for each other");
        }
    }
}

void Streams::synchronize(StreamId stream) {
    if (stream == kDefaultStream) {
        return synchronize_all();
    }
    run_until([&] { return queues_.at(stream).empty(); });
}

void Streams::synchronize_event(EventId event) {
    run_until([&] { return happened(event); });
}

void Streams::synchronize_blocking() {
    run_until([&] {
        for (const StreamId stream : blocking_) {
            if (!queues_.at(stream).empty()) {
                return false;
            }
        }
        return true;
    });
}

void Streams::synchronize_all() {
    run_until([&] {
        for (const auto& [id, queue] : queues_) {
            if (!queue.empty()) {
                return false;
            }
        }
        return true;
    });
}

}  // namespace nibble::simt
