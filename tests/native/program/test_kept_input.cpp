// Blocks that keep their input instead of masks and slices: what they make again is what they had.
#include "check.h"
#include "core/error.h"
#include "platform/parallel.h"
#include "program/whole_step.h"
#include "trained_program.h"

using namespace sparsebp;

namespace {

ProgramSpec with_kept_inputs(ProgramSpec spec, Keep keep) {
  spec.scope = Scope::step;
  for (std::size_t i = 0; i < spec.ops.size(); ++i) {
    OpSpec& op = spec.ops[i];
    if (op.kind != OpKind::block || static_cast<int>(i) < spec.span_begin) continue;
    op.keep = keep == Keep::input8 && op.layers.size() < 3 ? Keep::input : keep;
  }
  return spec;
}

std::vector<std::vector<float>> outcome_of(TrainedProgram& trained) {
  for (std::uint64_t turn = 0; turn < 4; ++turn) {
    trained.step(turn);
    trained.infer(1, true);
  }
  return trained.outcome();
}

std::size_t bytes_of(const Layout& layout, const std::string& role) {
  std::size_t bytes = 0;
  for (const Buffer& buffer : layout.buffers()) bytes += role == buffer.purpose.role ? buffer.bytes : 0;
  return bytes;
}

}  // namespace

TEST(a_block_that_keeps_its_input_trains_as_one_that_keeps_masks_to_the_bit) {
  for (int threads : {1, 3}) {
    set_plain_threads(threads);
    const auto check = [&](const std::string& name, const ProgramSpec& spec, const Options& options) {
      for (Index block : {16, 48, 1024}) {
        for (Index rows : {0, 1, 3}) {
          if (brief() && (block != 16 || rows != 1)) continue;
          check::about("%s, channel blocks of %d, %d rows, %d threads", name.c_str(), static_cast<int>(block),
                       static_cast<int>(rows), threads);
          ProgramSpec usual = whole_step(spec, {}, {rows, rows == 3 ? Index(0) : block}, false);
          for (OpSpec& op : usual.ops) op.block = block;
          TrainedProgram masks(usual, options), input(with_kept_inputs(usual, Keep::input), options);
          CHECK(outcome_of(input) == outcome_of(masks));
          CHECK_EQUAL(input.program->arena()->peak(), input.program->training_layout().peak());
        }
      }
    };
    every_program(check);
    every_op(check);
  }
  set_plain_threads(1);
}

TEST(what_is_kept_is_the_input_and_nothing_else) {
  Options options;
  const ProgramSpec spec = mobilenet(options);
  const auto layout = [&](Keep keep) { return make_program(with_kept_inputs(spec, keep), false, ""); };
  const auto numbers = layout(Keep::input), levels = layout(Keep::input8);
  // The inputs of the four blocks, of two images each: 20 x 20 x 8 and 12, twice 10 x 10 x 20.
  const std::size_t kept = 2 * (400 * 8 + 400 * 12 + 2 * 100 * 20), first = 2 * 400 * 8;
  CHECK_EQUAL(bytes_of(numbers->training_layout(), "input"), kept * sizeof(float));
  CHECK_EQUAL(bytes_of(levels->training_layout(), "levels"), kept - first);
  CHECK_EQUAL(bytes_of(levels->training_layout(), "range"), 2 * 2 * (12 + 20 + 20) * sizeof(float));
  for (const Buffer& buffer : levels->training_layout().buffers()) {
    const std::string role = buffer.purpose.role;
    if (role == "mask again" || role == "slice again") CHECK_EQUAL(buffer.begin, buffer.end);
  }
}
