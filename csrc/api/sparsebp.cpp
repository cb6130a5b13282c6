// The C API: handles, status codes, and no exception that leaves the library.
#include "sparsebp/sparsebp.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

#include "api/delta.h"
#include "platform/parallel.h"

using namespace sparsebp;

struct sbp_session {
  explicit sbp_session(std::unique_ptr<FileImage> image) : file(std::move(image)), session(file.make_session()) {}

  PlanFile file;
  std::unique_ptr<Session> session;
  std::string error;
};

namespace {

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

void require(bool good, const char* message) {
  if (!good) throw InvalidArgument(message);
}

// For calls without a session: the reason goes to a buffer of the caller's.
template <class Body>
sbp_status without(char* error, size_t error_bytes, const Body& body) noexcept {
  std::string why;
  const sbp_status status = guarded(why, body);
  if (error != nullptr && error_bytes > 0) {
    const size_t count = std::min(error_bytes - 1, why.size());
    std::memcpy(error, why.data(), count);
    error[count] = '\0';
  }
  return status;
}

template <class Image>
sbp_status opened(sbp_session** out, char* error, size_t error_bytes, const Image& image) noexcept {
  return without(error, error_bytes, [&] {
    require(out != nullptr, "session: expected a place for it, got null");
    *out = nullptr;
    *out = new sbp_session(image());
  });
}

Index count_of(size_t n) {
  require(n <= static_cast<size_t>(std::numeric_limits<std::int32_t>::max()), "n: expected fewer than 2^31 images");
  return static_cast<Index>(n);
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
  }
  throw InvalidArgument("pixels: expected SBP_FLOAT32 or SBP_UINT8");
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

const char* sbp_version(void) { return SPARSEBP_VERSION; }

sbp_status sbp_open_path(const char* path, sbp_session** session, char* error, size_t error_bytes) {
  return opened(session, error, error_bytes, [&] {
    require(path != nullptr, "path: expected a file's name, got null");
    return map_file(path);
  });
}

sbp_status sbp_open_memory(const void* data, size_t bytes, sbp_session** session, char* error, size_t error_bytes) {
  return opened(session, error, error_bytes, [&] {
    require(data != nullptr, "data: expected a file's bytes, got null");
    return copy_bytes(data, bytes);
  });
}

sbp_status sbp_open_reader(sbp_reader reader, void* context, uint64_t file_bytes, sbp_session** session, char* error,
                           size_t error_bytes) {
  struct Source {
    sbp_reader read;
    void* context;
  } source{reader, context};
  return opened(session, error, error_bytes, [&] {
    require(reader != nullptr, "reader: expected a function, got null");
    require(file_bytes <= std::numeric_limits<size_t>::max() / 2, "file_bytes: more than this system can hold");
    const auto read = [](void* from, std::uint64_t offset, void* out, std::size_t size) {
      const auto& s = *static_cast<Source*>(from);
      return s.read(s.context, offset, out, size) == 0;
    };
    return read_all(read, &source, file_bytes);
  });
}

void sbp_close(sbp_session* session) { delete session; }

const char* sbp_last_error(const sbp_session* session) { return session == nullptr ? "" : session->error.c_str(); }

sbp_status sbp_get_sizes(sbp_session* handle, sbp_sizes* sizes) {
  return with(handle, [&](sbp_session& s) {
    require(sizes != nullptr, "sizes: expected a place for them, got null");
    const Session& session = *s.session;
    const ProgramSpec& spec = session.spec();
    const ValueSpec& input = spec.values[static_cast<std::size_t>(spec.input)];
    sizes->arena_bytes = session.arena_bytes();
    sizes->budget_bytes = s.file.plan().budget;
    sizes->workspace_bytes = session.workspace_bytes();
    sizes->attach_bytes = session.attach_bytes(s.file.plan().budget);
    sizes->file_bytes = s.file.bytes();
    sizes->height = static_cast<int32_t>(input.height), sizes->width = static_cast<int32_t>(input.width);
    sizes->channels = static_cast<int32_t>(input.channels);
    sizes->classes = static_cast<int32_t>(session.classes());
    sizes->micro_batch = static_cast<int32_t>(spec.batch);
    sizes->batch = static_cast<int32_t>(session.recipe().batch);
    sizes->feature_count = static_cast<size_t>(session.feature_count());
  });
}

const char* sbp_metadata(const sbp_session* session, const char* key) {
  if (session == nullptr || key == nullptr) return nullptr;
  for (const auto& [name, text] : session->file.header().metadata) {
    if (name == key) return text.c_str();
  }
  return nullptr;
}

sbp_status sbp_attach(sbp_session* handle, void* block, size_t block_bytes) {
  return with(handle, [&](sbp_session& s) {
    s.session->attach(s.file.plan().budget, block, block_bytes);
    try {
      s.file.load(*s.session);
    } catch (...) {  // a file whose weights or state do not fit trains nothing
      s.session = s.file.make_session();
      throw;
    }
  });
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

sbp_status sbp_save(sbp_session* handle, const char* path) {
  return with(handle, [&](sbp_session& s) {
    require(path != nullptr, "path: expected a file's name, got null");
    s.file.save(*s.session, path);
  });
}

sbp_status sbp_save_delta(sbp_session* handle, const char* path) {
  return with(handle, [&](sbp_session& s) {
    require(path != nullptr, "path: expected a file's name, got null");
    s.file.save_delta(*s.session, path);
  });
}

sbp_status sbp_apply_delta(const char* base, const char* delta, const char* out, char* error, size_t error_bytes) {
  return without(error, error_bytes, [&] {
    require(base != nullptr && delta != nullptr && out != nullptr,
            "base, delta, out: expected names of files, got null");
    apply_delta(base, delta, out);
  });
}

sbp_status sbp_set_threads(int threads) {
  std::string why;
  return guarded(why, [&] { set_plain_threads(threads); });
}

sbp_status sbp_set_parallel(sbp_parallel parallel, void* context, int threads) {
  std::string why;
  return guarded(why, [&] { set_host_pool(parallel, context, threads); });
}

}  // extern "C"
