// What a session trains now, as numbers that machines exchange: the rows of the update sets, then everything else that
// trains. Two sessions of one plan whose sets are of one turn have the same pieces in the same order.
#pragma once

#include <string>
#include <vector>

#include "api/plan_file.h"

namespace sparsebp {

// A tensor, or of a weight the rows of its update set.
struct TrainablePiece {
  std::string name;          // of the tensor in the plan file
  std::vector<Index> shape;  // of a weight [kernel_h][kernel_w][input channels][output channels of a group]
  bool drawn = false;        // another turn has other rows
  std::size_t layer = 0;

  Index count() const;
};

// Drawn ones first. Their names and shapes never change.
std::vector<TrainablePiece> trainable_pieces(const PlanFile& file, const Session& session);
Index trainable_count(const PlanFile& file, const Session& session);
// Of all pieces, one behind the other.
void read_trainable(const PlanFile& file, const Session& session, float* out);
// Throws InvalidArgument if a number is not finite; nothing is changed then.
void write_trainable(const PlanFile& file, const Session& session, const float* in);

}  // namespace sparsebp
