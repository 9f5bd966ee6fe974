// The operations on one block, 128 bits, for the x86-64 implementations.

#include "internal.h"

#include <immintrin.h>
#include <string.h>

typedef __m128i block;

INLINE block block_load(const void *p) { return _mm_loadu_si128(p); }
INLINE void block_store(void *p, block x) { _mm_storeu_si128(p, x); }
INLINE block block_zero(void) { return _mm_setzero_si128(); }
INLINE block block_xor(block a, block b) { return _mm_xor_si128(a, b); }
INLINE block block_and(block a, block b) { return _mm_and_si128(a, b); }
INLINE block block_from_words(uint64_t low, uint64_t high) { return _mm_set_epi64x((int64_t)high, (int64_t)low); }
INLINE block block_shuffle(block x, block control) { return _mm_shuffle_epi8(x, control); }
INLINE block block_aesenc(block x, block key) { return _mm_aesenc_si128(x, key); }
INLINE block block_aesenclast(block x, block key) { return _mm_aesenclast_si128(x, key); }
INLINE block block_aesdec(block x, block key) { return _mm_aesdec_si128(x, key); }
INLINE block block_aesdeclast(block x, block key) { return _mm_aesdeclast_si128(x, key); }
INLINE block block_aesimc(block key) { return _mm_aesimc_si128(key); }
INLINE block block_swap(block x) { return _mm_shuffle_epi32(x, 0x4e); }
INLINE block block_up(block x) { return _mm_slli_si128(x, 8); }
INLINE block block_down(block x) { return _mm_srli_si128(x, 8); }
#define block_shift_words(x, n) _mm_slli_si128(x, 4 * (n))
#define block_clmul(a, b, halves) _mm_clmulepi64_si128(a, b, halves)

// Shuffle controls: 16 bytes from `shuffles + n` move a block up by 16 - n bytes, from `shuffles + 32 - n` down by
// as many; zeros come in. n depends on the length of the body alone.
static const uint8_t shuffles[48] = {
    128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
    128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128};

// n bytes at p, 0 <= n <= 16, then zeros: the 16 bytes that end there, moved down.
INLINE block block_load_tail(const uint8_t *p, size_t n)
{
    return _mm_shuffle_epi8(block_load(p + n - 16), block_load(shuffles + 32 - n));
}

// XORs the first n bytes of x into p, 0 <= n <= 16, and zeros into the 16 - n bytes before.
INLINE void block_xor_tail(uint8_t *p, size_t n, block x)
{
    block_store(p + n - 16, block_xor(block_load(p + n - 16), _mm_shuffle_epi8(x, block_load(shuffles + n))));
}
