// As much of JSON as a safetensors header needs: objects, arrays, strings and whole numbers, read one by one.
#pragma once

#include <cstdint>
#include <string>

namespace sparsebp {

// Reads from text that lies in memory; throws InvalidFile on anything that is not JSON or not expected.
class JsonReader {
 public:
  JsonReader(const char* begin, const char* end) : at_(begin), end_(end) {}

  void expect(char c);
  // Skips `c` if it comes next.
  bool accept(char c);
  std::string text();
  std::uint64_t number();  // below 2^53
  // Only blanks are left.
  void finish();

 private:
  void skip_blanks();
  std::uint32_t code_unit();
  [[noreturn]] void fail(const char* what) const;

  const char* at_;
  const char* end_;
};

// A string as JSON writes it, quotes and all.
std::string quoted(const std::string& text);

}  // namespace sparsebp
