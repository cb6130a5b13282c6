// Programs whose budget covers the whole step: whatever their pieces, they compute what others do, to the bit, in one
// block of memory.
#include "check.h"
#include "core/error.h"
#include "platform/parallel.h"
#include "program/subject.h"
#include "program/whole_step.h"
#include "trained_program.h"

using namespace sparsebp;

namespace {

std::size_t persistent_bytes(const AnyProgram& program) {
  std::size_t bytes = 0;
  for (const Region& region : program.persistent()) bytes += region.bytes;
  return bytes;
}

}  // namespace

TEST(a_whole_step_has_the_bits_of_any_other_whatever_its_pieces) {
  for (int threads : {1, 3}) {
    if (threads > 1 && brief()) continue;
    set_plain_threads(threads);
    every_streamed_program(
        [&](const std::string& name, const ProgramSpec& spec, const auto& streams, const Options& options) {
          TrainedProgram usual(spec, options);
          const auto want = outcome_of(usual);
          for (const Pieces& pieces : {Pieces{1, 16}, {2, 32}, {3, 48}, {5, 0}, {0, 16}, {0, 0}, {100, 1024}}) {
            if (brief() && pieces.rows != 1) continue;
            check::about("%s, %d rows, %d channels, %d threads", name.c_str(), static_cast<int>(pieces.rows),
                         static_cast<int>(pieces.block), threads);
            TrainedProgram whole(whole_step(spec, streams, pieces, pieces.rows % 2 == 0), options);
            CHECK(outcome_of(whole) == want);
            AnyProgram& p = *whole.program;
            CHECK_EQUAL(p.workspace_layout().peak(), 0u);
            CHECK_EQUAL(p.arena()->peak(), p.training_layout().peak());
            p.discard();
            CHECK_EQUAL(p.arena()->used(), persistent_bytes(p));
          }
        });
  }
  set_plain_threads(1);
}

TEST(without_streams_too) {
  if (brief()) return;  // the pieces above are the same code
  every_program([](const std::string& name, const ProgramSpec& spec, const Options& options) {
    check::about(name.c_str());
    TrainedProgram usual(spec, options), whole(whole_step(spec, {}, {1, 16}), options);
    CHECK(outcome_of(whole) == outcome_of(usual));
    CHECK_EQUAL(whole.program->arena()->peak(), whole.program->training_layout().peak());
  });
}

TEST(what_is_cut_up_and_streamed_needs_less_memory) {
  Options options;
  options.span_begin = 4, options.size = 96, options.block = 16;
  const ProgramSpec spec = mobilenet(options);
  const auto peak = [&](const std::vector<StreamSpec>& streams, const Pieces& pieces) {
    return make_program(whole_step(spec, streams, pieces, false), false, "")->training_layout().peak();
  };
  CHECK(peak({{0, 4}}, {1, 16}) < peak({{0, 4}}, {0, 0}));
  CHECK(peak({{0, 4}}, {1, 16}) < peak({}, {1, 16}));
  // The scratch of a stream that begins at a value is that of the rows which it reaches: 3 of 24, 16 channels.
  const auto program = make_program(whole_step(spec, {{0, 3}, {3, 4}}, {1, 16}), false, "");
  std::size_t expanded = 0;
  for (const Buffer& buffer : program->training_layout().buffers()) {
    if (buffer.purpose.op == 3 && std::string(buffer.purpose.role) == "expanded") expanded = buffer.bytes;
  }
  CHECK_EQUAL(expanded, 3 * 24 * 16 * sizeof(float));
}

namespace {

// Bytes of 2 images of 6 x 6 x 4, the table that makes numbers of them, and these.
struct Bytes {
  std::vector<std::uint8_t> bytes = std::vector<std::uint8_t>(2 * 144);
  std::vector<float> table = std::vector<float>(4 * 256), numbers = std::vector<float>(2 * 144);

