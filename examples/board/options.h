/* What stands on the command line; adapt.c says what it means. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "picture.h"

typedef struct {
  picture_size frame;      /* of --raw */
  const picture_size* raw; /* null without --raw */
  const char* delta;       /* null without --delta */
  int threads;
} options;

/* Takes the options out of words[0..*count): the words that are left move together. Stops at a wrong one. */
void options_take(int* count, char** words, options* given);

/* The number that `text` is, from 1 to `most`; stops if it is none. `what` is its name in the message. */
int options_number(const char* what, const char* text, int most);

/* Stops with how the program is to be called. */
void options_usage(void);

#endif
