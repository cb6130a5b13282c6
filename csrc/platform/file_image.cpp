#include "platform/file_image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "core/error.h"

namespace sparsebp {
namespace {

// A private mapping: what is written stays in this process, and a page that is not is the file's.
class MappedImage final : public FileImage {
 public:
  MappedImage(unsigned char* data, std::size_t size) { data_ = data, size_ = size; }
  ~MappedImage() override { munmap(data_, size_); }
  MappedImage(const MappedImage&) = delete;
  MappedImage& operator=(const MappedImage&) = delete;
};

class OwnImage final : public FileImage {
 public:
  explicit OwnImage(std::size_t size) : bytes_(size) { data_ = bytes_.data(), size_ = size; }

 private:
  std::vector<unsigned char> bytes_;
};

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int operator*() const { return number_; }
  // Errors of the disk may show as late as here.
  bool finish() {
    const int number = number_;
    number_ = -1;
    return close(number) == 0;
  }

 private:
  int number_;
};

[[noreturn]] void fail(const std::string& path, const char* what) {
  throw InvalidFile(path + ": " + what + ": " + std::strerror(errno));
}

}  // namespace

std::unique_ptr<FileImage> map_file(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat facts;
  if (*file < 0 || fstat(*file, &facts) != 0) fail(path, "cannot be opened");
  if (!S_ISREG(facts.st_mode) || facts.st_size <= 0) throw InvalidFile(path + ": no file, or an empty one");
  const auto size = static_cast<std::size_t>(facts.st_size);
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, *file, 0);
  if (data == MAP_FAILED) fail(path, "cannot be mapped");
  return std::make_unique<MappedImage>(static_cast<unsigned char*>(data), size);
}

std::unique_ptr<FileImage> copy_bytes(const void* data, std::size_t size) {
  auto image = std::make_unique<OwnImage>(size);
  if (size > 0) std::memcpy(image->data(), data, size);
  return image;
}

std::unique_ptr<FileImage> read_all(ReadFunction read, void* context, std::uint64_t size) {
  auto image = std::make_unique<OwnImage>(static_cast<std::size_t>(size));
  constexpr std::size_t kPiece = 1 << 16;
  for (std::size_t at = 0; at < image->size(); at += kPiece) {
    const std::size_t piece = image->size() - at < kPiece ? image->size() - at : kPiece;
    if (!read(context, at, image->data() + at, piece)) {
      throw InvalidFile("the reader failed at byte " + std::to_string(at));
    }
  }
  return image;
}

void write_atomically(const std::string& path, const void* data, std::size_t size) {
  const std::string other = path + ".part" + std::to_string(getpid());
  {
    Descriptor file(open(other.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (*file < 0) fail(path, "cannot be written");
    const auto* at = static_cast<const unsigned char*>(data);
    for (std::size_t left = size; left > 0;) {
      const ssize_t written = write(*file, at, left);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) {
        const int why = errno;
        unlink(other.c_str());
        errno = why;
        fail(path, "cannot be written");
      }
      at += written, left -= static_cast<std::size_t>(written);
    }
    if (fsync(*file) != 0 || !file.finish()) {
      const int why = errno;
      unlink(other.c_str());
      errno = why;
      fail(path, "cannot be written");
    }
  }
  if (rename(other.c_str(), path.c_str()) != 0) {
    const int why = errno;
    unlink(other.c_str());
    errno = why;
    fail(path, "cannot be replaced");
  }
  // The new name is on the disk only when the folder is.
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const Descriptor parent(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (*parent >= 0) fsync(*parent);
}

}  // namespace sparsebp
