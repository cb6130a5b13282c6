// Little-endian records: numbers and names written one after the other, and read back with every size checked.
//
// What is read is trusted in nothing: a record that ends too early, or says that it holds more than it can, throws
// InvalidFile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "core/error.h"
#include "core/utf8.h"

namespace sparsebp {

class ByteWriter {
 public:
  template <class T>
  void put(T value) {
    std::uint64_t bits = 0;
    if constexpr (std::is_same_v<T, double>) {
      std::memcpy(&bits, &value, sizeof value);
    } else {
      static_assert(std::is_integral_v<T>, "numbers only");
      bits = static_cast<std::uint64_t>(value);
    }
    for (std::size_t i = 0; i < sizeof(T); ++i) bytes_.push_back(static_cast<unsigned char>(bits >> (8 * i)));
  }
  void put(const std::string& text) {
    put(static_cast<std::uint32_t>(text.size()));
    bytes_.insert(bytes_.end(), text.begin(), text.end());
  }

  const std::vector<unsigned char>& bytes() const { return bytes_; }

 private:
  std::vector<unsigned char> bytes_;
};

class ByteReader {
 public:
  // `what` names the record in messages.
  ByteReader(const unsigned char* data, std::size_t size, std::string what)
      : at_(data), left_(size), what_(std::move(what)) {}

  template <class T>
  T get() {
    const unsigned char* from = take(sizeof(T));
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) bits |= static_cast<std::uint64_t>(from[i]) << (8 * i);
    T value;
    if constexpr (std::is_same_v<T, double>) {
      std::memcpy(&value, &bits, sizeof value);
    } else {
      value = static_cast<T>(bits);
    }
    return value;
  }
  bool flag() {
    const auto value = get<std::uint8_t>();
    if (value > 1) fail("a yes or no that is neither");
    return value != 0;
  }
  // A number of things of which each takes at least `least` bytes of what is left.
  std::size_t count(std::size_t least) {
    const auto value = get<std::uint32_t>();
    if (value > left_ / least) fail("more of something than it has bytes for");
    return value;
  }
  // One of the `kinds` first values of an enumeration.
  template <class E>
  E kind(int kinds) {
    const auto value = get<std::uint8_t>();
    if (value >= kinds) fail("a kind that this version does not know, " + std::to_string(value));
    return static_cast<E>(value);
  }
  std::string bytes() {
    const std::size_t size = count(1);
    return {reinterpret_cast<const char*>(take(size)), size};
  }
  std::string text() {
    std::string read = bytes();
    if (!is_utf8(read.data(), read.size())) fail("a name that is no text");
    return read;
  }
  void finish() const {
    if (left_ != 0) fail(std::to_string(left_) + " bytes behind its end");
  }
  [[noreturn]] void fail(const std::string& why) const { throw InvalidFile(what_ + " is damaged: " + why); }

 private:
  const unsigned char* take(std::size_t size) {
    if (size > left_) fail("it ends too early");
    const unsigned char* from = at_;
    at_ += size, left_ -= size;
    return from;
  }

  const unsigned char* at_;
  std::size_t left_;
  std::string what_;
};

}  // namespace sparsebp
