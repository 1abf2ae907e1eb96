/* Real CPU work per packet: inspection of the payload, for a stated time on this machine. */
#ifndef VNF_WORK_H
#define VNF_WORK_H

#include <stddef.h>
#include <stdint.h>

/* Inspected bytes per microsecond of this thread's CPU time, measured now in about a millisecond. */
double work_calibrate(void);
/* Inspects `steps` bytes, beginning again where the payload ends. */
void work_inspect(const uint8_t *payload, size_t length, uint64_t steps);

#endif
