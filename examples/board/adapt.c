/* adapt: a plan file learns from pictures on a board, and tells what it sees. No Python, no torch.
 *
 *   adapt train PLAN OUT EPOCHS FOLDER    trains on FOLDER/CLASS/NAME.ppm, a step a picture, and writes the plan OUT
 *   adapt predict PLAN PICTURE...         prints each picture's likeliest classes; "-" is standard input
 *
 *   --raw WIDTHxHEIGHT   pictures are a camera's frames instead: rows of RGB bytes; in folders they are NAME.rgb
 *   --delta FILE         also writes what has changed, much smaller than OUT: see sbp_apply_delta
 *   --threads N          computes with N threads; without it with one
 *
 * CLASS is one of the names that the plan was exported with. Every fifth picture of a class, by name, is held out: it
 * tests what was learned. OUT may be PLAN: then learning goes on where it was. A picture that cannot be read is left
 * out, and named. A file that was there stays whole, whatever happens. Two programs that write one OUT are not kept
 * apart, the last one wins: start one at a time, or lock .OUT.lock with flock as sparsebp-runtime does. Where the
 * plan's budget covers the whole step (scope "step"), pictures are read into its block, and the program holds hardly
 * more than that and the file's pages.
 *
 * Exit codes: 0 done; 1 no memory; 2 a wrong command; 3 the plan cannot be used; 4 pictures cannot; 5 what was learned
 * cannot be saved; 6 training diverged, and nothing was saved. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "classes.h"
#include "folder.h"
#include "options.h"
#include "picture.h"
#include "sparsebp/sparsebp.h"
#include "stop.h"

enum { REPORT_EVERY = 100, SHOWN = 3 };

typedef struct {
  sbp_session* session;
  sbp_sizes sizes;
  char** classes;
  const picture_size* raw;
  unsigned char* pixels; /* of one picture; null: in the block */
} board;

static board open_plan(const char* path, const picture_size* raw) {
  char error[256];
  board b = {NULL, {0}, NULL, raw, NULL};
  if (sbp_open_path(path, &b.session, error, sizeof error) != SBP_OK) {
    const int named = strncmp(error, path, strlen(path)) == 0; /* what the system says comes with the name */
    stop(WRONG_PLAN, "%s%s%s", named ? "" : path, named ? "" : ": ", error);
  }
  if (sbp_get_sizes(b.session, &b.sizes) != SBP_OK) stop(WRONG_PLAN, "%s: %s", path, sbp_last_error(b.session));
  if (sbp_attach(b.session, resized(NULL, b.sizes.attach_bytes), b.sizes.attach_bytes) != SBP_OK) {
    stop(WRONG_PLAN, "%s: %s", path, sbp_last_error(b.session));
  }
  const char* preprocess = sbp_metadata(b.session, "preprocess");
  if (preprocess == NULL || strstr(preprocess, "\"crop\"") == NULL || strstr(preprocess, "\"bilinear\"") == NULL) {
    stop(WRONG_PLAN, "%s: export it with preprocess=Preprocess(...), resized by crop and bilinear as here", path);
  }
  b.classes = classes_read(sbp_metadata(b.session, "classes"), b.sizes.classes);
  if (b.classes == NULL) stop(WRONG_PLAN, "%s: it has no names of classes; export it with classes=[...]", path);
  if (sbp_pictures(b.session) == NULL) {
    b.pixels = resized(NULL, (size_t)b.sizes.height * (size_t)b.sizes.width * (size_t)b.sizes.channels);
  }
  return b;
}

/* Where the next picture goes, for one call of the library. */
static unsigned char* pixels_of(const board* b) { return b->pixels != NULL ? b->pixels : sbp_pictures(b->session); }

/* Whether pixels_of(b) is that picture now. */
static int read_picture(const board* b, const char* path) {
  const char* wrong = picture_read(path, b->raw, (picture_size){b->sizes.width, b->sizes.height}, pixels_of(b));
  if (wrong != NULL) fprintf(stderr, "%s: left out: %s\n", path, wrong);
  return wrong == NULL;
}

static void print_accuracy(const board* b, const examples* held_out, const char* when) {
  long long seen = 0, correct = 0;
  for (size_t i = 0; i < held_out->count; ++i) {
    const example* at = &held_out->items[i];
    sbp_result result;
    if (!read_picture(b, at->path)) continue;
    if (sbp_evaluate(b->session, pixels_of(b), SBP_UINT8, &at->label, 1, &result) != SBP_OK) {
      stop(WRONG_PLAN, "%s: %s", at->path, sbp_last_error(b->session));
    }
    ++seen;
    correct += result.correct;
  }
  printf("%s: %lld of %lld held-out pictures recognised\n", when, correct, seen);
}

