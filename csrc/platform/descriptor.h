// An open file of this process.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "core/error.h"

namespace sparsebp {

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int operator*() const { return number_; }
  // Errors of the disk may show as late as here; false with errno then.
  bool finish() {
    const int number = number_;
    number_ = -1;
    return close(number) == 0;
  }

 private:
  int number_;
};

// "PATH: what: the system's reason".
[[noreturn]] inline void refuse_file(const std::string& path, const char* what) {
  throw InvalidFile(path + ": " + what + ": " + std::strerror(errno));
}

}  // namespace sparsebp
