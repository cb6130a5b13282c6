#include <algorithm>
#include <vector>

#include "cuda/device.h"
#include "cuda/elementwise.cuh"
#include "cuda/ops.h"
#include "cuda/statistics.cuh"

namespace sparsebp::cuda {
namespace {

// Do kernels wait for those before them (await_inputs) on the device `index`? They do where they were compiled for it.
// Graphs can hold such launches since CUDA 12.3.
bool kernels_wait([[maybe_unused]] int index) {
#if defined(__CUDACC__)
  int driver = 0, before = 0;
  check(cudaDriverGetVersion(&driver), "asking the driver");
  check(cudaGetDevice(&before), "choosing the device"), check(cudaSetDevice(index), "choosing the device");
  cudaFuncAttributes attributes{};
  const cudaError_t found = cudaFuncGetAttributes(&attributes, &find_spoilt);
  check(cudaSetDevice(before), "choosing the device"), check(found, "asking the device");
  return driver >= 12030 && attributes.ptxVersion >= 90;
#else
  return false;
#endif
}

// Blocks of a device. Copies are started in the queue's order.
class DeviceMemory final : public Memory {
 public:
  DeviceMemory(int device, const Queue& queue) : device_(device), queue_(queue) {
    check(cudaDeviceGetAttribute(&reads_host_memory_, cudaDevAttrPageableMemoryAccess, device), "asking the device");
  }

  std::byte* allocate(std::size_t bytes) override {
    void* block = nullptr;
    check(cudaMalloc(&block, bytes > 0 ? bytes : 1),
          std::string(queue_.stage) + ", " + std::to_string(bytes) + " bytes");
    return static_cast<std::byte*>(block);
  }
  void free(std::byte* block) override {
    int before = 0;
    cudaGetDevice(&before);
    if (before != device_) cudaSetDevice(device_);
    // Waits for what uses it, also while a graph is captured elsewhere; nobody can be told of an error.
    cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    cudaThreadExchangeStreamCaptureMode(&mode);
    cudaFree(block);
    cudaThreadExchangeStreamCaptureMode(&mode);
    if (before != device_) cudaSetDevice(before);
  }

  void fill(void* to, unsigned char value, std::size_t bytes) override {
    check(cudaMemsetAsync(to, value, bytes, queue_.stream), queue_.stage);
  }
  // From memory that is not pinned the runtime copies before it returns, but where the device itself can read it.
  void write(void* to, const void* host, std::size_t bytes) override {
    check(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, queue_.stream), queue_.stage);
    if (reads_host_memory_ != 0) check(cudaStreamSynchronize(queue_.stream), queue_.stage);
  }
  void read(void* host, const void* from, std::size_t bytes) override {
    check(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, queue_.stream), queue_.stage);
    check(cudaStreamSynchronize(queue_.stream), queue_.stage);
  }
  void copy(void* to, const void* from, std::size_t bytes) override {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, queue_.stream), queue_.stage);
  }

 private:
  const int device_;
  const Queue& queue_;
  int reads_host_memory_ = 0;
};

class CudaDevice final : public Device<float> {
 public:
  explicit CudaDevice(int index) : index_(index), memory_(index, driver_.queue) {
    check(cudaDeviceGetAttribute(&driver_.queue.processors, cudaDevAttrMultiProcessorCount, index),
          "asking the device");
    driver_.queue.overlaps = kernels_wait(index);
  }
  ~CudaDevice() override {
    if (numbers_ != nullptr) memory_.free(numbers_);
  }

  const char* name() const override { return "cuda"; }
  Memory& memory() override { return memory_; }
  // Strips then are whole images, about 64 MB of them.
  Index strip_factor() const override { return 128; }

  std::unique_ptr<Op<float>> make_op(const OpSpec& op, const ProgramSpec& program,
                                     const Declare<float>& declare) override {
    if (program.scope != Scope::training || !program.streams.empty() || op.forward_rows > 0 || op.forward_block > 0 ||
        op.keep != Keep::masks) {
      throw InvalidArgument("scope: a GPU works on whole images; expected a plan whose budget covers training alone");
    }
    return cuda::make_op(op, program, declare, driver_);
  }

  // Beside the arena: the rules of the layers, the step's dropout key, whether its gradient was finite, the ops' maps.
  void allocate(const std::vector<Layer<float>>& layers) override {
    if (numbers_ != nullptr) return;
    first_ = layers.data();
    rules_.assign(3 * layers.size(), Rule{});
    const std::size_t bytes = rules_.size() * sizeof(Rule) + sizeof(std::uint64_t) + 2 * sizeof(int) +
                              driver_.maps.size() * sizeof(std::int32_t);
    numbers_ = memory_.allocate(bytes);
    memory_.fill(numbers_, 0, bytes);
    driver_.rules = reinterpret_cast<Rule*>(numbers_);
    driver_.dropout_key = reinterpret_cast<std::uint64_t*>(driver_.rules + rules_.size());
    driver_.spoilt = reinterpret_cast<int*>(driver_.dropout_key + 1);
    auto* maps = reinterpret_cast<std::int32_t*>(driver_.spoilt + 2);
    if (!driver_.maps.empty()) memory_.write(maps, driver_.maps.data(), driver_.maps.size() * sizeof(std::int32_t));
    driver_.device_maps = maps;
  }

