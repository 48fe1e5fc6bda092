#include <limits>

#include "support.h"

using namespace nibble_test;

namespace {

const char* const kCases[] = {"gauss", "heavy", "zeros_blocks", "tiny", "wide"};

nibble_weight nf4_view(const std::vector<uint8_t>& packed, const std::vector<float>& absmax, int64_t rows,
                       int64_t cols) {
    nibble_weight weight{};
    weight.rows = rows;
    weight.cols = cols;
    weight.format = NIBBLE_WEIGHT_NF4;
    weight.data = packed.data();
    weight.absmax = absmax.data();
    return weight;
}

}  // namespace

class Nf4Golden : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Nf4, Nf4Golden, testing::ValuesIn(kCases),
                         [](const auto& which) { return std::string(which.param); });

TEST_P(Nf4Golden, packed_bytes_and_absmax_equal_bitsandbytes_wherever_rounding_is_decided) {
    REQUIRE_GOLDEN_VECTORS();
    const std::string name = GetParam();
    const auto weight = golden<float>(name + ".weight");
    const auto margin = golden<float>(name + ".margin");
    const auto expected = golden<uint8_t>(name + ".nf4");
    for (const Machine& machine : machines({NIBBLE_F32})) {
        const Using use(machine);
        std::vector<uint8_t> packed(expected.size());
        std::vector<float> absmax(weight.size() / 64);
        expect_ok(nibble_nf4_quantize(on(), NIBBLE_F32, weight.data(), static_cast<int64_t>(weight.size()),
                                      packed.data(), absmax.data()));
        EXPECT_EQ(absmax, golden<float>(name + ".absmax"));
        for (size_t i = 0; i < weight.size(); ++i) {
            const int shift = i % 2 == 0 ? 4 : 0;
            if (margin[i] >= 1e-6F) {
                ASSERT_EQ((packed[i / 2] >> shift) & 15, (expected[i / 2] >> shift) & 15) << "element " << i;
            }
        }
    }
}

TEST_P(Nf4Golden, double_quantised_scales_equal_bitsandbytes) {
    REQUIRE_GOLDEN_VECTORS();
    const std::string name = GetParam();
    const auto absmax = golden<float>(name + ".absmax");
    const auto expected_nested = golden<float>(name + ".nested_absmax");
    std::vector<uint8_t> codes(absmax.size());
    std::vector<float> nested(expected_nested.size());
    float offset = 0;
    expect_ok(nibble_nf4_quantize_absmax(absmax.data(), static_cast<int64_t>(absmax.size()), codes.data(),
                                         nested.data(), &offset));
    EXPECT_EQ(codes, golden<uint8_t>(name + ".absmax_q8"));
    EXPECT_FLOAT_EQ(offset, golden<float>(name + ".nested_offset")[0]);
    for (size_t i = 0; i < nested.size(); ++i) {
        EXPECT_FLOAT_EQ(nested[i], expected_nested[i]);
    }
}

TEST_P(Nf4Golden, dequantised_values_equal_bitsandbytes_to_1e_6) {
    REQUIRE_GOLDEN_VECTORS();
    const std::string name = GetParam();
    const auto packed = golden<uint8_t>(name + ".nf4");
    const auto absmax = golden<float>(name + ".absmax");
    const auto codes = golden<uint8_t>(name + ".absmax_q8");
    const auto nested = golden<float>(name + ".nested_absmax");
    const auto count = static_cast<int64_t>(packed.size() * 2);
    for (const Machine& machine : machines({NIBBLE_F32})) {
        const Using use(machine);
        nibble_weight weight = nf4_view(packed, absmax, 1, count);
        for (const char* suffix : {".dequant", ".dequant_nested"}) {
            const auto expected = golden<float>(name + suffix);
            std::vector<float> values(expected.size());
            expect_ok(nibble_dequantize(on(), &weight, NIBBLE_F32, values.data()));
            for (size_t i = 0; i < values.size(); ++i) {
                ASSERT_NEAR(values[i], expected[i], 1e-6 * std::fabs(expected[i]) + 1e-12)
                    << suffix << " element " << i;
            }
            weight.absmax = nullptr;
            weight.absmax_codes = codes.data();
            weight.nested_absmax = nested.data();
            weight.absmax_offset = golden<float>(name + ".nested_offset")[0];
        }
    }
}

