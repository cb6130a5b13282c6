// Whether threads share a piece of work that comes back step after step, or one does all of it.
//
// To share costs time: a region is handed over, and what one thread wrote the others must fetch. By the processor, by
// where on it the threads run at the moment, and by what else runs, that is half a microsecond a region or several. So
// both ways are timed now and then, and the faster one is taken. What the work computes is the same.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "platform/parallel.h"

namespace sparsebp {

// Which of two ways to take, told how long each turn took.
class FasterWay {
 public:
  // Of the turn that begins: is it the second way?
  bool second() {
    if (left_ == 0) go_on();
    --left_;
    return second_;
  }
  // How long that turn took.
  void note(double seconds) {
    double& least = least_[second_];
    const double other = least_[!second_];
    const bool first_turn = trying_ && left_ == kTrial - 1;
    least = least == 0 || first_turn ? seconds : std::min(seconds, kGrowth * least);
    if (other == 0) return;
    if (trying_ ? left_ == kTrial / 2 && least > kFar * other : least > other) left_ = 0;
  }

 private:
  // A way is tried for so many turns: all but the first find in the caches what they left there themselves. Half of
  // them will do to see that it is slower by far.
  static constexpr int kTrial = 4;
  static constexpr double kFar = 1.25;
  // The slower way is tried again after so many turns, and after more if it is slower by far.
  static constexpr int kSoon = 32, kLate = 256;
  // Times are the least of late: what else ran at the moment only makes them longer. Each turn lets them grow, so that
  // what has become slower is found out.
  static constexpr double kGrowth = 1.125;

  void go_on() {
    trying_ = !trying_;
    if (trying_) {
      second_ = !second_, left_ = kTrial;
      return;
    }
    second_ = least_[1] < least_[0];
    left_ = least_[!second_] > kFar * least_[second_] ? kLate : kSoon;
  }

  double least_[2] = {0, 0};  // of each way; zero: not known yet
  bool second_ = false, trying_ = false;
  int left_ = kTrial;
};

class Sharing {
 public:
  // Calls `body`, the regions of which are shared or not. Its time is about proportional to `size`.
  template <class Body>
  void run(std::int64_t size, const Body& body) {
    if (size <= 0 || thread_count() == 1 || runs_alone_for_now()) {
      body();
      return;
    }
    const auto start = std::chrono::steady_clock::now();
    {
      const Alone regions(way_.second());
      body();
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    way_.note(elapsed.count() / static_cast<double>(size));
  }

 private:
  FasterWay way_;
};

}  // namespace sparsebp
