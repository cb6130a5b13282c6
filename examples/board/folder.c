#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64 /* a 32-bit system too lists the folders of any disk */
#include "folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classes.h"
#include "stop.h"

enum { HELD_OUT_EVERY = 5 };

static char* joined(const char* folder, const char* name) {
  char* path = resized(NULL, strlen(folder) + strlen(name) + 2);
  sprintf(path, "%s/%s", folder, name);
  return path;
}

/* Names in alphabetical order, to be freed by `free_names`; -1 if it is no folder. */
static int names_in(const char* folder, struct dirent*** names) { return scandir(folder, names, NULL, alphasort); }

static void free_names(struct dirent** names, int count) {
  for (int i = 0; i < count; ++i) free(names[i]);
  if (count >= 0) free(names);
}

static int counts(const char* name, const char* ending) {
  const char* dot = strrchr(name, '.');
  return *name != '.' && dot != NULL && strcmp(dot, ending) == 0;
}

static void list_class(const char* folder, const char* ending, int32_t label, examples* training, examples* held_out) {
  struct dirent** names;
  const int count = names_in(folder, &names); /* a file beside the folders has none */
  for (int i = 0, found = 0; i < count; ++i) {
    if (!counts(names[i]->d_name, ending)) continue;
    if (label < 0) stop(WRONG_PICTURES, "%s: no class of the plan; rename it, or export a plan that has it", folder);
    examples* to = ++found % HELD_OUT_EVERY == 0 ? held_out : training;
    to->items = resized(to->items, (to->count + 1) * sizeof(example));
    to->items[to->count++] = (example){joined(folder, names[i]->d_name), label};
  }
  free_names(names, count);
}

void folder_list(const char* folder, const char* ending, char** classes, int count, examples* training,
                 examples* held_out) {
  struct dirent** names;
  const int found = names_in(folder, &names);
  if (found < 0) stop(WRONG_PICTURES, "%s: %s; expected a folder with a folder per class", folder, strerror(errno));
  for (int i = 0; i < found; ++i) {
    if (*names[i]->d_name == '.') continue;
    char* path = joined(folder, names[i]->d_name);
    list_class(path, ending, classes_find(classes, count, names[i]->d_name), training, held_out);
    free(path);
  }
  free_names(names, found);
  if (training->count == 0) {
    stop(WRONG_PICTURES, "%s: nothing to train on; expected pictures as %s/%s/NAME%s", folder, folder, *classes,
         ending);
  }
}

void examples_shuffle(examples* all, uint64_t* random) {
  for (size_t i = all->count; i > 1; --i) {
    *random = *random * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
    const size_t other = (size_t)((*random >> 33) % i);
    const example kept = all->items[i - 1];
    all->items[i - 1] = all->items[other];
    all->items[other] = kept;
  }
}
