#include "classes.h"

#include <stdlib.h>
#include <string.h>

/* The four hexadecimal digits at `at`, or -1. */
static long hex4(const char* at) {
  char digits[5] = "";
  strncpy(digits, at, 4);
  return strspn(digits, "0123456789abcdefABCDEF") == 4 ? strtol(digits, NULL, 16) : -1;
}

/* Writes a code point in UTF-8; returns the place behind it. */
static char* put_utf8(char* out, long code) {
  if (code < 0x80) {
    *out++ = (char)code;
    return out;
  }
  const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3; /* bytes that follow, of six bits each */
  *out++ = (char)(0xFF << (7 - more) | code >> 6 * more);
  for (int i = more - 1; i >= 0; --i) *out++ = (char)(0x80 | (code >> 6 * i & 0x3F));
  return out;
}

/* Reads what follows a backslash and writes what it means; null if that is nothing. */
static const char* unescape(const char* at, char** out) {
  static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
  const char* letter = *at != '\0' ? strchr(letters, *at) : NULL;
  if (letter != NULL) {
    *(*out)++ = meanings[letter - letters];
    return at + 1;
  }
  long code = *at == 'u' ? hex4(at + 1) : -1;
  if (code <= 0) return NULL;
  at += 5;
  if (code >= 0xD800 && code < 0xDC00) { /* the first half of a pair */
    const long low = at[0] == '\\' && at[1] == 'u' ? hex4(at + 2) : -1;
    if (low < 0xDC00 || low > 0xDFFF) return NULL;
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    at += 6;
  }
  *out = put_utf8(*out, code);
  return at;
}

static const char* skip_spaces(const char* at) { return at + strspn(at, " \t\r\n"); }

/* Fills `names`, whose texts go to `out`: no text is longer than it was in JSON. */
static int parse(const char* at, int count, char** names, char* out) {
  at = skip_spaces(at);
  for (int i = 0; i < count; ++i) {
    if (*at != (i == 0 ? '[' : ',')) return 0;
    at = skip_spaces(at + 1);
    if (*at++ != '"') return 0;
    names[i] = out;
    while (*at != '"') {
      if (*at == '\0') return 0;
      if (*at != '\\') {
        *out++ = *at++;
      } else if ((at = unescape(at + 1, &out)) == NULL) {
        return 0;
      }
    }
    *out++ = '\0';
    at = skip_spaces(at + 1);
  }
  return *at == ']';
}

char** classes_read(const char* json, int count) {
  char** names = json == NULL || count < 1 ? NULL : malloc((size_t)count * sizeof(char*) + strlen(json) + 1);
  if (names != NULL && parse(json, count, names, (char*)(names + count))) return names;
  free(names);
  return NULL;
}

int classes_find(char** classes, int count, const char* name) {
  int i = 0;
  while (i < count && strcmp(classes[i], name) != 0) ++i;
  return i < count ? i : -1;
}
