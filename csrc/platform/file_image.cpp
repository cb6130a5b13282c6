#include "platform/file_image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/sha256.h"
#include "platform/descriptor.h"

namespace sparsebp {
namespace {

constexpr std::size_t kPiece = 1 << 16;  // read at once

int opened(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // nobody waits for a pipe
  if (file < 0) refuse_file(path, "cannot be opened");
  return file;
}

// A private mapping: what is written stays in this process, and a page that is not is the file's. The file is kept open
// for its digest, also when another one takes its name.
class MappedImage final : public FileImage {
 public:
  explicit MappedImage(const std::string& path) : path_(path), file_(opened(path)) {
    struct stat facts;
    if (fstat(*file_, &facts) != 0) refuse_file(path, "cannot be opened");
    if (!S_ISREG(facts.st_mode) || facts.st_size <= 0) throw InvalidFile(path + ": no file, or an empty one");
    size_ = static_cast<std::size_t>(facts.st_size);
    void* data = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE, *file_, 0);
    if (data == MAP_FAILED) refuse_file(path, "cannot be mapped");
    data_ = static_cast<unsigned char*>(data);
  }
  ~MappedImage() override { munmap(data_, size_); }

  std::string digest() const override {
    Sha256 digest;
    std::vector<unsigned char> piece(kPiece);
    for (std::size_t at = 0; at < size_;) {
      const ssize_t count = pread(*file_, piece.data(), std::min(kPiece, size_ - at), static_cast<off_t>(at));
      if (count <= 0) refuse_file(path_, "cannot be read again");
      digest.add(piece.data(), static_cast<std::size_t>(count));
      at += static_cast<std::size_t>(count);
    }
    return digest.hex();
  }

 private:
  const std::string path_;
  const Descriptor file_;
};

class OwnImage final : public FileImage {
 public:
  explicit OwnImage(std::vector<unsigned char> bytes) : bytes_(std::move(bytes)) {
    data_ = bytes_.data(), size_ = bytes_.size();
    digest_ = sha256(data_, size_);
  }
  std::string digest() const override { return digest_; }

 private:
  std::vector<unsigned char> bytes_;
  std::string digest_;
};

}  // namespace

std::unique_ptr<FileImage> map_file(const std::string& path) { return std::make_unique<MappedImage>(path); }

std::unique_ptr<FileImage> copy_bytes(const void* data, std::size_t size) {
  const auto* from = static_cast<const unsigned char*>(data);
  return std::make_unique<OwnImage>(std::vector<unsigned char>(from, from + size));
}

std::unique_ptr<FileImage> read_all(ReadFunction read, void* context, std::uint64_t size) {
  std::vector<unsigned char> bytes(static_cast<std::size_t>(size));
  for (std::size_t at = 0; at < bytes.size(); at += kPiece) {
    if (!read(context, at, bytes.data() + at, std::min(kPiece, bytes.size() - at))) {
      throw InvalidFile("the reader failed at byte " + std::to_string(at));
    }
  }
  return std::make_unique<OwnImage>(std::move(bytes));
}

}  // namespace sparsebp
