// The delta between two plan files, however the second one came about.
#include <cstring>

#include "api/about_file.h"
#include "api/delta.h"
#include "api/delta_pieces.h"

namespace sparsebp {
namespace {

constexpr const char *kBase = "the base", *kNext = "the new file";

bool same(const PlanFile& a, const PlanFile& b, const std::string& name) {
  const StoredTensor &x = a.header().at(name), &y = b.header().at(name);
  return std::memcmp(a.tensor(x), b.tensor(y), x.bytes()) == 0;
}

// They differ in nothing but the numbers of tensors that training changes.
void check_alike(const PlanFile& base, const PlanFile& next) {
  const auto begin = [](const PlanFile& file) {
    return static_cast<std::size_t>(8 + header_bytes(file.image().data(), file.image().size()));
  };
  const bool alike = base.bytes() == next.bytes() && begin(base) == begin(next) &&
                     std::memcmp(base.image().data(), next.image().data(), begin(base)) == 0 &&
                     same(base, next, kPlanTensor);
  if (!alike) throw InvalidFile("it and the base have different plans, classes or preprocessing; export the base anew");
}

// The input channels whose weights differ, ascending.
std::vector<std::int32_t> changed_channels(const PlanFile& base, const PlanFile& next, std::size_t layer) {
  const ConvShape& shape = base.plan().spec.layers[layer].shape;
  const float *before = base.weight(layer), *after = next.weight(layer);
  std::vector<std::int32_t> changed;
  for (Index channel = 0; channel < shape.in; ++channel) {
    bool differs = false;
    each_run(shape, channel, [&](Index first, Index count) {
      const auto bytes = static_cast<std::size_t>(count) * sizeof(float);
      differs = differs || std::memcmp(before + first, after + first, bytes) != 0;
    });
    if (differs) changed.push_back(static_cast<std::int32_t>(channel));
  }
  return changed;
}

std::uint64_t batches(const PlanFile& file) {
  const StoredTensor& state = file.header().at(kStateTensor);
  return state.bytes() > 0 ? read_progress(file.tensor(state), state.bytes()).batches : 0;
}

}  // namespace

void make_delta(const std::string& base_path, const std::string& next_path, const std::string& out) {
  const auto open = [](const std::string& path, const char* role) {
    return about_file(path, role, [&] { return PlanFile(map_file(path)); });
  };
  const PlanFile base = open(base_path, kBase), next = open(next_path, kNext);
  about_file(next_path, kNext, [&] { check_alike(base, next); });
  about_file(base_path, kBase, [&] { base.make_session(); });  // its layers have the shapes that it says
  DeltaPieces pieces;
  std::map<std::string, std::size_t> layers;
  for (std::size_t i = 0; i < base.plan().tensors.size(); ++i) layers[base.plan().tensors[i].weight] = i;
  for (const auto& [name, stored] : base.header().tensors) {
    if (name != kStateTensor && same(base, next, name)) continue;
    const auto layer = layers.find(name);
    if (layer == layers.end()) {
      pieces.add(next, name);
      continue;
    }
    const ConvShape& shape = base.plan().spec.layers[layer->second].shape;
    const auto channels = changed_channels(base, next, layer->second);
    if (static_cast<Index>(channels.size()) == shape.in) {
      pieces.add(next, name);
    } else {
      pieces.add_rows(next, name, shape, channels);
    }
  }
  pieces.write(delta_metadata(base, base.image().digest(), batches(base), next.image().digest(), batches(next)), out);
}

}  // namespace sparsebp
