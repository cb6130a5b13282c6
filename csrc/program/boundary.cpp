#include "program/boundary.h"

#include <algorithm>
#include <mutex>

#include "core/address.h"
#include "core/error.h"
#include "program/pass_check.h"
#include "spec/validate.h"

namespace sparsebp {
namespace {

class Boundary final : public AnyProgram {
 public:
  Boundary(std::unique_ptr<AnyProgram> program, std::size_t element)
      : program_(std::move(program)), element_(element), check_(spec(), element), bound_(spec().layers.size(), 0) {}

  const ProgramSpec& spec() const override { return program_->spec(); }
  const Layout& training_layout() const override { return program_->training_layout(); }
  const Layout& workspace_layout() const override { return program_->workspace_layout(); }
  const char* isa() const override { return program_->isa(); }
  std::size_t itemsize() const override { return program_->itemsize(); }
  Arena* arena() override { return program_->arena(); }
  Arena* workspace() override { return program_->workspace(); }
  bool in_flight() const override {
    const Lock lock(mutex_);
    return program_->in_flight();
  }
  void set_stream(std::uintptr_t stream) override {
    const Lock lock(mutex_);
    program_->set_stream(stream);
  }

  void allocate(std::size_t budget) override {
    const Lock lock(mutex_);
    if (arena() != nullptr) throw WrongState("allocate: the program has its memory already; make another program");
    program_->allocate(budget);
  }

  void bind(int layer, const RawParams& p) override {
    const Lock lock(mutex_);
    const LayerSpec& l = require_layer("bind", layer);
    const Index out = l.shape.out;
    enum Need { unknown, optional, required };  // to this kind of layer
    const auto check = [&](const char* name, const void* address, Index count, Need need) {
      const std::string what = "bind: " + l.name + ": " + name;
      if (address == nullptr && need != required) return;
      if (need == unknown) throw InvalidArgument(what + ": the layer has none, got an address");
      check_address(what, address, count, element_);
    };
    const Index vector = l.shared ? 1 : out;
    check("weight", p.weight, l.shape.weights(), l.has_weight() ? required : unknown);
    check("bias", p.bias, vector, l.has_bias ? required : unknown);
    check("gamma", p.gamma, vector, l.has_norm || !l.has_weight() ? optional : unknown);
    check("beta", p.beta, out, l.has_norm ? optional : unknown);
    check("mean", p.mean, out, l.has_norm ? required : unknown);
    check("var", p.var, out, l.has_norm ? required : unknown);
    program_->bind(layer, p);
    bound_[static_cast<std::size_t>(layer)] = 1;
  }

  void set_spare(int layer, Index count) override {
    const Lock lock(mutex_);
    require_memory_taken("set_spare");
    require_landed("set_spare");
    check_spare(require_layer("set_spare", layer), count);
    if (std::string(isa()) == "cuda")
      throw InvalidArgument("set_spare: expected a program on this processor, not cuda");
    program_->set_spare(layer, count);
  }

  std::uint8_t* pictures() override {
    const Lock lock(mutex_);
    require_memory_taken("pictures");
    require_landed("pictures");  // what it saved may lie there
    return program_->pictures();
  }
  void* output() override {
    const Lock lock(mutex_);
    require_memory_taken("output");
    return program_->output();
  }

  void forward(int first, int last, const PassInput& in, void* out, Index images, bool save, bool drop,
               std::uint64_t dropout_key) override {
    const Lock lock(mutex_);
    require_memory_taken("forward");
    if (save || spec().scope == Scope::step)
      require_landed("forward");  // in a whole step its memory is inference's too
    check_.range(first, last, images, save);
    for (int i = first; i < last; ++i) {
      for (int layer : spec().ops[static_cast<std::size_t>(i)].layers) require_bound("forward", layer);
    }
    check_.addresses(first, last, in, out, images);
    program_->forward(first, last, in, out, images, save, drop, dropout_key);
    if (save) flight_images_ = images;
  }

  void backward(const void* dy, void* dx, const std::vector<LayerRule>& rules, bool keep) override {
    const Lock lock(mutex_);
    require_memory_taken("backward");
    if (!program_->in_flight()) {
      throw WrongState("backward: there is no training forward pass to go back through");
    }
    if (keep && (spec().ops.size() != 1 || !spec().sums)) {
      throw WrongState("backward: only a program of one op with gradient sums can keep its forward pass");
    }
    check_.value("backward: output_grad", dy, spec().output, flight_images_);
    if (spec().input_grad && spec().span_begin == 0) {
      check_.value("backward: input_grad", dx, spec().input, flight_images_);
    }
    check_rules(spec(), rules);
    program_->backward(dy, dx, rules, keep);
  }

  void* loss_gradient() override {
    const Lock lock(mutex_);
    require_memory_taken("loss_gradient");
    if (!spec().loss) throw WrongState("loss_gradient: this program leaves the loss to the caller");
    if (!program_->in_flight()) throw WrongState("loss_gradient: there is no training forward pass");
    return program_->loss_gradient();
  }

  void apply(const std::vector<LayerRule>& rules) override {
    const Lock lock(mutex_);
    require_memory_taken("apply");
    if (!spec().sums) throw WrongState("apply: this plan holds no gradient sums");
    for (std::size_t l = 0; l < bound_.size(); ++l) require_bound("apply", static_cast<int>(l));
    check_rules(spec(), rules);
    program_->apply(rules);
  }

