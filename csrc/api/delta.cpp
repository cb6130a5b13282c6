#include "api/delta.h"

#include <cstring>

#include "platform/atomic_file.h"

namespace sparsebp {
namespace {

// Tensors in the order in which they are written.
class Pieces {
 public:
  void add(const std::string& name, const std::string& type, std::vector<std::uint64_t> shape, std::string bytes) {
    tensors_[name] = {type, std::move(shape), 0, 0};
    names_.push_back(name);
    contents_.push_back(std::move(bytes));
  }

  void write(const std::map<std::string, std::string>& metadata, const std::string& path) {
    AtomicFile file(path);
    const std::string header = make_header(tensors_, names_, metadata);
    file.write(header.data(), header.size());
    for (const std::string& bytes : contents_) file.write(bytes.data(), bytes.size());
    file.finish();
  }

 private:
  std::map<std::string, StoredTensor> tensors_;
  std::vector<std::string> names_, contents_;
};

void add_rows(Pieces& pieces, const std::string& name, const ConvShape& shape, const float* weight,
              const std::vector<std::int32_t>& channels) {
  const auto taps = static_cast<std::size_t>(shape.taps()), columns = static_cast<std::size_t>(shape.out_per_group());
  const std::size_t run = columns * sizeof(float);
  std::string rows(taps * channels.size() * run, '\0');
  for (std::size_t j = 0; j < channels.size(); ++j) {
    std::size_t tap = 0;
    each_run(shape, channels[j],
             [&](Index first, Index) { std::memcpy(&rows[(tap++ * channels.size() + j) * run], weight + first, run); });
  }
  ByteWriter numbers;
  for (const std::int32_t channel : channels) numbers.put(channel);
  const auto size = [](Index n) { return static_cast<std::uint64_t>(n); };
  pieces.add(name, "F32", {size(shape.kernel_h), size(shape.kernel_w), channels.size(), columns}, std::move(rows));
  pieces.add(kDeltaChannels + name, "I32", {channels.size()}, {numbers.bytes().begin(), numbers.bytes().end()});
}

}  // namespace

void write_delta(const PlanFile& file, Session& session, const Moment& then, const std::string& before,
                 const std::string& after, const std::string& path) {
  const ProgramSpec& spec = session.spec();
  const auto channels = channels_since(session, then);
  Pieces pieces;
  const auto add = [&](const std::string& name) {
    const StoredTensor& stored = file.header().at(name);
    const auto* data = reinterpret_cast<const char*>(file.tensor(stored));
    pieces.add(name, stored.type, stored.shape, {data, data + stored.bytes()});
  };
  const bool trained = trained_since(session, then), named = session.classes() != then.classes;
  if (named) add(kClassesTensor);
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    const LayerSpec& layer = spec.layers[i];
    const bool cleared = named && static_cast<int>(i) == session.classifier();  // where a class began at zero
    const LayerTensors& names = file.plan().tensors[i];
    const LayerRule& rule = session.recipe().rules[i];
    if (cleared || static_cast<Index>(channels[i].size()) == layer.shape.in) {
      add(names.weight);
    } else if (!channels[i].empty()) {
      const auto* weight = reinterpret_cast<const float*>(file.tensor(file.header().at(names.weight)));
      add_rows(pieces, names.weight, layer.shape, weight, channels[i]);
    }
    const bool moved = trained && layer.trains_bias();
    if ((cleared || (moved && rule.bias.trains)) && !names.bias.empty()) add(names.bias);
    if (moved && rule.shift.trains && !names.beta.empty()) add(names.beta);
  }
  add(kStateTensor);
  std::map<std::string, std::string> metadata = {{"format", kDeltaFormat},
                                                 {"version", std::string(kDeltaMajor) + "0"},
                                                 {"base", before},
                                                 {"result", after},
                                                 {"base_batches", std::to_string(then.progress.batches)},
                                                 {"batches", std::to_string(session.progress().batches)}};
  const auto plan = file.header().metadata.find("plan_digest");
  if (plan != file.header().metadata.end()) metadata["plan_digest"] = plan->second;
  pieces.write(metadata, path);
}

}  // namespace sparsebp
