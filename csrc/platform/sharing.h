// Whether threads share a piece of work that comes back step after step, or one does all of it.
//
// To share costs time: a region is handed over, and what one thread wrote the others must fetch. By the processor, by
// where on it the threads run at the moment, and by what else runs, that is half a microsecond a region or several. So
// both ways are timed now and then, and the faster one is taken. What the work computes is the same.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include "platform/parallel.h"

namespace sparsebp {

// Which of two ways each of some pieces of work takes, told how long they took. All pieces are tried the same way in
// the same turns: in what state one leaves threads and caches is part of the next one's time.
class FasterWays {
 public:
  explicit FasterWays(std::size_t pieces = 0) : times_(pieces) {}

  // A turn of all pieces.
  void begin_turn() {
    if (++turn_ < cycle_) return;
    turn_ = 0, cycle_ = std::min(2 * cycle_, kCycle);
  }
  // In this turn: does the piece take the second way?
  bool second(std::size_t piece) const {
    if (turn_ < 2 * kTrial) return turn_ >= kTrial;
    const Times& times = times_[piece];
    return times.second < times.first;
  }
  void note(std::size_t piece, double seconds) {
    if (turn_ >= 2 * kTrial || turn_ % kTrial == 0) return;
    double& least = turn_ < kTrial ? times_[piece].first : times_[piece].second;
    least = turn_ % kTrial == 1 ? seconds : std::min(least, seconds);
  }

 private:
  // Turns of a trial of each way, the first of which finds in the caches what the other way left there, and does not
  // count. Of the others the least does: what else ran at the moment only makes a turn longer.
  static constexpr int kTrial = 3;
  // From one trial to the next, at last: the slower way takes some of these turns, half as long again. The first
  // turns of all are none to judge by, and the next trials come sooner.
  static constexpr int kCycle = 128, kFirstCycle = 16;

  struct Times {
    double first = 0, second = 0;  // seconds
  };
  std::vector<Times> times_;
  int turn_ = 2 * kTrial - 1, cycle_ = kFirstCycle;
};

class Sharing {
 public:
  explicit Sharing(std::size_t pieces = 0) : ways_(pieces) {}

  void begin_turn() { ways_.begin_turn(); }
  // Calls `body`, the regions of which are shared (the first way) or not. Its time is about proportional to `size`.
  template <class Body>
  void run(std::size_t piece, std::int64_t size, const Body& body) {
    if (size <= 0 || thread_count() == 1 || runs_alone_for_now()) {
      body();
      return;
    }
    const auto start = std::chrono::steady_clock::now();
    {
      const Alone regions(ways_.second(piece));
      body();
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    ways_.note(piece, elapsed.count() / static_cast<double>(size));
  }

 private:
  FasterWays ways_;
};

}  // namespace sparsebp
