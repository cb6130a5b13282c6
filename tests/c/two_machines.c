/* One round of two machines that train the same rows: each trains on its images, and both go on from the mean.
 *
 * usage: two_machines PLAN IMAGES LABELS TURN OUT
 * IMAGES and LABELS: see train.c; the first half is the first machine's. Prints the losses; writes OUT. */
#include <stdio.h>
#include <stdlib.h>

#include "sparsebp/sparsebp.h"

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

static int fail(const sbp_session* session, const char* what) {
  fprintf(stderr, "%s: %s\n", what, sbp_last_error(session));
  return 1;
}

int main(int count, char** words) {
  sbp_session* machines[2] = {NULL, NULL};
  float* values[2];
  unsigned char *pixels, *labels;
  size_t image_bytes, images, numbers, drawn, i, m;
  uint64_t turn;
  if (count < 6) return 2;
  turn = strtoull(words[4], NULL, 10);
  pixels = read_file(words[2], &image_bytes);
  labels = read_file(words[3], &images);
  if (pixels == NULL || labels == NULL) return 2;
  for (m = 0; m < 2; ++m) {
    if (sbp_open_path(words[1], &machines[m], NULL, 0) != SBP_OK) return 1;
    if (sbp_hold(machines[m], turn) != SBP_WRONG_STATE) return 1; /* it has no memory yet */
    if (sbp_trainable_count(machines[m], &numbers, &drawn) != SBP_WRONG_STATE) return 1;
    if (sbp_attach(machines[m], NULL, 0) != SBP_OK) return fail(machines[m], "attach");
    if (sbp_hold(machines[m], turn) != SBP_OK) return fail(machines[m], "hold");
    if (sbp_trainable_count(machines[m], &numbers, &drawn) != SBP_OK) return fail(machines[m], "trainable_count");
    if (drawn == 0 || drawn >= numbers) return 1;
    values[m] = malloc(numbers * sizeof *values[m]);
    if (values[m] == NULL) return 2;
    for (i = m * (images / 2); i < (m + 1) * (images / 2); ++i) {
      const int32_t label = labels[i];
      sbp_result result;
      if (sbp_train(machines[m], pixels + i * (image_bytes / images), SBP_UINT8, &label, 1, &result) != SBP_OK) {
        return fail(machines[m], "train");
      }
      printf("%a\n", result.loss);
    }
    if (sbp_get_trainable(machines[m], values[m], numbers + 1) != SBP_INVALID_ARGUMENT) return 1; /* one too many */
    if (sbp_get_trainable(machines[m], values[m], numbers) != SBP_OK) return fail(machines[m], "get_trainable");
  }
  for (i = 0; i < numbers; ++i) values[0][i] = (values[0][i] + values[1][i]) / 2;
  if (sbp_set_trainable(machines[0], NULL, numbers) != SBP_INVALID_ARGUMENT) return 1;
  if (sbp_set_trainable(machines[0], values[0], numbers) != SBP_OK) return fail(machines[0], "set_trainable");
  if (sbp_save_delta(machines[0], words[5]) != SBP_WRONG_STATE) return 1; /* it would lack what was set */
  if (sbp_save(machines[0], words[5]) != SBP_OK) return fail(machines[0], "save");
  for (m = 0; m < 2; ++m) {
    sbp_close(machines[m]);
    free(values[m]);
  }
  free(pixels);
  free(labels);
  return 0;
}
