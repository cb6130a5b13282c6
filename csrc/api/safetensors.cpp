#include "api/safetensors.h"

#include <algorithm>
#include <limits>

#include "api/json.h"
#include "core/error.h"

namespace sparsebp {
namespace {

constexpr std::uint64_t kLongest = 100'000'000;  // of a header, as the format has it
constexpr std::uint64_t kAlign = 64;             // of the first tensor, by blanks behind the JSON

std::uint64_t element_bytes(const std::string& type) {
  static const std::map<std::string, std::uint64_t> kBytes = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
      {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},     {"F64", 8},     {"I64", 8}, {"U64", 8}};
  const auto found = kBytes.find(type);
  if (found == kBytes.end()) throw InvalidFile("the header has a tensor of an unknown type, " + type);
  return found->second;
}

std::uint64_t size_of(const std::string& name, const StoredTensor& tensor) {
  std::uint64_t bytes = element_bytes(tensor.type);
  for (const std::uint64_t side : tensor.shape) {
    if (side != 0 && bytes > std::numeric_limits<std::uint64_t>::max() / side) {
      throw InvalidFile("tensor " + name + " is larger than any file");
    }
    bytes *= side;
  }
  return bytes;
}

StoredTensor read_tensor(JsonReader& json) {
  StoredTensor tensor;
  bool typed = false, shaped = false, placed = false;
  json.expect('{');
  do {
    const std::string key = json.text();
    json.expect(':');
    if (key == "dtype" && !typed) {
      tensor.type = json.text(), typed = true;
    } else if (key == "shape" && !shaped) {
      json.expect('[');
      if (!json.accept(']')) {
        do tensor.shape.push_back(json.number());
        while (json.accept(','));
        json.expect(']');
      }
      shaped = true;
    } else if (key == "data_offsets" && !placed) {
      json.expect('[');
      tensor.begin = json.number();
      json.expect(',');
      tensor.end = json.number();
      json.expect(']');
      placed = true;
    } else {
      throw InvalidFile("the header is damaged: a tensor has no or another " + key);
    }
  } while (json.accept(','));
  json.expect('}');
  if (!typed || !shaped || !placed) throw InvalidFile("the header is damaged: a tensor lacks type, shape or place");
  return tensor;
}

void read_metadata(JsonReader& json, std::map<std::string, std::string>& metadata) {
  json.expect('{');
  if (json.accept('}')) return;
  do {
    std::string key = json.text();
    json.expect(':');
    if (!metadata.emplace(std::move(key), json.text()).second) throw InvalidFile("the header has a metadata key twice");
  } while (json.accept(','));
  json.expect('}');
}

void check_places(const SafetensorsHeader& header, std::uint64_t file_bytes) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> places;
  for (const auto& [name, tensor] : header.tensors) {
    if (tensor.begin > tensor.end || tensor.end > file_bytes) {
      throw InvalidFile("tensor " + name + " does not lie inside the file; it was cut off, or damaged");
    }
    if (tensor.bytes() != size_of(name, tensor)) {
      throw InvalidFile("tensor " + name + " does not have as many bytes as its shape says");
    }
    places.emplace_back(tensor.begin, tensor.end);
  }
  std::sort(places.begin(), places.end());
  for (std::size_t i = 1; i < places.size(); ++i) {
    if (places[i].first < places[i - 1].second) throw InvalidFile("two tensors of the file overlap");
  }
}

}  // namespace

const StoredTensor& SafetensorsHeader::at(const std::string& name) const {
  const auto found = tensors.find(name);
  if (found == tensors.end()) throw InvalidFile("the file has no tensor " + name);
  return found->second;
}

std::uint64_t header_bytes(const unsigned char* first_eight, std::uint64_t file_bytes) {
  std::uint64_t length = 0;
  for (int i = 0; i < 8; ++i) length |= static_cast<std::uint64_t>(first_eight[i]) << (8 * i);
  if (length > kLongest || file_bytes < 8 || length > file_bytes - 8) {
    throw InvalidFile("no safetensors file, or one that was cut off: its header would be " + std::to_string(length) +
                      " bytes long");
  }
  return 8 + length;
}

SafetensorsHeader parse_header(const unsigned char* header, std::uint64_t bytes, std::uint64_t file_bytes) {
  SafetensorsHeader out;
  out.data = bytes;
  const char* text = reinterpret_cast<const char*>(header);
  JsonReader json(text + 8, text + bytes);
  json.expect('{');
  if (!json.accept('}')) {
    do {
      const std::string name = json.text();
      json.expect(':');
      if (name == "__metadata__") {
        read_metadata(json, out.metadata);
        continue;
      }
      StoredTensor tensor = read_tensor(json);
      if (tensor.begin > file_bytes || tensor.end > file_bytes) {
        throw InvalidFile("tensor " + name + " does not lie inside the file; it was cut off, or damaged");
      }
      tensor.begin += bytes, tensor.end += bytes;
      if (!out.tensors.emplace(name, std::move(tensor)).second) throw InvalidFile("the file has two tensors " + name);
    } while (json.accept(','));
    json.expect('}');
  }
  json.finish();
  check_places(out, file_bytes);
  return out;
}

std::string make_header(std::map<std::string, StoredTensor>& tensors, const std::vector<std::string>& names,
                        const std::map<std::string, std::string>& metadata) {
  std::string json = "{\"__metadata__\":{";
  for (const auto& [key, value] : metadata) {
    if (json.back() != '{') json += ',';
    json += quoted(key) + ':' + quoted(value);
  }
  json += '}';
  std::uint64_t at = 0;
  for (const std::string& name : names) {
    StoredTensor& tensor = tensors.at(name);
    const std::uint64_t bytes = size_of(name, tensor);
    json += ',' + quoted(name) + ":{\"dtype\":" + quoted(tensor.type) + ",\"shape\":[";
    for (std::size_t i = 0; i < tensor.shape.size(); ++i) json += (i == 0 ? "" : ",") + std::to_string(tensor.shape[i]);
    json += "],\"data_offsets\":[" + std::to_string(at) + ',' + std::to_string(at + bytes) + "]}";
    tensor.begin = at, tensor.end = at + bytes, at += bytes;
  }
  json += '}';
  while ((8 + json.size()) % kAlign != 0) json += ' ';
  for (auto& [name, tensor] : tensors) tensor.begin += 8 + json.size(), tensor.end += 8 + json.size();
  std::string out;
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>(json.size() >> (8 * i)));
  return out + json;
}

}  // namespace sparsebp
