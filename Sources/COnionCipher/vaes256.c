// CGO with VAES and VPCLMULQDQ in 256-bit registers, for machines without AVX-512: two blocks per vector.

#if defined(__x86_64__)

#define TARGET __attribute__((target("vaes,vpclmulqdq,avx2,aes,pclmul")))
#define LANES 2
#define GROUP 16

#include "x86.h"

typedef __m256i vector;

INLINE vector v_load(const void *p) { return _mm256_loadu_si256(p); }
INLINE void v_store(void *p, vector x) { _mm256_storeu_si256(p, x); }
INLINE vector v_zero(void) { return _mm256_setzero_si256(); }
INLINE vector v_xor(vector a, vector b) { return _mm256_xor_si256(a, b); }
INLINE vector v_broadcast(block x) { return _mm256_broadcastsi128_si256(x); }
INLINE vector v_swap(vector x) { return _mm256_shuffle_epi32(x, 0x4e); }
INLINE vector v_up(vector x) { return _mm256_slli_si256(x, 8); }
INLINE vector v_down(vector x) { return _mm256_srli_si256(x, 8); }
INLINE vector v_aesenc(vector x, vector key) { return _mm256_aesenc_epi128(x, key); }
INLINE vector v_aesenclast(vector x, vector key) { return _mm256_aesenclast_epi128(x, key); }
INLINE block v_first(vector x) { return _mm256_castsi256_si128(x); }
INLINE block v_fold(vector x) { return block_xor(v_first(x), _mm256_extracti128_si256(x, 1)); }
#define v_clmul(a, b, halves) _mm256_clmulepi64_epi128(a, b, halves)
#define v_join(b0, b1, b2, b3) _mm256_set_m128i(b1, b0)
#define v_head(b0, b1, p) _mm256_set_m128i(b1, b0)

INLINE vector v_counters(int first)
{
    return _mm256_set_epi64x((int64_t)((uint64_t)(first + 1) << 56), 0, (int64_t)((uint64_t)first << 56), 0);
}

INLINE vector v_load_tail(const uint8_t *p, size_t n)
{
    if (n <= 16) return _mm256_set_m128i(block_zero(), block_load_tail(p, n));
    return _mm256_set_m128i(block_load_tail(p + 16, n - 16), block_load(p));
}

INLINE void v_xor_tail(uint8_t *p, size_t n, vector x)
{
    if (n > 16) {
        block_store(p, block_xor(block_load(p), v_first(x)));
        block_xor_tail(p + 16, n - 16, _mm256_extracti128_si256(x, 1));
    } else {
        block_xor_tail(p, n, v_first(x));
    }
}

#include "simd.h"
#include "mode.h"

const struct onion_cipher_operations onion_cipher_vaes256 = CGO_OPERATIONS;

#endif
