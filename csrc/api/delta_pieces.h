// The tensors of a delta that is being made.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "api/plan_file.h"
#include "platform/atomic_file.h"

namespace sparsebp {

class DeltaPieces {
 public:
  // A whole tensor of a plan file, which has to be there until `write` has returned, and is not copied.
  void add(const PlanFile& file, const std::string& name);
  // Of a layer's weight the rows of some input channels, and their numbers.
  void add_rows(const PlanFile& file, const std::string& name, const ConvShape& shape,
                const std::vector<std::int32_t>& channels);
  // Writes them in the order in which they were added.
  void write(const std::map<std::string, std::string>& metadata, const std::string& path);

 private:
  using Content = std::function<void(AtomicFile&)>;
  void add(const std::string& name, const std::string& type, std::vector<std::uint64_t> shape, Content content);

  std::map<std::string, StoredTensor> tensors_;
  std::vector<std::string> names_;
  std::vector<Content> contents_;
};

// What a delta's header says of base and result: their digests, and the batches that they have seen.
std::map<std::string, std::string> delta_metadata(const PlanFile& file, const std::string& base,
                                                  std::uint64_t base_batches, const std::string& result,
                                                  std::uint64_t batches);

}  // namespace sparsebp
