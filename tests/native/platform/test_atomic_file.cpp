// Files that appear whole or not at all, whoever else writes to the same place.
#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>

#include "check.h"
#include "platform/atomic_file.h"

using namespace sparsebp;

namespace {

// A folder of this test's own, removed with the one file in it.
struct Folder {
  std::string path = "/tmp/sparsebp-XXXXXX", file;
  Folder() {
    if (mkdtemp(path.data()) == nullptr) std::abort();
    file = path + "/plan";
  }
  ~Folder() {
    unlink(file.c_str());
    CHECK_EQUAL(rmdir(path.c_str()), 0);  // nothing else is left
  }
  std::string content() const {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
};

void write(AtomicFile& out, const std::string& text) { out.write(text.data(), text.size()); }

TEST(a_file_appears_when_it_is_finished) {
  const Folder folder;
  AtomicFile out(folder.file);
  write(out, "all ");
  CHECK_EQUAL(access(folder.file.c_str(), F_OK), -1);
  write(out, "of it");
  out.finish();
  CHECK_EQUAL(folder.content(), std::string("all of it"));
}

TEST(what_is_not_finished_leaves_the_old_file) {
  const Folder folder;
  std::ofstream(folder.file) << "old";
  { write(*std::make_unique<AtomicFile>(folder.file), "new"); }
  CHECK_EQUAL(folder.content(), std::string("old"));
}

TEST(two_threads_write_to_one_path_and_the_last_to_finish_wins) {
  const Folder folder;
  AtomicFile slow(folder.file);
  write(slow, "slow ");
  std::thread([&] {
    AtomicFile quick(folder.file);
    write(quick, "quick");
    quick.finish();
  }).join();
  CHECK_EQUAL(folder.content(), std::string("quick"));
  write(slow, "but whole");
  slow.finish();
  CHECK_EQUAL(folder.content(), std::string("slow but whole"));
}

// A process that has been there and is no more.
pid_t dead_process() {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  return child;
}

TEST(what_a_killed_writer_left_goes_with_the_next_and_that_of_a_living_one_stays) {
  const Folder folder;
  const std::string dead = folder.path + "/.plan." + std::to_string(dead_process()) + "-7.partial";
  const std::string living = folder.path + "/.plan." + std::to_string(getppid()) + "-7.partial";
  const std::string another = folder.path + "/.plan2." + std::to_string(dead_process()) + "-7.partial";
  for (const std::string& left : {dead, living, another}) std::ofstream(left) << "half";
  AtomicFile out(folder.file);
  write(out, "whole");
  out.finish();
  CHECK_EQUAL(access(dead.c_str(), F_OK), -1);
  CHECK_EQUAL(access(living.c_str(), F_OK), 0);
  CHECK_EQUAL(access(another.c_str(), F_OK), 0);
  unlink(living.c_str()), unlink(another.c_str());
}

TEST(a_device_or_a_folder_is_not_replaced) {
  const Folder folder;
  CHECK_THROWS(InvalidFile, AtomicFile("/dev/null"), "not to be replaced");
  CHECK_THROWS(InvalidFile, AtomicFile out(folder.path), "it is a folder");
  const std::string pipe = folder.path + "/pipe";
  CHECK_EQUAL(mkfifo(pipe.c_str(), 0600), 0);
  CHECK_THROWS(InvalidFile, AtomicFile out(pipe), "no regular file");
  unlink(pipe.c_str());
}

}  // namespace
