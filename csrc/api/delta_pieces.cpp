#include "api/delta_pieces.h"

#include <algorithm>

#include "api/delta.h"

namespace sparsebp {

void DeltaPieces::add(const std::string& name, const std::string& type, std::vector<std::uint64_t> shape,
                      Content content) {
  tensors_[name] = {type, std::move(shape), 0, 0};
  names_.push_back(name);
  contents_.push_back(std::move(content));
}

void DeltaPieces::add(const PlanFile& file, const std::string& name) {
  const StoredTensor& stored = file.header().at(name);
  const unsigned char* data = file.tensor(stored);
  add(name, stored.type, stored.shape, [data, size = stored.bytes()](AtomicFile& out) { out.write(data, size); });
}

void DeltaPieces::add_rows(const PlanFile& file, const std::string& name, const ConvShape& shape,
                           const std::vector<std::int32_t>& channels) {
  const auto* weight = reinterpret_cast<const float*>(file.tensor(file.header().at(name)));
  const auto size = [](Index n) { return static_cast<std::uint64_t>(n); };
  const std::vector<std::uint64_t> rows = {size(shape.kernel_h), size(shape.kernel_w), channels.size(),
                                           size(shape.out_per_group())};
  add(name, "F32", rows, [=](AtomicFile& out) {
    std::vector<float> tap_rows(channels.size() * static_cast<std::size_t>(shape.out_per_group()));
    for (Index tap = 0; tap < shape.taps(); ++tap) {
      float* to = tap_rows.data();
      for (const std::int32_t channel : channels) {
        const float* from = weight + run_begin(shape, channel, tap);
        to = std::copy(from, from + shape.out_per_group(), to);
      }
      out.write(tap_rows.data(), tap_rows.size() * sizeof(float));
    }
  });
  add(kDeltaChannels + name, "I32", {channels.size()}, [=](AtomicFile& out) {
    ByteWriter numbers;
    for (const std::int32_t channel : channels) numbers.put(channel);
    out.write(numbers.bytes().data(), numbers.bytes().size());
  });
}

void DeltaPieces::write(const std::map<std::string, std::string>& metadata, const std::string& path) {
  AtomicFile file(path);
  const std::string header = make_header(tensors_, names_, metadata);
  file.write(header.data(), header.size());
  for (const Content& content : contents_) content(file);
  file.finish();
}

std::map<std::string, std::string> delta_metadata(const PlanFile& file, const std::string& base,
                                                  std::uint64_t base_batches, const std::string& result,
                                                  std::uint64_t batches) {
  std::map<std::string, std::string> metadata = {
      {"format", kDeltaFormat}, {"version", std::string(kDeltaMajor) + "0"},    {"base", base},
      {"result", result},       {"base_batches", std::to_string(base_batches)}, {"batches", std::to_string(batches)}};
  const auto plan = file.header().metadata.find("plan_digest");
  if (plan != file.header().metadata.end()) metadata["plan_digest"] = plan->second;
  return metadata;
}

}  // namespace sparsebp
