# The one place where ISA flags are set. They attach to single files: everything else is built for the lowest CPU.
# Each file also switches the next ISA off, so that a compiler default cannot raise it.

set(SPARSEBP_ISAS avx2 avx512 neon CACHE STRING "Kernels to build beside the scalar ones, where the processor is of that kind")

function(sparsebp_add_isa target name)
  if(NOT name MATCHES "scalar" AND NOT name IN_LIST SPARSEBP_ISAS)
    return()
  endif()
  set(file ${CMAKE_CURRENT_SOURCE_DIR}/csrc/isa/${name}.cpp)
  target_sources(${target} PRIVATE ${file})
  set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS "${ARGN}")
  if(NOT name STREQUAL "scalar")
    string(TOUPPER ${name} upper)
    target_compile_definitions(${target} PRIVATE SPARSEBP_HAVE_${upper})
  endif()
endfunction()

function(sparsebp_add_isas target)
  sparsebp_add_isa(${target} scalar)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
    sparsebp_add_isa(${target} avx2 -mavx2 -mfma -mno-avx512f)
    # GCC 12's own AVX-512 header trips -Wmaybe-uninitialized.
    sparsebp_add_isa(${target} avx512 -mavx512f -mavx512vl -mavx512bw -mavx512dq -mfma
      $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    sparsebp_add_isa(${target} neon)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "arm")
    sparsebp_add_isa(${target} neon -mfpu=neon-vfpv4)
  endif()
endfunction()
