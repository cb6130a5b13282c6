// Blocks that keep their input instead of masks and slices: what they make again is what they had.
#include <algorithm>
#include <limits>

#include "check.h"
#include "core/error.h"
#include "platform/parallel.h"
#include "program/ops/levels.h"
#include "program/planned_memory.h"
#include "program/whole_step.h"
#include "spec/spoilt_specs.h"
#include "trained_program.h"

using namespace sparsebp;

namespace {

ProgramSpec with_kept_inputs(ProgramSpec spec, Keep keep) {
  for (std::size_t i = 0; i < spec.ops.size(); ++i) {
    OpSpec& op = spec.ops[i];
    if (op.kind != OpKind::block || static_cast<int>(i) < spec.span_begin) continue;
    op.keep = keep == Keep::input8 && op.layers.size() < 3 ? Keep::input : keep;
  }
  return spec;
}

bool has_block(const ProgramSpec& spec) {
  return std::any_of(spec.ops.begin(), spec.ops.end(), [](const OpSpec& op) { return op.kind == OpKind::block; });
}

std::size_t bytes_of(const Layout& layout, const std::string& role) {
  std::size_t bytes = 0;
  for (const Buffer& buffer : layout.buffers()) bytes += role == buffer.purpose.role ? buffer.bytes : 0;
  return bytes;
}

}  // namespace

TEST(a_block_that_keeps_its_input_trains_as_one_that_keeps_masks_to_the_bit) {
  for (int threads : {1, 3}) {
    if (threads > 1 && brief()) continue;
    set_plain_threads(threads);
    const auto check = [&](const std::string& name, const ProgramSpec& spec, const Options& options) {
      if (brief() && !has_block(spec)) return;
      for (Index block : {16, 48, 1024}) {
        for (Index rows : {0, 1, 3}) {
          if (brief() && (block != 16 || rows != 1)) continue;
          if (!has_block(spec) && (block != 16 || rows != 1)) continue;  // nothing is cut up
          check::about("%s, channel blocks of %d, %d rows, %d threads", name.c_str(), static_cast<int>(block),
                       static_cast<int>(rows), threads);
          ProgramSpec usual = whole_step(spec, {}, {rows, rows == 3 ? Index(0) : block}, false);
          for (OpSpec& op : usual.ops) op.block = block;
          TrainedProgram masks(usual, options), input(with_kept_inputs(usual, Keep::input), options);
          CHECK(outcome_of(input) == outcome_of(masks));
          CHECK_EQUAL(input.program->arena()->peak(), input.program->training_layout().peak());
          if (rows > 0) continue;  // the pieces of a forward pass are a whole step's
          ProgramSpec alone = spec;
          for (OpSpec& op : alone.ops) op.block = block;
          TrainedProgram usual_alone(alone, options), kept(with_kept_inputs(alone, Keep::input), options);
          CHECK(outcome_of(kept) == outcome_of(usual_alone));
          CHECK_EQUAL(kept.program->arena()->peak(), kept.program->training_layout().peak());
        }
      }
    };
    if (!brief()) every_program(check);
    every_op(check);
  }
  set_plain_threads(1);
}

