# A file compiled with ISA flags may define nothing but its kernel tables. Any other global or weak symbol could be a
# shared inline function whose AVX copy the linker keeps for every caller, on processors that lack AVX too.
#
#   cmake -DNM=nm -DOBJECTS="a.o;b.o" -P symbols.cmake

if(NOT NM OR NOT EXISTS "${NM}")
  message("SKIPPED: no nm found (CMAKE_NM is '${NM}')")
  return()
endif()

set(passed 0)
set(failed 0)
foreach(object IN LISTS OBJECTS)
  if(NOT object MATCHES "/isa/" OR object MATCHES "/isa/(dispatch|peak)\\.")
    continue()
  endif()
  execute_process(COMMAND "${NM}" --extern-only --defined-only "${object}"
    OUTPUT_VARIABLE symbols RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "nm could not read ${object}")
  endif()
  string(REGEX REPLACE "\n$" "" symbols "${symbols}")
  string(REPLACE "\n" ";" symbols "${symbols}")
  set(tables 0)
  set(others "")
  foreach(symbol IN LISTS symbols)
    if(symbol MATCHES " [DRB] _ZN8sparsebp[0-9]+k[A-Z][A-Za-z0-9]*F(32|64)E$")
      math(EXPR tables "${tables} + 1")
    else()
      string(APPEND others "\n  ${symbol}")
    endif()
  endforeach()
  if(tables GREATER 0 AND others STREQUAL "")
    math(EXPR passed "${passed} + 1")
  else()
    math(EXPR failed "${failed} + 1")
    message("${object}: ${tables} kernel tables, and these besides:${others}")
  endif()
endforeach()

message("${passed} passed, ${failed} failed")
if(failed GREATER 0 OR passed EQUAL 0)
  message(FATAL_ERROR "ISA objects: see above")
endif()
