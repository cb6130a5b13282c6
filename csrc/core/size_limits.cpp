#include "core/size_limits.h"

#include <algorithm>

#include "core/checked.h"
#include "core/error.h"

namespace sparsebp {
namespace {

// One of the two directions of an image.
struct Axis {
  const char *size_name, *out_name, *kernel_name, *stride_name, *pad_name, *dilation_name;
  Index size, out, kernel, stride, pad, dilation;
};

Axis rows_of(const ConvShape& s) {
  return {"height", "out_height", "kernel_h", "stride_h", "pad_h", "dilation_h",
          s.height, s.out_height, s.kernel_h, s.stride_h, s.pad_h, s.dilation_h};
}
Axis columns_of(const ConvShape& s) {
  return {"width", "out_width", "kernel_w", "stride_w", "pad_w", "dilation_w",
          s.width, s.out_width, s.kernel_w, s.stride_w, s.pad_w, s.dilation_w};
}

// The last window may end in zeros behind the image: in as many as there are in front of it, or in any number if it
// begins before these. `zeros`: those behind the image that the windows reach in any case.
void check_axis(const std::string& of, const Axis& a, Index zeros) {
  check_size(of, a.size_name, a.size, 1);
  check_size(of, a.out_name, a.out, 1);
  check_size(of, a.kernel_name, a.kernel, 1);
  check_size(of, a.stride_name, a.stride, 1);
  check_size(of, a.pad_name, a.pad, 0);
  check_size(of, a.dilation_name, a.dilation, 1);
  // From here on nothing overflows: a size is below 2^31.
  const Index reach = a.dilation * (a.kernel - 1) + 1, padded = a.size + a.pad + zeros;
  const Index least = reach <= padded ? (padded - reach) / a.stride + 1 : 1;
  const Index even = a.size + 2 * a.pad - reach;  // as many zeros behind as in front
  const Index most = std::max({least, even >= 0 ? even / a.stride + 1 : 1, (a.size + a.pad - 1) / a.stride + 1});
  if (a.out >= least && a.out <= most) return;
  throw InvalidArgument(of + ": " + a.out_name + ": expected " + std::to_string(least) + " to " + std::to_string(most) +
                        " (" + a.size_name + " " + std::to_string(a.size) + ", kernel " + std::to_string(a.kernel) +
                        ", stride " + std::to_string(a.stride) + ", padding " + std::to_string(a.pad) + ", dilation " +
                        std::to_string(a.dilation) + "), got " + std::to_string(a.out));
}

void check_axes(const std::string& of, const ConvShape& s, bool pooling) {
  check_size(of, "in", s.in, 1);
  check_size(of, "out", s.out, 1);
  // Without zeros behind a convolution has the fewest outputs; a pooling has as many behind as in front.
  check_axis(of, rows_of(s), pooling ? s.pad_h : 0);
  check_axis(of, columns_of(s), pooling ? s.pad_w : 0);
}

void check_count(const std::string& of, const char* what, Checked count, Index most) {
  if (count.between(0, most)) return;
  throw InvalidArgument(of + ": " + what + ": expected at most " + std::to_string(most) + ", its sizes give more");
}

// The input with its border, and a step beyond: no address that a kernel computes lies further out.
Checked outermost(const Axis& a) { return Checked(a.size) + a.pad + a.pad + a.stride + a.dilation; }

void check_images(const std::string& of, const ConvShape& s, Index batch) {
  check_count(of, "numbers in a batch of padded inputs",
              outermost(rows_of(s)) * outermost(columns_of(s)) * s.in * batch, kMostNumbers);
  check_count(of, "numbers in a batch of outputs", Checked(s.out_height) * s.out_width * s.out * batch, kMostNumbers);
}

}  // namespace

void check_size(const std::string& of, const char* name, Index value, Index least, Index most) {
  if (value >= least && value <= most) return;
  throw InvalidArgument(of + ": " + name + ": expected " + std::to_string(least) + " to " + std::to_string(most) +
                        ", got " + std::to_string(value));
}

void check_convolution(const std::string& of, const ConvShape& s, Index batch) {
  check_axes(of, s, false);
  check_size(of, "groups", s.groups, 1);
  if (s.in % s.groups != 0 || s.out % s.groups != 0) {
    throw InvalidArgument(of + ": groups: expected a divisor of " + std::to_string(s.in) + " input and " +
                          std::to_string(s.out) + " output channels, got " + std::to_string(s.groups));
  }
  check_images(of, s, batch);
  check_count(of, "weights", Checked(s.kernel_h) * s.kernel_w * s.in_per_group() * s.out, kMostNumbers);
  // Panels and runs of channels round up.
  const Checked channels = (Checked(s.in) + 16) * (Checked(s.out) + 64);
  const Index pixels = std::max(s.pixels(), s.out_pixels());
  check_count(of, "multiply-adds of a pass", Checked(pixels) * s.taps() * channels * batch, kMostWork);
}

void check_pooling(const std::string& of, const ConvShape& s, Index batch, bool dilates) {
  check_axes(of, s, true);
  // Every window has something inside: steps no longer than the image, and more than half of it behind the padding.
  check_size(of, "dilation_h", s.dilation_h, 1, dilates ? s.height : 1);
  check_size(of, "dilation_w", s.dilation_w, 1, dilates ? s.width : 1);
  check_size(of, "pad_h", s.pad_h, 0, (s.dilation_h * (s.kernel_h - 1) + 1) / 2);
  check_size(of, "pad_w", s.pad_w, 0, (s.dilation_w * (s.kernel_w - 1) + 1) / 2);
  check_size(of, "groups", s.groups, 1, 1);
  if (s.in != s.out) {
    throw InvalidArgument(of + ": out: pooling keeps the channels, expected " + std::to_string(s.in) + ", got " +
                          std::to_string(s.out));
  }
  check_images(of, s, batch);
  check_count(of, "additions of a pass", Checked(s.out_height) * s.out_width * s.kernel_h * s.kernel_w * s.in * batch,
              kMostWork);
}

void check_transposed(const std::string& of, const ConvShape& s, Index batch) {
  if (s.groups != 1 && s.groups != s.in) {
    throw InvalidArgument(of + ": groups: expected 1 or as many as input channels, " + std::to_string(s.in) + ", got " +
                          std::to_string(s.groups));
  }
  check_convolution(of + ", read backward", mirrored(s), batch);
}

void check_tensor(const std::string& of, Index height, Index width, Index channels, Index batch) {
  check_size(of, "height", height, 1);
  check_size(of, "width", width, 1);
  check_size(of, "channels", channels, 1);
  check_count(of, "numbers in a batch", Checked(height) * width * channels * batch, kMostNumbers);
}

}  // namespace sparsebp
