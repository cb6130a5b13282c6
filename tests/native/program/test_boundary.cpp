// What a program refuses to do: calls at the wrong moment and arguments that cannot be right, before anything runs or
// changes.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

#include "check.h"
#include "core/error.h"
#include "platform/parallel.h"
#include "program/host.h"
#include "program/rules.h"
#include "program/subject.h"

using namespace sparsebp;

namespace {

// The same address, but for one byte.
template <class T>
T* askew(std::vector<T>& numbers) {
  return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(numbers.data()) + 1);
}

}  // namespace

TEST(without_memory_nothing_runs) {
  Subject s(residual(true), false);
  AnyProgram& p = *s.program;
  const auto refused = [](auto call) { CHECK_THROWS(WrongState, call(), "allocate was not called"); };
  refused([&] { s.forward(); });
  refused([&] { s.backward(); });
  refused([&] { p.apply(s.rules); });
  refused([&] { p.prepare_replay(s.rules, 0); });
  refused([&] { p.replayed(); });
  refused([&] { p.set_spare(0, 0); });
  refused([&] { p.spoilt(); });
  refused([&] { p.discard(); });
  refused([&] { p.draw(0, Draw::uniform, 1, 1); });
  refused([&] { p.draw_all(Draw::uniform, 1, 1); });
  refused([&] { p.set_indices(0, {0, 1}); });
  refused([&] { p.indices(0); });
  refused([&] { p.visited(0); });
  refused([&] { p.read(p.persistent()[0], s.x.data()); });
  refused([&] { p.write(p.persistent()[0], s.x.data()); });
  refused([&] { p.sum_region(0, "weight"); });
}

TEST(memory_is_taken_once_and_whole_or_not_at_all) {
  Subject s(residual(), false);
  CHECK_THROWS(std::bad_alloc, s.program->allocate(std::numeric_limits<std::size_t>::max()), "");
  CHECK(s.program->arena() == nullptr);
  CHECK(s.program->workspace() == nullptr);
  s.program->allocate(s.program->training_layout().peak());
  Arena* arena = s.program->arena();
  CHECK_THROWS(WrongState, s.program->allocate(1 << 20), "has its memory already");
  CHECK(s.program->arena() == arena);
}

TEST(without_weights_no_op_runs) {
  Subject s(residual(true), true, false);
  CHECK_THROWS(WrongState, s.forward(), "forward: layer 0 (layer0) has no weights; call bind first");
  CHECK_THROWS(WrongState, s.program->apply(s.rules), "apply: layer 0 (layer0) has no weights");
  s.program->bind(0, s.params(0));
  CHECK_THROWS(WrongState, s.forward(), "layer 1 (layer1)");
  s.forward(0, 1, 2, false);
  CHECK(!s.program->in_flight());
}

TEST(weights_are_what_the_layer_has) {
  Subject s(residual(), true, false);  // layer 0 has a batch norm, no bias
  const auto refused = [&](auto change, const char* words) {
    RawParams p = s.params(0);
    change(p);
    CHECK_THROWS(InvalidArgument, s.program->bind(0, p), words);
    CHECK_THROWS(WrongState, s.forward(0, 1, 2, false), "layer 0 (layer0) has no weights");
  };
  refused([](RawParams& p) { p.weight = nullptr; }, "bind: layer0: weight: expected the address of 144 numbers");
  refused([](RawParams& p) { p.mean = nullptr; }, "bind: layer0: mean: expected the address of 4 numbers");
  refused([](RawParams& p) { p.var = nullptr; }, "bind: layer0: var:");
  refused([](RawParams& p) { p.bias = p.weight; }, "bind: layer0: bias: the layer has none");
  refused([&](RawParams& p) { p.gamma = askew(s.weights); }, "gamma: expected the address of 4 numbers, a multiple of");
  for (int layer : {-1, 2, 1 << 30}) {
    CHECK_THROWS(InvalidArgument, s.program->bind(layer, s.params(0)), "bind: layer: expected 0 to 1, got");
  }
  RawParams p = s.params(0);
  p.gamma = p.beta = nullptr;  // a batch norm may have neither
  s.program->bind(0, p);
  s.forward(0, 1, 2, false);
}

