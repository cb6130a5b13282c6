// What a program refuses of what it keeps from step to step: update sets, spare outputs, saved state, sums.
#include "check.h"
#include "core/error.h"
#include "program/subject.h"

using namespace sparsebp;

TEST(update_sets_stay_what_they_are_from_forward_to_backward) {
  Subject s(residual());
  AnyProgram& p = *s.program;
  p.draw_all(Draw::weighted, 3, 0);
  const auto before = p.indices(0);
  s.forward();
  CHECK_THROWS(WrongState, p.draw(0, Draw::uniform, 1, 1), "draw: a training forward pass still waits");
  CHECK_THROWS(WrongState, p.draw_all(Draw::largest, 1, 1), "draw: a training forward pass still waits");
  CHECK_THROWS(WrongState, p.set_indices(0, {0, 1}), "set_indices: a training forward pass still waits");
  CHECK_THROWS(WrongState, p.write(p.persistent()[0], s.x.data()), "write: a training forward pass still waits");
  CHECK(p.indices(0) == before);
  s.backward();
  p.set_indices(0, {3, 1});
}

TEST(update_sets_are_channels_of_their_layer) {
  ProgramSpec spec = residual();
  Subject s(spec);
  AnyProgram& p = *s.program;
  const auto refused = [&](std::vector<std::int32_t> channels, const char* words) {
    CHECK_THROWS(InvalidArgument, p.set_indices(0, channels), words);
    CHECK(p.indices(0) == (std::vector<std::int32_t>{0, 1}));
  };
  refused({}, "expected 2 channels, got 0");
  refused({0, 1, 2}, "expected 2 channels, got 3");
  refused({0, 4}, "channel 4 is out of range, 0 to 3");
  refused({-1, 0}, "channel -1 is out of range");
  refused({std::numeric_limits<std::int32_t>::max(), 0}, "is out of range");
  refused({2, 2}, "channel 2 appears twice");
  for (int layer : {-1, 2, 1 << 30}) {
    CHECK_THROWS(InvalidArgument, p.set_indices(layer, {0, 1}), "set_indices: layer: expected 0 to 1");
    CHECK_THROWS(InvalidArgument, p.draw(layer, Draw::uniform, 0, 0), "draw: layer: expected 0 to 1");
    CHECK_THROWS(InvalidArgument, p.indices(layer), "indices: layer: expected 0 to 1");
    CHECK_THROWS(InvalidArgument, p.visited(layer), "visited: layer: expected 0 to 1");
  }
  for (int method : {-1, 4, 1 << 30}) {
    CHECK_THROWS(InvalidArgument, p.draw_all(static_cast<Draw>(method), 0, 0), "draw: method: expected 0 to 3, got");
  }
  spec.scores = false;
  CHECK_THROWS(WrongState, Subject(spec).program->draw(0, Draw::weighted, 0, 0), "keeps no scores");
}

TEST(spare_outputs_are_those_of_a_layer_without_groups_and_batch_norm) {
  Options options;
  options.span_begin = 0, options.input_grad = true;
  Builder b(options, {1, 1, 4});
  b.conv(0, b.layer(4, 6, 1, 1, 1, 1, Activation::identity, 4, false));
  b.conv(1, b.layer(6, 6, 1, 1, 1, 2, Activation::identity, 6, false));
  b.conv(2, b.layer(6, 4, 1, 1, 1, 1, Activation::identity, 6));
  Subject s(b.spec);
  AnyProgram& p = *s.program;
  for (Index count : {Index{-1}, Index{6}, std::numeric_limits<Index>::max()}) {
    CHECK_THROWS(InvalidArgument, p.set_spare(0, count), "layer0: spare: expected 0 to 5 output channels");
  }
  for (int layer : {1, 2}) CHECK_THROWS(InvalidArgument, p.set_spare(layer, 1), "only without groups and batch norm");
  for (int layer : {-1, 3}) CHECK_THROWS(InvalidArgument, p.set_spare(layer, 1), "set_spare: layer: expected 0 to 2");
  s.forward();
  CHECK_THROWS(WrongState, p.set_spare(0, 1), "set_spare: a training forward pass still waits");
  s.backward();
  p.set_spare(0, 2);
  const std::vector<float> before = s.weights;  // of which a row of layer 0 has six
  p.set_spare(0, 1);
  CHECK_EQUAL(s.weights[3], before[3]);
  CHECK_EQUAL(s.weights[4], 0.0f);
  CHECK_EQUAL(s.weights[5], before[5]);
}

TEST(state_is_written_as_it_was_read) {
  Subject s(residual());
  AnyProgram& p = *s.program;
  for (const Region& region : p.persistent()) {
    std::vector<char> bytes(region.bytes);
    p.read(region, bytes.data());
    p.write(region, bytes.data());
    CHECK_THROWS(InvalidArgument, p.read(region, nullptr), "read: expected a persistent region");
    CHECK_THROWS(InvalidArgument, p.write({"", region.offset, region.bytes + 1}, bytes.data()), "persistent region");
    CHECK_THROWS(InvalidArgument, p.write({"", region.offset + 4, region.bytes}, bytes.data()), "persistent region");
    if (region.name != "indices") continue;
    std::vector<std::int32_t> channels(region.bytes / sizeof(std::int32_t), 1 << 20);
    CHECK_THROWS(InvalidArgument, p.write(region, channels.data()), "layer0: channel 1048576 is out of range, 0 to 3");
    CHECK(p.indices(0) == (std::vector<std::int32_t>{0, 1}));
  }
}

TEST(sums_are_of_a_parameter_that_there_is) {
  Subject s(residual(true));
  CHECK(s.program->sum_region(0, "weight").bytes > 0);
  CHECK_EQUAL(s.program->sum_region(0, "bias").bytes, 0u);  // it has none
  CHECK_THROWS(InvalidArgument, s.program->sum_region(0, "gamma"),
               "parameter: expected weight, bias or beta, got 'gamma'");
  CHECK_THROWS(InvalidArgument, s.program->sum_region(2, "weight"), "sum_region: layer: expected 0 to 1, got 2");
}
