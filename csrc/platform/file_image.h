// Files as this system has them: opened whole, written whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace sparsebp {

// Bytes of a whole file, wherever they are.
class FileImage {
 public:
  virtual ~FileImage() = default;
  unsigned char* data() const { return data_; }
  std::size_t size() const { return size_; }

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

// Writes a file whole or not at all: under another name first. Throws InvalidFile.
void write_atomically(const std::string& path, const void* data, std::size_t size);

}  // namespace sparsebp
