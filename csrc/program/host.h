// This processor as a program's device.
#pragma once

#include "isa/dispatch.h"
#include "platform/memory.h"
#include "program/device.h"

namespace sparsebp {

template <class T>
std::unique_ptr<Device<T>> make_host(const Isa& isa, Memory& memory = host_memory());

}  // namespace sparsebp
