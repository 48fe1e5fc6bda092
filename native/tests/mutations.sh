#!/usr/bin/env bash
# Plants faults in a copy of the CUDA kernels, and expects the tests to find each. All are compiled at once; a variable of the environment chooses one.
# Usage: mutations.sh FOLDER_OF_NATIVE NIBBLE_TESTS_PROGRAM COMPILER OBJECTS_OF_THE_EMULATION...
set -euo pipefail

native=$1
tests=$2
compiler=$3
emulation=("${@:4}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$native"/{api,cuda,include,simt} "$work/"

cat > "$work/planted.h" << 'END'
#pragma once
#include <cstdlib>

/// Whether the fault of this number, from 1, is the one to show.
inline bool nibble_planted(int fault) {
    static const char* chosen = std::getenv("NIBBLE_PLANTED");
    return chosen != nullptr && std::atoi(chosen) == fault;
}
END

what=("none")
finders=("")
# What is wrong, in which file, as a Perl substitution in which PLANTED says whether it is to show, and the tests that must see it.
plant() {
    local file=$work/cuda/$2
    cp "$file" "$work/original"
    perl -0pi -e "${3//PLANTED/nibble_planted(${#what[@]})}" "$file"
    if cmp -s "$file" "$work/original"; then
        echo "NOT PLANTED  $1"
        exit 1
    fi
    what+=("$1")
    finders+=("$4")
}

linear='Each/Linear.forward_and_input*sm80_bf16'
adapter='Each/Linear.adapter*sm80_bf16'

plant 'the barrier after a slab was used is missing' tile.h \
    's/(part\[i\]\[j\]\);\s+\}\s+\}\s+\}\s+)block_barrier\(\);/$1if (!PLANTED) { block_barrier(); }/' 'Each/Linear.adapter*sm80_f32'
plant 'the barrier before a stage is used is missing' tensor_product.h \
    's/block_barrier\(\);(?=  \/\/ The stage)/if (!PLANTED) { block_barrier(); }/' "$linear"
plant 'a copy is not waited for' tensor_product.h \
    's/(\w+wait<Tile::kStages - )2>\(\);/if (PLANTED) { ${1}1>(); } else { ${1}2>(); }/' "$linear"
plant 'two rows of a fragment are exchanged' tensor_product.h \
    's/rows\[i\]\[0\]\.word\[2 \* step\], rows\[i\]\[1\]/rows[i][PLANTED].word[2 * step], rows[i][!PLANTED]/' "$linear"
plant 'the two nibbles of a byte are exchanged' nf4_linear.cu \
    's/byte \+ 4\) \* factor, tables\.code\(word, byte\)/PLANTED ? byte : byte + 4) * factor, tables.code(word, PLANTED ? byte + 4 : byte)/' "$linear"
plant 'a scale is that of the next column' nf4_linear.cu \
    's/scales\[warp_column \+ own_column\(j\)\]/scales[(warp_column + own_column(j) + PLANTED) % Tile::kColumns]/' "$linear"
plant 'a matrix is turned that should not be' dense_linear.cu \
    's/load_matrix_turned(\(.*?\);)/if (PLANTED) { load_matrix$1 } else { load_matrix_turned$1 }/' "$linear"
plant 'one row too many is read' tensor_product.h 's/row \+ r < args\.m\)/row + r < args.m + PLANTED)/' "$linear"
plant 'a part of the depth is left out of the sum' linear.cu \
    's/split < args\.splits(?=; \+\+split\) \{\s+sum \+= args\.sums)/split < args.splits - PLANTED/' "$linear"
plant 'a residual is left out' tensor_product.h 's/if \(args\.residual\.present\(\) && column/if (!PLANTED && args.residual.present() && column/' "$linear"
plant 'the gradient of the input ignores the dropout mask' tensor_product.h 's/\*= factors\[e\]/*= PLANTED ? 1.0F : factors[e]/' "$adapter"
plant 'every four of a run have the mask of the first' philox.h 's/\(first \+ i\) \/ 4/(PLANTED ? first : first + i) \/ 4/' "$adapter"
plant 'the scale of the adapter is not applied' tensor_product.h 's/1\.0F : adapter\.scale/1.0F : PLANTED ? 1.0F : adapter.scale/' "$adapter"
plant 'sums over a block begin before all warps have written' device.h \
    's/(block_sum.*?)block_barrier\(\);/$1if (!PLANTED) { block_barrier(); }/s' 'Each/Layers.rms_norm_and*sm80_f32'
plant 'the gradient of the loss misses its label by one' cross_entropy.cu \
    's/label == args\.first \+ i/label == args.first + i + PLANTED/' 'Each/CrossEntropy.losses_and_gradients_equal*sm80_f32'
plant '8-bit states are rounded down' adamw.cu \
    's/return static_cast<uint8_t>\(code\)/return static_cast<uint8_t>(PLANTED && code > 0 ? code - 1 : code)/' 'AdamW.five_steps*8_bit*'
plant 'bfloat16 parameters are rounded towards zero' adamw.cu 's/\(bits \+ random\) >> 16/(bits + (PLANTED ? 0 : random)) >> 16/' 'AdamW.a_bfloat16*'

rm "$work/cuda/kernels.cu" # It is all others.
"$compiler" -std=c++20 -O1 -DNDEBUG -DNIBBLE_SIMT -ffp-contract=off -ftls-model=initial-exec -fPIC -shared -include "$work/planted.h" \
    -x c++ "$work"/cuda/*.cu -x none "${emulation[@]}" -o "$work/libplanted.so"

# Ends with the first check that fails.
run_tests() { # fault, tests
    NIBBLE_PLANTED=$1 NIBBLE_CUDA_DRIVER=$work/libplanted.so \
        timeout 120 "$tests" --gtest_break_on_failure --gtest_filter="$2" > "$work/log" 2>&1
}

if ! run_tests 0 "$(IFS=:; echo "${finders[*]:1}")"; then
    cat "$work/log"
    echo "the tests fail where no fault is to show"
    exit 1
fi

missed=0
for ((fault = 1; fault < ${#what[@]}; fault++)); do
    if run_tests "$fault" "${finders[fault]}" 2> "$work/signal"; then
        echo "NOT FOUND    ${what[fault]}"
        missed=$((missed + 1))
    else
        echo "found        ${what[fault]}"
    fi
done

echo "$missed of $((${#what[@]} - 1)) faults were not found"
[ "$missed" = 0 ]
