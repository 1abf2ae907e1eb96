#include "memory.h"

#include <stdio.h>
#include <stdlib.h>

void *zeroed(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL) {
        fprintf(stderr, "vnf: out of memory\n");
        exit(1);
    }
    return memory;
}
