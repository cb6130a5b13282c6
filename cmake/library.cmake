# The C library: static and shared, with what CMake and pkg-config need to find it.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

function(sparsebp_add_library)
  set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME library)  # apart from the Python module, where a build has both
  # A C program has no torch: where the core computes on torch's threads, the library is the same objects but for these.
  set(library sparsebp_core)
  if(SPARSEBP_TORCH_POOL)
    set(library sparsebp_without_torch)
    add_library(${library} STATIC csrc/platform/no_torch_pool.cpp
      $<FILTER:$<TARGET_OBJECTS:sparsebp_core>,EXCLUDE,/torch_pool>)
    target_include_directories(${library} PRIVATE csrc)
    target_link_libraries(${library} PRIVATE Threads::Threads)
  endif()
  # The shared library is the whole of the static one, and shows nothing but the C API.
  add_library(sparsebp_shared SHARED csrc/api/shared.c)
  set(exports ${CMAKE_CURRENT_SOURCE_DIR}/csrc/api/exports.map)
  target_link_options(sparsebp_shared PRIVATE
    -Wl,--whole-archive $<TARGET_FILE:${library}> -Wl,--no-whole-archive -Wl,--gc-sections
    -Wl,--version-script=${exports} $<$<CONFIG:Release>:-s>)
  target_link_libraries(sparsebp_shared PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
  add_dependencies(sparsebp_shared ${library})
  target_include_directories(sparsebp_shared PRIVATE include INTERFACE
    $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  set_target_properties(sparsebp_shared PROPERTIES
    OUTPUT_NAME sparsebp EXPORT_NAME sparsebp LINKER_LANGUAGE CXX LINK_DEPENDS ${exports}
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})

  install(TARGETS sparsebp_shared EXPORT sparsebpTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(FILES $<TARGET_FILE:${library}> DESTINATION ${CMAKE_INSTALL_LIBDIR} RENAME libsparsebp.a)
  install(FILES include/sparsebp/sparsebp.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/sparsebp)
  set(package ${CMAKE_INSTALL_LIBDIR}/cmake/sparsebp)
  install(EXPORT sparsebpTargets NAMESPACE sparsebp:: DESTINATION ${package})
  configure_file(cmake/sparsebpConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/sparsebpConfig.cmake @ONLY)
  write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/sparsebpConfigVersion.cmake
    VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/sparsebpConfig.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/sparsebpConfigVersion.cmake DESTINATION ${package})
  # From the folder of sparsebp.pc, so that the installed files may be moved.
  file(RELATIVE_PATH prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  configure_file(cmake/sparsebp.pc.in ${CMAKE_CURRENT_BINARY_DIR}/sparsebp.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/sparsebp.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()
