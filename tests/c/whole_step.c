/* Trains a plan whose budget covers the whole step in a static block, and tells what else it took from the heap.
 *
 * usage: whole_step PLAN IMAGES LABELS block|memory|rows
 * IMAGES and LABELS as for train.c. Images lie in the block, elsewhere in memory, or are read row by row.
 * Prints the losses and the first image's logits as hexadecimal floating-point numbers, then bytes of the heap: what
 * opening the plan took, what attaching took beside it, and what all the steps took. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sparsebp/sparsebp.h"

enum { BLOCK = 262144 + 32, MOST_CLASSES = 16 };
static unsigned char block[BLOCK];

typedef struct {
  FILE* file;
  size_t image; /* which of the file comes next */
  size_t row_bytes, rows;
} camera;

static int read_row(void* context, size_t image, size_t row, uint8_t* out) {
  const camera* from = context;
  const size_t at = ((from->image + image) * from->rows + row) * from->row_bytes;
  return fseek(from->file, (long)at, SEEK_SET) != 0 || fread(out, 1, from->row_bytes, from->file) != from->row_bytes;
}

static size_t heap(void) {
  const struct mallinfo2 now = mallinfo2();
  return now.uordblks + now.hblkhd;
}

static int fail(const sbp_session* session, const char* what) {
  fprintf(stderr, "%s: %s\n", what, sbp_last_error(session));
  return 1;
}

int main(int count, char** words) {
  char error[256];
  sbp_session* session = NULL;
  sbp_sizes sizes;
  sbp_result result;
  sbp_pixels kind = SBP_UINT8;
  sbp_rows rows;
  camera from = {NULL, 0, 0, 0};
  float logits[MOST_CLASSES];
  unsigned char* memory = NULL;
  const void* images;
  size_t pixels, before, opened, attached;
  int label;
  FILE* labels;
  if (count != 5 || (from.file = fopen(words[2], "rb")) == NULL || (labels = fopen(words[3], "rb")) == NULL) return 2;
  before = heap();
  if (sbp_open_path(words[1], &session, error, sizeof error) != SBP_OK) {
    fprintf(stderr, "%s\n", error);
    return 1;
  }
  opened = heap();
  if (sbp_set_threads(1) != SBP_OK || sbp_get_sizes(session, &sizes) != SBP_OK) return fail(session, "sizes");
  if (!sizes.whole_step || sizes.workspace_bytes != 0 || sizes.classes > MOST_CLASSES) return 2;
  if (sbp_attach(session, block, sizeof block) != SBP_OK) return fail(session, "attach");
  attached = heap();
  pixels = (size_t)sizes.height * (size_t)sizes.width * (size_t)sizes.channels;
  from.rows = (size_t)sizes.height, from.row_bytes = pixels / from.rows;
  rows.read = read_row, rows.context = &from;
  if (strcmp(words[4], "memory") == 0) memory = malloc(pixels);
  for (; (label = fgetc(labels)) != EOF; ++from.image) {
    const int32_t class = label;
    if (strcmp(words[4], "rows") == 0) {
      images = &rows, kind = SBP_ROWS;
    } else {
      unsigned char* place = memory != NULL ? memory : sbp_pictures(session);
      size_t row;
      for (row = 0; row < from.rows; ++row) {
        if (place == NULL || read_row(&from, 0, row, place + row * from.row_bytes) != 0) return 2;
      }
      images = place;
    }
    if (sbp_train(session, images, kind, &class, 1, &result) != SBP_OK) return fail(session, "train");
    printf("%a\n", result.loss);
  }
  from.image = 0;
  images = &rows;
  if (sbp_predict(session, images, SBP_ROWS, 1, logits) != SBP_OK) return fail(session, "predict");
  for (label = 0; label < sizes.classes; ++label) printf("%a\n", (double)logits[label]);
  printf("%zu %zu %zu\n", opened - before, attached - opened, heap() - attached - (memory != NULL ? pixels : 0));
  sbp_close(session);
  return 0;
}
