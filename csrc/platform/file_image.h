// Whole files in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

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

}  // namespace sparsebp
