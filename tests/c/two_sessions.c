/* Two sessions of one plan train at the same time in two threads, on threads of this program.
 *
 * usage: two_sessions PLAN IMAGES LABELS STEPS
 * IMAGES and LABELS: see train.c; the first STEPS images are the first session's, the next STEPS the second's. Prints
 * the losses of the first and then of the second, and how many tasks this program's threads were given. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "sparsebp/sparsebp.h"

#define MOST_STEPS 64
#define MOST_THREADS 4

typedef struct {
  const char* plan;
  const unsigned char *images, *labels;
  size_t steps, pixels;
  double losses[MOST_STEPS];
  sbp_status status;
} run;

typedef struct {
  sbp_task task;
  void* work;
  int index;
} call;

static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;
static long tasks = 0;

static void* one_task(void* argument) {
  const call* c = argument;
  c->task(c->work, c->index);
  return NULL;
}

/* An sbp_parallel: a new thread for every task, which is slow and simple. */
static void on_new_threads(void* context, int count, sbp_task task, void* work) {
  pthread_t threads[MOST_THREADS];
  call calls[MOST_THREADS];
  int i;
  (void)context;
  for (i = 0; i < count; ++i) {
    calls[i].task = task, calls[i].work = work, calls[i].index = i;
    if (pthread_create(&threads[i], NULL, one_task, &calls[i]) != 0) abort();
  }
  for (i = 0; i < count; ++i) pthread_join(threads[i], NULL);
  pthread_mutex_lock(&counting);
  tasks += count;
  pthread_mutex_unlock(&counting);
}

static void* train(void* argument) {
  run* r = argument;
  sbp_session* session = NULL;
  size_t i;
  r->status = sbp_open_path(r->plan, &session, NULL, 0);
  if (r->status == SBP_OK) r->status = sbp_attach(session, NULL, 0);
  for (i = 0; r->status == SBP_OK && i < r->steps; ++i) {
    sbp_result result;
    const int32_t label = r->labels[i];
    r->status = sbp_train(session, r->images + i * r->pixels, SBP_UINT8, &label, 1, &result);
    r->losses[i] = result.loss;
  }
  sbp_close(session);
  return NULL;
}

static unsigned char* read_file(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  long length;
  unsigned char* data;
  if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (length = ftell(file)) < 0) return NULL;
  rewind(file);
  data = malloc((size_t)length + 1);
  if (data == NULL || fread(data, 1, (size_t)length, file) != (size_t)length) return NULL;
  fclose(file);
  *size = (size_t)length;
  return data;
}

int main(int count, char** words) {
  static run runs[2];
  pthread_t threads[2];
  unsigned char *images, *labels;
  size_t image_bytes, label_bytes, steps, i;
  int r;
  if (count < 5) return 2;
  images = read_file(words[2], &image_bytes);
  labels = read_file(words[3], &label_bytes);
  steps = (size_t)atoi(words[4]);
  if (images == NULL || labels == NULL || steps > MOST_STEPS || label_bytes != 2 * steps) return 2;
  if (sbp_set_parallel(on_new_threads, NULL, 2) != SBP_OK) return 1;
  for (r = 0; r < 2; ++r) {
    runs[r].plan = words[1];
    runs[r].steps = steps, runs[r].pixels = image_bytes / label_bytes;
    runs[r].images = images + (size_t)r * steps * runs[r].pixels;
    runs[r].labels = labels + (size_t)r * steps;
    if (pthread_create(&threads[r], NULL, train, &runs[r]) != 0) return 1;
  }
  for (r = 0; r < 2; ++r) pthread_join(threads[r], NULL);
  if (sbp_set_parallel(NULL, NULL, 0) != SBP_OK) return 1;
  for (r = 0; r < 2; ++r) {
    if (runs[r].status != SBP_OK) return 1;
    for (i = 0; i < steps; ++i) printf("%a\n", runs[r].losses[i]);
  }
  printf("%ld\n", tasks);
  free(images);
  free(labels);
  return 0;
}
