// Complaints that name the file they are about.
#pragma once

#include <string>

#include "core/error.h"

namespace sparsebp {

// What `body` returns; what it finds wrong is said of the file at `path`, which is `role`, as in "the base".
template <class Body>
auto about_file(const std::string& path, const std::string& role, const Body& body) {
  try {
    return body();
  } catch (const InvalidFile& error) {
    const std::string why = error.what();
    throw InvalidFile(why.rfind(path, 0) == 0 ? why : path + ", " + role + ": " + why);
  }
}

}  // namespace sparsebp
