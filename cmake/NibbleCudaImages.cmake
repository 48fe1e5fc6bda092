# The CUDA kernels as PTX, one module for each generation whose kernels differ; newer chips run the newest that is not
# newer than they are. Compiled by nvcc where there is one, else by a clang that needs no toolkit; without either there
# is no target, and the engine runs on the CPU alone.
find_program(NIBBLE_NVCC nvcc)
find_program(NIBBLE_CUDA_CLANG NAMES clang++-19 clang++-18 clang++-17 clang++-16)

# 90 brings nothing that 80 lacks; it is compiled because the newest chips must accept what we write.
set(NIBBLE_CUDA_ARCHITECTURES 75 80 90)
# The PTX language that each image is written in, as low as its instructions allow, so that old drivers take it too.
# Left to itself clang would name the one that was new with the chip, which for Turing (6.3) lacks ldmatrix and the
# 16 x 8 x 8 product: drivers refuse them then.
set(NIBBLE_PTX_75 65)
set(NIBBLE_PTX_80 70)
set(NIBBLE_PTX_90 78)
set(NIBBLE_CUDA_IMAGES "${CMAKE_CURRENT_SOURCE_DIR}/../artifacts/cuda" CACHE PATH "Where the CUDA images go")

function(nibble_add_cuda_images target source)
  if(NIBBLE_NVCC)
    set(compile ${NIBBLE_NVCC} --ptx -O3 -std=c++20 --fmad=false --expt-relaxed-constexpr -Werror all-warnings)
    set(architecture --gpu-architecture=compute_)
  elseif(NIBBLE_CUDA_CLANG)
    set(compile ${NIBBLE_CUDA_CLANG} -x cuda --cuda-device-only -nocudainc -nocudalib -S -O3 -std=c++20
                -ffp-contract=off -Wall -Wextra -Werror)
    set(architecture --cuda-gpu-arch=sm_)
  else()
    message(STATUS "Neither nvcc nor clang 16 or newer: no CUDA images")
    return()
  endif()
  file(GLOB sources CONFIGURE_DEPENDS cuda/*.cu cuda/*.h)
  foreach(number ${NIBBLE_CUDA_ARCHITECTURES})
    set(image "${NIBBLE_CUDA_IMAGES}/nibble.sm_${number}.ptx")
    if(NOT NIBBLE_NVCC)
      set(language --cuda-feature=+ptx${NIBBLE_PTX_${number}})
    endif()
    add_custom_command(
      OUTPUT ${image}
      COMMAND ${compile} ${language} ${architecture}${number} ${source} -o ${image}
      DEPENDS ${sources} ${CMAKE_CURRENT_FUNCTION_LIST_FILE}
      COMMENT "Compiling CUDA kernels for sm_${number}"
      VERBATIM)
    list(APPEND images ${image})
  endforeach()
  file(MAKE_DIRECTORY "${NIBBLE_CUDA_IMAGES}")
  add_custom_target(${target} ALL DEPENDS ${images})
endfunction()
