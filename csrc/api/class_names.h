// The names of a network's classes, as a plan file has them: of every output as a JSON array in its metadata, or, where
// outputs may be spare, in a tensor [outputs][64] of UTF-8 padded with zeros. Rows without a name are spare outputs; a
// session names the first of them when it learns another class. The tensor has a size of its own, so that the file
// keeps its layout.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "api/safetensors.h"

namespace sparsebp {

class ClassNames {
 public:
  static constexpr std::size_t kRow = 64;  // bytes of a name with at least one zero behind it

  // Of a file that names none.
  ClassNames() = default;
  ClassNames(ClassNames&&) = default;  // a copy would point into this
  ClassNames& operator=(ClassNames&&) = default;
  // All three throw InvalidFile for what is damaged.
  explicit ClassNames(const std::string& json);
  // `rows` are the bytes of `stored`, and outlive this.
  ClassNames(const StoredTensor& stored, unsigned char* rows);

  // Are there names at all.
  explicit operator bool() const { return outputs_ > 0; }
  std::size_t outputs() const { return outputs_; }
  std::size_t count() const { return names_.size(); }
  // The name of class `i`; null if there is none. It stays where it is.
  const char* at(std::size_t i) const { return i < names_.size() ? names_[i] : nullptr; }

  // Throws InvalidArgument unless `name` can be that of another class.
  void check_new(std::string_view name) const;
  // Names the first spare output. `name` was checked.
  void add(std::string_view name);

 private:
  std::size_t outputs_ = 0;
  std::vector<const char*> names_;  // into `texts_` or `rows_`
  std::vector<std::string> texts_;
  unsigned char* rows_ = nullptr;  // null where no output can be spare
};

}  // namespace sparsebp
