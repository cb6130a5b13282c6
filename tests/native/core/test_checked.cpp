// Arithmetic on numbers that may be anything: it says what does not fit, and never wraps around.
#include <cstdint>
#include <limits>

#include "check.h"
#include "core/address.h"
#include "core/checked.h"
#include "core/error.h"
#include "core/layout.h"

using namespace sparsebp;

namespace {

constexpr Index kMost = std::numeric_limits<Index>::max(), kLeast = std::numeric_limits<Index>::min();

bool fits(Checked number) { return number.between(kLeast, kMost); }

}  // namespace

TEST(what_fits_is_what_plain_arithmetic_gives) {
  CHECK_EQUAL((Checked(3) * 4 + 5).value(), Index{17});
  CHECK((Checked(3) * 4).between(12, 12));
  CHECK(!(Checked(3) * 4).between(13, 20));
  CHECK(!(Checked(3) * 4).between(0, 11));
  CHECK_EQUAL((Checked(kMost) + 0).value(), kMost);
  CHECK_EQUAL((Checked(kLeast) * 1).value(), kLeast);
}

TEST(what_does_not_fit_stays_so_whatever_follows) {
  for (const Checked lost : {Checked(kMost) + 1, Checked(kLeast) + -1, Checked(kMost) * 2, Checked(kLeast) * -1,
                             Checked(Index{1} << 31) * (Index{1} << 32), Checked(Index{1} << 62) * 4}) {
    CHECK(!fits(lost));
    CHECK(!fits(lost * 0));
    CHECK(!fits(lost + -kMost));
    CHECK(!fits(Checked(1) * lost));
    CHECK(!fits(Checked(1) + lost));
  }
}

TEST(bytes_end_where_memory_can) {
  CHECK_EQUAL(byte_count("x", 5, 4), std::size_t{20});
  CHECK_EQUAL(byte_count("x", 0, 8), std::size_t{0});
  CHECK_EQUAL(byte_count("x", static_cast<Index>(kMostBytes), 1), kMostBytes);
  for (const Checked count : {Checked(-1), Checked(kMost), Checked(kMost) * 2}) {
    CHECK_THROWS(InvalidArgument, byte_count("slices", count, 4), "slices: needs more than");
  }
  CHECK_THROWS(InvalidArgument, byte_count("x", static_cast<Index>(kMostBytes / 4 + 1), 4), "no process can have");
}

TEST(numbers_lie_at_an_address_that_they_can_have) {
  const double number = 1;
  check_address("x", &number, 1, sizeof number);
  check_address("x", nullptr, 0, sizeof number);
  CHECK_THROWS(InvalidArgument, check_address("x", nullptr, 1, 8),
               "x: expected the address of 1 numbers, a multiple of "
               "their 8 bytes, got null");
  const auto at = [](std::uintptr_t address) { return reinterpret_cast<const void*>(address); };
  CHECK_THROWS(InvalidArgument, check_address("x", at(12), 1, 8), "got 12");
  CHECK_THROWS(InvalidArgument, check_address("x", at(UINTPTR_MAX - 7), 2, 8), "x: expected the address of 2 numbers");
  CHECK_THROWS(InvalidArgument, check_address("x", at(8), kMost, 8), "x: needs more than");
}

TEST(buffers_that_end_behind_all_memory_have_no_layout) {
  for (std::size_t bytes : {std::numeric_limits<std::size_t>::max(), kMostBytes, kMostBytes / 2 + 1}) {
    Layout layout;
    layout.add("first", {}, Category::saved, bytes, 0, 3);
    layout.add("second", {}, Category::saved, bytes, 1, 2);
    CHECK_THROWS(InvalidArgument, layout.assign(), "more bytes than a process can have");
  }
  Layout turns;  // in the same bytes
  for (int i = 0; i < 4; ++i) turns.add("turn", {}, Category::saved, kMostBytes / 2 + 1, i, i);
  turns.assign();
  CHECK_EQUAL(turns.peak(), kMostBytes / 2 + 1);
}
