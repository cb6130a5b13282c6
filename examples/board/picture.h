/* A picture as a network wants it. It passes row by row, and never lies in memory as a whole. */
#ifndef PICTURE_H
#define PICTURE_H

typedef struct {
  int width, height;
} picture_size;

/* Reads a picture and makes it fit: the centre in the shape of `fit`, resized by a triangle filter that is as wide as
 * the reduction wants, to out[fit.height][fit.width][3] in RGB. That is what sparsebp makes of a picture on a PC, with
 * Pillow's "bilinear": the same bytes, or off by one where Pillow resizes downwards before sideways.
 *
 * path: a binary PPM (P6) with values up to 255, or "-": standard input.
 * raw:  null, or the size of a camera's frame, which is read instead: rows of RGB bytes with nothing around them.
 *
 * Returns null, or what is wrong with the file. */
const char* picture_read(const char* path, const picture_size* raw, picture_size fit, unsigned char* out);

#endif