TEST(a_pass_runs_ops_and_images_that_there_are) {
  Subject s(residual());
  for (const std::pair<int, int>& ops : {std::pair{-1, 3}, {0, 4}, {2, 2}, {2, 1}, {0, 1 << 30}, {-(1 << 30), 1}}) {
    CHECK_THROWS(InvalidArgument, s.forward(ops.first, ops.second, 1, false),
                 "forward: expected 0 <= first < last <= 3 ops");
  }
  for (Index images : {Index{-1}, Index{3}, std::numeric_limits<Index>::max(), std::numeric_limits<Index>::min()}) {
    CHECK_THROWS(InvalidArgument, s.forward(0, 3, images), "forward: images: at most 2 images fit, got");
  }
  s.forward(0, 3, 0);
  CHECK(s.program->in_flight());
  s.program->backward(nullptr, nullptr, s.rules, false);  // of no images
  CHECK(!s.program->in_flight());
}

TEST(a_pass_that_begins_beside_a_skip_connection_is_refused) {
  Subject s(residual());
  CHECK_THROWS(InvalidArgument, s.forward(1, 2, 2, false), "forward: op 1 reads value 0, which exists before op 1");
  CHECK_THROWS(InvalidArgument, s.forward(1, 3, 2, false), "a pass from there on gets value 1 alone");
  // Where one value goes on, parts give what the whole gives.
  s.forward(0, 3, 2, false);
  const std::vector<float> whole = s.y;
  s.forward(0, 2, 2, false);
  s.x = s.y;
  s.forward(2, 3, 2, false);
  CHECK(s.y == whole);
}

TEST(a_training_pass_takes_the_whole_span) {
  ProgramSpec spec = residual();
  CHECK_THROWS(InvalidArgument, Subject(spec).forward(0, 2), "forward: save: a training pass takes the whole span");
  CHECK_THROWS(InvalidArgument, Subject(spec).forward(2, 3), "expected first <= 0 and last = 3, got 2 and 3");
  spec.span_begin = 2;
  Subject late(spec);
  late.forward(2, 3);
  late.backward();
}

TEST(addresses_that_cannot_be_are_refused) {
  Subject s(residual());
  AnyProgram& p = *s.program;
  float* const last = reinterpret_cast<float*>(UINTPTR_MAX - 7);
  for (float* bad : {static_cast<float*>(nullptr), askew(s.x), last}) {
    CHECK_THROWS(InvalidArgument, p.forward(0, 3, bad, s.y.data(), 2, true, false, 0),
                 "forward: input: expected the address of 288 numbers, a multiple of their 4 bytes, got");
    CHECK_THROWS(InvalidArgument, p.forward(0, 3, s.x.data(), bad, 2, true, false, 0),
                 "forward: output: expected the address of 360 numbers");
  }
  CHECK(!p.in_flight());
  s.forward();
  const std::size_t held = p.arena()->used();
  for (float* bad : {static_cast<float*>(nullptr), askew(s.x), last}) {
    CHECK_THROWS(InvalidArgument, p.backward(bad, s.dx.data(), s.rules, false), "backward: output_grad:");
    CHECK_THROWS(InvalidArgument, p.backward(s.y.data(), bad, s.rules, false), "backward: input_grad:");
  }
  CHECK_THROWS(InvalidArgument, p.backward(s.y.data(), s.dx.data(), {kRule}, false),
               "rules: expected one for each of 2 layers, got 1");
  CHECK(p.in_flight());
  CHECK_EQUAL(p.arena()->used(), held);
  s.backward();
}

TEST(rules_are_finite) {
  Subject s(residual(true));
  s.forward();
  for (double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    const auto refused = [&](auto spoil, const char* why) {
      std::vector<LayerRule> rules = s.rules;
      spoil(rules);
      CHECK_THROWS(InvalidArgument, s.program->backward(s.y.data(), s.dx.data(), rules, false), why);
      CHECK_THROWS(InvalidArgument, s.program->apply(rules), why);
      CHECK_THROWS(WrongState, s.program->prepare_replay(rules, 0), "still waits for its backward");
    };
    refused([&](auto& rules) { rules[0].weight.rate = bad; }, "rules: layer0, weight: expected finite numbers, got");
    refused([&](auto& rules) { rules[0].bias.weight_decay = bad; }, "rules: layer0, bias: expected finite numbers");
    refused([&](auto& rules) { rules[1].shift.momentum = bad; }, "rules: layer1, shift: expected finite numbers");
  }
}

