// A trainer against the calls to a program that it stands for, written out one by one.
#include <stdexcept>

#include "check.h"
#include "core/error.h"
#include "core/random.h"
#include "program_cases.h"
#include "training/rule_group.h"
#include "training/trainer.h"

using namespace sparsebp;

namespace {

constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15ull;

// A layer that draws two of its four channels, a dropout, and a layer that trains all of its channels.
ProgramSpec with_dropout(bool sums = false) {
  Options options;
  options.span_begin = 0, options.sums = sums;
  Builder b(options, {4, 4, 4});
  const int v = b.conv(0, b.layer(4, 5, 4, 3, 1, 1, Activation::relu, 2));
  const int kept = b.op(OpKind::dropout, {v}, {}, {4, 4, 5});
  b.last().drop = 0.5;
  b.conv(kept, b.layer(5, 3, 4, 1, 1, 1, Activation::identity, 5));
  return b.spec;
}

// A program with weights and numbers to call it with.
struct Subject {
  std::unique_ptr<AnyProgram> program;
  std::vector<std::vector<float>> weights;
  std::vector<float> x, y = std::vector<float>(200), dy = std::vector<float>(200, 0.01f);

  explicit Subject(const ProgramSpec& spec) : program(make_program(spec, false, "")) {
    program->allocate(program->training_layout().peak());
    for (std::size_t i = 0; i < 200; ++i) x.push_back(static_cast<float>(random_unit(3, i)));
    for (std::size_t l = 0; l < spec.layers.size(); ++l) {
      weights.emplace_back();
      for (std::size_t i = 0; i < 250; ++i) weights.back().push_back(static_cast<float>(random_unit(5 + l, i)));
      const LayerSpec& layer = spec.layers[l];
      float* all = weights.back().data();
      RawParams p{all, layer.has_bias ? all + 200 : nullptr, nullptr, nullptr, nullptr, nullptr};
      if (layer.has_norm) p.gamma = all + 210, p.beta = all + 220, p.mean = all + 230, p.var = all + 240;
      program->bind(static_cast<int>(l), p);
    }
  }
  int ops() const { return static_cast<int>(program->spec().ops.size()); }
  void forward(Trainer& trainer) { trainer.forward(0, ops(), x.data(), y.data(), 2, true); }
  void step(Trainer& trainer) {
    forward(trainer);
    trainer.backward(dy.data(), nullptr, 1);
    trainer.finish_step();
  }
};

ParameterRule rule(double rate, bool normalise = false) { return {true, rate, 0.01, 0, normalise}; }

void give_rules(Trainer& trainer, const ParameterRule& weight) {
  for (LayerRule& layer : trainer.rules()) layer = {weight, rule(0.1), rule(0.1)};
}

}  // namespace

TEST(a_step_is_a_draw_a_forward_a_backward_pass_and_an_update) {
  for (bool sums : {false, true}) {
    Subject by_hand(with_dropout(sums)), trained(with_dropout(sums));
    Trainer trainer(*trained.program, {Sampling::uniform, 7, 11, 2});
    give_rules(trainer, rule(0.3));
    trainer.draw();
    const std::vector<LayerRule> rules(2, {rule(0.3), rule(0.1), rule(0.1)});
    for (std::uint64_t step = 0; step < 7; ++step) {
      if (step % 2 == 0) by_hand.program->draw_all(Draw::uniform, 7, step / 2);
      by_hand.program->forward(0, by_hand.ops(), by_hand.x.data(), by_hand.y.data(), 2, true, true,
                               11 * kGolden + step);
      by_hand.program->backward(by_hand.dy.data(), nullptr, rules, false);
      if (sums) by_hand.program->apply(rules);
      trained.step(trainer);
      CHECK(trained.y == by_hand.y);
      CHECK(trained.weights == by_hand.weights);
    }
    CHECK_EQUAL(trainer.progress().steps, 7u);
    CHECK_EQUAL(trainer.progress().turn, 3u);
    CHECK_EQUAL(trainer.progress().forwards, 7u);
    CHECK(!trainer.progress().due);
  }
}

TEST(a_part_of_a_step_moves_its_share_and_a_normalised_one_the_root_of_it) {
  for (bool normalise : {false, true}) {
    Subject by_hand(with_dropout()), trained(with_dropout());
    Trainer trainer(*trained.program, {});
    give_rules(trainer, rule(0.3, normalise));
    const double part = normalise ? 0.5 : 0.25;  // of a quarter
    const std::vector<LayerRule> rules(2, {rule(0.3 * part, normalise), rule(0.1 * 0.25), rule(0.1 * 0.25)});
    by_hand.program->forward(0, by_hand.ops(), by_hand.x.data(), by_hand.y.data(), 2, true, true, 0);
    by_hand.program->backward(by_hand.dy.data(), nullptr, rules, false);
    trained.forward(trainer);
    trainer.backward(trained.dy.data(), nullptr, 0.25);
    CHECK(trained.weights == by_hand.weights);
  }
}

