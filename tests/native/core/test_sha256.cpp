// Digests of files: the examples of the standard, and any division into pieces.
#include <algorithm>
#include <string>

#include "check.h"
#include "core/sha256.h"

using namespace sparsebp;

namespace {

std::string digest(const std::string& text) { return sha256(text.data(), text.size()); }

}  // namespace

TEST(the_examples_of_the_standard) {
  CHECK_EQUAL(digest(""), std::string("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
  CHECK_EQUAL(digest("abc"), std::string("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
  CHECK_EQUAL(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
              std::string("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"));
  CHECK_EQUAL(digest(std::string(1'000'000, 'a')),
              std::string("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"));
}

TEST(pieces_of_any_size_have_the_digest_of_the_whole) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 7);
  for (std::size_t length = 0; length <= text.size(); ++length) {
    const std::string whole = digest(text.substr(0, length));
    for (std::size_t piece : {1, 3, 55, 56, 63, 64, 65, 128}) {
      check::about("%d bytes in pieces of %d", static_cast<int>(length), static_cast<int>(piece));
      Sha256 parts;
      for (std::size_t at = 0; at < length; at += piece) parts.add(text.data() + at, std::min(piece, length - at));
      CHECK_EQUAL(parts.hex(), whole);
    }
  }
}
