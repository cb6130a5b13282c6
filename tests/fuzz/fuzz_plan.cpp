// Plan files made of a fuzzer's bytes: whatever they are, they are refused with InvalidFile, or they open, train, and
// are saved, whole and as a delta. Sanitizers see the rest.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <new>

#include "api/delta.h"
#include "api/trainable.h"
#include "core/random.h"
#include "core/sha256.h"
#include "promises.h"
#include "specs.h"

extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1:allow_addr2line=1"; }

namespace {

using namespace sparsebp;
using fuzz::require;
using Bytes = std::vector<unsigned char>;

constexpr double kMostWork = 1e6;
constexpr std::size_t kMostBytes = std::size_t{1} << 22;

// Where files of this process lie while a run lasts: in memory, as they are many.
std::string place(const char* name) { return "/dev/shm/sparsebp-fuzz" + std::to_string(getpid()) + name; }

Bytes contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void put(const std::string& path, const Bytes& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

// May refuse what it gets, as a file that is damaged.
template <class Body>
bool accepted(const Body& body) {
  try {
    body();
    return true;
  } catch (const InvalidFile&) {
  } catch (const std::bad_alloc&) {
  }
  return false;
}

bool small(const Session& session) {
  return fuzz::work(session.spec()) <= kMostWork && session.arena_bytes() <= kMostBytes &&
         session.workspace_bytes() <= kMostBytes;
}

// A step on images, one on what the frozen prefix makes of them, and one prediction. A loss or gradient may be beyond
// what is finite.
void train(Session& session, bool bytes) {
  const auto images = static_cast<std::size_t>(std::min<Index>(session.spec().batch, 2));
  const std::size_t count = images * static_cast<std::size_t>(session.pixels());
  std::vector<float> numbers(count);
  const std::vector<std::uint8_t> levels(count, 77);
  for (std::size_t i = 0; i < count; ++i) numbers[i] = static_cast<float>(random_unit(3, i));
  const std::vector<std::int32_t> labels(images, static_cast<std::int32_t>(session.classes() - 1));
  std::vector<float> logits(images * static_cast<std::size_t>(session.classes()));
  std::vector<float> features(images * static_cast<std::size_t>(session.feature_count()));
  Images pixels, made;
  if (bytes) {
    pixels.bytes = levels.data();
  } else {
    pixels.numbers = numbers.data();
  }
  session.features(pixels, static_cast<Index>(images), features.data());
  made.features = features.data();
  for (const Images& given : {pixels, made}) {
    try {
      session.train(given, labels.data(), static_cast<Index>(images));
    } catch (const NonFinite&) {
    }
  }
  session.predict(pixels, static_cast<Index>(images), logits.data());
  require(session.attached().arena()->peak() <= session.arena_bytes(), "the measured peak is within the planned one");
}

// A new class, if there is an output to spare; the loss and the logits know of it from then on.
void add_class(PlanFile& file, Session& session) {
  const Index before = session.classes();
  bool added = true;
  try {
    file.add_class(session, "a new class");
  } catch (const InvalidArgument&) {
    added = false;
  }
  require(session.classes() == before + (added ? 1 : 0), "a class more, or as many as before");
  require(!added || file.classes().at(static_cast<std::size_t>(before)) == std::string("a new class"),
          "a class has the name that it was given");
}

void save_and_join(PlanFile& file, Session& session, const Bytes& opened) {
  const std::string base = place("base"), delta = place("delta"), saved = place("saved"), out = place("out");
  put(base, opened);
  file.save_delta(session, delta);
  file.save(session, saved);
  apply_delta(base, delta, out);
  require(contents(out) == contents(saved), "base and delta are the file that was saved");
  Bytes damaged = contents(delta);
  const std::uint64_t key = mix64(sha256(opened.data(), opened.size())[0] + damaged.size());
  for (int i = 0; i < 3; ++i) {
    damaged[random_below(key, static_cast<std::uint64_t>(i), static_cast<std::uint32_t>(damaged.size()))] ^=
        static_cast<unsigned char>(1 + random_below(key, 7, 255));
    put(delta, damaged);
    if (accepted([&] { apply_delta(base, delta, out); })) {
      require(contents(out) == contents(saved), "a damaged delta is refused");
    }
  }
}

// The sets of another turn, which stay while they train, if the sampler has sets of turns at all.
void hold(PlanFile& file, Session& session) {
  constexpr std::uint64_t kTurn = 41;
  try {
    file.hold(session, kTurn);
  } catch (const InvalidArgument&) {
    return;
  }
  train(session, false);
  require(session.progress().turn == kTurn, "a set that is held stays");
}

// What trains now is read and set again. A file's own weights need not be finite.
void exchange(PlanFile& file, Session& session) {
  std::vector<float> values(static_cast<std::size_t>(trainable_count(file, session)));
  read_trainable(file, session, values.data());
  try {
    file.set_trainable(session, values.data());
  } catch (const InvalidArgument&) {
    return;
  }
  std::vector<float> again(values.size());
  read_trainable(file, session, again.data());
  require(values == again, "what was set is read again");
}

void open_and_train(const Bytes& bytes) {
  std::unique_ptr<PlanFile> file;
  std::unique_ptr<Session> session;
  if (!accepted([&] {
        file = std::make_unique<PlanFile>(copy_bytes(bytes.data(), bytes.size()));
        session = file->make_session();
      })) {
    return;
  }
  const std::uint64_t budget = file->plan().budget;
  if (!small(*session) || budget > kMostBytes) return;
  session->attach(budget);
  if (!accepted([&] { file->load(*session); })) return;
  const bool table = file->header().tensors.count(kTableTensor) != 0;
  train(*session, table);
  add_class(*file, *session);
  train(*session, false);
  hold(*file, *session);
  save_and_join(*file, *session, bytes);
  const Bytes saved = contents(place("saved"));
  PlanFile again(copy_bytes(saved.data(), saved.size()));
  const auto same = again.make_session();
  same->attach(budget);
  again.load(*same);
  require(same->classes() == session->classes(), "a saved file has the classes of its session");
  exchange(*file, *session);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  open_and_train(Bytes(data, data + size));
  return 0;
}
