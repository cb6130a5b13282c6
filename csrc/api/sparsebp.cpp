// The C API: files, sessions, memory and threads. learning.cpp has what a session does with images.
#include <algorithm>
#include <cstring>
#include <limits>

#include "api/delta.h"
#include "api/handle.h"
#include "platform/parallel.h"

using namespace sparsebp;

namespace {

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
    sizes->whole_step = spec.scope == Scope::step ? 1 : 0;
    sizes->attach_bytes = session.attach_bytes(s.file.plan().budget);
    sizes->file_bytes = s.file.bytes();
    sizes->height = static_cast<int32_t>(input.height), sizes->width = static_cast<int32_t>(input.width);
    sizes->channels = static_cast<int32_t>(input.channels);
    sizes->classes = static_cast<int32_t>(session.classes());
    sizes->outputs = static_cast<int32_t>(session.outputs());
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

const char* sbp_class_name(const sbp_session* session, size_t index) {
  return session == nullptr ? nullptr : session->file.classes().at(index);
}

sbp_status sbp_add_class(sbp_session* handle, const char* name) {
  return with(handle, [&](sbp_session& s) {
    require(name != nullptr, "name: expected the name of a class, got null");
    s.file.add_class(*s.session, name);
  });
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

sbp_status sbp_make_delta(const char* base, const char* next, const char* out, char* error, size_t error_bytes) {
  return without(error, error_bytes, [&] {
    require(base != nullptr && next != nullptr && out != nullptr, "base, next, out: expected names of files, got null");
    make_delta(base, next, out);
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
