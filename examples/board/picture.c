#include "picture.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLOURS = 3, LONGEST_SIDE = 65535 };

/* Weights are whole numbers, in parts of 2^22: 255 times their sum fits 32 bits. */
enum { FRACTION = 22, HALF = 1 << (FRACTION - 1) };

static const char NO_MEMORY[] = "there is no memory to read it with";

/* ---- Resizing: a pixel of the result is a sum of pixels in a row (of rows, downwards) of the picture ------------- */

typedef struct {
  int first, count;
  uint32_t* weights;
} window;

static double triangle(double x) { return fabs(x) < 1 ? 1 - fabs(x) : 0; }

/* `to` windows over what lies between `begin` and `end` on a side of `from` pixels, one block to free; null without
 * memory. Beyond the ends of what is cut out they see its neighbours. Rounded step by step as Pillow does it. */
static window* make_windows(int from, float begin, float end, int to) {
  const double scale = (double)(end - begin) / to;
  const double reach = scale > 1 ? scale : 1;
  const size_t most = 2 * (size_t)ceil(reach) + 1;
  window* windows = malloc((size_t)to * (sizeof(window) + most * sizeof(uint32_t)));
  uint32_t* weights = (uint32_t*)(windows + to);
  for (int i = 0; windows != NULL && i < to; ++i, weights += most) {
    const double centre = begin + (i + 0.5) * scale;
    const int first = (int)fmax(0, centre - reach + 0.5);
    const int last = (int)fmin(from, centre + reach + 0.5);
    double sum = 0;
    for (int x = first; x < last; ++x) sum += triangle((x - centre + 0.5) * (1 / reach));
    for (int x = first; x < last; ++x) {
      const double share = triangle((x - centre + 0.5) * (1 / reach)) / sum;
      weights[x - first] = (uint32_t)(0.5 + share * (1 << FRACTION));
    }
    windows[i] = (window){first, last - first, weights};
  }
  return windows;
}

static unsigned char rounded(uint32_t sum) { return sum >> FRACTION > 255 ? 255 : (unsigned char)(sum >> FRACTION); }

static void narrow_row(const unsigned char* row, const window* columns, int width, unsigned char* out) {
  for (int x = 0; x < width; ++x) {
    for (int colour = 0; colour < COLOURS; ++colour) {
      const unsigned char* at = row + columns[x].first * COLOURS + colour;
      uint32_t sum = HALF;
      for (int i = 0; i < columns[x].count; ++i) sum += columns[x].weights[i] * at[i * COLOURS];
      *out++ = rounded(sum);
    }
  }
}

/* Reads `from.height` rows. Each is narrowed, and added to those rows of the result that look at it. */
static const char* fit_rows(FILE* file, picture_size from, picture_size fit, unsigned char* out) {
  const double scale = fmax((double)fit.width / from.width, (double)fit.height / from.height);
  const double width = fmin(from.width, fit.width / scale), left = (from.width - width) / 2;
  const double height = fmin(from.height, fit.height / scale), top = (from.height - height) / 2;
  const size_t row_bytes = (size_t)from.width * COLOURS, narrow = (size_t)fit.width * COLOURS;
  const size_t numbers = narrow * (size_t)fit.height;
  window* columns = make_windows(from.width, (float)left, (float)fmin(from.width, left + width), fit.width);
  window* rows = make_windows(from.height, (float)top, (float)fmin(from.height, top + height), fit.height);
  uint32_t* sums = malloc(numbers * sizeof(uint32_t));
  unsigned char* row = malloc(row_bytes + narrow);
  const char* wrong = columns && rows && sums && row ? NULL : NO_MEMORY;
  for (size_t i = 0; wrong == NULL && i < numbers; ++i) sums[i] = HALF;
  for (int y = 0; wrong == NULL && y < from.height; ++y) {
    if (fread(row, 1, row_bytes, file) != row_bytes) {
      wrong = "it ends too early: it was cut off, is still being written, or has another size";
      break;
    }
    narrow_row(row, columns, fit.width, row + row_bytes);
    for (int j = 0; j < fit.height; ++j) {
      if (y < rows[j].first || y >= rows[j].first + rows[j].count) continue;
      const uint32_t weight = rows[j].weights[y - rows[j].first];
      for (size_t i = 0; i < narrow; ++i) sums[(size_t)j * narrow + i] += weight * row[row_bytes + i];
    }
  }
  for (size_t i = 0; wrong == NULL && i < numbers; ++i) out[i] = rounded(sums[i]);
  free(columns);
  free(rows);
  free(sums);
  free(row);
  return wrong;
}

/* ---- Files ------------------------------------------------------------------------------------------------------- */

/* A number of a PPM's header and the one character behind it; -1 if there is none. Comments go from # to the end of
 * their line. */
static int header_number(FILE* file) {
  int c = fgetc(file), number = 0;
  while (isspace(c) || c == '#') {
    if (c == '#') {
      while (c != '\n' && c != EOF) c = fgetc(file);
    }
    c = fgetc(file);
  }
  if (!isdigit(c)) return -1;
  for (; isdigit(c); c = fgetc(file)) number = number > LONGEST_SIDE ? number : 10 * number + (c - '0');
  return isspace(c) ? number : -1;
}

static const char* read_header(FILE* file, picture_size* size) {
  char magic[2];
  if (fread(magic, 1, 2, file) != 2 || memcmp(magic, "P6", 2) != 0) {
    return "it is no binary PPM (P6); convert it to one, or name its --raw size";
  }
  size->width = header_number(file);
  size->height = header_number(file);
  if (size->width < 1 || size->height < 1 || size->width > LONGEST_SIDE || size->height > LONGEST_SIDE) {
    return "its header is damaged: expected a width and a height from 1 to 65535";
  }
  return header_number(file) == 255 ? NULL : "its greatest value is not 255; convert it to 8 bits a colour";
}

const char* picture_read(const char* path, const picture_size* raw, picture_size fit, unsigned char* out) {
  const int standard_input = strcmp(path, "-") == 0;
  FILE* file = standard_input ? stdin : fopen(path, "rb");
  picture_size size = {0, 0};
  const char* wrong;
  if (file == NULL) return strerror(errno);
  if (raw != NULL) size = *raw;
  wrong = raw != NULL ? NULL : read_header(file, &size);
  if (wrong == NULL) wrong = fit_rows(file, size, fit, out);
  /* More frames may follow on standard input, each for a "-" of its own. */
  if (wrong == NULL && raw != NULL && !standard_input && fgetc(file) != EOF) {
    wrong = "it has more bytes than one frame of the --raw size";
  }
  if (!standard_input) fclose(file);
  return wrong;
}
