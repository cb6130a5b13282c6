// The C API: what a session does with images.
#include <limits>

#include "api/handle.h"

using namespace sparsebp;

namespace {

Index count_of(size_t n) {
  require(n <= static_cast<size_t>(std::numeric_limits<std::int32_t>::max()), "n: expected fewer than 2^31 images");
  return static_cast<Index>(n);
}

// `context` is the caller's sbp_rows.
int read_row(void* context, Index image, Index row, std::uint8_t* out) {
  const auto& rows = *static_cast<const sbp_rows*>(context);
  return rows.read(rows.context, static_cast<size_t>(image), static_cast<size_t>(row), out);
}

Images images_of(const void* data, sbp_pixels kind) {
  Images images;
  require(data != nullptr, "images: expected a pointer, got null");
  switch (kind) {
    case SBP_FLOAT32:
      images.numbers = static_cast<const float*>(data);
      return images;
    case SBP_UINT8:
      images.bytes = static_cast<const std::uint8_t*>(data);
      return images;
    case SBP_ROWS:
      require(static_cast<const sbp_rows*>(data)->read != nullptr, "images: expected a function that reads, got null");
      images.reader = &read_row, images.reader_context = const_cast<void*>(data);
      return images;
  }
  throw InvalidArgument("pixels: expected SBP_FLOAT32, SBP_UINT8 or SBP_ROWS");
}

Images features_of(const float* features) {
  require(features != nullptr, "features: expected a pointer, got null");
  Images images;
  images.features = features;
  return images;
}

void put(const Step& step, sbp_result* result) {
  if (result != nullptr) *result = {step.loss, step.correct, step.trained};
}

}  // namespace

extern "C" {

uint8_t* sbp_pictures(sbp_session* handle) {
  uint8_t* place = nullptr;
  if (handle != nullptr) with(handle, [&](sbp_session& s) { place = s.session->pictures(); });
  return place;
}

sbp_status sbp_train(sbp_session* handle, const void* images, sbp_pixels pixels, const int32_t* labels, size_t n,
                     sbp_result* result) {
  return with(handle,
              [&](sbp_session& s) { put(s.session->train(images_of(images, pixels), labels, count_of(n)), result); });
}

sbp_status sbp_predict(sbp_session* handle, const void* images, sbp_pixels pixels, size_t n, float* logits) {
  return with(handle, [&](sbp_session& s) {
    require(logits != nullptr, "logits: expected room for n * classes numbers, got null");
    s.session->predict(images_of(images, pixels), count_of(n), logits);
  });
}

sbp_status sbp_evaluate(sbp_session* handle, const void* images, sbp_pixels pixels, const int32_t* labels, size_t n,
                        sbp_result* result) {
  return with(handle, [&](sbp_session& s) {
    put(s.session->evaluate(images_of(images, pixels), labels, count_of(n)), result);
  });
}

sbp_status sbp_features(sbp_session* handle, const void* images, sbp_pixels pixels, size_t n, float* features) {
  return with(handle, [&](sbp_session& s) {
    require(features != nullptr, "features: expected room for n * feature_count numbers, got null");
    s.session->features(images_of(images, pixels), count_of(n), features);
  });
}

sbp_status sbp_train_features(sbp_session* handle, const float* features, const int32_t* labels, size_t n,
                              sbp_result* result) {
  return with(handle,
              [&](sbp_session& s) { put(s.session->train(features_of(features), labels, count_of(n)), result); });
}

sbp_status sbp_predict_features(sbp_session* handle, const float* features, size_t n, float* logits) {
  return with(handle, [&](sbp_session& s) {
    require(logits != nullptr, "logits: expected room for n * classes numbers, got null");
    s.session->predict(features_of(features), count_of(n), logits);
  });
}

sbp_status sbp_evaluate_features(sbp_session* handle, const float* features, const int32_t* labels, size_t n,
                                 sbp_result* result) {
  return with(handle,
              [&](sbp_session& s) { put(s.session->evaluate(features_of(features), labels, count_of(n)), result); });
}

sbp_status sbp_set_rate(sbp_session* handle, double factor) {
  return with(handle, [&](sbp_session& s) { s.session->set_rate(factor); });
}

sbp_status sbp_get_progress(sbp_session* handle, sbp_progress* progress) {
  return with(handle, [&](sbp_session& s) {
    require(progress != nullptr, "progress: expected a place for it, got null");
    const Progress& p = s.session->progress();
    *progress = {p.batches, p.steps, p.turn, s.session->rate(), s.session->coverage()};
  });
}

}  // extern "C"
