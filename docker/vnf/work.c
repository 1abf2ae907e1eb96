#include "work.h"

#include <time.h>

enum { CALIBRATION_STEPS = 40000, CALIBRATION_RUNS = 8 };

static volatile uint32_t digest; /* written so that the inspection cannot be optimised away */

void work_inspect(const uint8_t *payload, size_t length, uint64_t steps)
{
    uint32_t hash = 2166136261u; /* FNV-1a: each step needs the one before, so its time is steady */
    size_t at = 0;
    for (uint64_t i = 0; i < steps && length > 0; i++) {
        hash = (hash ^ payload[at]) * 16777619u;
        at = at + 1 == length ? 0 : at + 1;
    }
    digest = hash;
}

static double cpu_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

double work_calibrate(void)
{
    static uint8_t payload[512];
    double best_us = 1e9;
    for (int run = 0; run < CALIBRATION_RUNS; run++) {
        const double begin_us = cpu_us();
        work_inspect(payload, sizeof payload, CALIBRATION_STEPS);
        const double took_us = cpu_us() - begin_us;
        if (took_us < best_us) /* the fastest run is the one least disturbed */
            best_us = took_us;
    }
    return CALIBRATION_STEPS / best_us;
}