TEST(a_block_of_the_span_before_all_that_trains_keeps_nothing) {
  Options options;
  ProgramSpec spec = mobilenet(options);
  for (std::size_t l = 1; l < 6; ++l) spec.layers[l].selected = 0, spec.layers[l].train_bias = false;
  const ProgramSpec usual = whole_step(spec, {}, {}, false);  // of whose four blocks two train
  TrainedProgram masks(usual, options), input(with_kept_inputs(usual, Keep::input), options);
  CHECK(outcome_of(input) == outcome_of(masks));
  CHECK_EQUAL(bytes_of(input.program->training_layout(), "input"), 2 * 2 * 100 * 20 * sizeof(float));
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

TEST(every_planned_byte_is_written_no_other_is_and_none_is_read_before) {
  for (Keep keep : {Keep::input, Keep::input8}) {
    const auto check = [&](const std::string& name, const ProgramSpec& spec, const Options& options) {
      if (brief() && !has_block(spec)) return;
      for (Scope scope : {Scope::training, Scope::step}) {
        if (brief() && scope != Scope::training) continue;
        check::about("%s, kept as %d, scope %d", name.c_str(), static_cast<int>(keep), static_cast<int>(scope));
        ProgramSpec kept = with_kept_inputs(spec, keep);
        kept.scope = scope;
        check_memory(kept, options);
      }
    };
    if (!brief()) every_program(check);
    every_op(check);
  }
}

// Only the backward pass sees the rounded input.
TEST(a_block_that_keeps_8_bits_goes_back_as_if_its_input_had_been_what_they_give) {
  every_op([](const std::string& name, const ProgramSpec& spec, const Options& options) {
    if (spec.ops[0].kind != OpKind::block || spec.layers.size() < 3) return;
    for (Index block : {16, 64}) {
      if (brief() && block != 16) continue;
      check::about("%s, channel blocks of %d", name.c_str(), static_cast<int>(block));
      ProgramSpec blocks = spec;
      blocks.ops[0].block = block;
      TrainedProgram numbers(with_kept_inputs(blocks, Keep::input), options);
      TrainedProgram levels(with_kept_inputs(blocks, Keep::input8), options);
      const Index pixels = spec.values[0].pixels(), channels = spec.values[0].channels;
      std::vector<std::uint8_t> bytes(static_cast<std::size_t>(pixels * channels));
      std::vector<float> least(static_cast<std::size_t>(channels)), step(least);
      for (Index image = 0; image < spec.batch; ++image) {
        float* x = numbers.input().data() + image * pixels * channels;
        to_levels(x, pixels, channels, bytes.data(), least.data(), step.data());
        from_levels(bytes.data(), channels, least.data(), step.data(), pixels, channels, x, channels);
      }
      for (TrainedProgram* program : {&numbers, &levels}) {
        program->draw(0);
        program->forward(0);
        std::uint64_t i = 0;
        for (float& g : program->output_grad()) g = static_cast<float>(random_unit(9, i++) - 0.5);
        program->pass_back();
      }
      auto want = numbers.outcome(), got = levels.outcome();
      want.erase(want.begin()), got.erase(got.begin());  // the outputs
      check_same(got, want);
    }
  });
}

TEST(levels_are_the_nearest_of_256_between_the_least_and_the_greatest_number_of_a_channel) {
  constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> x = {0, -1, 3, 1, 255, 1, 3, kNone, 100.4f, 0, 3, 2};
  std::vector<std::uint8_t> levels(12);
  std::vector<float> least(4), step(4), out(12);
  to_levels(x.data(), 3, 4, levels.data(), least.data(), step.data());
  from_levels(levels.data(), 4, least.data(), step.data(), 3, 4, out.data(), 4);
  CHECK_EQUAL(static_cast<int>(levels[0]), 0);
  CHECK_EQUAL(static_cast<int>(levels[4]), 255);
  CHECK_EQUAL(static_cast<int>(levels[8]), 100);
  for (int m = 0; m < 3; ++m) {
    CHECK(std::abs(out[static_cast<std::size_t>(4 * m + 1)] - x[static_cast<std::size_t>(4 * m + 1)]) <= 1.01f / 255);
    CHECK_EQUAL(out[static_cast<std::size_t>(4 * m + 2)], 3.0f);  // the same everywhere
  }
  CHECK_EQUAL(out[7], 1.0f);
}

TEST(only_blocks_of_the_span_keep_their_input) {
  Options options;
  options.span_begin = 2;
  const ProgramSpec step = whole_step(mobilenet(options), {}, {}, false);
  const auto keep = [](std::size_t op, int how) {
    return [op, how](ProgramSpec& spec) { spec.ops[op].keep = static_cast<Keep>(how); };
  };
  check_refused(step, keep(2, 3), "op 2 (block): keep: expected 0 to 2, got 3");
  check_refused(step, keep(5, 1), "op 5 (head): keep: only a block keeps its input");
  check_refused(step, keep(1, 1), "op 1 (block): keep: in front of the span nothing is kept");
  options.span_begin = 1;
  check_refused(whole_step(mobilenet(options), {}, {}, false), keep(1, 2),
                "op 1 (block): keep: only a block that expands keeps 8 bits");
}
