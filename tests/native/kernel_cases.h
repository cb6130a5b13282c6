// What the kernel tests share: every table that runs here, fenced memory, references in double, one tolerance.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "check.h"
#include "core/random.h"
#include "isa/dispatch.h"

namespace sparsebp {

constexpr Activation kLayerActivations[] = {Activation::identity, Activation::relu, Activation::relu6};
constexpr Index kColumns[] = {1, 3, 7, 9, 15, 16, 17, 33};

inline Index div_up(Index a, Index b) { return (a + b - 1) / b; }

// Calls f(name, kernels) for the float32 table of every usable ISA and for the float64 one.
template <class F>
void every_table(F f) {
  for (const Isa& isa : built_isas()) {
    if (isa.supported()) f(isa.name, kernels_of<float>(isa));
  }
  f("scalar float64", kernels_of<double>(choose_isa("scalar")));
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : key_(mix64(seed)) {}
  double number() { return 2 * random_unit(key_, counter_++) - 1; }  // in (-1, 1)
  Index below(Index bound) { return random_below(key_, counter_++, static_cast<std::uint32_t>(bound)); }

 private:
  std::uint64_t key_, counter_ = 0;
};

// An array that ends where an inaccessible page begins: a kernel that touches one element too many crashes.
template <class T>
class Fenced {
 public:
  explicit Fenced(Index count, T value = T(0)) : count_(count) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
    usable_ = (bytes + page - 1) / page * page;
    if (unused()[usable_].empty()) unused()[usable_].push_back(map(usable_, page));
    base_ = unused()[usable_].back();
    unused()[usable_].pop_back();
    data_ = reinterpret_cast<T*>(base_ + usable_ - bytes);
    for (Index i = 0; i < count; ++i) data_[i] = value;
  }
  Fenced(Index count, Random& random, double scale = 1) : Fenced(count) {
    for (Index i = 0; i < count; ++i) data_[i] = static_cast<T>(scale * random.number());
  }
  Fenced(const Fenced& other) : Fenced(other.count_) {
    for (Index i = 0; i < count_; ++i) data_[i] = other.data_[i];
  }
  Fenced& operator=(const Fenced&) = delete;
  ~Fenced() { unused()[usable_].push_back(base_); }

  T* get() { return data_; }
  const T* get() const { return data_; }
  T& operator[](Index i) { return data_[i]; }
  const T& operator[](Index i) const { return data_[i]; }
  Index size() const { return count_; }

 private:
  static std::byte* map(std::size_t usable, std::size_t page) {
    void* memory = mmap(nullptr, usable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    auto* base = static_cast<std::byte*>(memory);
    if (memory == MAP_FAILED || mprotect(base + usable, page, PROT_NONE) != 0) std::abort();
    return base;
  }
  // Mappings by size, for the next one: a test makes many thousand arrays.
  static std::map<std::size_t, std::vector<std::byte*>>& unused() {
    static std::map<std::size_t, std::vector<std::byte*>> all;
    return all;
  }

  Index count_;
  std::size_t usable_;
  std::byte* base_;
  T* data_;
};

// The one tolerance: a sum of `terms` rounded terms is off by at most this share of the sum of their magnitudes
// (Higham, Accuracy and Stability of Numerical Algorithms, 3.1, doubled), whatever the order.
template <class T>
double tolerance(Index terms) {
  return static_cast<double>(terms + 4) * std::numeric_limits<T>::epsilon();
}

// A number computed in double, with the magnitude of what went into it.
struct Exact {
  double value = 0, size = 0;
  Index terms = 0;

  void add(double term) { value += term, size += std::abs(term), ++terms; }
  void add(double a, double b) { add(a * b); }
  void scale(double by) { value *= by, size *= std::abs(by), ++terms; }
  void activate(Activation activation) {
    if (activation == Activation::identity) return;
    value = value > 0 ? value : 0;
    if (activation == Activation::relu6 && value > 6) value = 6;
  }
};

template <class T>
void check_exact(T got, const Exact& want) {
  CHECK_CLOSE(static_cast<double>(got), want.value,
              tolerance<T>(want.terms) * want.size + std::numeric_limits<T>::min());
}

inline bool bit(const std::uint8_t* bits, Index i) { return (bits[i / 8] >> (i % 8) & 1) != 0; }

// The mask bits of one row of finished outputs, and zeros in what is left of the last byte.
template <class T>
void check_mask_row(const std::uint8_t* bits, const T* y, Index cols, Activation activation) {
  for (Index c = 0; c < div_up(cols, 8) * 8; ++c) {
    const bool pass = c < cols && y[c] > T(0) && (activation != Activation::relu6 || y[c] < T(6));
    CHECK_EQUAL(bit(bits, c), pass);
  }
}

// Convolutions by definition, for any shape; weights are HWIO.
inline ConvShape conv_shape(Index in, Index out, Index height, Index width, Index kernel, Index stride = 1,
                            Index pad = 0, Index groups = 1, Index dilation = 1) {
  ConvShape s;
  s.in = in, s.out = out, s.groups = groups, s.height = height, s.width = width;
  s.kernel_h = s.kernel_w = kernel, s.stride_h = s.stride_w = stride;
  s.pad_h = s.pad_w = pad, s.dilation_h = s.dilation_w = dilation;
  s.out_height = (height + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
  s.out_width = (width + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
  return s;
}

// Calls f(tap, input pixel, output pixel) for every pair that a convolution connects.
template <class F>
void every_connection(const ConvShape& s, F f) {
  for (Index oy = 0; oy < s.out_height; ++oy) {
    for (Index ox = 0; ox < s.out_width; ++ox) {
      for (Index tap = 0; tap < s.taps(); ++tap) {
        const Index iy = oy * s.stride_h - s.pad_h + tap / s.kernel_w * s.dilation_h;
        const Index ix = ox * s.stride_w - s.pad_w + tap % s.kernel_w * s.dilation_w;
        if (iy < 0 || iy >= s.height || ix < 0 || ix >= s.width) continue;
        f(tap, iy * s.width + ix, oy * s.out_width + ox);
      }
    }
  }
}

}  // namespace sparsebp
