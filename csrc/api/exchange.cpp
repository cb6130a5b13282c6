// The C API: what machines that train one plan together exchange.
#include "api/handle.h"
#include "api/trainable.h"

using namespace sparsebp;

namespace {

void check_count(const sbp_session& s, const void* values, size_t count) {
  require(values != nullptr, "values: expected a pointer, got null");
  const auto expected = static_cast<size_t>(trainable_count(s.file, *s.session));
  if (count != expected) {
    throw InvalidArgument("count: expected " + std::to_string(expected) +
                          " numbers, as sbp_trainable_count says, got " + std::to_string(count));
  }
}

}  // namespace

extern "C" {

sbp_status sbp_hold(sbp_session* handle, uint64_t turn) {
  return with(handle, [&](sbp_session& s) { s.file.hold(*s.session, turn); });
}

sbp_status sbp_trainable_count(sbp_session* handle, size_t* count, size_t* drawn) {
  return with(handle, [&](sbp_session& s) {
    require(count != nullptr, "count: expected a place for it, got null");
    s.session->attached();
    size_t all = 0, of_sets = 0;
    for (const TrainablePiece& piece : trainable_pieces(s.file, *s.session)) {
      all += static_cast<size_t>(piece.count());
      if (piece.drawn) of_sets += static_cast<size_t>(piece.count());
    }
    *count = all;
    if (drawn != nullptr) *drawn = of_sets;
  });
}

sbp_status sbp_get_trainable(sbp_session* handle, float* values, size_t count) {
  return with(handle, [&](sbp_session& s) {
    s.session->attached();
    check_count(s, values, count);
    read_trainable(s.file, *s.session, values);
  });
}

sbp_status sbp_set_trainable(sbp_session* handle, const float* values, size_t count) {
  return with(handle, [&](sbp_session& s) {
    s.session->attached();
    check_count(s, values, count);
    s.file.set_trainable(*s.session, values);
  });
}

}  // extern "C"
