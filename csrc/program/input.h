// Where a pass gets its images from, and what the arena holds of them if the budget covers the whole step.
#pragma once

#include "program/context.h"

namespace sparsebp {

// Writes row `row` of an image as bytes, [width][channels]; anything but 0 ends the pass. Rows come in order.
using RowReader = int (*)(void* context, Index image, Index row, std::uint8_t* out);

// Images as a caller has them, [n][height][width][channels]: numbers of the program's element type, or bytes that
// `table`, [channels][256], turns into numbers; those lie somewhere, or are read row by row.
struct PassInput {
  PassInput() = default;
  PassInput(const void* given) : numbers(given) {}  // NOLINT(google-explicit-constructor): what most callers have

  const void* numbers = nullptr;
  const std::uint8_t* bytes = nullptr;
  RowReader reader = nullptr;
  void* reader_context = nullptr;
  Index first_image = 0;  // the reader's number of this pass's first image
  const float* table = nullptr;
};

template <class T>
class InputBuffers {
 public:
  void declare(Context<T>& context, const ProgramSpec& spec);

  // The bytes of a micro-batch in the arena, for whoever has none of his own; null if the plan holds none.
  std::uint8_t* pictures(Context<T>& context) const;

  // Brings the images of a pass to where the program reads them.
  void begin(Context<T>& context, const PassInput& input);
  // Rows of one image, as numbers; only between `begin` and the pass's end.
  void read(Index image, Range rows, T* out) const;

 private:
  PassInput given_;
  ValueSpec image_;
  int value_ = 0;
  int pictures_ = -1, numbers_ = -1;
};

}  // namespace sparsebp
