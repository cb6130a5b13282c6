# Python modules of the core.

# A cross build's headers need not be those of the Python that runs here.
if(NOT CMAKE_CROSSCOMPILING)
  set(interpreter Interpreter)
endif()
find_package(Python REQUIRED COMPONENTS ${interpreter} Development.Module)
find_package(pybind11 CONFIG REQUIRED)

# The module `target` of `package`, with what every module has and the sources that are given.
function(sparsebp_add_module target package)
  pybind11_add_module(${target} MODULE NO_EXTRAS csrc/bindings/classes.cpp csrc/bindings/errors.cpp
    csrc/bindings/plan_data.cpp csrc/bindings/sessions.cpp ${ARGN})
  target_compile_options(${target} PRIVATE -Wall -Wextra)
  set(exports ${PROJECT_SOURCE_DIR}/csrc/bindings/exports.map)
  target_link_options(${target} PRIVATE -Wl,--version-script=${exports} $<$<CONFIG:Release>:-s>)
  set_target_properties(${target} PROPERTIES LINK_DEPENDS ${exports})
  install(TARGETS ${target} DESTINATION ${package})
endfunction()
