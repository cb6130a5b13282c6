#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stop.h"

enum { MOST_THREADS = 64, LONGEST_SIDE = 65535 };

static picture_size size_of(const char* text) {
  picture_size size = {0, 0};
  int end = 0;
  if (sscanf(text, "%5dx%5d%n", &size.width, &size.height, &end) != 2 || text[end] != '\0' || size.width < 1 ||
      size.height < 1 || size.width > LONGEST_SIDE || size.height > LONGEST_SIDE) {
    stop(WRONG_COMMAND, "--raw: expected a size such as 640x480, got %s", text);
  }
  return size;
}

int options_number(const char* what, const char* text, int most) {
  char* end;
  const long number = strtol(text, &end, 10);
  if (end == text || *end != '\0' || number < 1 || number > most) {
    stop(WRONG_COMMAND, "%s: expected a number from 1 to %d, got %s", what, most, text);
  }
  return (int)number;
}

void options_usage(void) {
  stop(WRONG_COMMAND,
       "usage: adapt train PLAN OUT EPOCHS FOLDER, or adapt predict PLAN PICTURE...; "
       "options: --raw WIDTHxHEIGHT, --delta FILE, --threads N");
}

void options_take(int* count, char** words, options* given) {
  int left = 0;
  *given = (options){.threads = 1};
  for (int i = 0; i < *count; ++i) {
    const char* word = words[i];
    if (strncmp(word, "--", 2) != 0) {
      words[left++] = words[i];
      continue;
    }
    if (++i == *count) options_usage();
    if (strcmp(word, "--raw") == 0) {
      given->frame = size_of(words[i]);
      given->raw = &given->frame;
    } else if (strcmp(word, "--delta") == 0) {
      given->delta = words[i];
    } else if (strcmp(word, "--threads") == 0) {
      given->threads = options_number(word, words[i], MOST_THREADS);
    } else {
      options_usage();
    }
  }
  *count = left;
}
