#include "program/program.h"

#include <algorithm>

#include "core/error.h"
#include "program/boundary.h"
#include "program/host.h"
#include "program/op_list.h"
#include "program/training_state.h"
#include "spec/validate.h"

namespace sparsebp {
namespace {

// Believes what it is told: boundary.h stands between it and its callers.
template <class T>
class Program final : public AnyProgram {
 public:
  Program(ProgramSpec spec, std::unique_ptr<Device<T>> device)
      : spec_(validated(std::move(spec))), device_(std::move(device)), value_buffers_(spec_) {
    context_.kernels = device_->kernels();
    context_.batch = spec_.batch;
    for (const LayerSpec& layer : spec_.layers) context_.layers.emplace_back(layer);
    const std::size_t values = spec_.values.size();
    context_.values.assign(values, nullptr);
    context_.grads.assign(values, nullptr);
    context_.grad_set.assign(values, 0);
    for (const LayerSpec& layer : spec_.layers) trains_ = trains_ || layer.trains();
    for (const OpSpec& op : spec_.ops) drops_ = drops_ || op.drop > 0;
    lay_out();
  }

  const ProgramSpec& spec() const override { return spec_; }
  const Layout& training_layout() const override { return context_.training.layout; }
  const Layout& workspace_layout() const override { return context_.own_workspace.layout; }
  const char* isa() const override { return device_->name(); }
  std::size_t itemsize() const override { return sizeof(T); }
  void set_stream(std::uintptr_t stream) override { stream_ = stream; }
  Arena* arena() override { return context_.training.arena.get(); }
  Arena* workspace() override { return context_.own_workspace.arena.get(); }
  bool in_flight() const override { return in_flight_; }

  void allocate(std::size_t budget) override {
    const std::size_t peak = context_.training.layout.peak();
    if (peak > budget) {
      throw BudgetExceeded("the plan needs " + std::to_string(peak) + " bytes of training memory, the budget is " +
                               std::to_string(budget),
                           peak, budget);
    }
    const DeviceScope<T> scope(*device_, stream_);
    device_->begin_stage("allocating the arena");
    try {
      context_.training.allocate(budget, device_->memory());
      device_->begin_stage("allocating the workspace");
      context_.own_workspace.allocate(context_.own_workspace.layout.peak(), device_->memory());
      state_.acquire(context_);
      device_->allocate(context_.layers);
    } catch (...) {
      context_.training.arena.reset();
      context_.own_workspace.arena.reset();
      throw;
    }
  }

  void bind(int layer, const RawParams& p) override {
    LayerParams<T>& params = layer_at(layer).params;
    params.weight = static_cast<T*>(p.weight), params.bias = static_cast<T*>(p.bias);
    params.gamma = static_cast<const T*>(p.gamma), params.beta = static_cast<T*>(p.beta);
    params.mean = static_cast<const T*>(p.mean), params.var = static_cast<const T*>(p.var);
  }

  void set_spare(int layer, Index count) override { layer_at(layer).set_spare(count); }

  std::uint8_t* pictures() override { return input_.pictures(context_); }
  void* output() override { return value_buffers_.output_place(context_); }

  void forward(int first, int last, const PassInput& in, void* out, Index images, bool save, bool drop,
               std::uint64_t dropout_key) override {
    const DeviceScope<T> scope(*device_, stream_);
    value_buffers_.release_output(context_);
    context_.images = images, context_.save = false, context_.drop = drop, context_.dropout_key = dropout_key;
    device_->begin_stage("preparing the forward pass");
    if (drop && drops_) device_->set_dropout_key(dropout_key);
    const int out_value = op(last - 1).output;
    try {
      set_value(op(first).inputs[0], static_cast<T*>(const_cast<void*>(in.numbers)));
      if (first == 0) input_.begin(context_, in);
      for (int i = first, next; i < last; i = next) {
        next = ops_.after(i);
        const int made = op(next - 1).output;
        if (made == out_value && !holds_output(made)) {
          set_value(made, static_cast<T*>(out));
        } else {
          value_buffers_.acquire_value(context_, made);
        }
        context_.save = save && i >= spec_.span_begin;
        device_->begin_stage(ops_.name(i));
        if (images > 0) ops_.forward(i, context_, input_);
        for (int time = i; time < next; ++time) value_buffers_.release_values_at(context_, time);
      }
    } catch (...) {  // a device that gave up, a reader without a row
      value_buffers_.release_values(context_);
      value_buffers_.release_output(context_);
      if (save) value_buffers_.release_training(context_);
      throw;
    }
    value_buffers_.release_values(context_);
    const T* own = value_buffers_.output(context_);
    if (own != nullptr && own != out) std::copy_n(own, images * value(out_value).count(), static_cast<T*>(out));
    if (save) {
      in_flight_ = true;
      flight_images_ = images;
    }
  }

