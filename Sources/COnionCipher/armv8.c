// CGO with the AES and PMULL instructions of ARMv8: one block per vector.

#if defined(__aarch64__)

#define TARGET __attribute__((target("aes")))
#define LANES 1
#define GROUP 8

#include "internal.h"

#include <arm_neon.h>
#include <string.h>

typedef uint8x16_t block;

INLINE block block_load(const void *p) { return vld1q_u8(p); }
INLINE void block_store(void *p, block x) { vst1q_u8(p, x); }
INLINE block block_zero(void) { return vdupq_n_u8(0); }
INLINE block block_xor(block a, block b) { return veorq_u8(a, b); }
INLINE block block_and(block a, block b) { return vandq_u8(a, b); }
INLINE block block_shuffle(block x, block control) { return vqtbl1q_u8(x, control); }
#define block_shift_words(x, n) vextq_u8(block_zero(), x, 16 - 4 * (n))

INLINE block block_from_words(uint64_t low, uint64_t high)
{
    return vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(low), vcreate_u64(high)));
}

INLINE block block_swap(block x) { return vextq_u8(x, x, 8); }
INLINE block block_up(block x) { return vextq_u8(block_zero(), x, 8); }
INLINE block block_down(block x) { return vextq_u8(x, block_zero(), 8); }

// Which half of each operand: bit 0 for a, bit 4 for b, as in PCLMULQDQ.
INLINE block block_clmul(block a, block b, int halves)
{
    uint64x2_t x = vreinterpretq_u64_u8(a), y = vreinterpretq_u64_u8(b);
    poly64_t p = (poly64_t)(halves & 0x01 ? vgetq_lane_u64(x, 1) : vgetq_lane_u64(x, 0));
    poly64_t q = (poly64_t)(halves & 0x10 ? vgetq_lane_u64(y, 1) : vgetq_lane_u64(y, 0));
    return vreinterpretq_u8_p128(vmull_p64(p, q));
}

// AESE and AESD add their key first, x86's instructions last. The compiler moves the additions to where they cost
// nothing.
INLINE block block_aesenc(block x, block key) { return veorq_u8(vaesmcq_u8(vaeseq_u8(x, block_zero())), key); }
INLINE block block_aesenclast(block x, block key) { return veorq_u8(vaeseq_u8(x, block_zero()), key); }
INLINE block block_aesdec(block x, block key) { return veorq_u8(vaesimcq_u8(vaesdq_u8(x, block_zero())), key); }
INLINE block block_aesdeclast(block x, block key) { return veorq_u8(vaesdq_u8(x, block_zero()), key); }
INLINE block block_aesimc(block key) { return vaesimcq_u8(key); }

typedef block vector;

INLINE vector v_load(const void *p) { return block_load(p); }
INLINE void v_store(void *p, vector x) { block_store(p, x); }
INLINE vector v_zero(void) { return block_zero(); }
INLINE vector v_xor(vector a, vector b) { return block_xor(a, b); }
INLINE vector v_broadcast(block x) { return x; }
INLINE vector v_counters(int first) { return block_from_words(0, (uint64_t)first << 56); }
INLINE vector v_swap(vector x) { return block_swap(x); }
INLINE vector v_up(vector x) { return block_up(x); }
INLINE vector v_down(vector x) { return block_down(x); }
INLINE vector v_clmul(vector a, vector b, int halves) { return block_clmul(a, b, halves); }
INLINE vector v_aesenc(vector x, vector key) { return block_aesenc(x, key); }
INLINE vector v_aesenclast(vector x, vector key) { return block_aesenclast(x, key); }
INLINE block v_fold(vector x) { return x; }
INLINE block v_first(vector x) { return x; }
#define v_join(b0, b1, b2, b3) (b0)
#define v_head(b0, b1, p) (b0)

INLINE vector v_load_tail(const uint8_t *p, size_t n)
{
    uint8_t bytes[16] = {0};
    memcpy(bytes, p, n);
    return block_load(bytes);
}

INLINE void v_xor_tail(uint8_t *p, size_t n, vector x)
{
    uint8_t bytes[16];
    block_store(bytes, block_xor(v_load_tail(p, n), x));
    memcpy(p, bytes, n);
}

#include "simd.h"
#include "mode.h"

const struct onion_cipher_operations onion_cipher_armv8 = CGO_OPERATIONS;

#endif
