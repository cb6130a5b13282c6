/* footprint PLAN STEPS: trains a plan file on images of noise, and prints what the system says of this process's
 * memory, and the median microseconds of a step, the first apart. Saves a delta to DELTA if a third word names it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sparsebp/sparsebp.h"

static void print_memory(void) {
  char line[256];
  FILE* status = fopen("/proc/self/status", "r");
  while (status != NULL && fgets(line, sizeof line, status) != NULL) {
    if (strncmp(line, "VmHWM", 5) == 0 || strncmp(line, "Rss", 3) == 0) fputs(line, stdout);
  }
  if (status != NULL) fclose(status);
}

static double microseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e6 * (double)now.tv_sec + 1e-3 * (double)now.tv_nsec;
}

static int by_size(const void* a, const void* b) {
  const double left = *(const double*)a, right = *(const double*)b;
  return (left > right) - (left < right);
}

int main(int count, char** words) {
  sbp_session* session = NULL;
  sbp_sizes sizes;
  unsigned char* image;
  size_t pixels, i;
  double* times;
  int step, steps;
  if (count < 3) return 2;
  steps = atoi(words[2]);
  if (sbp_open_path(words[1], &session, NULL, 0) != SBP_OK || sbp_attach(session, NULL, 0) != SBP_OK) return 1;
  if (sbp_get_sizes(session, &sizes) != SBP_OK) return 1;
  pixels = (size_t)sizes.height * (size_t)sizes.width * (size_t)sizes.channels;
  image = malloc(pixels);
  times = malloc(((size_t)steps + 1) * sizeof *times);
  if (image == NULL || times == NULL) return 1;
  for (step = 0; step < steps; ++step) {
    const int32_t label = step % sizes.classes;
    for (i = 0; i < pixels; ++i) image[i] = (unsigned char)rand();
    times[step] = microseconds();
    if (sbp_train(session, image, SBP_UINT8, &label, 1, NULL) != SBP_OK) return 1;
    times[step] = microseconds() - times[step];
  }
  if (count > 3 && sbp_save_delta(session, words[3]) != SBP_OK) return 1;
  print_memory();
  if (steps > 1) {
    qsort(times + 1, (size_t)steps - 1, sizeof *times, by_size);
    printf("step: %.0f\n", times[1 + (steps - 1) / 2]);
  }
  free(times);
  free(image);
  sbp_close(session);
  return 0;
}
