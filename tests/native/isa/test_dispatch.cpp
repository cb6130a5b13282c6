// Which instruction set runs, and that a forced one really does.
#include <algorithm>
#include <cstdlib>

#include "check.h"
#include "core/error.h"
#include "isa/dispatch.h"
#include "program/program.h"

using namespace sparsebp;

namespace {

// Sets SPARSEBP_ISA while it lives.
class Forced {
 public:
  explicit Forced(const char* isa) { setenv("SPARSEBP_ISA", isa, 1); }
  ~Forced() { unsetenv("SPARSEBP_ISA"); }
};

bool usable(const std::string& name) {
  const auto names = usable_isas();
  return std::find(names.begin(), names.end(), name) != names.end();
}

// A table's function pointers as plain words.
std::vector<void (*)()> slots(const Isa& isa) {
  std::vector<void (*)()> out(offsetof(Kernels<float>, curve_backward) / sizeof(void (*)()) + 1);
  std::memcpy(static_cast<void*>(out.data()), isa.float32, out.size() * sizeof(void (*)()));
  return out;
}

ProgramSpec one_linear_layer() {
  ProgramSpec spec;
  spec.values = {{1, 1, 4}, {1, 1, 2}};
  LayerSpec layer;
  layer.name = "linear";
  layer.shape.in = 4, layer.shape.out = 2;
  layer.selected = 1;
  spec.layers = {layer};
  OpSpec op;
  op.inputs = {0}, op.output = 1, op.layers = {0};
  spec.ops = {op};
  spec.output = 1;
  return spec;
}

}  // namespace

TEST(without_a_wish_the_best_usable_isa_is_chosen) {
  unsetenv("SPARSEBP_ISA");
  CHECK_EQUAL(std::string(choose_isa().name), usable_isas().front());
  const Forced empty("");
  CHECK_EQUAL(std::string(choose_isa().name), usable_isas().front());
}

// An emulated processor has a known instruction set: who starts this test for one says which (cross/rules.mk).
TEST(what_is_chosen_is_what_the_processor_has) {
  const char* expected = std::getenv("SPARSEBP_EXPECTED_ISA");
  if (expected != nullptr) CHECK_EQUAL(usable_isas().front(), std::string(expected));
}

TEST(scalar_is_built_everywhere_and_comes_last) {
  CHECK_EQUAL(std::string(built_isas().back().name), "scalar");
  CHECK_EQUAL(usable_isas().back(), "scalar");
}

TEST(the_environment_forces_each_usable_isa) {
  for (const std::string& name : usable_isas()) {
    const Forced wish(name.c_str());
    CHECK_EQUAL(std::string(choose_isa().name), name);
    CHECK_EQUAL(std::string(make_program(one_linear_layer(), false, "")->isa()), name);
  }
}

TEST(an_argument_wins_over_the_environment) {
  const Forced best(usable_isas().front().c_str());
  CHECK_EQUAL(std::string(choose_isa("scalar").name), "scalar");
  CHECK_EQUAL(std::string(make_program(one_linear_layer(), false, "scalar")->isa()), "scalar");
}

TEST(an_unknown_name_is_an_error_that_lists_the_available_ones) {
  const Forced unknown("sse9");
  CHECK_THROWS(InvalidArgument, choose_isa(), "'sse9' is not available");
  for (const std::string& name : usable_isas()) CHECK_THROWS(InvalidArgument, choose_isa(), name);
  CHECK_THROWS(InvalidArgument, make_program(one_linear_layer(), false, ""), "sse9");
  CHECK_THROWS(InvalidArgument, choose_isa("Scalar"), "'Scalar' is not available");
}

TEST(a_built_isa_that_this_processor_lacks_is_refused) {
  for (const Isa& isa : built_isas()) {
    if (usable(isa.name)) continue;
    CHECK_THROWS(InvalidArgument, choose_isa(isa.name), std::string(isa.name) + "' is not available");
  }
}

TEST(no_slot_of_any_table_is_empty_and_no_two_tables_share_a_kernel) {
  for (const Isa& isa : built_isas()) {
    check::about(isa.name);
    for (auto* slot : slots(isa)) CHECK(slot != nullptr);
    CHECK(isa.float32->tile_columns == kPanel || isa.float32->tile_columns == kPair);
    for (const Isa& other : built_isas()) {
      if (&other == &isa) continue;
      const auto mine = slots(isa), theirs = slots(other);
      for (std::size_t i = 0; i < mine.size(); ++i) CHECK(mine[i] != theirs[i]);
    }
  }
}

TEST(the_forced_isa_is_the_one_that_computes) {
  for (const Isa& isa : built_isas()) {
    if (usable(isa.name)) CHECK(kernels_of<float>(choose_isa(isa.name)).gemm == isa.float32->gemm);
  }
}

TEST(float64_has_one_portable_table_under_every_name) {
  for (const std::string& name : usable_isas()) {
    CHECK(&kernels_of<double>(choose_isa(name)) == &kernels_of<double>(choose_isa("scalar")));
    CHECK_EQUAL(std::string(make_program(one_linear_layer(), true, name)->isa()), "scalar");
  }
}
