// Files that appear whole or not at all.
#pragma once

#include <cstddef>
#include <string>

#include "core/sha256.h"
#include "platform/descriptor.h"

namespace sparsebp {

// A file that is written under another name, the thread's own, and then put where `path` says: of several writers the
// last to finish wins. Unless `finish` was called nothing is left of it, and what a killed process left is removed by
// the next writer (sparsebp.files does the same, by the same names). Every call throws InvalidFile if the system
// refuses, and the constructor also where something lies that is no regular file: a device is not to be replaced.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t size);
  // Puts it in its place. SHA-256 of what was written.
  std::string finish();

 private:
  const std::string path_, partial_;
  Descriptor file_;
  Sha256 digest_;
  bool finished_ = false;
};

}  // namespace sparsebp