  void prepare_replay(const std::vector<LayerRule>& rules, std::uint64_t dropout_key) override {
    const Lock lock(mutex_);
    require_memory_taken("replay");
    require_landed("replay");
    check_rules(spec(), rules);
    program_->prepare_replay(rules, dropout_key);
  }
  void replayed() override {
    const Lock lock(mutex_);
    require_memory_taken("replayed");
    program_->replayed();
  }
  bool spoilt() override {
    const Lock lock(mutex_);
    require_memory_taken("spoilt");
    return program_->spoilt();
  }
  void discard() override {
    const Lock lock(mutex_);
    require_memory_taken("discard");
    program_->discard();
  }

  void draw(int layer, Draw method, std::uint64_t seed, std::uint64_t turn) override {
    const Lock lock(mutex_);
    require_draw(method);
    require_layer("draw", layer);
    program_->draw(layer, method, seed, turn);
  }
  void draw_all(Draw method, std::uint64_t seed, std::uint64_t turn) override {
    const Lock lock(mutex_);
    require_draw(method);
    program_->draw_all(method, seed, turn);
  }
  void set_indices(int layer, const std::vector<std::int32_t>& channels) override {
    const Lock lock(mutex_);
    require_memory_taken("set_indices");
    require_landed("set_indices");
    check_channels(require_layer("set_indices", layer), channels);
    program_->set_indices(layer, channels);
  }
  std::vector<std::int32_t> indices(int layer) const override {
    const Lock lock(mutex_);
    require_memory_taken("indices");
    require_layer("indices", layer);
    return program_->indices(layer);
  }
  Index visited(int layer) const override {
    const Lock lock(mutex_);
    require_memory_taken("visited");
    require_layer("visited", layer);
    return program_->visited(layer);
  }

  std::vector<Region> persistent() const override { return program_->persistent(); }
  void read(const Region& region, void* out) override {
    const Lock lock(mutex_);
    require_memory_taken("read");
    require_persistent("read", region, out);
    program_->read(region, out);
  }
  void write(const Region& region, const void* in) override {
    const Lock lock(mutex_);
    require_memory_taken("write");
    require_landed("write");
    require_persistent("write", region, in);
    program_->write(region, in);
  }
  Region sum_region(int layer, const std::string& parameter) const override {
    const Lock lock(mutex_);
    require_memory_taken("sum_region");
    require_layer("sum_region", layer);
    if (parameter != "weight" && parameter != "bias" && parameter != "beta") {
      throw InvalidArgument("sum_region: parameter: expected weight, bias or beta, got '" + parameter + "'");
    }
    return program_->sum_region(layer, parameter);
  }

 private:
  using Lock = std::lock_guard<std::mutex>;

  void require_memory_taken(const char* call) const {
    if (program_->arena() == nullptr) throw WrongState(std::string(call) + ": allocate was not called");
  }
  void require_landed(const char* call) const {
    if (!program_->in_flight()) return;
    throw WrongState(std::string(call) + ": a training forward pass still waits for its backward");
  }
  const LayerSpec& require_layer(const char* call, int layer) const {
    const auto index = static_cast<std::size_t>(layer);
    if (layer >= 0 && index < bound_.size()) return spec().layers[index];
    throw InvalidArgument(std::string(call) + ": layer: expected " +
                          (bound_.empty() ? "none" : "0 to " + std::to_string(bound_.size() - 1)) + ", got " +
                          std::to_string(layer));
  }
  void require_bound(const char* call, int layer) const {
    if (bound_[static_cast<std::size_t>(layer)] != 0) return;
    throw WrongState(std::string(call) + ": layer " + std::to_string(layer) + " (" +
                     spec().layers[static_cast<std::size_t>(layer)].name + ") has no weights; call bind first");
  }

  void require_draw(Draw method) const {
    require_memory_taken("draw");
    require_landed("draw");
    if (method < Draw::uniform || method > Draw::largest) {
      throw InvalidArgument("draw: method: expected 0 to " + std::to_string(static_cast<int>(Draw::largest)) +
                            ", got " + std::to_string(static_cast<int>(method)));
    }
    if (!spec().scores && (method == Draw::weighted || method == Draw::largest)) {
      throw WrongState("draw: this plan keeps no scores");
    }
  }
  void require_persistent(const char* call, const Region& region, const void* data) const {
    const std::vector<Region> all = program_->persistent();
    const bool known = std::any_of(all.begin(), all.end(), [&](const Region& own) {
      return own.offset == region.offset && own.bytes == region.bytes;
    });
    if (!known || data == nullptr) {
      throw InvalidArgument(std::string(call) + ": expected a persistent region and an address, got offset " +
                            std::to_string(region.offset) + ", " + std::to_string(region.bytes) + " bytes" +
                            (data == nullptr ? ", null" : ""));
    }
  }

  const std::unique_ptr<AnyProgram> program_;
  const std::size_t element_;
  const PassCheck check_;
  std::vector<char> bound_;  // layers
  Index flight_images_ = 0;
  mutable std::mutex mutex_;
};

}  // namespace

std::unique_ptr<AnyProgram> guarded(std::unique_ptr<AnyProgram> program, std::size_t element) {
  return std::make_unique<Boundary>(std::move(program), element);
}

}  // namespace sparsebp
