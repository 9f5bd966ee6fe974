// What the implementations share: the state and the table of the operations that differ between machines.

#ifndef ONION_CIPHER_INTERNAL_H
#define ONION_CIPHER_INTERNAL_H

#include "include/COnionCipher.h"

// POLYVAL multiplies this many blocks by precomputed powers before it reduces, at most.
#define POWERS_MAXIMUM 16

// The expanded state of one hop and direction, in the same form for every implementation: 704 bytes with padding.
struct onion_cipher {
    // K_U^g … K_U^1, for the g (at most 16) that the implementation works with, K_U^1 last in the array.
    _Alignas(64) uint8_t powers[POWERS_MAXIMUM][16];
    uint8_t block_keys[11][16];   // AES round keys of K_B, as in FIPS-197
    uint8_t stream_keys[11][16];  // AES round keys of K
    uint8_t stream_hash[16];      // B
    uint8_t nonce[16];            // N
    uint8_t last_tag[16];         // T'
    const struct onion_cipher_operations *operations;
};

struct onion_cipher_operations {
    // Expands K_B | K_U | K | B | N.
    void (*set_keys)(struct onion_cipher *cipher, const uint8_t keys[ONION_CIPHER_KEY_BYTES]);
    // UIV of DESIGN §6.2 with the tweak T' | command | X_R.
    void (*encrypt)(const struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length);
    void (*decrypt)(const struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length);
    // UPDATE(N), for bodies of this length.
    void (*update)(struct onion_cipher *cipher, size_t length);
};

// Zeros that the compiler does not leave out.
void onion_cipher_wipe(void *memory, size_t length);

extern const struct onion_cipher_operations onion_cipher_portable;
#if defined(__x86_64__)
extern const struct onion_cipher_operations onion_cipher_aesni, onion_cipher_vaes256, onion_cipher_vaes512;
#elif defined(__aarch64__)
extern const struct onion_cipher_operations onion_cipher_armv8;
#endif

// `static` functions that are compiled for the implementation's instructions, and leave no call behind.
#define INLINE static inline __attribute__((always_inline)) TARGET

#endif
