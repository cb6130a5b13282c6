// Images as bytes: in memory, or row by row from a reader that may end.
#pragma once

#include <algorithm>
#include <vector>

#include "core/random.h"
#include "program/input.h"
#include "promises.h"

namespace fuzz {

using sparsebp::Index;

class Images {
 public:
  Images(const sparsebp::ValueSpec& image, Index count)
      : image_(image),
        bytes_(static_cast<std::size_t>(count * image.count())),
        table_(static_cast<std::size_t>(256 * image.channels)) {
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      bytes_[i] = static_cast<std::uint8_t>(256 * sparsebp::random_unit(3, i));
    }
    for (std::size_t i = 0; i < table_.size(); ++i) table_[i] = static_cast<float>(sparsebp::random_unit(4, i) - 0.5);
  }
  Images(const Images&) = delete;  // readers point to it
  Images& operator=(const Images&) = delete;

  sparsebp::PassInput bytes() const {
    sparsebp::PassInput in;
    in.bytes = bytes_.data(), in.table = table_.data();
    return in;
  }
  // Gives so many rows.
  sparsebp::PassInput rows(Index count) {
    left_ = count;
    sparsebp::PassInput in;
    in.reader = give, in.reader_context = this, in.table = table_.data();
    return in;
  }
  bool ended() const { return left_ < 0; }
  template <class T>
  std::vector<T> numbers() const {
    std::vector<T> out(bytes_.size());
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = table_[i % static_cast<std::size_t>(image_.channels) * 256 + bytes_[i]];
    }
    return out;
  }

 private:
  static int give(void* context, Index image, Index row, std::uint8_t* out) {
    auto& self = *static_cast<Images*>(context);
    if (--self.left_ < 0) return 1;
    const Index bytes = self.image_.width * self.image_.channels;
    const Index first = (image * self.image_.height + row) * bytes;
    require(first >= 0 && first + bytes <= static_cast<Index>(self.bytes_.size()),
            "a reader is asked for what there is");
    std::copy_n(self.bytes_.data() + first, bytes, out);
    return 0;
  }

  sparsebp::ValueSpec image_;
  std::vector<std::uint8_t> bytes_;
  std::vector<float> table_;
  Index left_ = 0;
};

}  // namespace fuzz
