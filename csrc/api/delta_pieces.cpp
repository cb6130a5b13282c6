#include "api/delta_pieces.h"

#include <cstring>

#include "api/delta.h"
#include "platform/atomic_file.h"

namespace sparsebp {

void DeltaPieces::add(const std::string& name, const std::string& type, std::vector<std::uint64_t> shape,
                      std::string bytes) {
  tensors_[name] = {type, std::move(shape), 0, 0};
  names_.push_back(name);
  contents_.push_back(std::move(bytes));
}

void DeltaPieces::add(const PlanFile& file, const std::string& name) {
  const StoredTensor& stored = file.header().at(name);
  const auto* data = reinterpret_cast<const char*>(file.tensor(stored));
  add(name, stored.type, stored.shape, {data, data + stored.bytes()});
}

void DeltaPieces::add_rows(const PlanFile& file, const std::string& name, const ConvShape& shape,
                           const std::vector<std::int32_t>& channels) {
  const auto* weight = reinterpret_cast<const float*>(file.tensor(file.header().at(name)));
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
  add(name, "F32", {size(shape.kernel_h), size(shape.kernel_w), channels.size(), columns}, std::move(rows));
  add(kDeltaChannels + name, "I32", {channels.size()}, {numbers.bytes().begin(), numbers.bytes().end()});
}

void DeltaPieces::write(const std::map<std::string, std::string>& metadata, const std::string& path) {
  AtomicFile file(path);
  const std::string header = make_header(tensors_, names_, metadata);
  file.write(header.data(), header.size());
  for (const std::string& bytes : contents_) file.write(bytes.data(), bytes.size());
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