  Bytes() {
    for (std::size_t i = 0; i < table.size(); ++i) table[i] = static_cast<float>(2 * random_unit(1, i) - 1);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<std::uint8_t>(255 * random_unit(2, i));
      numbers[i] = table[i % 4 * 256 + bytes[i]];
    }
  }
  PassInput in_memory() const {
    PassInput in;
    in.bytes = bytes.data(), in.table = table.data();
    return in;
  }
};

// Gives rows of Bytes, as images from number 7 on, until it has none left.
struct Camera {
  const Bytes& pictures;
  int rows_left = 1000;
  Index image = 7, row = -1;  // the last one given

  static int give(void* context, Index image, Index row, std::uint8_t* out) {
    auto& self = *static_cast<Camera*>(context);
    if (self.rows_left-- == 0) return 1;
    CHECK(image == self.image ? row > self.row : image > self.image);
    self.image = image, self.row = row;
    std::copy_n(self.pictures.bytes.data() + ((image - 7) * 6 + row) * 24, 24, out);
    return 0;
  }
  PassInput input() {
    PassInput in;
    in.reader = give, in.reader_context = this, in.first_image = 7, in.table = pictures.table.data();
    return in;
  }
};

// Ops 0 and 1 convolve, 2 trains. With `skips` the image is added to what 1 makes, and 3 trains.
ProgramSpec two_convolutions(bool streams, bool skips, bool pictures) {
  Builder b(Options(), {6, 6, 4});
  int v = b.conv(0, b.layer(4, 4, 6, 3, 1, 1, Activation::relu, 0));
  v = b.conv(v, b.layer(4, 4, 6, 3, 1, 1, Activation::relu, 0));
  if (skips) v = b.op(OpKind::add, {v, 0}, {}, {6, 6, 4});
  b.spec.span_begin = skips ? 3 : 2;
  b.conv(v, b.layer(4, 5, 6, 1, 1, 1, Activation::identity, 3));
  std::vector<StreamSpec> all;
  if (streams) all = {{0, 2}};
  return whole_step(b.spec, all, {}, pictures);
}

template <class F>
void every_input(F f) {
  for (int kind = 0; kind < 8; ++kind) {
    check::about("streams %d, skips %d, pictures %d", kind & 1, kind >> 1 & 1, kind >> 2);
    f(two_convolutions((kind & 1) != 0, (kind & 2) != 0, (kind & 4) != 0));
  }
}

}  // namespace

TEST(bytes_and_rows_that_a_reader_gives_are_the_numbers_that_a_table_makes_of_them) {
  const Bytes pictures;
  every_input([&](const ProgramSpec& spec) {
    Subject s(spec);
    const int last = static_cast<int>(spec.ops.size());
    const auto run = [&](const PassInput& in, Index images) {
      std::fill(s.y.begin(), s.y.end(), -1.0f);
      s.program->forward(0, last, in, s.y.data(), images, false, false, 0);
      return s.y;
    };
    for (Index images : {0, 1, 2}) {
      const std::vector<float> want = run(pictures.numbers.data(), images);
      CHECK(run(pictures.in_memory(), images) == want);
      Camera camera{pictures};
      CHECK(run(camera.input(), images) == want);
      CHECK(images == 0 || (camera.image == 6 + images && camera.row == 5));
      if (std::uint8_t* place = s.program->pictures()) {
        std::copy(pictures.bytes.begin(), pictures.bytes.end(), place);
        PassInput own = pictures.in_memory();
        own.bytes = place;
        CHECK(run(own, images) == want);
      }
      CHECK_EQUAL(s.program->pictures() != nullptr, spec.pictures);
    }
  });
}

