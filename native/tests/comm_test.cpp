// Collectives between processes, over MPI or over NCCL's emulation, against the same sums one after another. Every rank
// runs every test; the processes are started by mpirun, and the first speaks for all unless another one fails.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "nibble_comm.h"

#ifdef NIBBLE_OVER_NCCL
#include <mpi.h>
#endif

namespace {

#ifdef NIBBLE_OVER_NCCL
constexpr bool kOverMpi = false;

nibble_status join() {
    int rank = 0;
    int size = 1;
    MPI_Init(nullptr, nullptr);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    uint8_t id[NIBBLE_COMM_ID_BYTES];
    const nibble_status made = rank == 0 ? nibble_comm_nccl_id(id) : NIBBLE_OK;
    MPI_Bcast(id, sizeof(id), MPI_BYTE, 0, MPI_COMM_WORLD);
    return made == NIBBLE_OK ? nibble_comm_nccl_init(id, rank, size, nullptr) : made;
}

nibble_status leave() {
    const nibble_status left = nibble_comm_finalize();
    MPI_Finalize();
    return left;
}

void end_all() {
    MPI_Abort(MPI_COMM_WORLD, 1);
}
#else
constexpr bool kOverMpi = true;

nibble_status join() {
    return nibble_comm_init();
}

nibble_status leave() {
    return nibble_comm_finalize();
}

void end_all() {
    nibble_comm_abort(1);
}
#endif

int rank() {
    return nibble_comm_rank();
}

int size() {
    return nibble_comm_size();
}

size_t index(int value) {
    return static_cast<size_t>(value);
}

float from_bf16(uint16_t bits) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, sizeof(value));
    return value;
}

uint16_t to_bf16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return static_cast<uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

// What a rank brings; the others know it without being told.
std::vector<float> values_of(int of_rank, size_t count, unsigned seed = 1) {
    std::mt19937 random(seed * 1000 + static_cast<unsigned>(of_rank));
    std::normal_distribution<float> normal;
    std::vector<float> values(count);
    for (float& value : values) {
        value = normal(random);
    }
    return values;
}

std::vector<double> sums(size_t count, unsigned seed = 1) {
    std::vector<double> total(count);
    for (int r = 0; r < size(); ++r) {
        const std::vector<float> values = values_of(r, count, seed);
        for (size_t i = 0; i < count; ++i) {
            total[i] += static_cast<double>(values[i]);
        }
    }
    return total;
}

void complete(nibble_comm_request* request) {
    ASSERT_EQ(NIBBLE_OK, nibble_comm_wait(request)) << nibble_comm_last_error();
}

#define ASSERT_STARTED(call) ASSERT_EQ(NIBBLE_OK, call) << nibble_comm_last_error()

