// CGO with AES-NI and PCLMULQDQ: one block per vector. Eight powers: more make the key update dear.

#if defined(__x86_64__)

#define TARGET __attribute__((target("aes,pclmul,ssse3")))
#define LANES 1
#define GROUP 8

#include "x86.h"

typedef block vector;

INLINE vector v_load(const void *p) { return block_load(p); }
INLINE void v_store(void *p, vector x) { block_store(p, x); }
INLINE vector v_zero(void) { return block_zero(); }
INLINE vector v_xor(vector a, vector b) { return block_xor(a, b); }
INLINE vector v_broadcast(block x) { return x; }
INLINE vector v_load_tail(const uint8_t *p, size_t n) { return block_load_tail(p, n); }
INLINE void v_xor_tail(uint8_t *p, size_t n, vector x) { block_xor_tail(p, n, x); }
INLINE vector v_counters(int first) { return block_from_words(0, (uint64_t)first << 56); }
INLINE vector v_swap(vector x) { return block_swap(x); }
INLINE vector v_up(vector x) { return block_up(x); }
INLINE vector v_down(vector x) { return block_down(x); }
INLINE vector v_aesenc(vector x, vector key) { return block_aesenc(x, key); }
INLINE vector v_aesenclast(vector x, vector key) { return block_aesenclast(x, key); }
INLINE block v_fold(vector x) { return x; }
INLINE block v_first(vector x) { return x; }
#define v_clmul(a, b, halves) block_clmul(a, b, halves)
#define v_join(b0, b1, b2, b3) (b0)
#define v_head(b0, b1, p) (b0)

#include "simd.h"
#include "mode.h"

const struct onion_cipher_operations onion_cipher_aesni = CGO_OPERATIONS;

#endif
