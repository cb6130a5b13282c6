#include "api/class_names.h"

#include <algorithm>
#include <cstring>

#include "api/json.h"
#include "core/error.h"
#include "core/utf8.h"

namespace sparsebp {
namespace {

[[noreturn]] void refuse(std::size_t row, const std::string& why) {
  throw InvalidFile("the names of the classes are damaged: row " + std::to_string(row) + " " + why);
}

void check_different(std::vector<const char*> names) {
  std::sort(names.begin(), names.end(), [](const char* a, const char* b) { return std::strcmp(a, b) < 0; });
  const auto same = [](const char* a, const char* b) { return std::strcmp(a, b) == 0; };
  const auto twice = std::adjacent_find(names.begin(), names.end(), same);
  if (twice == names.end()) return;
  throw InvalidFile(std::string("the names of the classes are damaged: ") + *twice +
                    " is there twice; export the plan again");
}

}  // namespace

ClassNames::ClassNames(const std::string& json) {
  JsonReader in(json.data(), json.data() + json.size());
  in.expect('[');
  do {
    texts_.push_back(in.text());
  } while (in.accept(','));
  in.expect(']');
  in.finish();
  outputs_ = texts_.size();
  for (const std::string& text : texts_) names_.push_back(text.c_str());
  check_different(names_);
}

ClassNames::ClassNames(const StoredTensor& stored, unsigned char* rows) : rows_(rows) {
  if (stored.type != "U8" || stored.shape.size() != 2 || stored.shape[0] == 0 || stored.shape[1] != kRow) {
    throw InvalidFile("the names of the classes are no tensor [outputs, 64] of type U8");
  }
  outputs_ = static_cast<std::size_t>(stored.shape[0]);
  names_.reserve(outputs_);  // there is room for every name before training begins
  for (std::size_t i = 0; i < outputs_; ++i) {
    const char* row = reinterpret_cast<const char*>(rows) + i * kRow;
    const std::size_t length = static_cast<std::size_t>(std::find(row, row + kRow, '\0') - row);
    if (length == kRow) refuse(i, "has no end");
    if (std::any_of(row + length, row + kRow, [](char c) { return c != '\0'; })) refuse(i, "goes on behind its end");
    if (length == 0) continue;
    if (names_.size() < i) refuse(i, "has a name, and one before it has none");
    if (!is_utf8(row, length)) refuse(i, "is not UTF-8");
    names_.push_back(row);
  }
  if (names_.empty()) throw InvalidFile("the names of the classes are damaged: there is none");
  check_different(names_);
}

void ClassNames::check_new(std::string_view name) const {
  if (rows_ == nullptr) {
    throw InvalidArgument("add_class: this plan has no spare outputs; export it again with spare_classes");
  }
  if (name.empty() || name.size() >= kRow || name.find('\0') != std::string_view::npos ||
      !is_utf8(name.data(), name.size())) {
    throw InvalidArgument("name: expected 1 to " + std::to_string(kRow - 1) + " bytes of UTF-8 without zeros, got " +
                          std::to_string(name.size()) + " bytes");
  }
  if (std::any_of(names_.begin(), names_.end(), [&](const char* known) { return name == known; })) {
    throw InvalidArgument("name: there is a class " + std::string(name) + " already");
  }
  if (names_.size() == outputs_) {
    throw InvalidArgument("add_class: all " + std::to_string(outputs_) +
                          " outputs are classes; export the plan again with more spare_classes");
  }
}

void ClassNames::add(std::string_view name) {
  unsigned char* row = rows_ + names_.size() * kRow;
  std::memcpy(row, name.data(), name.size());
  names_.push_back(reinterpret_cast<const char*>(row));
}

}  // namespace sparsebp
