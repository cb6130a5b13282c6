# Python modules of the core.

# A cross build's headers need not be those of the Python that runs here.
if(NOT CMAKE_CROSSCOMPILING)
  set(interpreter Interpreter)
endif()
find_package(Python REQUIRED COMPONENTS ${interpreter} Development.Module)
find_package(pybind11 CONFIG REQUIRED)

# What every module has.
set(common_bindings csrc/bindings/classes.cpp csrc/bindings/errors.cpp csrc/bindings/plan_data.cpp
  csrc/bindings/sessions.cpp)

# The module `_C` made of these sources.
function(sparsebp_add_module target)
  pybind11_add_module(${target} MODULE NO_EXTRAS ${ARGN})
  # What bindings do takes little time, and templates by the hundred take much, to compile and in the wheel.
  target_compile_options(${target} PRIVATE -Wall -Wextra $<$<CONFIG:Release>:-Os>)
  set(exports ${PROJECT_SOURCE_DIR}/csrc/bindings/exports.map)
  target_link_options(${target} PRIVATE -Wl,--version-script=${exports} $<$<CONFIG:Release>:-s>)
  set_target_properties(${target} PROPERTIES LINK_DEPENDS ${exports} OUTPUT_NAME _C)
endfunction()
