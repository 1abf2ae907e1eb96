#ifndef VNF_CLOCK_H
#define VNF_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC. */
uint64_t clock_ns(void);

#endif
