/* Trains a plan file on the bytes of another file and predicts: what a program outside the project does.
 *
 * usage: train PLAN IMAGES LABELS OUT [caller]
 * IMAGES: images of the plan's size, one byte a number, one after the other; LABELS: a byte each. One step an image.
 * Prints the losses and the first image's logits as hexadecimal floating-point numbers. Writes OUT, the trained plan;
 * what is the same: OUT.delta, and OUT.joined, made of PLAN and that; and OUT.made, the delta between the two files.
 * With `caller` the session's memory is a block of this program's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
  char error[256], delta[256], joined[256], made[256];
  sbp_session* session = NULL;
  sbp_sizes sizes;
  sbp_progress progress;
  size_t image_bytes, label_bytes, i, pixels;
  unsigned char *images, *labels;
  float* logits;
  void* block = NULL;
  if (count < 5) return 2;
  if (sbp_open_path(words[1], &session, error, sizeof error) != SBP_OK) {
    fprintf(stderr, "%s\n", error);
    return 1;
  }
  images = read_file(words[2], &image_bytes);
  labels = read_file(words[3], &label_bytes);
  if (images == NULL || labels == NULL) return 2;
  if (sbp_get_sizes(session, &sizes) != SBP_OK) return fail(session, "sizes");
  pixels = (size_t)sizes.height * (size_t)sizes.width * (size_t)sizes.channels;
  if (image_bytes != pixels * label_bytes) return 2;
  if (count > 5) block = malloc(sizes.attach_bytes);
  if (sbp_attach(session, block, block == NULL ? 0 : sizes.attach_bytes) != SBP_OK) return fail(session, "attach");
  for (i = 0; i < label_bytes; ++i) {
    sbp_result result;
    const int32_t label = labels[i];
    if (sbp_train(session, images + i * pixels, SBP_UINT8, &label, 1, &result) != SBP_OK) return fail(session, "train");
    printf("%a\n", result.loss);
  }
  logits = malloc(sizeof(float) * (size_t)sizes.classes);
  if (logits == NULL || sbp_predict(session, images, SBP_UINT8, 1, logits) != SBP_OK) return fail(session, "predict");
  for (i = 0; i < (size_t)sizes.classes; ++i) printf("%a\n", (double)logits[i]);
  if (sbp_get_progress(session, &progress) != SBP_OK || progress.steps != label_bytes) return fail(session, "progress");
  sprintf(delta, "%.200s.delta", words[4]);
  sprintf(joined, "%.200s.joined", words[4]);
  sprintf(made, "%.200s.made", words[4]);
  if (sbp_save_delta(session, delta) != SBP_OK) return fail(session, "save_delta");
  if (sbp_save(session, words[4]) != SBP_OK) return fail(session, "save");
  if (sbp_apply_delta(words[1], delta, joined, error, sizeof error) != SBP_OK ||
      sbp_make_delta(words[1], words[4], made, error, sizeof error) != SBP_OK) {
    fprintf(stderr, "%s\n", error);
    return 1;
  }
  sbp_close(session);
  free(block);
  free(images);
  free(labels);
  free(logits);
  return 0;
}
