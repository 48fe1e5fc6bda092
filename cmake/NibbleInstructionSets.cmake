# Compiles one source once per instruction set, each time in its own namespace (NIBBLE_ISA), into a library.
set(NIBBLE_ISA_FLAGS_portable "")
set(NIBBLE_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c)
set(NIBBLE_ISA_FLAGS_avx512 ${NIBBLE_ISA_FLAGS_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
set(NIBBLE_ISA_FLAGS_avx512_bf16 ${NIBBLE_ISA_FLAGS_avx512} -mavx512bf16 -mavx512vbmi)

function(nibble_add_instruction_sets library source)
  foreach(isa portable avx2 avx512 avx512_bf16)
    set(object ${library}_${isa})
    add_library(${object} OBJECT ${source})
    target_include_directories(${object} PRIVATE include api cpu)
    nibble_compile_options(${object})
    target_compile_definitions(${object} PRIVATE NIBBLE_ISA=${isa})
    # GCC 12 takes the deliberately undefined registers of its own AVX-512 headers for mistakes.
    target_compile_options(${object} PRIVATE ${NIBBLE_ISA_FLAGS_${isa}} ${OpenMP_CXX_FLAGS} -Wno-maybe-uninitialized
                                             -Wno-uninitialized)
    target_sources(${library} PRIVATE $<TARGET_OBJECTS:${object}>)
  endforeach()
endfunction()
