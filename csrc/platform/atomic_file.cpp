#include "platform/atomic_file.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace sparsebp {
namespace {

// The new name is on the disk only when its folder is.
void sync_folder(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const Descriptor parent(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (*parent >= 0) fsync(*parent);
}

}  // namespace

AtomicFile::AtomicFile(std::string path)
    : path_(std::move(path)),
      partial_(path_ + ".part" + std::to_string(syscall(SYS_gettid))),  // no two threads of any process share it
      file_(open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (*file_ < 0) refuse_file(path_, "cannot be written");
}

AtomicFile::~AtomicFile() {
  if (!finished_) unlink(partial_.c_str());
}

void AtomicFile::write(const void* data, std::size_t size) {
  digest_.add(data, size);
  const auto* at = static_cast<const unsigned char*>(data);
  while (size > 0) {
    const ssize_t written = ::write(*file_, at, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) refuse_file(path_, "cannot be written");
    at += written, size -= static_cast<std::size_t>(written);
  }
}

std::string AtomicFile::finish() {
  if (fsync(*file_) != 0 || !file_.finish()) refuse_file(path_, "cannot be written");
  if (std::rename(partial_.c_str(), path_.c_str()) != 0) refuse_file(path_, "cannot be replaced");
  finished_ = true;
  sync_folder(path_);
  return digest_.hex();
}

}  // namespace sparsebp
