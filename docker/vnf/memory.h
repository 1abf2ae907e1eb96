#ifndef VNF_MEMORY_H
#define VNF_MEMORY_H

#include <stddef.h>

/* Zeroed memory that is only paid for when touched; ends the program with one line when there is none. */
void *zeroed(size_t count, size_t size);

#endif