/* Prints the most that this process ever had in memory, and how much of what it has now is no page of a file. */
static void print_memory(void) {
  char line[256];
  double most = 0, own = 0;
  FILE* status = fopen("/proc/self/status", "r");
  while (status != NULL && fgets(line, sizeof line, status) != NULL) {
    sscanf(line, "VmHWM: %lf", &most);
    sscanf(line, "RssAnon: %lf", &own);
  }
  if (status != NULL) fclose(status);
  printf("%.1f MB at most, %.1f now without files\n", most / 1024, own / 1024);
  fflush(stdout);
}

static double milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static void train(const board* b, examples* training, int epochs) {
  sbp_progress progress;
  long long steps = 0, known = 0;
  double loss = 0, spent = 0;
  if (sbp_get_progress(b->session, &progress) != SBP_OK) stop(WRONG_PLAN, "%s", sbp_last_error(b->session));
  for (uint64_t random = progress.batches; epochs > 0; --epochs) {
    examples_shuffle(training, &random);
    for (size_t i = 0; i < training->count; ++i) {
      const example* at = &training->items[i];
      sbp_result result;
      if (!read_picture(b, at->path)) continue;
      const double begin = milliseconds();
      const sbp_status status = sbp_train(b->session, pixels_of(b), SBP_UINT8, &at->label, 1, &result);
      if (status == SBP_NOT_FINITE) stop(DIVERGED, "training diverged; export the plan with a third of its rates");
      if (status != SBP_OK) stop(WRONG_PLAN, "%s: %s", at->path, sbp_last_error(b->session));
      spent += milliseconds() - begin;
      loss += result.loss;
      known += result.correct;
      if (++steps % REPORT_EVERY != 0) continue;
      printf("step %lld: loss %.3f, %lld of %d known before, %.1f ms a step, ", steps, loss / REPORT_EVERY, known,
             REPORT_EVERY, spent / REPORT_EVERY);
      print_memory();
      loss = spent = 0;
      known = 0;
    }
  }
  if (steps == 0) stop(WRONG_PICTURES, "no picture could be read; nothing was trained");
}

static void save(const board* b, const char* out, const char* delta) {
  if ((delta != NULL && sbp_save_delta(b->session, delta) != SBP_OK) || sbp_save(b->session, out) != SBP_OK) {
    stop(NOT_SAVED, "%s", sbp_last_error(b->session));
  }
  printf("%s: saved, ", out);
  print_memory();
}

/* Prints the likeliest classes of pixels_of(b) and their probabilities. */
static void print_classes(const board* b, const char* path) {
  const int classes = b->sizes.classes;
  float* logits = resized(NULL, sizeof(float) * (size_t)classes);
  double sum = 0;
  float top = -INFINITY;
  if (sbp_predict(b->session, pixels_of(b), SBP_UINT8, 1, logits) != SBP_OK) {
    stop(WRONG_PLAN, "%s: %s", path, sbp_last_error(b->session));
  }
  for (int i = 0; i < classes; ++i) top = fmaxf(top, logits[i]);
  for (int i = 0; i < classes; ++i) sum += exp(logits[i] - top);
  printf("%s:", path);
  for (int shown = 0; shown < SHOWN && shown < classes; ++shown) {
    int best = 0;
    for (int i = 1; i < classes; ++i) best = logits[i] > logits[best] ? i : best;
    printf("%s %s %.1f %%", shown > 0 ? "," : "", b->classes[best], 100 * exp(logits[best] - top) / sum);
    logits[best] = -INFINITY;
  }
  putchar('\n');
  free(logits);
}

int main(int count, char** words) {
  options given;
  options_take(&count, words, &given);
  const int trains = count == 6 && strcmp(words[1], "train") == 0;
  if (!trains && (count < 4 || strcmp(words[1], "predict") != 0)) options_usage();
  const int epochs = trains ? options_number("EPOCHS", words[4], 1000000) : 0;
  if (sbp_set_threads(given.threads) != SBP_OK) stop(WRONG_COMMAND, "--threads: the system starts no more");
  board b = open_plan(words[2], given.raw);
  int unread = 0;
  if (trains) {
    examples training = {NULL, 0}, held_out = {NULL, 0};
    folder_list(words[5], given.raw != NULL ? ".rgb" : ".ppm", b.classes, b.sizes.classes, &training, &held_out);
    print_accuracy(&b, &held_out, "before");
    train(&b, &training, epochs);
    print_accuracy(&b, &held_out, "after");
    save(&b, words[3], given.delta);
  } else {
    for (int i = 3; i < count; ++i) {
      if (read_picture(&b, words[i])) {
        print_classes(&b, words[i]);
      } else {
        ++unread;
      }
    }
  }
  sbp_close(b.session);
  return unread > 0 ? WRONG_PICTURES : 0;
}
