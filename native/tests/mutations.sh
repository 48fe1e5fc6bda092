#!/usr/bin/env bash
# Plants one fault after the other in a copy of the CUDA kernels, and expects the tests to find each.
# Usage: mutations.sh FOLDER_OF_NATIVE NIBBLE_TESTS_PROGRAM PART PARTS, of which each plants its share of the faults.
set -euo pipefail

native=$1
tests=$2
part=$3
parts=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/native" "$work/bench"
cp -r "$native/../cmake" "$work/"
cp -r "$native/../bench/peaks" "$work/bench/"
cp -r "$native"/{CMakeLists.txt,api,comm,cpu,cuda,include,simt,tests} "$work/native/"

cmake -S "$work/native" -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DNIBBLE_BUILD_TESTS=ON -DNIBBLE_BUILD_GPU_BENCH=OFF > "$work/log"
build() { cmake --build "$work/build" --target nibble_cuda_emulated > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }; }
# Ends with the first check that fails.
run_tests() { NIBBLE_CUDA_DRIVER=$work/build/simt/libnibble_cuda_emulated.so timeout 120 "$tests" --gtest_break_on_failure --gtest_filter="$1" > "$work/log" 2>&1; }

linear='Each/Linear.forward_and_input*sm80_bf16'
adapter='Each/Linear.adapter*sm80_bf16'
build
run_tests "$linear:$adapter:Each/Layers.*sm80_f32:Each/CrossEntropy.losses_and_gradients_equal*sm80_f32:AdamW.five_steps*8_bit*:AdamW.a_bfloat16*" ||
    { cat "$work/log"; echo "the tests fail before any fault is planted"; exit 1; }

failures=0
faults=0
# What is wrong, in which file, as a Perl substitution, and the tests that must see it.
plant() {
    local file=$work/native/cuda/$2
    if [ $((faults++ % parts)) != "$part" ]; then
        return
    fi
    cp "$file" "$work/original"
    perl -0pi -e "$3" "$file"
    if cmp -s "$file" "$work/original"; then
        echo "NOT PLANTED  $1"
        failures=$((failures + 1))
        return
    fi
    build
    if run_tests "$4"; then
        echo "NOT FOUND    $1"
        failures=$((failures + 1))
    else
        echo "found        $1"
    fi
    cp "$work/original" "$file"
}

plant 'the barrier after a slab was used is missing' tile.h \
    's/(part\[i\]\[j\]\);\s+\}\s+\}\s+\}\s+)block_barrier\(\);/$1/' 'Each/Linear.adapter*sm80_f32'
plant 'the barrier before a stage is used is missing' tensor_product.h \
    's/block_barrier\(\);  \/\/ The stage/;  \/\/ The stage/' "$linear"
plant 'a copy is not waited for' tensor_product.h 's/wait<Tile::kStages - 2>/wait<Tile::kStages - 1>/' "$linear"
plant 'two rows of a fragment are exchanged' tensor_product.h \
    's/rows\[i\]\[0\]\.word\[2 \* step\], rows\[i\]\[1\]/rows[i][1].word[2 * step], rows[i][0]/' "$linear"
plant 'the two nibbles of a byte are exchanged' nf4_linear.cu \
    's/byte \+ 4\) \* factor, tables\.code\(word, byte\)/byte) * factor, tables.code(word, byte + 4)/' "$linear"
plant 'a scale is that of the next column' nf4_linear.cu \
    's/scales\[warp_column \+ own_column\(j\)\]/scales[(warp_column + own_column(j) + 1) % Tile::kColumns]/' "$linear"
plant 'a matrix is turned that should not be' dense_linear.cu 's/load_matrix_turned/load_matrix/' "$linear"
plant 'one row too many is read' tensor_product.h 's/row \+ r < args\.m\)/row + r <= args.m)/' "$linear"
plant 'a part of the depth is left out of the sum' linear.cu 's/split < args\.splits; \+\+split\) \{\s+sum \+= args\.sums/split < args.splits - 1; ++split) { sum += args.sums/' "$linear"
plant 'a residual is left out' tensor_product.h \
    's/if \(args\.residual\.present\(\) && column \+ i < columns\)/if (false)/' "$linear"
plant 'the gradient of the input ignores the dropout mask' tensor_product.h \
    's/\*= factors\[e\]/*= 1.0F/' "$adapter"
plant 'every four of a run have the mask of the first' philox.h 's/\(first \+ i\) \/ 4/(first) \/ 4/' "$adapter"
plant 'the scale of the adapter is not applied' tensor_product.h 's/1\.0F : adapter\.scale/1.0F : 1.0F/' "$adapter"
plant 'sums over a block begin before all warps have written' device.h \
    's/(block_sum.*?)block_barrier\(\);/$1/s' 'Each/Layers.rms_norm_and*sm80_f32'
plant 'the gradient of the loss misses its label by one' cross_entropy.cu \
    's/label == args\.first \+ i/label == args.first + i + 1/' 'Each/CrossEntropy.losses_and_gradients_equal*sm80_f32'
plant '8-bit states are rounded down' adamw.cu \
    's/return static_cast<uint8_t>\(code\)/return static_cast<uint8_t>(code > 0 ? code - 1 : 0)/' 'AdamW.five_steps*8_bit*'
plant 'bfloat16 parameters are rounded towards zero' adamw.cu 's/\(bits \+ random\) >> 16/(bits + 0 * random) >> 16/' 'AdamW.a_bfloat16*'

echo "$failures faults were not found"
[ "$failures" = 0 ]
