#include "platform/atomic_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace sparsebp {
namespace {

std::size_t name_begin(const std::string& path) { return path.rfind('/') + 1; }  // 0 without a slash

std::string folder_of(const std::string& path) {
  const std::size_t begin = name_begin(path);
  return begin == 0 ? "." : begin == 1 ? "/" : path.substr(0, begin - 1);
}

// The new name is on the disk only when its folder is.
void sync_folder(const std::string& path) {
  const Descriptor parent(open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (*parent >= 0) fsync(*parent);
}

constexpr const char* kPartial = ".partial";

// What files are called until they are complete: ".NAME.PROCESS-THREAD.partial".
std::string partial_prefix(const std::string& path) { return "." + path.substr(name_begin(path)) + "."; }

std::string partial_of(const std::string& path) {
  return path.substr(0, name_begin(path)) + partial_prefix(path) + std::to_string(getpid()) + "-" +
         std::to_string(syscall(SYS_gettid)) + kPartial;
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Removes what writers of this file left that are no more.
void remove_leftovers(const std::string& path) {
  const std::string prefix = partial_prefix(path), folder = folder_of(path);
  DIR* entries = opendir(folder.c_str());
  if (entries == nullptr) return;  // opening the file will say why
  while (const dirent* entry = readdir(entries)) {
    const std::string name = entry->d_name;
    if (name.compare(0, prefix.size(), prefix) != 0 || !ends_with(name, kPartial)) continue;
    const char* number = name.c_str() + prefix.size();
    char* end = nullptr;
    const long process = std::strtol(number, &end, 10);
    if (end == number || *end != '-' || process <= 0) continue;
    if (kill(static_cast<pid_t>(process), 0) != 0 && errno == ESRCH) unlink((folder + "/" + name).c_str());
  }
  closedir(entries);
}

// Opens the file's partial form, after a look at what is there.
int begin(const std::string& path, const std::string& partial) {
  struct stat there {};
  if (stat(path.c_str(), &there) == 0 && !S_ISREG(there.st_mode)) {
    throw InvalidFile(path + ": " + (S_ISDIR(there.st_mode) ? "it is a folder" : "it is no regular file") +
                      ", which is not to be replaced");
  }
  remove_leftovers(path);
  return open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
}

}  // namespace

AtomicFile::AtomicFile(std::string path)
    : path_(std::move(path)), partial_(partial_of(path_)), file_(begin(path_, partial_)) {
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
