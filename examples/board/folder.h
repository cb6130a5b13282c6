/* The labelled pictures of FOLDER/CLASS/NAME. */
#ifndef FOLDER_H
#define FOLDER_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
  char* path;
  int32_t label;
} example;

typedef struct {
  example* items;
  size_t count;
} examples;

/* Adds to `training` and `held_out` what FOLDER/CLASS has with this ending, in the order of names; of each class every
 * fifth is held out. Stops if a folder with pictures is called as none of the classes, or if nothing is there to train
 * on. Names that begin with a dot do not count. */
void folder_list(const char* folder, const char* ending, char** classes, int count, examples* training,
                 examples* held_out);

/* Another order each time, the same ones for the same `random`: taught one class after the other, a network forgets
 * the first. */
void examples_shuffle(examples* all, uint64_t* random);

#endif
