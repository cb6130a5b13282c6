/* footprint PLAN STEPS: trains a plan file on images of noise, and prints what the system says of this process's
 * memory. Saves a delta to DELTA if a third word names it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sparsebp/sparsebp.h"

static void print_memory(void) {
  char line[256];
  FILE* status = fopen("/proc/self/status", "r");
  while (status != NULL && fgets(line, sizeof line, status) != NULL) {
    if (strncmp(line, "VmHWM", 5) == 0 || strncmp(line, "Rss", 3) == 0) fputs(line, stdout);
  }
  if (status != NULL) fclose(status);
}

int main(int count, char** words) {
  sbp_session* session = NULL;
  sbp_sizes sizes;
  unsigned char* image;
  size_t pixels, i;
  int step;
  if (count < 3) return 2;
  if (sbp_open_path(words[1], &session, NULL, 0) != SBP_OK || sbp_attach(session, NULL, 0) != SBP_OK) return 1;
  if (sbp_get_sizes(session, &sizes) != SBP_OK) return 1;
  pixels = (size_t)sizes.height * (size_t)sizes.width * (size_t)sizes.channels;
  image = malloc(pixels);
  if (image == NULL) return 1;
  for (step = 0; step < atoi(words[2]); ++step) {
    const int32_t label = step % sizes.classes;
    for (i = 0; i < pixels; ++i) image[i] = (unsigned char)rand();
    if (sbp_train(session, image, SBP_UINT8, &label, 1, NULL) != SBP_OK) return 1;
  }
  if (count > 3 && sbp_save_delta(session, words[3]) != SBP_OK) return 1;
  print_memory();
  free(image);
  sbp_close(session);
  return 0;
}