TEST(a_reader_without_a_row_ends_the_pass_and_nothing_has_changed) {
  const Bytes pictures;
  every_input([&](const ProgramSpec& spec) {
    Subject s(spec);
    for (LayerRule& rule : s.rules) rule.weight.rate = rule.bias.rate = rule.shift.rate = 0;
    const int last = static_cast<int>(spec.ops.size());
    const std::size_t resting = s.program->arena()->used();
    for (bool save : {false, true}) {
      for (int rows : {0, 3, 8}) {
        Camera camera{pictures, rows};
        const std::string words =
            "images: the reader gave no row " + std::to_string(rows % 6) + " of image " + std::to_string(rows / 6);
        CHECK_THROWS(InvalidArgument, s.program->forward(0, last, camera.input(), s.y.data(), 2, save, false, 0),
                     words);
        CHECK_EQUAL(s.program->arena()->used(), resting);
        CHECK(!s.program->in_flight());
      }
      Camera camera{pictures};
      s.program->forward(0, last, camera.input(), s.y.data(), 2, true, false, 0);
      s.backward();
      CHECK_EQUAL(s.program->arena()->used(), resting);
    }
  });
}

TEST(bytes_go_with_a_table_into_the_first_op_of_a_whole_step) {
  const Bytes pictures;
  const char* words = "forward: input: bytes go, with a table, into the first op of a program whose budget covers the";
  const auto refused = [&](const ProgramSpec& spec, int first, auto spoil) {
    Subject s(spec);
    const int last = static_cast<int>(spec.ops.size());
    Camera camera{pictures};
    for (PassInput in : {pictures.in_memory(), camera.input()}) {
      spoil(in);
      CHECK_THROWS(InvalidArgument, s.program->forward(first, last, in, s.y.data(), 2, false, false, 0), words);
    }
    CHECK_EQUAL(s.program->arena()->used(), persistent_bytes(*s.program));
  };
  const ProgramSpec step = two_convolutions(true, false, true);
  ProgramSpec training = step;
  training.scope = Scope::training, training.pictures = false;
  refused(training, 0, [](PassInput&) {});
  refused(step, 0, [](PassInput& in) { in.table = nullptr; });
  refused(step, 0, [&](PassInput& in) { in.numbers = pictures.numbers.data(); });
  refused(step, 2, [](PassInput&) {});
  Subject s(step);
  PassInput nowhere = pictures.in_memory();
  nowhere.bytes = reinterpret_cast<const std::uint8_t*>(UINTPTR_MAX - 7);
  CHECK_THROWS(InvalidArgument, s.program->forward(0, 3, nowhere, s.y.data(), 2, false, false, 0),
               "forward: input: expected the address of 288 numbers");
}

TEST(a_stream_runs_whole) {
  Subject s(two_convolutions(true, false, true));
  for (const auto& ops : {std::pair{0, 1}, {1, 2}, {1, 3}}) {
    CHECK_THROWS(InvalidArgument, s.forward(ops.first, ops.second, 2, false),
                 "forward: ops 0 to 1 are a stream, which runs whole; got " + std::to_string(ops.first) + " and " +
                     std::to_string(ops.second));
  }
  s.forward(0, 3, 2, false);
  const std::vector<float> whole = s.y;
  s.forward(0, 2, 2, false);
  s.x = s.y;
  s.forward(2, 3, 2, false);
  CHECK(s.y == whole);
}

TEST(while_a_training_pass_waits_its_memory_is_not_free_for_inference) {
  const ProgramSpec step = two_convolutions(true, false, true);
  Subject s(step);
  s.forward();
  const std::size_t held = s.program->arena()->used();
  CHECK_THROWS(WrongState, s.forward(0, 3, 1, false), "forward: a training forward pass still waits for its backward");
  CHECK_EQUAL(s.program->arena()->used(), held);
  s.backward();
  s.forward(0, 3, 1, false);
  ProgramSpec training = step;
  training.scope = Scope::training, training.pictures = false;
  Subject other(training);
  other.forward();
  other.forward(0, 3, 1, false);  // in a workspace of its own
  other.backward();
}