TEST(a_backward_pass_follows_one_forward_pass) {
  Subject s(residual());
  CHECK_THROWS(WrongState, s.backward(), "backward: there is no training forward pass");
  s.forward(0, 3, 2, false);
  CHECK_THROWS(WrongState, s.backward(), "backward: there is no training forward pass");
  s.forward();
  CHECK_THROWS(WrongState, s.forward(), "still waits for its backward");
  CHECK_THROWS(WrongState, s.program->backward(s.y.data(), s.dx.data(), s.rules, true), "only a program of one op");
  s.backward();
  CHECK_THROWS(WrongState, s.backward(), "backward: there is no training forward pass");
  CHECK_THROWS(WrongState, s.program->apply(s.rules), "holds no gradient sums");
}

TEST(calls_from_several_threads_wait_for_each_other) {
  Subject s(residual());
  for (LayerRule& rule : s.rules) rule.weight.rate = rule.bias.rate = rule.shift.rate = 0;
  std::atomic<bool> ends{false};
  std::thread draws([&] {
    for (std::uint64_t turn = 0; !ends; ++turn) {
      try {
        s.program->draw_all(Draw::largest, 5, turn);
      } catch (const WrongState&) {  // between a forward pass and its backward pass
      }
    }
  });
  for (int step = 0; step < 200; ++step) {
    s.forward();
    s.backward();
  }
  ends = true;
  draws.join();
  CHECK(!s.program->in_flight());
}

namespace {

// This processor, but for convolutions that give up while `fails`.
class Failing final : public Device<float> {
 public:
  explicit Failing(bool& fails) : fails_(fails) {}

  const char* name() const override { return "failing"; }
  Memory& memory() override { return host_->memory(); }
  const Kernels<float>* kernels() const override { return host_->kernels(); }
  std::unique_ptr<Op<float>> make_op(const OpSpec& op, const ProgramSpec& program,
                                     const Declare<float>& declare) override {
    std::unique_ptr<Op<float>> own = host_->make_op(op, program, declare);
    if (op.layers.empty() || op.layers[0] != 1) return own;
    return std::make_unique<FailingOp>(op, std::move(own), fails_);
  }
  void require_finite(const float*, Index, bool) override {}
  void set_rules(std::vector<Layer<float>>& layers) override { host_->set_rules(layers); }
  void update_statistics(Layer<float>& layer) override { host_->update_statistics(layer); }
  void apply(Layer<float>& layer) override { host_->apply(layer); }

 private:
  class FailingOp final : public Op<float> {
   public:
    FailingOp(const OpSpec& op, std::unique_ptr<Op<float>> own, bool& fails)
        : Op<float>(op), own_(std::move(own)), fails_(fails) {}
    void forward(Context<float>& context) override {
      own_->forward(context);
      if (fails_) throw DeviceError("the device gave up");
    }
    void backward(Context<float>& context) override { own_->backward(context); }

   private:
    std::unique_ptr<Op<float>> own_;
    bool& fails_;
  };

  std::unique_ptr<Device<float>> host_ = make_host<float>(choose_isa());
  bool& fails_;
};

}  // namespace

TEST(a_pass_that_a_device_gives_up_leaves_nothing_held) {
  bool fails = false;
  Subject s(residual(), false, false);
  s.program = make_program(residual(), std::make_unique<Failing>(fails));
  s.program->allocate(s.program->training_layout().peak());
  for (int layer : {0, 1}) s.program->bind(layer, s.params(layer));
  const std::size_t resting = s.program->arena()->used();
  for (bool save : {true, false}) {
    fails = true;
    CHECK_THROWS(DeviceError, s.forward(0, 3, 2, save), "gave up");
    CHECK_EQUAL(s.program->arena()->used(), resting);
    CHECK_EQUAL(s.program->workspace()->used(), 0u);
    CHECK(!s.program->in_flight());
    fails = false;
    s.forward();
    s.backward();
  }
}
