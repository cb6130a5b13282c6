/* How this program ends early. */
#ifndef STOP_H
#define STOP_H

#include <stddef.h>

/* What the program exits with. */
enum { NO_MEMORY = 1, WRONG_COMMAND, WRONG_PLAN, WRONG_PICTURES, NOT_SAVED, DIVERGED };

/* Prints a line that says why, as printf does, and exits with the code. */
void stop(int code, const char* format, ...);

/* As realloc; stops where there is no memory. */
void* resized(void* memory, size_t bytes);

#endif
