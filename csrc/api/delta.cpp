#include "api/delta.h"

#include "api/delta_pieces.h"

namespace sparsebp {

void write_delta(const PlanFile& file, Session& session, const Moment& then, const std::string& before,
                 const std::string& after, const std::string& path) {
  const ProgramSpec& spec = session.spec();
  const auto channels = channels_since(session, then);
  DeltaPieces pieces;
  const auto add = [&](const std::string& name) { pieces.add(file, name); };
  const bool trained = trained_since(session, then), named = session.classes() != then.classes;
  if (named) add(kClassesTensor);
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    const LayerSpec& layer = spec.layers[i];
    const bool cleared = named && static_cast<int>(i) == session.classifier();  // where a class began at zero
    const LayerTensors& names = file.plan().tensors[i];
    const LayerRule& rule = session.recipe().rules[i];
    if (cleared || static_cast<Index>(channels[i].size()) == layer.shape.in) {
      add(names.weight);
    } else if (!channels[i].empty()) {
      pieces.add_rows(file, names.weight, layer.shape, channels[i]);
    }
    const bool moved = trained && layer.trains_bias();
    if ((cleared || (moved && rule.bias.trains)) && !names.bias.empty()) add(names.bias);
    if (moved && rule.shift.trains && !names.beta.empty()) add(names.beta);
  }
  add(kStateTensor);
  pieces.write(delta_metadata(file, before, then.progress.batches, after, session.progress().batches), path);
}

}  // namespace sparsebp
