#ifndef C_ALLOCATIONS_H
#define C_ALLOCATIONS_H

#include <stdint.h>

/// How often this process has asked for memory, in all its threads: malloc, calloc, realloc, aligned_alloc,
/// posix_memalign, memalign.
uint64_t allocation_count(void);

/// How many bytes it has asked for with them.
uint64_t allocation_byte_count(void);

/// Ask for memory `count` times in each of the ways that are counted, and give it back: the counter's check of itself.
void allocation_exercise(unsigned count);

/// How many ways `allocation_exercise` knows.
unsigned allocation_way_count(void);

#endif
