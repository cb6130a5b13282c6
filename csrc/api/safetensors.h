// The header of a safetensors file: eight bytes of length, then JSON that says where each tensor lies.
//
// A reader that trusts nothing: every number is bounded before it is used, tensors lie inside the file and do not
// overlap. It reads no tensor and copies none.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace sparsebp {

struct StoredTensor {
  std::string type;  // "F32", "U8", ...
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0, end = 0;  // bytes, from the beginning of the file
  std::uint64_t bytes() const { return end - begin; }
};

struct SafetensorsHeader {
  std::map<std::string, StoredTensor> tensors;
  std::map<std::string, std::string> metadata;
  std::uint64_t data = 0;  // where the tensors begin

  // Throws InvalidFile if there is none.
  const StoredTensor& at(const std::string& name) const;
};

// How long the header of a file is that begins with these eight bytes, with them. Throws InvalidFile.
std::uint64_t header_bytes(const unsigned char* first_eight, std::uint64_t file_bytes);

// `header` is what header_bytes said of a file of `file_bytes` bytes. Throws InvalidFile.
SafetensorsHeader parse_header(const unsigned char* header, std::uint64_t bytes, std::uint64_t file_bytes);

// The beginning of a file with these tensors, whose offsets are set here: one after the other in the order of `names`.
std::string make_header(std::map<std::string, StoredTensor>& tensors, const std::vector<std::string>& names,
                        const std::map<std::string, std::string>& metadata);

}  // namespace sparsebp