namespace {

constexpr int64_t kTurnedRowCount = 2 * NIBBLE_TURNED_ROWS;
constexpr int64_t kTurnedCols = 5 * NIBBLE_NF4_BLOCK;

// A double-quantised weight of random bytes, with its plain scales beside.
struct RandomWeight {
    std::vector<uint8_t> packed = bytes(kTurnedRowCount * kTurnedCols / 2, 1);
    std::vector<uint8_t> codes = bytes(kTurnedRowCount * kTurnedCols / NIBBLE_NF4_BLOCK, 2);
    std::vector<float> absmax = random_values(codes.size(), 3);
    std::vector<float> nested = random_values((codes.size() + 255) / 256, 4);

    void turn() {
        expect_ok(nibble_nf4_turn(kTurnedRowCount, kTurnedCols, packed.data(), absmax.data(), codes.data()));
    }

    nibble_weight view(nibble_format format, bool double_quantised) const {
        nibble_weight weight = nf4_view(packed, absmax, kTurnedRowCount, kTurnedCols);
        weight.format = format;
        if (double_quantised) {
            weight.absmax = nullptr;
            weight.absmax_codes = codes.data();
            weight.nested_absmax = nested.data();
            weight.absmax_offset = 0.25F;
        }
        return weight;
    }

    static std::vector<uint8_t> bytes(int64_t count, uint32_t seed) {
        std::vector<uint8_t> bytes;
        for (const float value : random_values(static_cast<size_t>(count), seed)) {
            bytes.push_back(static_cast<uint8_t>(static_cast<int>(value * 1e6F)));
        }
        return bytes;
    }
};

}  // namespace

TEST(Nf4Turned, words_hold_the_columns_that_the_header_says_and_scales_lie_by_groups) {
    const RandomWeight plain;
    RandomWeight turned;
    turned.turn();
    const int64_t blocks = kTurnedCols / NIBBLE_NF4_BLOCK;
    for (int64_t row = 0; row < kTurnedRowCount; ++row) {
        for (int64_t col = 0; col < kTurnedCols; ++col) {
            const int64_t element = row * kTurnedCols + col;
            const int expected = plain.packed[static_cast<size_t>(element / 2)] >> (element % 2 == 0 ? 4 : 0) & 15;
            const int64_t group = row / NIBBLE_TURNED_ROWS * blocks + col / NIBBLE_NF4_BLOCK;
            const int64_t in_block = col % NIBBLE_NF4_BLOCK;
            const int64_t word = (group * 8 + in_block % 16 / 2) * NIBBLE_TURNED_ROWS + row % NIBBLE_TURNED_ROWS;
            uint32_t bits;
            std::memcpy(&bits, turned.packed.data() + word * 4, sizeof(bits));
            const int64_t nibble = in_block / 16 + in_block % 2 * 4;
            ASSERT_EQ(bits >> (4 * nibble) & 15, static_cast<uint32_t>(expected)) << row << ", " << col;
            const auto scale = static_cast<size_t>(group * NIBBLE_TURNED_ROWS + row % NIBBLE_TURNED_ROWS);
            const auto block = static_cast<size_t>(element / NIBBLE_NF4_BLOCK);
            ASSERT_EQ(turned.absmax[scale], plain.absmax[block]) << row << ", " << col;
            ASSERT_EQ(turned.codes[scale], plain.codes[block]) << row << ", " << col;
        }
    }
}

TEST(Nf4Turned, turning_back_restores_every_byte_on_every_instruction_set) {
    const RandomWeight plain;
    for (const Machine& machine : machines({NIBBLE_F32})) {
        const Using use(machine);
        if (on() != nullptr) {
            continue;  // For the CPU only.
        }
        RandomWeight weight;
        weight.turn();
        EXPECT_NE(weight.packed, plain.packed);
        expect_ok(nibble_nf4_turn_back(kTurnedRowCount, kTurnedCols, weight.packed.data(), weight.absmax.data(),
                                       weight.codes.data()));
        EXPECT_EQ(weight.packed, plain.packed);
        EXPECT_EQ(weight.absmax, plain.absmax);
        EXPECT_EQ(weight.codes, plain.codes);
    }
}

