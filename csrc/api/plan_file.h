// A plan file: one safetensors file with a plan, the native program, the weights and the training state.
//
// An opened file is an image in memory, mapped where it can be, whose weights a session trains where they lie: pages of
// layers that never train stay those of the file, which the system may drop and read again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "api/records.h"
#include "api/safetensors.h"

namespace sparsebp {

// Names of the tensors that are no weights.
constexpr const char* kPlanTensor = "sparsebp.plan";
constexpr const char* kStateTensor = "sparsebp.state";
constexpr const char* kTableTensor = "sparsebp.table";  // optional: what each byte of each channel becomes

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

class PlanFile {
 public:
  // Throws InvalidFile if it is damaged, foreign or of a newer major version.
  explicit PlanFile(std::unique_ptr<FileImage> image);

  const PlanRecord& plan() const { return plan_; }
  const SafetensorsHeader& header() const { return header_; }
  std::size_t bytes() const { return image_->size(); }

  // A session with this file's program, recipe and table. It has no memory yet.
  std::unique_ptr<Session> make_session() const;
  // Gives an attached session this file's weights and state. The file must outlive it.
  void load(Session& session) const;
  // Writes the file as it is now, with the session's weights and state.
  void save(Session& session, const std::string& path) const;

 private:
  unsigned char* tensor(const StoredTensor& stored) const { return image_->data() + stored.begin; }
  float* parameter(const std::string& name, std::uint64_t count) const;

  std::unique_ptr<FileImage> image_;
  SafetensorsHeader header_;
  PlanRecord plan_;
};

}  // namespace sparsebp