  void backward(const void* dy, void* dx, const std::vector<LayerRule>& rules, bool keep) override {
    // An inference pass may have run in between, on another number of images.
    context_.images = flight_images_;
    const T* incoming = static_cast<const T*>(dy);
    const Index count = context_.images * value(spec_.output).count();
    const DeviceScope<T> scope(*device_, stream_);
    device_->begin_stage("checking the incoming gradient");
    if (trains_) device_->require_finite(incoming, count, spec_.sums);
    set_rules(rules);
    if (spec_.loss) incoming = in_arena(incoming, count);
    std::fill(context_.grads.begin(), context_.grads.end(), nullptr);
    std::fill(context_.grad_set.begin(), context_.grad_set.end(), 0);
    context_.grads[static_cast<std::size_t>(spec_.output)] = const_cast<T*>(incoming);
    if (spec_.input_grad) context_.grads[static_cast<std::size_t>(spec_.input)] = static_cast<T*>(dx);
    const int n = ops_.size();
    for (int i = n - 1; i >= spec_.span_begin && context_.images > 0; --i) {
      if (!value_buffers_.needs_grad(op(i).output)) continue;
      for (int input : op(i).inputs) value_buffers_.acquire_grad(context_, input);
      device_->begin_stage(ops_.name(i));
      squared_norms_.begin(context_, i);
      ops_.backward(i, context_);
      squared_norms_.end(context_, i, *device_);
      value_buffers_.release_training_at(context_, 2 * n - 1 - i, keep ? n : 0);
    }
    if (context_.images > 0) state_.mark_visited(context_);
    if (!keep) discard();
  }

  void* loss_gradient() override {
    context_.images = flight_images_;  // an inference pass may have run in between
    return value_buffers_.output_grad(context_);
  }

  void apply(const std::vector<LayerRule>& rules) override {
    const DeviceScope<T> scope(*device_, stream_);
    device_->begin_stage("applying the gradient sums");
    set_rules(rules);
    for (Layer<T>& layer : context_.layers) device_->apply(layer);
    device_->applied();
  }

  void prepare_replay(const std::vector<LayerRule>& rules, std::uint64_t dropout_key) override {
    const DeviceScope<T> scope(*device_, stream_);
    device_->begin_stage("preparing a replay");
    set_rules(rules);
    if (drops_) device_->set_dropout_key(dropout_key);
  }
  void replayed() override { state_.mark_visited(context_); }
  bool spoilt() override {
    const DeviceScope<T> scope(*device_, stream_);
    device_->begin_stage("asking for the last gradient");
    return device_->spoilt();
  }

  void discard() override {
    value_buffers_.release_training(context_);
    in_flight_ = false;
  }

  void draw(int index, Draw method, std::uint64_t seed, std::uint64_t turn) override {
    if (layer_at(index).state.indices == nullptr) return;
    const DeviceScope<T> scope(*device_, stream_);
    state_.draw(context_, index, method, seed, turn);
    state_.publish(context_, index);
  }

  void draw_all(Draw method, std::uint64_t seed, std::uint64_t turn) override {
    const DeviceScope<T> scope(*device_, stream_);
    for (int i = 0; i < static_cast<int>(context_.layers.size()); ++i) {
      if (layer_at(i).state.indices != nullptr) state_.draw(context_, i, method, seed, turn);
    }
    state_.publish_all(context_);
  }

  void set_indices(int index, const std::vector<std::int32_t>& channels) override {
    Layer<T>& layer = layer_at(index);
    if (layer.state.indices == nullptr) return;
    const DeviceScope<T> scope(*device_, stream_);
    std::copy(channels.begin(), channels.end(), layer.state.indices);
    state_.publish(context_, index);
    state_.forget_momentum(context_, index);
  }

