#ifndef C_TIMING_H
#define C_TIMING_H

#include <stdint.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

/// The processor's own clock, once everything before it is done and before anything behind it begins.
static inline uint64_t timing_ticks(void)
{
#if defined(__x86_64__)
    _mm_lfence();
    uint64_t ticks = __rdtsc();
    _mm_lfence();
    return ticks;
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("isb; mrs %0, cntvct_el0; isb" : "=r"(ticks) : : "memory");
    return ticks;
#else
#error "this processor's clock is not known"
#endif
}

/// Keep this thread on the processor that it is on. Returns that processor, or -1.
int timing_pin(void);

#endif
