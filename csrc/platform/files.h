// Files as this system has them: whole ones in memory, and new ones that appear whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/sha256.h"

namespace sparsebp {

// Bytes of a whole file, which may be written to: the file stays what it is.
class FileImage {
 public:
  virtual ~FileImage() = default;
  unsigned char* data() const { return data_; }
  std::size_t size() const { return size_; }
  // SHA-256 of the file as it was opened, whatever was written to the image since. Throws InvalidFile.
  virtual std::string digest() const = 0;

 protected:
  unsigned char* data_ = nullptr;
  std::size_t size_ = 0;
};

// Copies `size` bytes from `offset` of a file to `out`; false if it cannot.
using ReadFunction = bool (*)(void* context, std::uint64_t offset, void* out, std::size_t size);

// Throw InvalidFile if the file cannot be read.
std::unique_ptr<FileImage> map_file(const std::string& path);
std::unique_ptr<FileImage> copy_bytes(const void* data, std::size_t size);
std::unique_ptr<FileImage> read_all(ReadFunction read, void* context, std::uint64_t size);

// An open file of this process.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int operator*() const { return number_; }
  // Errors of the disk may show as late as here; false with errno then.
  bool finish();

 private:
  int number_;
};

// A file that is written under another name and then put where `path` says. Unless `finish` was called nothing is left
// of it. Every call throws InvalidFile if the system refuses.
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

// "PATH: what: the system's reason".
[[noreturn]] void refuse_file(const std::string& path, const char* what);

}  // namespace sparsebp
