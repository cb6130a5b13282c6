// A plan file: one safetensors file with a plan, the native program, the weights and the training state.
//
// An opened file is an image in memory, mapped where it can be, whose weights a session trains where they lie: pages of
// layers that never train stay those of the file, which the system may drop and read again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "api/changes.h"
#include "api/class_names.h"
#include "api/records.h"
#include "api/safetensors.h"
#include "platform/file_image.h"

namespace sparsebp {

// Names of the tensors that are no weights.
constexpr const char* kPlanTensor = "sparsebp.plan";
constexpr const char* kStateTensor = "sparsebp.state";
constexpr const char* kTableTensor = "sparsebp.table";      // optional: what each byte of each channel becomes
constexpr const char* kClassesTensor = "sparsebp.classes";  // where outputs may be spare: see class_names.h

class PlanFile {
 public:
  // Throws InvalidFile if it is damaged, foreign or of a newer major version.
  explicit PlanFile(std::unique_ptr<FileImage> image);

  const PlanRecord& plan() const { return plan_; }
  const SafetensorsHeader& header() const { return header_; }
  const ClassNames& classes() const { return classes_; }
  std::size_t bytes() const { return image_->size(); }

  // A session with this file's program, recipe and table. It has no memory yet.
  std::unique_ptr<Session> make_session() const;
  // Gives an attached session this file's weights and state. The file must outlive it.
  void load(Session& session);
  // The next spare output of an attached session becomes this class; its number. Throws InvalidArgument.
  Index add_class(Session& session, std::string_view name);
  // Session::hold; a delta holds no set of a turn that was passed over.
  void hold(Session& session, std::uint64_t turn);
  // What trains now becomes these numbers (trainable.h). No delta can be saved until the file is: it would not have
  // them.
  void set_trainable(Session& session, const float* values);
  // Writes the file as it is now, with the session's weights and state.
  void save(Session& session, const std::string& path);
  // Writes what has changed since the last of load, save and save_delta (delta.h).
  void save_delta(Session& session, const std::string& path);

  // A layer's weight, [kernel_h][kernel_w][in / groups][out]. Throws InvalidFile if the file has it in another size.
  float* weight(std::size_t layer) const;
  unsigned char* tensor(const StoredTensor& stored) const { return image_->data() + stored.begin; }
  const FileImage& image() const { return *image_; }

 private:
  float* parameter(const std::string& name, std::uint64_t count) const;
  // Brings the state in the image up to date.
  void store_state(Session& session);

  std::unique_ptr<FileImage> image_;
  SafetensorsHeader header_;
  PlanRecord plan_;
  ClassNames classes_;
  // Of the last load, save or save_delta; the digest of a file that was opened is known when it is asked for.
  Moment saved_;
  std::string saved_digest_;
  bool overwritten_ = false;  // since then, by set_trainable
};

}  // namespace sparsebp
