#include "options.h"

#include <cmath>
#include <cstdlib>

#include "cases.h"
#include "core/error.h"

namespace sparsebp {
namespace {

[[noreturn]] void expected(const std::string& option, const std::string& what, const std::string& got) {
  throw InvalidArgument(option + ": expected " + what + ", got '" + got + "'");
}

double number(const std::string& option, const std::string& what, const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(value)) expected(option, what, text);
  return value;
}

Index positive(const std::string& option, const std::string& text) {
  constexpr double kMost = 4096;  // no memory holds more, and every product of sizes stays an Index
  const std::string what = "a whole number from 1 to 4096";
  const double value = number(option, what, text);
  if (value < 1 || value > kMost || value != std::floor(value)) expected(option, what, text);
  return static_cast<Index>(value);
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options out;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const auto value = [&]() -> std::string {
      if (++i == argc) throw InvalidArgument(option + ": expected a value");
      return argv[i];
    };
    if (option == "--help" || option == "-h") {
      out.help = true;
    } else if (option == "--count") {
      out.count = true;
    } else if (option == "--csv") {
      out.csv = true;
    } else if (option == "--kernel") {
      out.kernel = value();
    } else if (option == "--layers") {
      out.layers = value();
    } else if (option == "--isa") {
      out.isa = value();
    } else if (option == "--shapes") {
      out.shapes = value();
    } else if (option == "--size") {
      out.size = positive(option, value());
    } else if (option == "--batch") {
      out.batch = positive(option, value());
    } else if (option == "--ratio") {
      const std::string what = "a number above 0 and up to 1", text = value();
      out.ratio = number(option, what, text);
      if (out.ratio <= 0 || out.ratio > 1) expected(option, what, text);
    } else if (option == "--seconds") {
      const std::string what = "a number above 0", text = value();
      out.seconds = number(option, what, text);
      if (out.seconds <= 0) expected(option, what, text);
    } else {
      throw InvalidArgument(option + ": no such option; --help lists them");
    }
  }
  return out;
}

std::string usage() {
  std::string text =
      "Times one kernel at a time, single-threaded, as a training step calls it.\n\n"
      "  --kernel GLOB     kernels, below; default all\n"
      "  --layers GLOB     layers of the shape file; equal ones are timed once\n"
      "  --isa NAME        instruction set; default the best of this machine\n"
      "  --size PIXELS     of the image; default 224\n"
      "  --batch N         images; default 1\n"
      "  --shapes FILE     default " SPARSEBP_SHAPES
      "\n"
      "  --ratio SHARE     of the input channels whose weights train, at least one; default 0.02\n"
      "  --seconds S       for each kernel and layer; default 0.2\n"
      "  --count           run each once and time nothing, for an instruction counter: every call of a\n"
      "                    kernel goes through the function `measured` (valgrind --tool=callgrind\n"
      "                    --toggle-collect=measured)\n"
      "  --csv             comma-separated values\n\n"
      "Kernels:\n";
  for (const KernelBench& kernel : kernel_benches()) {
    text +=
        "  " + std::string(kernel.name) + std::string(22 - std::string(kernel.name).size(), ' ') + kernel.what + '\n';
  }
  return text;
}

}  // namespace sparsebp