  std::vector<std::int32_t> indices(int index) const override {
    const Layer<T>& layer = layer_at(index);
    std::vector<std::int32_t> out(static_cast<std::size_t>(layer.spec.selected));
    for (std::size_t j = 0; j < out.size(); ++j) {
      out[j] = static_cast<std::int32_t>(layer.channel(static_cast<Index>(j)));
    }
    return out;
  }

  Index visited(int index) const override { return state_.visited(layer_at(index)); }

  std::vector<Region> persistent() const override { return state_.regions(training_layout()); }

  void read(const Region& region, void* out) override {
    const DeviceScope<T> scope(*device_, stream_);
    state_.read(context_, region.offset, region.bytes, out);
  }

  void write(const Region& region, const void* in) override {
    const DeviceScope<T> scope(*device_, stream_);
    state_.write(context_, region.offset, region.bytes, in);
  }

  Region sum_region(int layer, const std::string& parameter) const override {
    return state_.sum_region(context_, layer, parameter);
  }

 private:
  static ProgramSpec validated(ProgramSpec spec) {
    validate(spec);
    return spec;
  }
  Layer<T>& layer_at(int index) { return context_.layers[static_cast<std::size_t>(index)]; }
  const Layer<T>& layer_at(int index) const { return context_.layers[static_cast<std::size_t>(index)]; }
  void set_value(int id, T* data) { context_.values[static_cast<std::size_t>(id)] = data; }

  const OpSpec& op(int i) const { return spec_.ops[static_cast<std::size_t>(i)]; }
  const ValueSpec& value(int id) const { return spec_.values[static_cast<std::size_t>(id)]; }
  bool holds_output(int id) const { return id == spec_.output && spec_.scope == Scope::step; }

  void lay_out() {
    if (spec_.scope == Scope::step) context_.workspace = &context_.training;
    state_.declare(context_.training.layout, spec_, value_buffers_.end_time());
    input_.declare(context_, spec_);
    value_buffers_.declare(context_, spec_);
    ops_.lay_out(spec_, *device_, context_, value_buffers_, squared_norms_);
    if (spec_.loss) value_buffers_.declare_output_grad(context_, spec_);
    context_.training.layout.assign();
    context_.own_workspace.layout.assign();
    value_buffers_.order_releases(context_);
  }

  // A gradient of the output that somebody else computed is copied: it counts as long as the backward pass needs it.
  const T* in_arena(const T* incoming, Index count) {
    T* own = value_buffers_.output_grad(context_);
    if (own != incoming && count > 0) {
      device_->memory().copy(own, incoming, static_cast<std::size_t>(count) * sizeof(T));
    }
    return own;
  }

  void set_rules(const std::vector<LayerRule>& rules) {
    put_rules(rules, context_.layers);
    device_->set_rules(context_.layers);
  }

  const ProgramSpec spec_;
  const std::unique_ptr<Device<T>> device_;
  ValueBuffers<T> value_buffers_;
  Context<T> context_;
  TrainingState<T> state_;
  SquaredNormBuffers<T> squared_norms_;
  InputBuffers<T> input_;
  OpList<T> ops_;
  bool trains_ = false;  // otherwise nothing can be spoilt by a gradient that is not finite
  bool drops_ = false;   // is there a dropout
  bool in_flight_ = false;
  Index flight_images_ = 0;
  std::uintptr_t stream_ = 0;
};

}  // namespace

std::unique_ptr<AnyProgram> make_program(ProgramSpec spec, bool float64, const std::string& isa) {
  if (!float64) return make_program(std::move(spec), isa);
  auto program = std::make_unique<Program<double>>(std::move(spec), make_host<double>(choose_isa(isa)));
  return guarded(std::move(program), sizeof(double));
}

std::unique_ptr<AnyProgram> make_program(ProgramSpec spec, const std::string& isa) {
  return make_program(std::move(spec), make_host<float>(choose_isa(isa)));
}

std::unique_ptr<AnyProgram> make_program(ProgramSpec spec, const std::string& isa, Memory& memory) {
  return make_program(std::move(spec), make_host<float>(choose_isa(isa), memory));
}

std::unique_ptr<AnyProgram> make_program(ProgramSpec spec, std::unique_ptr<Device<float>> device) {
  return guarded(std::make_unique<Program<float>>(std::move(spec), std::move(device)), sizeof(float));
}

}  // namespace sparsebp
