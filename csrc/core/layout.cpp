#include "core/layout.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/checked.h"
#include "core/error.h"

namespace sparsebp {
namespace {

constexpr std::size_t kNoPlace = static_cast<std::size_t>(-1);

bool alive_together(const Buffer& a, const Buffer& b) { return a.begin <= b.end && b.begin <= a.end; }

}  // namespace

int Layout::add(std::string name, const Purpose& purpose, Category category, std::size_t bytes, int begin, int end) {
  buffers_.push_back({std::move(name), purpose, category, bytes, begin, end});
  return static_cast<int>(buffers_.size()) - 1;
}

std::size_t Layout::place(const std::vector<int>& order, std::vector<std::size_t>& offsets) const {
  std::vector<int> placed;
  std::vector<std::pair<std::size_t, std::size_t>> taken;
  std::size_t peak = 0;
  for (int index : order) {
    const Buffer& buffer = buffers_[index];
    if (buffer.bytes == 0) continue;
    taken.clear();
    for (int other : placed) {
      if (alive_together(buffer, buffers_[other])) {
        taken.emplace_back(offsets[other], offsets[other] + buffers_[other].bytes);
      }
    }
    std::sort(taken.begin(), taken.end());
    std::size_t offset = 0;
    for (const auto& [begin, end] : taken) {
      if (offset <= begin && buffer.bytes <= begin - offset) break;
      offset = std::max(offset, align_up(end));
    }
    if (buffer.bytes > kMostBytes - kAlignment || offset > kMostBytes - kAlignment - buffer.bytes) return kNoPlace;
    offsets[index] = offset;
    placed.push_back(index);
    peak = std::max(peak, offset + buffer.bytes);
  }
  return peak;
}

void Layout::assign() {
  const auto size = [&](int i) { return buffers_[i].bytes; };
  const auto life = [&](int i) { return buffers_[i].end - buffers_[i].begin; };
  std::vector<int> order(buffers_.size());
  std::vector<std::size_t> offsets(buffers_.size()), best(buffers_.size());
  peak_ = kNoPlace;
  const auto attempt = [&](auto before) {
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), before);
    std::fill(offsets.begin(), offsets.end(), 0);
    const std::size_t peak = place(order, offsets);
    if (peak < peak_) {
      peak_ = peak;
      best = offsets;
    }
  };
  // Longest life first stacks a step the way backpropagation uses it; largest first packs odd graphs better.
  attempt([&](int a, int b) { return life(a) > life(b); });
  attempt([&](int a, int b) { return size(a) > size(b); });
  attempt([&](int a, int b) { return buffers_[a].begin < buffers_[b].begin; });
  if (buffers_.empty()) peak_ = 0;
  if (peak_ == kNoPlace) throw InvalidArgument("the buffers of one step need more bytes than a process can have");
  for (std::size_t i = 0; i < buffers_.size(); ++i) buffers_[i].offset = best[i];
}

}  // namespace sparsebp
