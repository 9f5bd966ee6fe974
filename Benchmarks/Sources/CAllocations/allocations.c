// Counts allocations by standing in front of glibc's: a symbol of the program comes before one of a library, and the
// originals have a second name. Linked into the micro-benchmarks; as a shared library (LD_PRELOAD) it counts in any
// program, and then keeps the counts in the file ALLOCATIONS_DIRECTORY/PID: two 64-bit numbers, calls and bytes.
#define _GNU_SOURCE
#include "CAllocations.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

struct counts {
    _Atomic uint64_t calls, bytes;
};

static struct counts own_counts;
static struct counts *counts = &own_counts;

static void count(size_t bytes) {
    atomic_fetch_add_explicit(&counts->calls, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&counts->bytes, bytes, memory_order_relaxed);
}

void *malloc(size_t size) {
    count(size);
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    count(number * size);
    return __libc_calloc(number, size);
}

void *realloc(void *memory, size_t size) {
    count(size);
    return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
    count(size);
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    count(size);
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    if (alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0) return EINVAL;
    count(size);
    void *found = __libc_memalign(alignment, size);
    if (!found) return ENOMEM;
    *memory = found;
    return 0;
}

uint64_t allocation_count(void) { return atomic_load_explicit(&counts->calls, memory_order_relaxed); }

uint64_t allocation_byte_count(void) { return atomic_load_explicit(&counts->bytes, memory_order_relaxed); }

unsigned allocation_way_count(void) { return 6; }

void allocation_exercise(unsigned number) {
    // Volatile, so that no compiler leaves out a pair of allocation and release.
    void *volatile memory = NULL;
    for (unsigned i = 0; i < number; i++) {
        void *aligned = NULL;
        memory = malloc(48);
        memory = realloc(memory, 96);
        free(memory);
        memory = calloc(3, 16);
        free(memory);
        memory = memalign(64, 64);
        free(memory);
        memory = aligned_alloc(64, 64);
        free(memory);
        if (posix_memalign(&aligned, 64, 64) == 0) memory = aligned;
        free(memory);
    }
}

__attribute__((constructor)) static void share_counts(void) {
    const char *directory = getenv("ALLOCATIONS_DIRECTORY");
    if (!directory) return;
    char path[4096];
    snprintf(path, sizeof path, "%s/%d", directory, (int)getpid());
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return;
    if (ftruncate(file, sizeof *counts) == 0) {
        void *shared = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (shared != MAP_FAILED) counts = shared;
    }
    close(file);
}
