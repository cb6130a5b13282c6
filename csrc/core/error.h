// The exceptions native code throws. The bindings turn each into its Python type; nothing here prints or exits.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

namespace sparsebp {

// An argument that the caller can correct (Python: ValueError).
struct InvalidArgument : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// A call at the wrong moment, such as a second backward pass (Python: RuntimeError).
struct WrongState : std::logic_error {
  using std::logic_error::logic_error;
};

// An incoming gradient with a NaN or an infinity (Python: FloatingPointError).
struct NonFinite : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A file that is damaged, or that this version does not read (Python: sparsebp.PlanFileError).
struct InvalidFile : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A call that a device refused or did not survive (Python: sparsebp.DeviceError).
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A device without enough free memory (Python: sparsebp.DeviceMemoryError).
struct OutOfDeviceMemory : DeviceError {
  using DeviceError::DeviceError;
};

// A request the byte budget cannot hold (Python: sparsebp.BudgetExceeded).
struct BudgetExceeded : std::runtime_error {
  BudgetExceeded(const std::string& message, std::size_t required_bytes, std::size_t budget_bytes)
      : std::runtime_error(message), required(required_bytes), budget(budget_bytes) {}
  std::size_t required;
  std::size_t budget;
};

}  // namespace sparsebp
