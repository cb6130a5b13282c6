/* The header as a C compiler reads it. The library's code comes from the static one. */
#include "sparsebp/sparsebp.h"

const char* (*const sparsebp_version_of_the_header)(void) = sbp_version;
