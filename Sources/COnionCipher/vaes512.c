// CGO with VAES and VPCLMULQDQ in 512-bit registers: four blocks per vector, masked tails.

#if defined(__x86_64__)

#define TARGET __attribute__((target("vaes,vpclmulqdq,avx512f,avx512bw,avx2,aes,pclmul")))
#define LANES 4
#define GROUP 16

#include "x86.h"

typedef __m512i vector;

INLINE vector v_load(const void *p) { return _mm512_loadu_si512(p); }
INLINE void v_store(void *p, vector x) { _mm512_storeu_si512(p, x); }
INLINE vector v_zero(void) { return _mm512_setzero_si512(); }
INLINE vector v_xor(vector a, vector b) { return _mm512_xor_si512(a, b); }
INLINE vector v_broadcast(block x) { return _mm512_broadcast_i32x4(x); }
INLINE vector v_swap(vector x) { return _mm512_shuffle_epi32(x, 0x4e); }
INLINE vector v_up(vector x) { return _mm512_bslli_epi128(x, 8); }
INLINE vector v_down(vector x) { return _mm512_bsrli_epi128(x, 8); }
INLINE vector v_aesenc(vector x, vector key) { return _mm512_aesenc_epi128(x, key); }
INLINE vector v_aesenclast(vector x, vector key) { return _mm512_aesenclast_epi128(x, key); }
INLINE block v_first(vector x) { return _mm512_castsi512_si128(x); }
#define v_clmul(a, b, halves) _mm512_clmulepi64_epi128(a, b, halves)

INLINE block v_fold(vector x)
{
    __m256i half = _mm256_xor_si256(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
    return block_xor(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

INLINE vector v_join(block b0, block b1, block b2, block b3)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set_m128i(b1, b0)), _mm256_set_m128i(b3, b2), 1);
}

INLINE vector v_head(block b0, block b1, const uint8_t *p)
{
    __m256i rest = _mm256_loadu_si256((const void *)p);
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set_m128i(b1, b0)), rest, 1);
}

INLINE vector v_counters(int first)
{
#define WORD(i) ((int64_t)((uint64_t)(first + (i)) << 56))
    return _mm512_set_epi64(WORD(3), 0, WORD(2), 0, WORD(1), 0, WORD(0), 0);
#undef WORD
}

// A masked load or store touches no byte that its mask leaves out.
INLINE __mmask64 first_bytes(size_t n) { return n == 0 ? 0 : ~0ULL >> (64 - n); }
INLINE vector v_load_tail(const uint8_t *p, size_t n) { return _mm512_maskz_loadu_epi8(first_bytes(n), p); }

INLINE void v_xor_tail(uint8_t *p, size_t n, vector x)
{
    _mm512_mask_storeu_epi8(p, first_bytes(n), v_xor(v_load_tail(p, n), x));
}

#include "simd.h"
#include "mode.h"

const struct onion_cipher_operations onion_cipher_vaes512 = CGO_OPERATIONS;

#endif
