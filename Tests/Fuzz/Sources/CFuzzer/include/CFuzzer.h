#ifndef THOR_FUZZER_H
#define THOR_FUZZER_H
#include <stddef.h>
#include <stdint.h>

/// libFuzzer's main loop, called from a program that has its own entry point.
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*callback)(const uint8_t *data, size_t size));

#endif
