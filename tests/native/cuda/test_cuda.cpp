// The same programs on the GPU and on this processor: the same plan to the byte, the same results within rounding.
// test_cuda runs the kernels on emulated/cuda_runtime.h, test_cuda_gpu on the first GPU.
#include <cmath>
#include <cstdio>

#include "check.h"
#include "core/error.h"
#include "cuda/device.h"
#include "trained_program.h"

#ifdef SPARSEBP_EMULATED_CUDA
#include <cuda_runtime.h>
#endif

using namespace sparsebp;

namespace {

struct CudaTrainer {
  explicit CudaTrainer(const ProgramSpec& spec, const Options& options) {
    auto device = cuda::make_device(0);
    Memory& memory = device->memory();
    trainer = std::make_unique<TrainedProgram>(make_program(spec, std::move(device)), options, memory);
  }
  std::unique_ptr<TrainedProgram> trainer;
};

double norm(const std::vector<float>& x) {
  double sum = 0;
  for (float v : x) sum += static_cast<double>(v) * v;
  return std::sqrt(sum);
}

// Close relative to how far training has come.
void check_close(const std::vector<std::vector<float>>& got, const std::vector<std::vector<float>>& want,
                 const std::vector<std::vector<float>>& start, double limit) {
  CHECK_EQUAL(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    std::vector<float> error(got[i].size()), moved(got[i].size());
    for (std::size_t j = 0; j < error.size(); ++j) {
      error[j] = got[i][j] - want[i][j], moved[j] = want[i][j] - start[i][j];
    }
    // A parameter that hardly moves is compared with what rounding does to itself.
    CHECK_CLOSE(norm(error), 0.0, limit * norm(moved) + 1e-6 * norm(want[i]));
  }
}

void check_same_training(const std::string& name, const ProgramSpec& spec, const Options& options) {
  check::about(name.c_str());
  TrainedProgram here(spec, options);
  CudaTrainer there(spec, options);
  CHECK_EQUAL(there.trainer->program->training_layout().peak(), here.program->training_layout().peak());
  const auto start = here.outcome();
  const std::uint64_t steps = options.normalise && !options.sums ? 18 : 2;  // the first 16 in place only measure
  for (std::uint64_t turn = 0; turn < steps; ++turn) {
    here.step(turn), there.trainer->step(turn);
    for (int layer = 0; layer < static_cast<int>(spec.layers.size()); ++layer) {
      CHECK(there.trainer->program->indices(layer) == here.program->indices(layer));
      CHECK_EQUAL(there.trainer->program->visited(layer), here.program->visited(layer));
    }
  }
  check_close(there.trainer->outcome(), here.outcome(), start, 1e-3);
  CHECK_EQUAL(there.trainer->program->arena()->peak(), here.program->arena()->peak());
}

}  // namespace

bool there_is_a_gpu() {
  std::string why;
  if (cuda::device_count(&why) > 0) return true;
  std::printf("SKIPPED: %s\n", why.c_str());
  return false;
}

#ifdef SPARSEBP_EMULATED_CUDA
// Forward and backward captured once, replayed with other update sets and dropout masks.
void check_same_replayed(const std::string& name, const ProgramSpec& spec, const Options& options) {
  check::about(name.c_str());
  CudaTrainer plain(spec, options), graphed(spec, options);
  TrainedProgram& there = *graphed.trainer;
  plain.trainer->step(0), there.step(0);
  const emulated::Graph forward = emulated::capture([&] { there.forward(0); });
  const emulated::Graph backward = emulated::capture([&] { there.pass_back(); });
  for (std::uint64_t turn = 1; turn < 3; ++turn) {
    plain.trainer->step(turn);
    there.draw(turn);
    there.prepare_replay(turn);
    emulated::replay(forward);
    there.find_output_grad();
    emulated::replay(backward);
    there.program->replayed();
    if (turn % 2 == 1) there.apply();
    for (int layer = 0; layer < static_cast<int>(spec.layers.size()); ++layer) {
      CHECK_EQUAL(there.program->visited(layer), plain.trainer->program->visited(layer));
    }
  }
  CHECK(there.outcome() == plain.trainer->outcome());
}
#endif

TEST(every_program_trains_as_on_this_processor) {
  if (there_is_a_gpu()) every_program(check_same_training);
}

TEST(every_op_trains_as_on_this_processor) {
  if (there_is_a_gpu()) every_op(check_same_training);
}

TEST(sizes_that_kernels_cannot_count_are_refused) {
  if (!there_is_a_gpu()) return;
  const auto refused = [](Index batch, auto change, const std::string& words) {
    Builder b(Options(), {9, 9, 4});
    b.spec.span_begin = 0, b.spec.batch = batch;
    b.conv(0, b.layer(4, 6, 9, 3, 1, 1, Activation::relu, 2));
    change(b.spec.layers[0].shape);
    CHECK(make_program(b.spec, false, "") != nullptr);
    CHECK_THROWS(InvalidArgument, make_program(b.spec, cuda::make_device(0)), words);
  };
  const auto nothing = [](ConvShape&) {};
  refused(Index{1} << 24, nothing, "layer0 on a GPU: pixels of a batch: expected 0 to 1073741824, got 1358954496");
  refused(
      1,
      [](ConvShape& s) {
        s.kernel_h = s.kernel_w = 1, s.pad_h = s.pad_w = 0;
        s.dilation_h = Index{1} << 30;
      },
      "layer0 on a GPU: padded height: expected 0 to 1073741824");
}

#ifdef SPARSEBP_EMULATED_CUDA
TEST(every_program_replays_as_it_runs) { every_program(check_same_replayed); }
TEST(every_op_replays_as_it_runs) { every_op(check_same_replayed); }
#endif
