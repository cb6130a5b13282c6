# What the toolchain files have in common: `prefix` names the target.
set(tools ${CMAKE_CURRENT_LIST_DIR}/../cross/bin)
if(NOT CMAKE_CXX_COMPILER)
  set(CMAKE_CXX_COMPILER ${tools}/${prefix}-c++)
  set(CMAKE_AR ${tools}/ar CACHE FILEPATH "")
  set(CMAKE_RANLIB ${tools}/ranlib CACHE FILEPATH "")
endif()
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
