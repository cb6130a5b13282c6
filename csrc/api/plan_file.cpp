#include "api/plan_file.h"

#include <cstring>

#include "api/delta.h"
#include "api/trainable.h"
#include "core/error.h"
#include "platform/atomic_file.h"

namespace sparsebp {

PlanFile::PlanFile(std::unique_ptr<FileImage> image) : image_(std::move(image)) {
  if (image_->size() < 8) throw InvalidFile("no safetensors file: it has " + std::to_string(image_->size()) + " bytes");
  const std::uint64_t bytes = header_bytes(image_->data(), image_->size());
  header_ = parse_header(image_->data(), bytes, image_->size());
  const auto found = header_.tensors.find(kPlanTensor);
  if (found == header_.tensors.end()) {
    throw InvalidFile("a safetensors file without a plan; sparsebp.export writes files that sessions train");
  }
  plan_ = read_plan(tensor(found->second), found->second.bytes());
  header_.at(kStateTensor);
  const auto rows = header_.tensors.find(kClassesTensor);
  const auto json = header_.metadata.find("classes");
  if (rows != header_.tensors.end()) {
    classes_ = ClassNames(rows->second, tensor(rows->second));
  } else if (json != header_.metadata.end()) {
    classes_ = ClassNames(json->second);
  }
}

std::unique_ptr<Session> PlanFile::make_session() const {
  std::vector<float> table;
  const auto found = header_.tensors.find(kTableTensor);
  if (found != header_.tensors.end()) {
    const StoredTensor& stored = found->second;
    if (stored.type != "F32") throw InvalidFile("the table of bytes is of type " + stored.type + ", expected F32");
    table.resize(stored.bytes() / sizeof(float));
    std::memcpy(table.data(), tensor(stored), stored.bytes());
  }
  std::unique_ptr<Session> session;
  try {
    const auto classes = static_cast<Index>(classes_.count());
    session = std::make_unique<Session>(plan_.spec, plan_.recipe, std::move(table),
                                        classes_ ? std::optional<Index>(classes) : std::nullopt);
  } catch (const InvalidArgument& error) {
    throw InvalidFile(std::string("the plan makes no program: ") + error.what());
  }
  if (classes_ && static_cast<Index>(classes_.outputs()) != session->outputs()) {
    throw InvalidFile("the file has names for " + std::to_string(classes_.outputs()) + " outputs, its network has " +
                      std::to_string(session->outputs()));
  }
  if (session->arena_bytes() != plan_.arena_bytes) {
    throw InvalidFile("the plan says that training needs " + std::to_string(plan_.arena_bytes) +
                      " bytes, this version of sparsebp needs " + std::to_string(session->arena_bytes()) +
                      "; export it again with this version");
  }
  if (session->arena_bytes() > plan_.budget) throw InvalidFile("the plan does not fit its own budget");
  return session;
}

float* PlanFile::parameter(const std::string& name, std::uint64_t count) const {
  const StoredTensor& stored = header_.at(name);
  if (stored.type != "F32" || stored.bytes() != count * sizeof(float)) {
    throw InvalidFile("tensor " + name + ": expected " + std::to_string(count) + " numbers of type F32, got " +
                      std::to_string(stored.bytes()) + " bytes of " + stored.type);
  }
  if (stored.begin % alignof(float) != 0) throw InvalidFile("tensor " + name + " is not aligned in the file");
  return reinterpret_cast<float*>(tensor(stored));
}

float* PlanFile::weight(std::size_t layer) const {
  const ConvShape& shape = plan_.spec.layers[layer].shape;
  return parameter(plan_.tensors[layer].weight,
                   static_cast<std::uint64_t>(shape.in) * static_cast<std::uint64_t>(shape.weights_per_channel()));
}

void PlanFile::load(Session& session) {
  const ProgramSpec& spec = session.spec();
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    const LayerSpec& layer = spec.layers[i];
    const LayerTensors& names = plan_.tensors[i];
    const auto out = static_cast<std::uint64_t>(layer.shape.out);
    const auto optional = [&](const std::string& name) { return name.empty() ? nullptr : parameter(name, out); };
    RawParams raw;
    raw.weight = weight(i);
    raw.bias = optional(names.bias);
    raw.gamma = optional(names.gamma), raw.beta = optional(names.beta);
    raw.mean = optional(names.mean), raw.var = optional(names.var);
    if (layer.has_bias != (raw.bias != nullptr)) throw InvalidFile(layer.name + ": its bias is missing, or too many");
    if (layer.has_norm != (raw.mean != nullptr && raw.var != nullptr)) {
      throw InvalidFile(layer.name + ": the statistics of its batch norm are missing, or too many");
    }
    session.bind(static_cast<int>(i), raw);
  }
  const StoredTensor& state = header_.at(kStateTensor);
  if (state.bytes() > 0) read_state(session, tensor(state), state.bytes());
  saved_ = moment_of(session);
}

void PlanFile::store_state(Session& session) {
  const std::vector<unsigned char> state = write_state(session);
  const StoredTensor& stored = header_.at(kStateTensor);
  if (stored.bytes() != state.size()) {
    throw InvalidFile("save: the file has room for " + std::to_string(stored.bytes()) + " bytes of training state, " +
                      "this session has " + std::to_string(state.size()));
  }
  std::memcpy(tensor(stored), state.data(), state.size());
}

Index PlanFile::add_class(Session& session, std::string_view name) {
  classes_.check_new(name);
  session.add_class();
  classes_.add(name);
  return session.classes() - 1;
}

void PlanFile::hold(Session& session, std::uint64_t turn) {
  const bool untouched = !trained_since(session, saved_);
  session.hold(turn);
  if (!untouched) return;
  const Index classes = saved_.classes;
  saved_ = moment_of(session), saved_.classes = classes;
}

void PlanFile::set_trainable(Session& session, const float* values) {
  write_trainable(*this, session, values);
  overwritten_ = true;
}

void PlanFile::save(Session& session, const std::string& path) {
  store_state(session);
  AtomicFile file(path);
  file.write(image_->data(), image_->size());
  saved_digest_ = file.finish();
  saved_ = moment_of(session);
  overwritten_ = false;
}

void PlanFile::save_delta(Session& session, const std::string& path) {
  if (overwritten_) {
    throw WrongState(
        "save_delta: weights were set that this session did not train; save the file first, or compare two "
        "files with make_delta");
  }
  store_state(session);
  const std::string before = saved_digest_.empty() ? image_->digest() : saved_digest_;
  const std::string after = sha256(image_->data(), image_->size());
  write_delta(*this, session, saved_, before, after, path);
  saved_digest_ = after;
  saved_ = moment_of(session);
}

}  // namespace sparsebp
