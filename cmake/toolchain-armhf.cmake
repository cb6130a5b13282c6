# 32-bit ARM Linux (ARMv7-A, hard floats), with the compiler and the emulator of cross/bin (`make cross-tools` fetches
# them). With another compiler: -DCMAKE_CXX_COMPILER=arm-linux-gnueabihf-g++.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR armv7l)
set(prefix arm-linux-gnueabihf)
set(CMAKE_CROSSCOMPILING_EMULATOR ${CMAKE_CURRENT_LIST_DIR}/../cross/bin/run-armhf)
include(${CMAKE_CURRENT_LIST_DIR}/cross.cmake)