TEST(Nf4Turned, values_equal_those_of_the_plain_order_to_the_bit_on_every_instruction_set) {
    const RandomWeight plain;
    RandomWeight turned;
    turned.turn();
    for (const Machine& machine : machines({NIBBLE_F32})) {
        const Using use(machine);
        if (on() != nullptr) {
            continue;  // For the CPU only.
        }
        for (const bool double_quantised : {false, true}) {
            std::vector<float> expected(kTurnedRowCount * kTurnedCols), found(expected.size());
            const nibble_weight from = plain.view(NIBBLE_WEIGHT_NF4, double_quantised);
            const nibble_weight same = turned.view(NIBBLE_WEIGHT_NF4_TURNED, double_quantised);
            expect_ok(nibble_dequantize(on(), &from, NIBBLE_F32, expected.data()));
            expect_ok(nibble_dequantize(on(), &same, NIBBLE_F32, found.data()));
            EXPECT_EQ(found, expected);
        }
    }
}

TEST(Nf4Turned, shapes_without_that_order_are_refused_and_a_gpu_refuses_the_order) {
    RandomWeight weight;
    const auto refused = [&](int64_t rows, int64_t cols) {
        EXPECT_EQ(nibble_nf4_turns(rows, cols), 0);
        EXPECT_EQ(nibble_nf4_turn(rows, cols, weight.packed.data(), nullptr, nullptr), NIBBLE_INVALID_ARGUMENT);
        EXPECT_NE(std::string(nibble_last_error()).find("as it is turned"), std::string::npos) << nibble_last_error();
    };
    refused(48, 256);
    refused(32, 192);
    refused(32, 288);
    refused(0, 256);
    weight.turn();
    const nibble_weight view = weight.view(NIBBLE_WEIGHT_NF4_TURNED, true);
    std::vector<float> values(kTurnedRowCount * kTurnedCols);
    for (const Machine& machine : machines({NIBBLE_F32})) {
        const Using use(machine);
        if (on() == nullptr) {
            EXPECT_EQ(nibble_nf4_turns(32, 256), machine.isa >= NIBBLE_ISA_AVX2 ? 1 : 0);
        } else {
            EXPECT_EQ(nibble_dequantize(on(), &view, NIBBLE_F32, values.data()), NIBBLE_INVALID_ARGUMENT);
            EXPECT_NE(std::string(nibble_last_error()).find("for the CPU only"), std::string::npos);
        }
    }
}

TEST(Nf4, dynamic_maps_equal_bitsandbytes_to_the_bit) {
    REQUIRE_GOLDEN_VECTORS();
    const auto expected_signed = golden<float>("dynamic_map_signed");
    const auto expected_unsigned = golden<float>("dynamic_map_unsigned");
    for (size_t i = 0; i < 256; ++i) {
        EXPECT_EQ(nibble_dynamic_map_signed()[i], expected_signed[i]) << "signed " << i;
        EXPECT_EQ(nibble_dynamic_map_unsigned()[i], expected_unsigned[i]) << "unsigned " << i;
    }
}

TEST(Nf4, a_short_last_block_and_an_odd_count_survive_the_round_trip) {
    const auto values = random_values(64 + 33, 7);
    std::vector<uint8_t> packed(49);
    std::vector<float> absmax(2);
    expect_ok(nibble_nf4_quantize(on(), NIBBLE_F32, values.data(), 97, packed.data(), absmax.data()));
    EXPECT_EQ(packed.back() & 15, 0);
    const nibble_weight weight = nf4_view(packed, absmax, 1, 97);
    std::vector<float> back(97);
    expect_ok(nibble_dequantize(on(), &weight, NIBBLE_F32, back.data()));
    for (size_t i = 0; i < 97; ++i) {
        // The widest gap of the code book is 0.304 of the scale, so rounding moves a value by at most half of that.
        EXPECT_NEAR(back[i], values[i], 0.153 * absmax[i / 64]);
    }
}

TEST(Nf4, blocks_of_subnormal_values_keep_their_zeros_and_signs_on_every_instruction_set) {
    std::vector<float> values(64);
    values[1] = 1e-39F;
    values[2] = -1e-39F;
    for (const Machine& machine : machines({NIBBLE_F32})) {
        const Using use(machine);
        std::vector<uint8_t> packed(32);
        std::vector<float> absmax(1);
        expect_ok(nibble_nf4_quantize(on(), NIBBLE_F32, values.data(), 64, packed.data(), absmax.data()));
        const nibble_weight weight = nf4_view(packed, absmax, 1, 64);
        std::vector<float> back(64);
        expect_ok(nibble_dequantize(on(), &weight, NIBBLE_F32, back.data()));
        EXPECT_EQ(back, values);
    }
}

