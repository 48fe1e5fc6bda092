// What a compiler made of the kernels: the instructions that their speed rests on, and no memory where registers were
// meant.
#include <cstdio>
#include <string_view>

#include "support.h"

using namespace nibble_test;

namespace {

std::filesystem::path image_of(int architecture) {
    return std::filesystem::path(NIBBLE_CUDA_IMAGES) / ("nibble.sm_" + std::to_string(architecture) + ".ptx");
}

// The version of the PTX language that an image says it is written in: 7.0 is 70.
int language_of(int architecture) {
    std::ifstream file(image_of(architecture));
    int major = 0;
    int minor = 0;
    for (std::string line; std::getline(file, line);) {
        if (std::sscanf(line.c_str(), ".version %d.%d", &major, &minor) == 2) {
            break;
        }
    }
    return 10 * major + minor;
}

// The body of each kernel, by name.
std::map<std::string, std::string> kernels_of(int architecture) {
    std::ifstream file(image_of(architecture));
    std::map<std::string, std::string> kernels;
    std::string name;
    for (std::string line; std::getline(file, line);) {
        constexpr std::string_view kEntry = ".visible .entry ";
        if (line.starts_with(kEntry)) {
            name = line.substr(kEntry.size(), line.find('(') - kEntry.size());
        }
        if (!name.empty()) {
            kernels[name] += line + "\n";
        }
        if (line == "}") {
            name.clear();
        }
    }
    return kernels;
}

bool has(const std::string& body, const char* instruction) {
    return body.find(instruction) != std::string::npos;
}

}  // namespace

class Ptx : public testing::TestWithParam<int> {
  protected:
    void SetUp() override {
        kernels_ = kernels_of(GetParam());
        if (kernels_.empty()) {
            GTEST_SKIP() << "no CUDA image was built: neither nvcc nor clang 16 or newer is here";
        }
    }

    std::map<std::string, std::string> kernels_;
};
INSTANTIATE_TEST_SUITE_P(Sm, Ptx, testing::Values(75, 80, 90));

// A driver refuses an image with an instruction that is younger than the language it is written in.
TEST_P(Ptx, the_language_has_every_instruction) {
    // As the PTX manual has it under "PTX ISA Notes" of each.
    const std::pair<const char*, int> instructions[] = {
        {"ldmatrix.", 65},       {"mma.sync.aligned.m16n8k8.", 65}, {"mma.sync.aligned.m16n8k16.", 70},
        {"cvt.rn.bf16.f32", 70}, {"cvt.rn.bf16x2.f32", 70},         {"cp.async.", 70},
    };
    const int language = language_of(GetParam());
    for (const auto& [name, body] : kernels_) {
        for (const auto& [instruction, since] : instructions) {
            EXPECT_TRUE(language >= since || !has(body, instruction)) << name << " has " << instruction;
        }
    }
    EXPECT_GE(language, GetParam() >= 90 ? 78 : GetParam() >= 80 ? 70 : 63) << "the chip is younger than that";
}

TEST_P(Ptx, no_kernel_keeps_anything_in_local_memory_or_calls_a_function) {
    for (const auto& [name, body] : kernels_) {
        EXPECT_FALSE(has(body, ".local")) << name;
        EXPECT_FALSE(has(body, "call.uni")) << name;
    }
}

TEST_P(Ptx, every_kernel_has_a_form_for_each_element_type) {
    for (const char* name : {"linear_forward", "linear_input_gradient", "rms_norm_forward", "rope", "swiglu_backward",
                             "nf4_quantize", "dequantize", "adapter_a_gradient_16", "nf4_few_1"}) {
        for (const char* type : {"_f32", "_bf16", "_f16"}) {
            EXPECT_TRUE(kernels_.contains(std::string(name) + type)) << name << type;
        }
    }
}

TEST_P(Ptx, products_on_tensor_cores_use_them_and_move_16_bytes_at_a_time) {
    const bool turing = GetParam() < 80;
    const std::string large = turing ? "turing" : "wide";
    for (const std::string& tile :
         {"nf4_" + large, std::string("nf4_narrow"), "dense_" + large, std::string("dense_narrow")}) {
        for (const char* type : {"_bf16", "_f16"}) {
            if (turing && std::string(type) == "_bf16") {
                continue;
            }
            const std::string forward = kernels_[tile + "_forward" + type];
            const std::string backward = kernels_[tile + "_backward" + type];
            for (const std::string& body : {forward, backward}) {
                EXPECT_TRUE(has(body, turing ? "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32"
                                      : std::string(type) == "_bf16"
                                          ? "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"
                                          : "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"))
                    << tile << type;
                EXPECT_TRUE(has(body, "ld.shared.v4")) << tile << type;
                EXPECT_TRUE(has(body, turing ? "ld.global.v4" : "cp.async.cg.shared.global")) << tile << type;
                EXPECT_EQ(has(body, "cp.async.wait_group"), !turing) << tile << type;
            }
            if (tile.starts_with("nf4")) {
                EXPECT_TRUE(has(forward, "ldmatrix.sync.aligned.m8n8.x4.shared.b16")) << tile << type;
                EXPECT_TRUE(has(backward, "st.global.v4")) << tile << type;
            } else {
                EXPECT_TRUE(has(backward, "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16")) << tile << type;
            }
        }
    }
}

TEST_P(Ptx, an_image_has_no_kernel_for_another_generation) {
    const bool turing = GetParam() < 80;
    for (const std::string name :
         {"nf4_wide_forward", "nf4_wide_backward", "dense_wide_forward", "dense_wide_backward"}) {
        EXPECT_EQ(kernels_.contains(name + "_f16"), !turing) << name;
        EXPECT_EQ(kernels_.contains(name + "_bf16"), !turing) << name;
    }
    for (const std::string name : {"nf4_turing_forward_f16", "nf4_turing_backward_f16", "dense_turing_forward_f16",
                                   "dense_turing_backward_f16"}) {
        EXPECT_EQ(kernels_.contains(name), turing) << name;
    }
}

TEST_P(Ptx, few_rows_read_weights_16_bytes_at_a_time) {
    for (const char* name : {"nf4_few_1_bf16", "nf4_few_2_f16", "nf4_few_4_f32"}) {
        EXPECT_TRUE(has(kernels_[name], "ld.global.v4")) << name;
        EXPECT_TRUE(has(kernels_[name], "ld.shared.v4")) << name;
    }
}

TEST_P(Ptx, adapters_read_activations_16_bytes_at_a_time) {
    for (const char* product : {"hidden", "hidden_gradient", "a_gradient", "b_gradient"}) {
        for (const char* form : {"_16_f32", "_16_bf16", "_64_f16"}) {
            EXPECT_TRUE(has(kernels_[std::string("adapter_") + product + form], "ld.global.v4")) << product << form;
        }
    }
}
