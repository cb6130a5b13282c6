// A test framework in one header: named cases, checks that carry on after a failure, the counts as the last line.
//
// Include it in one file of an executable only: it defines main. `./test_x word` runs the cases whose name has `word`.
#pragma once

#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

namespace check {

struct Case {
  const char* name;
  void (*run)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

inline bool add(const char* name, void (*run)()) {
  cases().push_back({name, run});
  return true;
}

inline int& failures() {  // of the running case
  static int count = 0;
  return count;
}

inline std::string& scope() {  // what the running checks are about, printed with a failure
  static std::string text;
  return text;
}

// Names the combination that a loop has reached.
template <class... Values>
void about(const char* format, Values... values) {
  char text[256];
  std::snprintf(text, sizeof text, format, values...);
  scope() = text;
}
inline void about(const char* text) { scope() = text; }

inline bool report(bool passed, const char* file, int line, const std::string& what) {
  constexpr int kShown = 10;  // a wrong kernel has thousands of wrong elements
  if (!passed && ++failures() <= kShown) {
    std::printf("%s:%d: %s%s%s\n", file, line, what.c_str(), scope().empty() ? "" : "  in ", scope().c_str());
  }
  return passed;
}

inline std::string text(const std::string& value) { return "'" + value + "'"; }
inline std::string text(const char* value) { return text(std::string(value)); }
template <class T>
std::string text(const T& value) {
  return std::to_string(value);
}

template <class A, class B>
bool equal(const A& got, const B& want, const char* file, int line, const char* expression) {
  if (got == want) return true;
  return report(false, file, line, std::string(expression) + ": got " + text(got) + ", expected " + text(want));
}

inline bool close(double got, double want, double limit, const char* file, int line, const char* expression) {
  const double error = got < want ? want - got : got - want;
  if (error <= limit) return true;  // false for a NaN
  char numbers[160];
  std::snprintf(numbers, sizeof numbers, ": got %.9g, expected %.9g, off by %.3g, allowed %.3g", got, want, error,
                limit);
  return report(false, file, line, expression + std::string(numbers));
}

template <class Error, class Body>
bool throws(const Body& body, const std::string& fragment, const char* file, int line) {
  try {
    body();
  } catch (const Error& error) {
    const bool found = std::string(error.what()).find(fragment) != std::string::npos;
    return found || report(false, file, line, "expected '" + fragment + "' in the message '" + error.what() + "'");
  } catch (const std::exception& error) {
    return report(false, file, line, std::string("threw another exception: ") + error.what());
  }
  return report(false, file, line, "expected an exception about '" + fragment + "', none came");
}

inline int run(const char* filter) {
  int passed = 0, failed = 0;
  for (const Case& test : cases()) {
    if (std::strstr(test.name, filter) == nullptr) continue;
    failures() = 0;
    scope().clear();
    try {
      test.run();
    } catch (const std::exception& error) {
      report(false, test.name, 0, std::string("unexpected exception: ") + error.what());
    }
    if (failures() != 0) std::printf("FAILED %s (%d checks)\n", test.name, failures());
    ++(failures() == 0 ? passed : failed);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace check

#define TEST(name)                                                            \
  static void name();                                                         \
  [[maybe_unused]] static const bool name##_added = check::add(#name, &name); \
  static void name()
#define CHECK(condition) check::report(static_cast<bool>(condition), __FILE__, __LINE__, #condition)
#define CHECK_EQUAL(got, want) check::equal(got, want, __FILE__, __LINE__, #got)
#define CHECK_CLOSE(got, want, limit) check::close(got, want, limit, __FILE__, __LINE__, #got)
#define CHECK_THROWS(Error, statement, fragment) check::throws<Error>([&] { statement; }, fragment, __FILE__, __LINE__)

int main(int count, char** words) { return check::run(count > 1 ? words[1] : ""); }
