// What a plan file becomes with a delta.
#include <cstring>

#include "api/about_file.h"
#include "api/delta.h"
#include "platform/atomic_file.h"

namespace sparsebp {
namespace {

constexpr const char* kBase = "the base";

// A delta that was read, and of which nothing is trusted.
class Delta {
 public:
  explicit Delta(const std::string& path) : image_(map_file(path)) {
    if (image_->size() < 8)
      throw InvalidFile("no safetensors file: it has " + std::to_string(image_->size()) + " bytes");
    header_ = parse_header(image_->data(), header_bytes(image_->data(), image_->size()), image_->size());
    if (metadata("format") != kDeltaFormat) {
      throw InvalidFile("a safetensors file that is no delta; Session.save_delta and sbp_save_delta write deltas");
    }
    const std::string version = metadata("version");
    if (version.rfind(kDeltaMajor, 0) != 0) {
      throw InvalidFile("the delta has format " + version + ", this version of sparsebp reads " + kDeltaMajor +
                        "x; take a newer sparsebp");
    }
  }

  const SafetensorsHeader& header() const { return header_; }
  const unsigned char* tensor(const StoredTensor& stored) const { return image_->data() + stored.begin; }
  std::string metadata(const std::string& key) const {
    const auto found = header_.metadata.find(key);
    return found == header_.metadata.end() ? "" : found->second;
  }

 private:
  std::unique_ptr<FileImage> image_;
  SafetensorsHeader header_;
};

[[noreturn]] void refuse_base(const PlanFile& base, const std::string& digest, const Delta& delta) {
  const auto plan = base.header().metadata.find("plan_digest");
  std::string why = "it continues a file with the SHA-256 " + delta.metadata("base") + " (" +
                    delta.metadata("base_batches") + " batches seen), the base has " + digest;
  const StoredTensor& state = base.header().at(kStateTensor);
  if (plan != base.header().metadata.end() && plan->second != delta.metadata("plan_digest")) {
    why += " and another plan";
  } else if (state.bytes() > 0) {
    why += " (" + std::to_string(read_progress(base.tensor(state), state.bytes()).batches) + ")";
  }
  throw InvalidFile(why + "; apply deltas in the order in which they were saved");
}

void copy_whole(const PlanFile& base, const std::string& name, const StoredTensor& from, const unsigned char* data) {
  const StoredTensor& to = base.header().at(name);
  if (from.type != to.type || from.shape != to.shape) throw InvalidFile("tensor " + name + " has another shape");
  std::memcpy(base.tensor(to), data, from.bytes());
}

const LayerSpec& layer_of(const PlanFile& base, const std::string& weight) {
  const PlanRecord& plan = base.plan();
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    if (plan.tensors[i].weight == weight) return plan.spec.layers[i];
  }
  throw InvalidFile("tensor " + weight + " is the weight of no layer of the base");
}

void copy_rows(const PlanFile& base, const std::string& name, const Delta& delta, const StoredTensor& channels) {
  const ConvShape& shape = layer_of(base, name).shape;
  const StoredTensor &to = base.header().at(name), &from = delta.header().at(name);
  const std::size_t count = channels.bytes() / sizeof(std::int32_t);
  const std::size_t run = static_cast<std::size_t>(shape.out_per_group()) * sizeof(float);
  if (channels.type != "I32" || from.type != "F32" || to.type != "F32" ||
      to.bytes() != static_cast<std::uint64_t>(shape.weights()) * sizeof(float) ||
      count > static_cast<std::size_t>(shape.in) ||
      from.bytes() != static_cast<std::uint64_t>(shape.taps()) * count * run) {
    throw InvalidFile("tensor " + name + " has another shape");
  }
  ByteReader numbers(delta.tensor(channels), channels.bytes(), "the list of channels of " + name);
  for (std::size_t j = 0; j < count; ++j) {
    const auto channel = numbers.get<std::int32_t>();
    if (channel < 0 || channel >= shape.in) numbers.fail("channel " + std::to_string(channel) + " is none of it");
    std::size_t tap = 0;
    each_run(shape, channel, [&](Index first, Index) {
      std::memcpy(base.tensor(to) + static_cast<std::size_t>(first) * sizeof(float),
                  delta.tensor(from) + (tap++ * count + j) * run, run);
    });
  }
}

void patch(const PlanFile& base, const Delta& delta) {
  for (const auto& [name, stored] : delta.header().tensors) {
    if (name.rfind(kDeltaChannels, 0) == 0) continue;
    const auto channels = delta.header().tensors.find(kDeltaChannels + name);
    if (channels == delta.header().tensors.end()) {
      copy_whole(base, name, stored, delta.tensor(stored));
    } else {
      copy_rows(base, name, delta, channels->second);
    }
  }
}

}  // namespace

void apply_delta(const std::string& base_path, const std::string& delta_path, const std::string& out) {
  const PlanFile base = about_file(base_path, kBase, [&] { return PlanFile(map_file(base_path)); });
  about_file(base_path, kBase, [&] { base.make_session(); });  // its layers have the shapes that it says
  about_file(delta_path, "the delta", [&] {
    const Delta delta(delta_path);
    const std::string digest = base.image().digest();
    if (digest != delta.metadata("base")) refuse_base(base, digest, delta);
    patch(base, delta);
    if (sha256(base.image().data(), base.image().size()) != delta.metadata("result")) {
      throw InvalidFile("it is damaged: it does not give the file that was saved");
    }
  });
  AtomicFile file(out);
  file.write(base.image().data(), base.image().size());
  file.finish();
}

}  // namespace sparsebp