  void enter(std::uintptr_t stream) override {
    check(cudaGetDevice(&before_), "choosing the device");
    if (before_ != index_) check(cudaSetDevice(index_), "choosing the device");
    driver_.queue.stream = reinterpret_cast<cudaStream_t>(stream);
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(driver_.queue.stream, &status), "asking the stream");
    capturing_ = status != cudaStreamCaptureStatusNone;
  }
  void leave() override {
    if (before_ != index_) cudaSetDevice(before_);
  }
  void begin_stage(const char* stage) override { driver_.queue.stage = stage; }

  // While a graph is captured nobody can wait for the answer: a spoilt gradient then leaves everything as it is.
  void require_finite(const float* x, Index count, bool adds_up) override {
    if (!adds_up) memory_.fill(driver_.spoilt, 0, sizeof(int));
    each(driver_.queue, &find_spoilt, count, FiniteArgs{x, count, driver_.spoilt});
    if (capturing_) return;
    int found = 0;
    memory_.read(&found, driver_.spoilt, sizeof found);
    if (found == 0) return;
    memory_.fill(driver_.spoilt, 0, sizeof(int));
    throw NonFinite("backward: the incoming gradient has a NaN or an infinity; nothing was updated");
  }

  bool spoilt() override {
    int found[2] = {};  // in passes that were not applied yet, in those that were
    memory_.read(found, driver_.spoilt, sizeof found);
    return found[0] != 0 || found[1] != 0;
  }
  void applied() override { launch(driver_.queue, &forget_spoilt, dim3(1), 1, ForgetArgs{driver_.spoilt}); }

  // A captured step reads what is there when it is replayed.
  void set_dropout_key(std::uint64_t key) override {
    if (!capturing_) memory_.write(driver_.dropout_key, &key, sizeof key);
  }
  void set_rules(std::vector<Layer<float>>& layers) override {
    if (capturing_) return;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const LayerRules& rules = layers[i].rules;
      rules_[3 * i] = rules.weight, rules_[3 * i + 1] = rules.bias, rules_[3 * i + 2] = rules.beta;
    }
    memory_.write(driver_.rules, rules_.data(), rules_.size() * sizeof(Rule));
  }

  void update_statistics(Layer<float>& layer) override {
    const LayerState<float>& state = layer.state;
    const SquaredNorms& norms = layer.squared_norms;
    const Index panels = div_up(layer.spec.shape.out, kPanel), out = layer.spec.shape.out;
    const Rule* rules = driver_.rules + 3 * (&layer - first_);
    // With gradient sums the squared norms are there for the scores alone; `apply` squares the sums.
    MeanSquare* square = state.sum == nullptr ? state.square : nullptr;
    const StatisticsArgs args{state.scores,
                              norms.rows,
                              state.arena_indices,
                              layer.spec.selected,
                              {{square, norms.rows, layer.spec.selected, layer.sum_count(), rules},
                               {state.bias_square, norms.bias, panels, out, rules + 1},
                               {state.beta_square, norms.beta, panels, out, rules + 2}},
                              driver_.spoilt};
    launch(driver_.queue, &cuda::update_statistics, dim3(1), kStatisticsThreads, args);
    layer.squared_norms = {};
  }

  void apply(Layer<float>& layer) override {
    const LayerState<float>& state = layer.state;
    const LayerParams<float>& params = layer.params;
    const Rule* rules = driver_.rules + 3 * (&layer - first_);
    const ConvShape& s = layer.spec.shape;
    const auto run = [&](float* weight, float* sum, float* momentum, Index count, MeanSquare* square, int which) {
      if (sum == nullptr) return;
      const ApplyArgs args{
          weight, sum, momentum, count, square, rules + which, which == 0, s, state.arena_indices, driver_.spoilt};
      const dim3 grid(square != nullptr ? 1 : std::min(blocks(count, kStatisticsThreads), 1024u));
      launch(driver_.queue, &cuda::apply, grid, kStatisticsThreads, args);
    };
    run(params.weight, state.sum, state.momentum, layer.sum_count(), state.square, 0);
    run(params.bias, state.bias_sum, state.bias_momentum, s.out, state.bias_square, 1);
    run(params.beta, state.beta_sum, state.beta_momentum, s.out, state.beta_square, 2);
  }

 private:
  const int index_;
  int before_ = 0;
  bool capturing_ = false;  // into a graph
  Driver driver_;
  DeviceMemory memory_;
  std::byte* numbers_ = nullptr;
  std::vector<Rule> rules_;
  const Layer<float>* first_ = nullptr;  // the program's layers
};

}  // namespace

namespace {
std::string version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }
}  // namespace

const char* build() { return SPARSEBP_CUDA_BUILD; }

int device_count(std::string* why) {
  int count = 0;  // without a driver the call leaves it as it is
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess) return count;
  cudaGetLastError();
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver), cudaRuntimeGetVersion(&runtime);
  if (why == nullptr) return 0;
  if (status != cudaErrorInsufficientDriver) {
    *why = cudaGetErrorString(status);
  } else if (driver == 0) {
    *why = "there is no CUDA driver";
  } else {
    *why = "the CUDA driver is for " + version(driver) + ", this build of sparsebp needs " + version(runtime);
  }
  return 0;
}

std::unique_ptr<Device<float>> make_device(int index) {
  std::string why;
  const int count = device_count(&why);
  if (index < 0 || index >= count) {
    throw InvalidArgument("device: expected one of " + std::to_string(count) + " CUDA devices, got " +
                          std::to_string(index) + (why.empty() ? "" : " (" + why + ")"));
  }
  return std::make_unique<CudaDevice>(index);
}

}  // namespace sparsebp::cuda
