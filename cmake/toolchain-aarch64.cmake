# 64-bit ARM Linux, with the compiler and the emulator of cross/bin (`make cross-tools` fetches them). With another
# compiler: -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(prefix aarch64-linux-gnu)
set(CMAKE_CROSSCOMPILING_EMULATOR ${CMAKE_CURRENT_LIST_DIR}/../cross/bin/run-aarch64)
include(${CMAKE_CURRENT_LIST_DIR}/cross.cmake)
