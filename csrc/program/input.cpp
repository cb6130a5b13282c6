#include "program/input.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "spec/liveness.h"

namespace sparsebp {

template <class T>
void InputBuffers<T>::declare(Context<T>& context, const ProgramSpec& spec) {
  value_ = spec.input;
  image_ = spec.values[static_cast<std::size_t>(value_)];
  if (spec.scope != Scope::step) return;
  Layout& layout = context.workspace->layout;
  const bool streamed = !spec.streams.empty() && reads_images(spec, spec.streams.front());
  const int read =
      streamed ? spec.streams.front().last - 1 : find_liveness(spec).consumer[static_cast<std::size_t>(value_)];
  const Index count = spec.batch * image_.count();
  if (spec.pictures) {
    pictures_ = layout.add("pictures", {-1, -1, "pictures"}, Category::pictures, byte_count("pictures", count, 1), 0,
                           streamed ? read : 0);
  }
  if (streamed) return;
  numbers_ =
      layout.add("numbers", {-1, -1, "numbers"}, Category::pictures, byte_count("numbers", count, sizeof(T)), 0, read);
}

template <class T>
std::uint8_t* InputBuffers<T>::pictures(Context<T>& context) const {
  if (pictures_ < 0) return nullptr;
  std::uint8_t* place = context.workspace->template at<std::uint8_t>(pictures_);
  unpoison(place, static_cast<std::size_t>(context.batch * image_.count()));
  return place;
}

template <class T>
void InputBuffers<T>::begin(Context<T>& context, const PassInput& input) {
  given_ = input;
  const Index count = context.images * image_.count();
  if (pictures_ >= 0) {
    std::uint8_t* place = context.workspace->template acquire<std::uint8_t>(pictures_, count);
    if (given_.bytes != nullptr && count > 0) {
      std::memmove(place, given_.bytes, static_cast<std::size_t>(count));
      given_.bytes = place;
    }
  }
  T*& value = context.values[static_cast<std::size_t>(value_)];
  value = static_cast<T*>(const_cast<void*>(given_.numbers));
  if (numbers_ < 0) return;
  value = context.workspace->template acquire<T>(numbers_, count);
  for (Index n = 0; n < context.images; ++n) read(n, {0, image_.height}, value + n * image_.count());
}

template <class T>
void InputBuffers<T>::read(Index image, Range rows, T* out) const {
  const Index row = image_.width * image_.channels;
  const Index first = (image * image_.height + rows.begin) * row, count = (rows.end - rows.begin) * row;
  if (given_.numbers != nullptr) {
    std::copy_n(static_cast<const T*>(given_.numbers) + first, count, out);
    return;
  }
  const auto convert = [this](const std::uint8_t* bytes, Index pixels, T* numbers) {
    for (Index pixel = 0; pixel < pixels; ++pixel) {
      for (Index c = 0; c < image_.channels; ++c) *numbers++ = static_cast<T>(given_.table[c * 256 + *bytes++]);
    }
  };
  if (given_.reader == nullptr) return convert(given_.bytes + first, count / image_.channels, out);
  for (Index y = rows.begin; y < rows.end; ++y, out += row) {
    // The bytes lie at the end of the row that the numbers will fill, so that each is read before it is overwritten.
    auto* bytes = reinterpret_cast<std::uint8_t*>(out + row) - row;
    if (given_.reader(given_.reader_context, given_.first_image + image, y, bytes) != 0) {
      throw InvalidArgument("images: the reader gave no row " + std::to_string(y) + " of image " +
                            std::to_string(image));
    }
    convert(bytes, image_.width, out);
  }
}

template class InputBuffers<float>;
template class InputBuffers<double>;

}  // namespace sparsebp
