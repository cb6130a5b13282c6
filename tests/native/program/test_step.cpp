// A training step as a whole: the same bits for any number of threads, and memory exactly as planned.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "check.h"
#include "core/error.h"
#include "isa/dispatch.h"
#include "platform/parallel.h"
#include "program/planned_memory.h"
#include "trained_program.h"

using namespace sparsebp;

namespace {

void check_threads(const std::string& isa, const std::string& name, const ProgramSpec& spec, const Options& options,
                   std::uint64_t steps) {
  std::vector<std::vector<float>> want;
  for (int threads : {1, 2, 3}) {
    if (threads == 2 && brief()) continue;
    check::about("%s, %s, %d threads", isa.c_str(), name.c_str(), threads);
    set_plain_threads(threads);
    CHECK_EQUAL(thread_count(), threads);
    TrainedProgram trainer(spec, options, isa);
    for (std::uint64_t turn = 0; turn < steps; ++turn) trainer.step(turn);
    if (threads == 1) want = trainer.outcome();
    check_same(trainer.outcome(), want);
  }
}

}  // namespace

TEST(a_step_trains) {
  every_program([](const std::string& name, const ProgramSpec& spec, const Options& options) {
    check::about(name.c_str());
    TrainedProgram trainer(spec, options);
    const auto before = trainer.outcome();
    const std::uint64_t steps = options.normalise ? 18 : 2;  // the first 16 in place only measure
    for (std::uint64_t turn = 0; turn < steps; ++turn) trainer.step(turn);
    const auto after = trainer.outcome();
    std::size_t changed = 0;
    for (std::size_t i = 0; i < after.size(); ++i) changed += !same_bits(before[i], after[i]);
    CHECK(changed > 3);
    for (const auto& numbers : after) {
      CHECK(std::all_of(numbers.begin(), numbers.end(), [](float x) { return std::isfinite(x); }));
    }
  });
}

TEST(any_number_of_threads_gives_the_same_bits) {
  for (const std::string& isa : brief() ? std::vector<std::string>{""} : usable_isas()) {
    every_program([&](const std::string& name, const ProgramSpec& spec, const Options& options) {
      check_threads(isa, name, spec, options, brief() ? 2 : 4);
    });
  }
  Options large;  // regions so long that threads do overlap
  large.size = 96;
  // In some of so many steps they do not share backward passes.
  check_threads("", "large mobilenet", mobilenet(large), large, brief() ? 2 : 24);
  // Images that threads share by rows, in several strips each, or among themselves.
  for (const Index batch : {1, 2, 3, 8}) {
    if (brief() && batch != 3) continue;
    Options shared;
    shared.size = brief() ? 40 : 96, shared.span_begin = 2;
    ProgramSpec spec = mobilenet(shared);
    spec.batch = batch;
    const std::string name = "mobilenet with " + std::to_string(batch) + " images";
    check_threads("", name, spec, shared, 2);
    // Where no depthwise convolution trains, threads share images backward too.
    for (LayerSpec& layer : spec.layers) layer.selected = layer.shape.groups > 1 ? 0 : layer.selected;
    check_threads("", name + ", depthwise ones frozen", spec, shared, 2);
    // An output so wide that its weights are packed in two goes, after a block that trains shifts alone.
    Options normalised = shared;
    normalised.span_begin = 0, normalised.normalise = normalised.scores = normalised.momentum = true;
    Builder wide(normalised, {24, 24, 20});
    const int v = wide.block(0, 20, 6, 20, 24, 1, 0);
    wide.block(v, 20, 6, 270, 24, 2, 0);
    wide.spec.layers[3].selected = wide.spec.layers[5].selected = 9;
    wide.spec.batch = batch;
    check_threads("", name + ", 270 channels", wide.spec, normalised, brief() ? 2 : 18);
  }
  set_plain_threads(1);
}

TEST(the_measured_peak_is_the_planned_one_to_the_byte) {
  every_program([](const std::string& name, const ProgramSpec& spec, const Options& options) {
    check::about(name.c_str());
    TrainedProgram trainer(spec, options, "", kSpare);
    const Arena& arena = *trainer.program->arena();
    const std::size_t resting = arena.used();
    for (std::uint64_t turn = 0; turn < 3; ++turn) trainer.step(turn);
    CHECK_EQUAL(arena.peak(), trainer.program->training_layout().peak());
    CHECK_EQUAL(trainer.program->workspace()->peak(), trainer.program->workspace_layout().peak());
    // Between steps only the persistent state is held.
    std::size_t persistent = 0;
    for (const auto& region : trainer.program->persistent()) persistent += region.bytes;
    CHECK_EQUAL(resting, persistent);
    CHECK_EQUAL(arena.used(), persistent);
    CHECK_EQUAL(trainer.program->workspace()->used(), 0u);
  });
}

