// A program, its recipe and its training state as the records of a plan file.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "training/session.h"

namespace sparsebp {

// The tensors of one layer, by their names in the file; empty where the layer has none.
struct LayerTensors {
  std::string weight, bias, gamma, beta, mean, var;
  std::array<const std::string*, 6> all() const { return {&weight, &bias, &gamma, &beta, &mean, &var}; }
};

// Everything of a plan file but its tensors.
struct PlanRecord {
  ProgramSpec spec;
  std::vector<LayerTensors> tensors;  // by layer
  Recipe recipe;
  std::uint64_t budget = 0;
  // What the layout came to where the plan was made; derived again and compared when a file is opened.
  std::uint64_t arena_bytes = 0, workspace_bytes = 0;
};

void write_plan(ByteWriter& out, const PlanRecord& plan);
// Throws InvalidFile, also for a newer version. The spec is not validated: the program does that.
PlanRecord read_plan(const unsigned char* data, std::size_t size);

// The persistent regions of a program, by name, in the program's order.
using Regions = std::vector<std::pair<std::string, std::string>>;

// Always as many bytes for one plan.
std::vector<unsigned char> write_state(const Progress& progress, double rate, const Regions& regions);
std::vector<unsigned char> write_state(Session& session);
// Where training was. Throws InvalidFile.
Progress read_progress(const unsigned char* data, std::size_t size);
// Throws InvalidFile if it does not fit the session; nothing is changed then.
void read_state(Session& session, const unsigned char* data, std::size_t size);

}  // namespace sparsebp
