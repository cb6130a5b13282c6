// Specifications and calls made of a fuzzer's bytes: whatever they are, a program refuses them with one of its
// exceptions or runs them. Sanitizers see the rest.
#include <algorithm>

#include "calls.h"
#include "core/error.h"
#include "isa/dispatch.h"
#include "specs.h"
#include "twins.h"

namespace {

// Multiply-adds of a pass that is worth running twice more.
constexpr double kMostTwin = 1e6;

bool in_pieces(const sparsebp::ProgramSpec& spec) {
  bool any = spec.scope == sparsebp::Scope::step || !spec.streams.empty();
  for (const sparsebp::OpSpec& op : spec.ops) any = any || op.forward_rows > 0 || op.forward_block > 0;
  return any;
}

}  // namespace

extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1:allow_addr2line=1"; }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sparsebp;
  static const std::vector<std::string> isas = usable_isas();
  fuzz::Choices choices(data, size);
  const std::uint8_t how = choices.byte();
  const bool float64 = how % 4 == 0;
  const std::string& isa = isas[how / 4 % isas.size()];
  fuzz::Made made = fuzz::make_spec(choices);
  const bool spoilt = choices.flag();
  if (spoilt) fuzz::spoil(made.spec, choices);
  std::unique_ptr<AnyProgram> program;
  try {
    program = make_program(made.spec, float64, isa);
  } catch (const InvalidArgument&) {
    if (!spoilt && !made.huge) throw;  // the maker, or the validator, is wrong
    return 0;
  }
  if (!spoilt && in_pieces(made.spec) && fuzz::work(made.spec) <= kMostTwin) {
    fuzz::compare_with_twin(made.spec, float64, isa);
  }
  fuzz::call(*program, float64, choices);
  return 0;
}