TEST(one_byte_less_than_the_peak_is_refused) {
  every_program([](const std::string& name, const ProgramSpec& spec, const Options&) {
    check::about(name.c_str());
    const auto program = make_program(spec, false, "");
    const std::size_t peak = program->training_layout().peak();
    CHECK_THROWS(BudgetExceeded, program->allocate(peak - 1), std::to_string(peak));
    CHECK(program->arena() == nullptr);
    program->allocate(peak);
    CHECK_EQUAL(program->arena()->capacity(), peak);
  });
}

TEST(a_forgotten_forward_pass_leaves_nothing_held_and_nothing_trained) {
  const Options options;
  TrainedProgram trainer(mobilenet(options), options);
  const std::size_t resting = trainer.program->arena()->used();
  const auto before = trainer.outcome();
  trainer.forward(0);
  CHECK(trainer.program->arena()->used() > resting);
  CHECK_THROWS(WrongState, trainer.forward(1), "still waits for its backward");
  trainer.program->discard();
  CHECK_EQUAL(trainer.program->arena()->used(), resting);
  CHECK_THROWS(WrongState, trainer.backward(), "no training forward pass");
  const auto after = trainer.outcome();
  for (std::size_t i = 2; i < after.size(); ++i) CHECK(same_bits(before[i], after[i]));
}

TEST(inference_between_forward_and_backward_changes_nothing) {
  for (const bool dropout : {false, true}) {
    const Options options;
    TrainedProgram plain(mobilenet(options), options), interrupted(mobilenet(options), options);
    plain.forward(0), plain.backward();
    interrupted.forward(0), interrupted.infer(1, dropout), interrupted.infer(0, dropout), interrupted.backward();
    check_same(plain.outcome(), interrupted.outcome());
  }
}

// It would have no end of life, and share its bytes with values that are read.
TEST(a_value_that_nobody_reads_is_refused) {
  const Options options;
  Builder b(options, {4, 4, 4});
  b.op(OpKind::dropout, {0}, {}, {4, 4, 4});
  b.conv(0, b.layer(4, 4, 4, 3, 1, 1, Activation::relu, 2));
  CHECK_THROWS(InvalidArgument, make_program(b.spec, false, ""), "op 0: nothing reads its value");
}

TEST(the_persistent_state_starts_defined) {
  const Options options{true, true, true, true, 0, Draw::largest};
  TrainedProgram trainer(mobilenet(options), options);
  Arena& arena = *trainer.program->arena();
  for (const auto& region : trainer.program->persistent()) {
    check::about(region.name.c_str());
    const auto* bytes = reinterpret_cast<const unsigned char*>(arena.data()) + region.offset;
    const auto* scores = reinterpret_cast<const float*>(bytes);
    if (region.name == "scores") {
      CHECK(std::all_of(scores, scores + region.bytes / sizeof(float), [](float x) { return x == -1; }));
    } else if (region.name != "indices") {
      CHECK(std::all_of(bytes, bytes + region.bytes, [](unsigned char x) { return x == 0; }));
    }
  }
  for (int layer = 0; layer < static_cast<int>(trainer.program->spec().layers.size()); ++layer) {
    const auto indices = trainer.program->indices(layer);
    for (std::size_t j = 0; j < indices.size(); ++j) CHECK_EQUAL(indices[j], static_cast<std::int32_t>(j));
  }
}

TEST(every_planned_byte_is_written_no_other_is_and_none_is_read_before) {
  for (int threads : {1, 2, 3}) {
    if (threads == 2 && brief()) continue;
    set_plain_threads(threads);
    every_program([&](const std::string& name, const ProgramSpec& spec, const Options& options) {
      check::about("%s, %d threads", name.c_str(), threads);
      check_memory(spec, options);
    });
  }
  set_plain_threads(1);
}

TEST(every_op_writes_every_byte_that_it_acquires) {
  every_op([](const std::string& name, const ProgramSpec& spec, const Options& options) {
    check::about(name.c_str());
    const auto program = make_program(spec, false, "");
    for (const Layout* layout : {&program->training_layout(), &program->workspace_layout()}) {
      std::size_t bytes = 0;
      for (const Buffer& buffer : layout->buffers()) bytes += buffer.bytes;
      const Bytes taken = covered(*layout, layout->peak(), [](const Buffer&) { return true; });
      CHECK_EQUAL(static_cast<std::size_t>(std::count(taken.begin(), taken.end(), 1)), bytes);  // none shared
    }
    check_memory(spec, options);
  });
}
