#include "api/changes.h"

#include <algorithm>

#include "core/random.h"

namespace sparsebp {
namespace {

bool sampled(const LayerSpec& layer) { return layer.selected > 0 && layer.selected < layer.shape.in; }

bool can_draw_again(Sampling sampling) { return sampling == Sampling::uniform || sampling == Sampling::cyclic; }

// The update set of draw `turn`.
void draw(const Recipe& recipe, const LayerSpec& layer, std::size_t index, std::uint64_t turn,
          std::vector<std::int32_t>& out) {
  const int channels = static_cast<int>(layer.shape.in), k = static_cast<int>(layer.selected);
  out.resize(static_cast<std::size_t>(k));
  if (recipe.sampling == Sampling::cyclic) {
    draw_cyclic(recipe.seed, index, turn, channels, k, out.data());
  } else {
    draw_uniform(random_key(recipe.seed, index, turn), channels, k, out.data());
  }
}

// One flag a channel, by layer; empty where a layer trains all of its channels or none.
std::vector<std::vector<bool>> visited_channels(Session& session) {
  AnyProgram& program = session.attached();
  std::vector<unsigned char> bits;
  for (const auto& region : program.persistent()) {
    if (region.name != "visited") continue;
    bits.resize(region.bytes);
    program.read(region, bits.data());
  }
  std::vector<std::vector<bool>> out;
  std::size_t first = 0;
  for (const LayerSpec& layer : session.spec().layers) {
    const auto channels = static_cast<std::size_t>(layer.shape.in);
    out.emplace_back();
    if (!sampled(layer)) continue;
    for (std::size_t c = 0; c < channels; ++c) out.back().push_back(bits[first + c / 8] >> (c % 8) & 1);
    first += (channels + 7) / 8;
  }
  return out;
}

// Takes the channels out of `missing` that were drawn in turns [first, last].
void strike_drawn(const Recipe& recipe, const LayerSpec& layer, std::size_t index, std::uint64_t first,
                  std::uint64_t last, std::vector<bool>& missing) {
  auto left = std::count(missing.begin(), missing.end(), true);
  std::vector<std::int32_t> set;
  for (std::uint64_t turn = first; turn != last + 1 && left > 0; ++turn) {
    draw(recipe, layer, index, turn, set);
    for (const std::int32_t channel : set) {
      const auto c = static_cast<std::size_t>(channel);
      left -= missing[c];
      missing[c] = false;
    }
  }
}

}  // namespace

Moment moment_of(Session& session) {
  const Recipe& recipe = session.recipe();
  Moment moment{session.progress(), can_draw_again(recipe.sampling), session.classes()};
  const ProgramSpec& spec = session.spec();
  std::vector<std::int32_t> set;
  for (std::size_t i = 0; i < spec.layers.size() && moment.drawn; ++i) {
    if (!sampled(spec.layers[i])) continue;
    draw(recipe, spec.layers[i], i, moment.progress.turn, set);
    moment.drawn = set == session.attached().indices(static_cast<int>(i));
  }
  return moment;
}

// Every training pass counts as one, also of a step that a loss that is not finite broke off.
bool trained_since(const Session& session, const Moment& then) {
  return session.progress().forwards != then.progress.forwards;
}

std::vector<std::vector<std::int32_t>> channels_since(Session& session, const Moment& then) {
  const ProgramSpec& spec = session.spec();
  const Recipe& recipe = session.recipe();
  const std::vector<std::vector<bool>> visited = visited_channels(session);
  std::vector<std::vector<std::int32_t>> out(spec.layers.size());
  if (!trained_since(session, then)) return out;
  const std::uint64_t first = then.progress.turn + (then.progress.due ? 1 : 0), last = session.progress().turn;
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    const LayerSpec& layer = spec.layers[i];
    if (!layer.trains_weight() || !recipe.rules[i].weight.trains) continue;
    std::vector<bool> untouched(static_cast<std::size_t>(layer.shape.in), false);
    if (sampled(layer) && then.drawn) {
      untouched = visited[i];
      strike_drawn(recipe, layer, i, first, last, untouched);
    }
    for (std::size_t c = 0; c < untouched.size(); ++c) {
      if (!untouched[c] && (!sampled(layer) || visited[i][c])) out[i].push_back(static_cast<std::int32_t>(c));
    }
  }
  return out;
}

}  // namespace sparsebp