TEST(Nf4, double_quantisation_scales_each_block_by_its_own_largest_distance_from_the_mean) {
    auto absmax = random_values(300, 5, 0.1F);
    double mean = 0;
    for (float& value : absmax) {
        value = std::fabs(value);
    }
    absmax[255] = 2;  // The last of a full block, and of the short one.
    absmax[299] = 3;
    for (const float value : absmax) {
        mean += static_cast<double>(value) / 300;
    }
    std::vector<uint8_t> codes(300);
    float nested[2];
    float offset = 0;
    expect_ok(nibble_nf4_quantize_absmax(absmax.data(), 300, codes.data(), nested, &offset));
    EXPECT_FLOAT_EQ(offset, static_cast<float>(mean));
    EXPECT_FLOAT_EQ(nested[0], static_cast<float>(2 - mean));
    EXPECT_FLOAT_EQ(nested[1], static_cast<float>(3 - mean));
    EXPECT_EQ(codes[255], 255);
    EXPECT_EQ(codes[299], 255);
}

TEST(Nf4, scales_that_differ_by_subnormal_amounts_survive_double_quantisation) {
    const std::vector<float> absmax{1e-39F, 2e-39F, 3e-39F};
    std::vector<uint8_t> codes(3);
    float nested = 0;
    float offset = 0;
    expect_ok(nibble_nf4_quantize_absmax(absmax.data(), 3, codes.data(), &nested, &offset));
    for (size_t i = 0; i < 3; ++i) {
        EXPECT_NEAR(nibble_dynamic_map_signed()[codes[i]] * nested + offset, absmax[i], 1e-41F) << i;
    }
}

TEST(Nf4, scales_that_are_negative_or_not_finite_are_refused_by_their_place) {
    std::vector<uint8_t> codes(300);
    std::vector<float> nested(2);
    float offset = 0;
    for (const float wrong : {-1.0F, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        std::vector<float> absmax(300, 1.0F);
        absmax[270] = wrong;
        EXPECT_EQ(nibble_nf4_quantize_absmax(absmax.data(), 300, codes.data(), nested.data(), &offset),
                  NIBBLE_INVALID_ARGUMENT);
        EXPECT_NE(std::string(nibble_last_error()).find("absmax[270]"), std::string::npos) << nibble_last_error();
    }
}

TEST(Dequantize, rounds_to_16_bits_to_nearest_even_and_keeps_what_is_not_finite_on_every_instruction_set) {
    std::vector<float> values = random_values(1000, 9);
    for (const float special : {1.00390625F, 1.01171875F, -1.00390625F, 3.4e38F, 65519.0F, 65520.0F, 1e-7F,
                                std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
        values.push_back(special);
    }
    nibble_weight weight{};
    weight.rows = 1;
    weight.cols = static_cast<int64_t>(values.size());
    weight.data = values.data();
    for (const Machine& machine : machines()) {
        const Using use(machine);
        const nibble_dtype dtype = machine.dtype;
        Tensor rounded(dtype, values.size());
        expect_ok(nibble_dequantize(on(), &weight, dtype, rounded.data()));
        EXPECT_TRUE(rounded == Tensor(dtype, values));
        // A NaN whose mantissa lies in the bits that rounding drops.
        const uint32_t bits = 0x7F800001;
        float nan;
        std::memcpy(&nan, &bits, sizeof(nan));
        nibble_weight one{};
        one.rows = one.cols = 1;
        one.data = &nan;
        uint16_t narrow = 0;
        if (dtype != NIBBLE_F32) {
            expect_ok(nibble_dequantize(on(), &one, dtype, &narrow));
            const uint16_t infinity = dtype == NIBBLE_BF16 ? 0x7F80 : 0x7C00;
            EXPECT_GT(narrow & 0x7FFF, infinity);
        }
    }
}

TEST(Nf4, a_value_that_is_not_finite_is_refused_by_its_place) {
    auto values = random_values(256, 3);
    values[130] = std::numeric_limits<float>::infinity();
    std::vector<uint8_t> packed(128);
    std::vector<float> absmax(4);
    EXPECT_EQ(nibble_nf4_quantize(on(), NIBBLE_F32, values.data(), 256, packed.data(), absmax.data()),
              NIBBLE_INVALID_ARGUMENT);
    EXPECT_NE(std::string(nibble_last_error()).find("128 to 191"), std::string::npos);
    values[130] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(nibble_nf4_quantize(on(), NIBBLE_F32, values.data(), 256, packed.data(), absmax.data()),
              NIBBLE_INVALID_ARGUMENT);
}
