#include "stop.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void stop(int code, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(code);
}

void* resized(void* memory, size_t bytes) {
  memory = realloc(memory, bytes);
  if (memory == NULL) stop(NO_MEMORY, "the system gives no %zu bytes more; end other programs", bytes);
  return memory;
}
