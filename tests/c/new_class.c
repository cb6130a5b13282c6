/* Keeps the features of images instead of the images, and learns a class that the plan did not know.
 *
 * usage: new_class PLAN IMAGES LABELS NAME OUT
 * IMAGES and LABELS: see train.c. When a label comes up that is no class yet, NAME becomes one. Prints the losses, the
 * first image's logits, and last the names of the classes; writes OUT and OUT.delta. */
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
  char error[256], delta[256];
  sbp_session* session = NULL;
  sbp_sizes sizes;
  sbp_result result;
  size_t image_bytes, images, i;
  unsigned char *pixels, *labels;
  float *features, *logits;
  if (count < 6) return 2;
  if (sbp_open_path(words[1], &session, error, sizeof error) != SBP_OK) {
    fprintf(stderr, "%s\n", error);
    return 1;
  }
  pixels = read_file(words[2], &image_bytes);
  labels = read_file(words[3], &images);
  if (pixels == NULL || labels == NULL) return 2;
  if (sbp_attach(session, NULL, 0) != SBP_OK) return fail(session, "attach");
  if (sbp_get_sizes(session, &sizes) != SBP_OK) return fail(session, "sizes");
  if (image_bytes != images * (size_t)sizes.height * (size_t)sizes.width * (size_t)sizes.channels) return 2;
  features = malloc(images * sizes.feature_count * sizeof *features);
  logits = malloc((size_t)sizes.outputs * sizeof *logits);
  if (features == NULL || logits == NULL) return 2;
  if (sbp_features(session, pixels, SBP_UINT8, images, features) != SBP_OK) return fail(session, "features");
  free(pixels);
  for (i = 0; i < images; ++i) {
    const float* const one = features + i * sizes.feature_count;
    const int32_t label = labels[i];
    if (label == sizes.classes) {
      if (sbp_train_features(session, one, &label, 1, &result) != SBP_INVALID_ARGUMENT) return 1; /* not yet */
      if (sbp_add_class(session, words[4]) != SBP_OK) return fail(session, "add_class");
      if (sbp_add_class(session, words[4]) != SBP_INVALID_ARGUMENT) return 1; /* there is one of that name */
      if (sbp_get_sizes(session, &sizes) != SBP_OK) return fail(session, "sizes");
    }
    if (sbp_train_features(session, one, &label, 1, &result) != SBP_OK) return fail(session, "train_features");
    printf("%a\n", result.loss);
  }
  if (sbp_evaluate_features(session, features, NULL, 1, &result) != SBP_INVALID_ARGUMENT) return 1; /* no labels */
  if (sbp_predict_features(session, features, 1, logits) != SBP_OK) return fail(session, "predict_features");
  for (i = 0; i < (size_t)sizes.classes; ++i) printf("%a\n", (double)logits[i]);
  for (i = 0; sbp_class_name(session, i) != NULL; ++i) printf("%s\n", sbp_class_name(session, i));
  if (sbp_metadata(session, "classes") != NULL || i != (size_t)sizes.classes) return 1;
  sprintf(delta, "%.200s.delta", words[5]);
  if (sbp_save_delta(session, delta) != SBP_OK) return fail(session, "save_delta");
  if (sbp_save(session, words[5]) != SBP_OK) return fail(session, "save");
  sbp_close(session);
  free(labels);
  free(features);
  free(logits);
  return 0;
}
