/* The names of a plan's classes. */
#ifndef CLASSES_H
#define CLASSES_H

/* The names in `json`, an array of strings as sbp_metadata(session, "classes") gives it, in one block to free. Null if
 * it is null, no such array, or of other than `count` names. */
char** classes_read(const char* json, int count);

/* The number of the class with this name, or -1. */
int classes_find(char** classes, int count, const char* name);

#endif
