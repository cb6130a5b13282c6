// What every call of the C API is made of: a handle, a status code for whatever is thrown, and no exception that leaves
// the library.
#pragma once

#include <new>

#include "api/plan_file.h"
#include "sparsebp/sparsebp.h"

struct sbp_session {
  explicit sbp_session(std::unique_ptr<sparsebp::FileImage> image)
      : file(std::move(image)), session(file.make_session()) {}

  sparsebp::PlanFile file;
  std::unique_ptr<sparsebp::Session> session;
  std::string error;
};

namespace sparsebp {

// Runs `body`; a status for whatever it throws, and the reason in `why`.
template <class Body>
sbp_status guarded(std::string& why, const Body& body) noexcept {
  const auto failed = [&why](sbp_status status, const char* text) {
    try {
      why = text;
    } catch (...) {  // no memory for the reason: the status has to do
      why.clear();
    }
    return status;
  };
  try {
    why.clear();
    body();
    return SBP_OK;
  } catch (const InvalidArgument& error) {
    return failed(SBP_INVALID_ARGUMENT, error.what());
  } catch (const InvalidFile& error) {
    return failed(SBP_INVALID_FILE, error.what());
  } catch (const WrongState& error) {
    return failed(SBP_WRONG_STATE, error.what());
  } catch (const BudgetExceeded& error) {
    return failed(SBP_BUDGET_EXCEEDED, error.what());
  } catch (const NonFinite& error) {
    return failed(SBP_NOT_FINITE, error.what());
  } catch (const std::bad_alloc&) {
    return failed(SBP_NO_MEMORY, "the system gives no more memory");
  } catch (const std::exception& error) {
    return failed(SBP_FAILED, error.what());
  } catch (...) {
    return failed(SBP_FAILED, "an unknown error");
  }
}

template <class Body>
sbp_status with(sbp_session* session, const Body& body) noexcept {
  return session == nullptr ? SBP_INVALID_ARGUMENT : guarded(session->error, [&] { body(*session); });
}

inline void require(bool good, const char* message) {
  if (!good) throw InvalidArgument(message);
}

}  // namespace sparsebp