TEST(update_sets_stay_until_they_have_trained) {
  Subject s(with_dropout());
  Trainer trainer(*s.program, {});
  give_rules(trainer, rule(0.1));
  s.step(trainer);
  CHECK(trainer.progress().due);
  s.forward(trainer);
  CHECK_EQUAL(trainer.progress().turn, 1u);
  const std::vector<std::int32_t> drawn = s.program->indices(0);
  trainer.discard();
  trainer.finish_step();  // of no backward pass
  s.forward(trainer);
  CHECK(s.program->indices(0) == drawn);
  CHECK_EQUAL(trainer.progress().turn, 1u);
  CHECK_EQUAL(trainer.progress().steps, 1u);
  CHECK_EQUAL(trainer.progress().forwards, 3u);
  trainer.backward(s.dy.data(), nullptr, 1);
  trainer.cancel_step();
  trainer.finish_step();
  CHECK_EQUAL(trainer.progress().steps, 1u);
}

TEST(one_set_for_ever_is_drawn_once) {
  Subject s(with_dropout());
  Trainer trainer(*s.program, {Sampling::fixed, 5, 0, 1});
  give_rules(trainer, rule(0.1));
  trainer.draw();
  const std::vector<std::int32_t> drawn = s.program->indices(0);
  for (int step = 0; step < 5; ++step) s.step(trainer);
  CHECK(s.program->indices(0) == drawn);
}

TEST(a_policy_of_the_callers_draws_and_may_refuse) {
  Subject s(with_dropout());
  bool refuses = false;
  Trainer trainer(*s.program, {}, [&](std::uint64_t turn) {
    if (refuses) throw std::runtime_error("not now");
    s.program->set_indices(0, {static_cast<std::int32_t>(turn % 4), 3 - static_cast<std::int32_t>(turn % 4)});
  });
  give_rules(trainer, rule(0.1));
  trainer.draw();
  CHECK(s.program->indices(0) == std::vector<std::int32_t>({0, 3}));
  s.step(trainer);
  refuses = true;
  CHECK_THROWS(std::runtime_error, s.forward(trainer), "not now");
  CHECK_EQUAL(trainer.progress().turn, 0u);
  CHECK(trainer.progress().due);
  CHECK(!s.program->in_flight());
  refuses = false;
  s.forward(trainer);
  CHECK(s.program->indices(0) == std::vector<std::int32_t>({1, 2}));
}

TEST(machines_that_take_turns_drop_what_one_drops_in_the_end) {
  Subject alone(with_dropout()), shared[] = {Subject(with_dropout()), Subject(with_dropout())};
  Trainer one(*alone.program, Draws{});
  Trainer two[] = {Trainer(*shared[0].program, Draws{}), Trainer(*shared[1].program, Draws{})};
  for (std::uint64_t rank : {0, 1}) {
    Progress progress;
    progress.forwards = rank;
    two[rank].set_progress(progress), two[rank].set_stride(2);
  }
  for (std::size_t pass = 0; pass < 6; ++pass) {
    Subject& own = shared[pass % 2];
    alone.forward(one), own.forward(two[pass % 2]);
    CHECK(alone.y == own.y);
    CHECK_EQUAL(two[pass % 2].progress().forwards, pass + 2);
    one.discard(), two[pass % 2].discard();
  }
}

TEST(inference_that_drops_nothing_leaves_the_next_dropout_alone) {
  Subject s(with_dropout());
  Trainer trainer(*s.program, {});
  trainer.infer(0, s.ops(), s.x.data(), s.y.data(), 2, false);
  CHECK_EQUAL(trainer.progress().forwards, 0u);
  trainer.infer(0, s.ops(), s.x.data(), s.y.data(), 2, true);
  CHECK_EQUAL(trainer.progress().forwards, 1u);
}

TEST(without_rules_nothing_trains) {
  Subject s(with_dropout());
  const auto before = s.weights;
  Trainer trainer(*s.program, {});
  s.step(trainer);
  CHECK(s.weights == before);
}

TEST(a_group_has_one_rule_for_its_parameters_alone) {
  Subject s(with_dropout());
  Trainer trainer(*s.program, {});
  RuleGroup group(trainer, {{0, 1}, {1, 0}});
  group.set(rule(0.5));
  for (int layer : {0, 1}) {
    const LayerRule& rules = trainer.rules()[static_cast<std::size_t>(layer)];
    CHECK_EQUAL(rules.weight.trains, layer == 1);
    CHECK_EQUAL(rules.bias.trains, layer == 0);
    CHECK(!rules.shift.trains);
  }
  CHECK_THROWS(InvalidArgument, RuleGroup(trainer, {{2, 0}}), "places: expected layers below 2 and parameters 0 to 2");
  CHECK_THROWS(InvalidArgument, RuleGroup(trainer, {{0, 3}}), "got layer 0, parameter 3");
}

TEST(draws_that_a_program_cannot_make_are_refused) {
  Subject s(with_dropout());
  CHECK_THROWS(InvalidArgument, Trainer(*s.program, {Sampling::weighted, 0, 0, 1}), "keeps no scores");
  CHECK_THROWS(InvalidArgument, Trainer(*s.program, {Sampling::uniform, 0, 0, 0}), "resample_every: expected at least");
}