const size_t kCounts[] = {0, 1, 3, 255, 4096, 100'003};

// Counts that differ between ranks, none for some.
std::vector<int64_t> uneven() {
    std::vector<int64_t> counts(index(size()));
    for (int r = 0; r < size(); ++r) {
        counts[index(r)] = r % 3 == 1 ? 0 : 257 * (r + 1);
    }
    return counts;
}

TEST(Comm, all_reduce_gives_every_rank_the_sum_of_all) {
    for (const size_t count : kCounts) {
        std::vector<float> data = values_of(rank(), count);
        nibble_comm_request* request = nullptr;
        ASSERT_STARTED(nibble_comm_all_reduce(NIBBLE_F32, data.data(), static_cast<int64_t>(count), &request));
        complete(request);
        const std::vector<double> expected = sums(count);
        for (size_t i = 0; i < count; ++i) {
            ASSERT_NEAR(expected[i], static_cast<double>(data[i]), 1e-5) << count << " " << i;
        }
        if (kOverMpi) {  // In the order of the ranks.
            std::vector<float> ordered(count);
            for (int r = 0; r < size(); ++r) {
                const std::vector<float> values = values_of(r, count);
                std::transform(ordered.begin(), ordered.end(), values.begin(), ordered.begin(), std::plus<>());
            }
            ASSERT_EQ(ordered, data);
        }
    }
}

TEST(Comm, sums_are_the_same_on_every_rank_and_in_every_repetition_to_the_bit) {
    constexpr size_t kCount = 100'003;
    std::vector<float> data[2];
    for (auto& repetition : data) {
        repetition = values_of(rank(), kCount);
        nibble_comm_request* request = nullptr;
        ASSERT_STARTED(nibble_comm_all_reduce(NIBBLE_F32, repetition.data(), kCount, &request));
        complete(request);
    }
    ASSERT_EQ(data[0], data[1]);
    std::vector<float> first = data[0];
    nibble_comm_request* request = nullptr;
    ASSERT_STARTED(nibble_comm_broadcast(first.data(), kCount * sizeof(float), 0, &request));
    complete(request);
    ASSERT_EQ(first, data[0]);
}

TEST(Comm, bfloat16_is_summed_in_float32_and_rounded_once) {
    if (!kOverMpi) {
        GTEST_SKIP() << "NCCL rounds in between";
    }
    for (const size_t count : kCounts) {
        std::vector<uint16_t> data(count);
        std::vector<float> expected(count);
        for (int r = 0; r < size(); ++r) {
            const std::vector<float> values = values_of(r, count);
            for (size_t i = 0; i < count; ++i) {
                const uint16_t bits = to_bf16(values[i]);
                expected[i] += from_bf16(bits);
                if (r == rank()) {
                    data[i] = bits;
                }
            }
        }
        nibble_comm_request* request = nullptr;
        ASSERT_STARTED(nibble_comm_all_reduce(NIBBLE_BF16, data.data(), static_cast<int64_t>(count), &request));
        complete(request);
        for (size_t i = 0; i < count; ++i) {
            ASSERT_EQ(to_bf16(expected[i]), data[i]);
        }
    }
}

TEST(Comm, bfloat16_that_is_not_a_number_stays_so) {
    if (!kOverMpi) {
        GTEST_SKIP() << "NCCL rounds in between";
    }
    uint16_t data[] = {0x7FFF, static_cast<uint16_t>(rank() == 0 ? 0x7F80 : 0)};
    nibble_comm_request* request = nullptr;
    ASSERT_STARTED(nibble_comm_all_reduce(NIBBLE_BF16, data, 2, &request));
    complete(request);
    EXPECT_TRUE(std::isnan(from_bf16(data[0])));
    EXPECT_TRUE(std::isinf(from_bf16(data[1])));
}

TEST(Comm, reduce_scatter_adds_to_each_share_its_part_of_the_sum_in_float32_whatever_its_size) {
    const float before = kOverMpi ? 0.3F : 0.0F;  // NCCL writes over it.
    for (const nibble_dtype dtype : {NIBBLE_F32, NIBBLE_BF16}) {
        if (dtype == NIBBLE_BF16 && !kOverMpi) {
            continue;
        }
        const std::vector<int64_t> counts = uneven();
        size_t total = 0;
        size_t start = 0;
        for (int r = 0; r < size(); ++r) {
            start = r == rank() ? total : start;
            total += static_cast<size_t>(counts[index(r)]);
        }
        const auto own = static_cast<size_t>(counts[index(rank())]);
        // What is sent is exact in its dtype, and so the sums of it are as exact as float32.
        const auto sent = [&](int r) {
            std::vector<float> values = values_of(r, total);
            if (dtype == NIBBLE_BF16) {
                std::transform(values.begin(), values.end(), values.begin(),
                               [](float value) { return from_bf16(to_bf16(value)); });
            }
            return values;
        };
        const std::vector<float> values = sent(rank());
        std::vector<uint16_t> halves(total);
        std::transform(values.begin(), values.end(), halves.begin(), to_bf16);
        const void* data = dtype == NIBBLE_BF16 ? static_cast<const void*>(halves.data()) : values.data();
        std::vector<float> share(own, before);
        nibble_comm_request* request = nullptr;
        ASSERT_STARTED(nibble_comm_reduce_scatter(dtype, data, counts.data(), share.data(), &request));
        complete(request);
        std::vector<float> ordered(own, before);
        for (int r = 0; r < size(); ++r) {
            const std::vector<float> part = sent(r);
            for (size_t i = 0; i < own; ++i) {
                ordered[i] += part[start + i];
            }
        }
        for (size_t i = 0; i < own; ++i) {
            ASSERT_NEAR(ordered[i], share[i], 1e-5);
        }
        if (kOverMpi) {  // In the order of the ranks.
            ASSERT_EQ(ordered, share);
        }
    }
}

TEST(Comm, even_parts_are_scattered_and_gathered) {
    constexpr size_t kEach = 1001;
    const std::vector<int64_t> counts(index(size()), kEach);
    const std::vector<int64_t> bytes(index(size()), kEach * sizeof(float));
    const size_t total = kEach * index(size());
    const std::vector<float> values = values_of(rank(), total);
    std::vector<float> share(kEach);
    std::vector<float> all(total);
    nibble_comm_request* request = nullptr;
    ASSERT_STARTED(nibble_comm_reduce_scatter(NIBBLE_F32, values.data(), counts.data(), share.data(), &request));
    complete(request);
    ASSERT_STARTED(nibble_comm_all_gather(share.data(), bytes.data(), all.data(), &request));
    complete(request);
    const std::vector<double> expected = sums(total);
    for (size_t i = 0; i < total; ++i) {
        ASSERT_NEAR(expected[i], static_cast<double>(all[i]), 1e-5);
    }
}

TEST(Comm, all_gather_puts_the_shares_in_the_order_of_the_ranks_whatever_their_sizes) {
    const std::vector<int64_t> counts = uneven();
    std::vector<int64_t> bytes;
    std::vector<float> expected;
    for (int r = 0; r < size(); ++r) {
        const std::vector<float> share = values_of(r, static_cast<size_t>(counts[index(r)]));
        expected.insert(expected.end(), share.begin(), share.end());
        bytes.push_back(counts[index(r)] * static_cast<int64_t>(sizeof(float)));
    }
    const std::vector<float> share = values_of(rank(), static_cast<size_t>(counts[index(rank())]));
    std::vector<float> all(expected.size());
    nibble_comm_request* request = nullptr;
    ASSERT_STARTED(nibble_comm_all_gather(share.data(), bytes.data(), all.data(), &request));
    complete(request);
    ASSERT_EQ(expected, all);
}

TEST(Comm, nothing_can_be_gathered_and_scattered_and_broadcast) {
    const std::vector<int64_t> none(index(size()));
    nibble_comm_request* request = nullptr;
    ASSERT_STARTED(nibble_comm_all_gather(nullptr, none.data(), nullptr, &request));
    complete(request);
    ASSERT_STARTED(nibble_comm_reduce_scatter(NIBBLE_F32, nullptr, none.data(), nullptr, &request));
    complete(request);
    ASSERT_STARTED(nibble_comm_broadcast(nullptr, 0, 0, &request));
    complete(request);
}

TEST(Comm, broadcast_brings_what_any_rank_has) {
    for (int root = 0; root < size(); ++root) {
        std::vector<float> data = values_of(rank(), 1001);
        nibble_comm_request* request = nullptr;
        ASSERT_STARTED(nibble_comm_broadcast(data.data(), 1001 * sizeof(float), root, &request));
        complete(request);
        ASSERT_EQ(values_of(root, 1001), data);
    }
}

TEST(Comm, operations_under_way_at_once_do_not_mix) {
    constexpr unsigned kOperations = 8;
    std::vector<float> data[kOperations];
    nibble_comm_request* requests[kOperations];
    for (unsigned i = 0; i < kOperations; ++i) {
        const size_t count = 1000 * (i + 1);
        data[i] = values_of(rank(), count, i);
        ASSERT_STARTED(nibble_comm_all_reduce(NIBBLE_F32, data[i].data(), static_cast<int64_t>(count), &requests[i]));
    }
    for (unsigned i = 0; i < kOperations; ++i) {
        complete(requests[i]);
        const std::vector<double> expected = sums(data[i].size(), i);
        for (size_t j = 0; j < expected.size(); ++j) {
            ASSERT_NEAR(expected[j], static_cast<double>(data[i][j]), 1e-5);
        }
    }
}

TEST(Comm, a_barrier_waits_for_the_last) {
    const auto start = std::chrono::steady_clock::now();
    if (rank() == size() - 1) {
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
    }
    nibble_comm_request* request = nullptr;
    ASSERT_STARTED(nibble_comm_barrier(&request));
    complete(request);
    EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(250));
}

