# 64-bit x86 Linux, for wheels that run on others' machines, with the compiler of cross/bin (`make cross-tools` fetches
# it).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(prefix x86_64-linux-gnu)
include(${CMAKE_CURRENT_LIST_DIR}/cross.cmake)
