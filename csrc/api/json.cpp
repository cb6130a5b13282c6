#include "api/json.h"

#include <cstdio>

#include "core/error.h"
#include "core/utf8.h"

namespace sparsebp {
namespace {

void append_utf8(std::string& out, std::uint32_t code) {
  const auto put = [&out](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6), put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 0x3F)), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  }
}

}  // namespace

void JsonReader::fail(const char* what) const {
  throw InvalidFile(std::string("the header is damaged: expected ") + what);
}

void JsonReader::skip_blanks() {
  while (at_ != end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\n' || *at_ == '\r')) ++at_;
}

bool JsonReader::accept(char c) {
  skip_blanks();
  if (at_ == end_ || *at_ != c) return false;
  ++at_;
  return true;
}

void JsonReader::expect(char c) {
  const char what[] = {'\'', c, '\'', '\0'};
  if (!accept(c)) fail(what);
}

std::uint32_t JsonReader::code_unit() {
  if (end_ - at_ < 4) fail("four hexadecimal digits");
  std::uint32_t unit = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = *at_;
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) fail("four hexadecimal digits");
    unit = unit << 4 | static_cast<std::uint32_t>(digit);
  }
  return unit;
}

std::string JsonReader::text() {
  expect('"');
  std::string out;
  for (;;) {
    if (at_ == end_) fail("the end of a string");
    const char c = *at_++;
    if (c == '"') {
      if (!is_utf8(out.data(), out.size())) fail("UTF-8");
      return out;
    }
    if (static_cast<unsigned char>(c) < 0x20) fail("no control character in a string");
    if (c != '\\') {
      out.push_back(c);
      continue;
    }
    if (at_ == end_) fail("an escaped character");
    switch (*at_++) {
      case '"':
        out.push_back('"');
        break;
      case '\\':
        out.push_back('\\');
        break;
      case '/':
        out.push_back('/');
        break;
      case 'b':
        out.push_back('\b');
        break;
      case 'f':
        out.push_back('\f');
        break;
      case 'n':
        out.push_back('\n');
        break;
      case 'r':
        out.push_back('\r');
        break;
      case 't':
        out.push_back('\t');
        break;
      case 'u': {
        std::uint32_t code = code_unit();
        if (code >= 0xD800 && code < 0xDC00) {  // the first half of a pair
          if (end_ - at_ < 2 || at_[0] != '\\' || at_[1] != 'u') fail("the second half of a pair of code units");
          at_ += 2;
          const std::uint32_t low = code_unit();
          if (low < 0xDC00 || low > 0xDFFF) fail("the second half of a pair of code units");
          code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        } else if (code >= 0xDC00 && code <= 0xDFFF) {
          fail("the first half of a pair of code units");
        }
        append_utf8(out, code);
        break;
      }
      default:
        fail("a known escape");
    }
  }
}

std::uint64_t JsonReader::number() {
  skip_blanks();
  if (at_ == end_ || *at_ < '0' || *at_ > '9') fail("a whole number");
  constexpr std::uint64_t kMost = std::uint64_t{1} << 53;
  std::uint64_t value = 0;
  while (at_ != end_ && *at_ >= '0' && *at_ <= '9') {
    value = value * 10 + static_cast<std::uint64_t>(*at_++ - '0');
    if (value >= kMost) fail("a number below 2^53");
  }
  return value;
}

void JsonReader::finish() {
  skip_blanks();
  if (at_ != end_) fail("nothing behind the header");
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", c);
      out += code;
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace sparsebp