TEST(Comm, a_rank_that_is_late_within_the_time_is_waited_for) {
    ASSERT_EQ(NIBBLE_OK, nibble_comm_set_timeout(30));
    for (int round = 0; round < 2; ++round) {  // Notices of one wait do not disturb the next.
        if (rank() == size() - 1) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1500));
        }
        float value = 1;
        nibble_comm_request* request = nullptr;
        ASSERT_STARTED(nibble_comm_all_reduce(NIBBLE_F32, &value, 1, &request));
        complete(request);
        EXPECT_EQ(static_cast<float>(size()), value);
    }
}

#ifndef NIBBLE_OVER_NCCL
TEST(Comm, processors_are_shared_with_at_least_oneself) {
    EXPECT_GE(nibble_comm_sharers(), 1);
    EXPECT_LE(nibble_comm_sharers(), size());
}
#endif

void expect_refused(nibble_status status, const char* text) {
    EXPECT_EQ(NIBBLE_INVALID_ARGUMENT, status);
    EXPECT_NE(nullptr, std::strstr(nibble_comm_last_error(), text)) << nibble_comm_last_error();
}

TEST(Comm, wrong_arguments_are_refused_before_anything_is_sent) {
    float value = 1;
    nibble_comm_request* request = nullptr;
    std::vector<int64_t> counts(index(size()), 1);
#ifdef NIBBLE_OVER_NCCL
    const uint8_t id[NIBBLE_COMM_ID_BYTES] = {};
    expect_refused(nibble_comm_nccl_init(id, 0, 1, nullptr), "nccl_init: was called already");
    expect_refused(nibble_comm_nccl_id(nullptr), "nccl_id: id is null");
    expect_refused(nibble_comm_all_reduce(NIBBLE_BF16, &value, 1, &request), "all_reduce: dtype is 1");
#else
    expect_refused(nibble_comm_init(), "init: MPI is initialised already");
    expect_refused(nibble_comm_all_reduce(NIBBLE_F32, &value, int64_t{1} << 31, &request), "has 2147483648 elements");
    counts.back() = int64_t{1} << 31;
    expect_refused(nibble_comm_all_gather(&value, counts.data(), &value, &request), "is 2147483648, expected 0 to");
    counts.back() = 1;
#endif
    expect_refused(nibble_comm_all_reduce(NIBBLE_F16, &value, 1, &request), "all_reduce: dtype is 2");
    expect_refused(nibble_comm_all_reduce(NIBBLE_F32, &value, -1, &request), "all_reduce: data has -1 elements");
    expect_refused(nibble_comm_all_reduce(NIBBLE_F32, nullptr, 1, &request), "all_reduce: data is null");
    expect_refused(nibble_comm_all_reduce(NIBBLE_F32, &value, 1, nullptr), "all_reduce: request is null");
    expect_refused(nibble_comm_broadcast(&value, 4, size(), &request), "broadcast: root is");
    expect_refused(nibble_comm_broadcast(&value, 4, -1, &request), "broadcast: root is -1");
    expect_refused(nibble_comm_reduce_scatter(NIBBLE_F32, &value, nullptr, &value, &request), "counts is null");
    expect_refused(nibble_comm_all_gather(nullptr, counts.data(), &value, &request), "all_gather: share is null");
    counts.back() = -1;
    expect_refused(nibble_comm_reduce_scatter(NIBBLE_F32, &value, counts.data(), &value, &request), "is -1, expected");
    expect_refused(nibble_comm_wait(nullptr), "wait: request is null");
    expect_refused(nibble_comm_set_timeout(0), "set_timeout: seconds is 0");
}

}  // namespace

int main(int argc, char** argv) {
    if (join() != NIBBLE_OK) {
        std::fprintf(stderr, "%s\n", nibble_comm_last_error());
        return 1;
    }
    testing::InitGoogleTest(&argc, argv);
    if (rank() != 0) {
        auto& listeners = testing::UnitTest::GetInstance()->listeners();
        class OnlyFailures : public testing::EmptyTestEventListener {
            void OnTestPartResult(const testing::TestPartResult& result) override {
                if (result.failed()) {
                    std::fprintf(stderr, "rank %d: %s\n", rank(), result.message());
                }
            }
        };
        delete listeners.Release(listeners.default_result_printer());
        listeners.Append(new OnlyFailures());
    }
    const int failed = RUN_ALL_TESTS();
    if (failed != 0) {
        end_all();  // The others may wait for what does not come.
    }
    return leave() == NIBBLE_OK ? 0 : 1;
}
