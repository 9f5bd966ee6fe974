// CGO in portable C, constant-time: no table, no branch and no address depends on a secret. It relies on 64-bit
// multiplication taking the same time for all operands, as it does on every 64-bit processor we know of.

#define TARGET

#include "internal.h"

#include <string.h>

#include "bitsliced_aes.h"

typedef struct {
    uint64_t low, high;
} block;

INLINE block block_from_words(uint64_t low, uint64_t high) { return (block){low, high}; }
INLINE block block_xor(block a, block b) { return (block){a.low ^ b.low, a.high ^ b.high}; }
INLINE block block_and(block a, block b) { return (block){a.low & b.low, a.high & b.high}; }

INLINE block block_load(const uint8_t *p)
{
    block x = {0, 0};
    for (int i = 0; i < 8; i++) {
        x.low |= (uint64_t)p[i] << (8 * i);
        x.high |= (uint64_t)p[8 + i] << (8 * i);
    }
    return x;
}

INLINE void block_store(uint8_t *p, block x)
{
    for (int i = 0; i < 8; i++) {
        p[i] = (uint8_t)(x.low >> (8 * i));
        p[8 + i] = (uint8_t)(x.high >> (8 * i));
    }
}

// The low 64 bits of a carry-less product. Every fourth bit is taken at a time: at most 16 partial products meet in one
// place, and what they carry stays in the three empty places above it, or falls off the top.
static uint64_t multiply_low(uint64_t x, uint64_t y)
{
    const uint64_t mask = 0x1111111111111111;
    uint64_t product = 0;
    for (int i = 0; i < 4; i++) {
        uint64_t sum = 0;
        for (int j = 0; j < 4; j++) sum ^= (x & mask << j) * (y & mask << ((i - j) & 3));
        product |= sum & mask << i;
    }
    return product;
}

static uint64_t reverse_bits(uint64_t x)
{
    x = (x & 0x5555555555555555) << 1 | (x >> 1 & 0x5555555555555555);
    x = (x & 0x3333333333333333) << 2 | (x >> 2 & 0x3333333333333333);
    x = (x & 0x0f0f0f0f0f0f0f0f) << 4 | (x >> 4 & 0x0f0f0f0f0f0f0f0f);
    return __builtin_bswap64(x);
}

// The carry-less product of two words. Backwards, the high half is a low half.
static block multiply_words(uint64_t x, uint64_t y)
{
    return (block){multiply_low(x, y), reverse_bits(multiply_low(reverse_bits(x), reverse_bits(y))) >> 1};
}

static block gf_multiply(block a, block b)
{
    block low = multiply_words(a.low, b.low), high = multiply_words(a.high, b.high);
    block middle = multiply_words(a.low ^ a.high, b.low ^ b.high);  // Karatsuba
    middle = block_xor(middle, block_xor(low, high));
    uint64_t w0 = low.low, w1 = low.high ^ middle.low, w2 = high.low ^ middle.high, w3 = high.high;

    // Times x^-128 modulo x^128 + x^127 + x^126 + x^121 + 1: w0 and then w1 are made zero from below by adding
    // multiples of the polynomial, whose terms below x^128 but for 1 are x^64 (x^63 + x^62 + x^57).
    w1 ^= w0 << 63 ^ w0 << 62 ^ w0 << 57;
    w2 ^= w0 ^ w0 >> 1 ^ w0 >> 2 ^ w0 >> 7;
    w2 ^= w1 << 63 ^ w1 << 62 ^ w1 << 57;
    w3 ^= w1 ^ w1 >> 1 ^ w1 >> 2 ^ w1 >> 7;
    return (block){w2, w3};
}

static block polyval(const struct onion_cipher *cipher, block tag, uint8_t command, const uint8_t *xr, size_t m)
{
    block h = block_load(cipher->powers[POWERS_MAXIMUM - 1]);
    block sum = gf_multiply(tag, h);
    const uint8_t *next = xr - 1;  // where the command goes
    block put_command = {*next ^ command, 0};
    for (size_t left = m + 1; left > 0;) {
        uint8_t bytes[16] = {0};
        size_t taken = left < 16 ? left : 16;
        memcpy(bytes, next, taken);
        sum = gf_multiply(block_xor(sum, block_xor(block_load(bytes), put_command)), h);
        put_command = (block){0, 0};
        next += taken;
        left -= taken;
    }
    return sum;
}

static block aes_encrypt(const uint8_t keys[11][16], block x)
{
    uint8_t bytes[4][16] = {{0}};
    block_store(bytes[0], x);
    bitsliced_encrypt(keys, bytes);
    return block_load(bytes[0]);
}

static block aes_decrypt(const uint8_t keys[11][16], block x)
{
    uint8_t bytes[4][16] = {{0}};
    block_store(bytes[0], x);
    bitsliced_decrypt(keys, bytes);
    return block_load(bytes[0]);
}

// Four blocks of key stream, of which the first has number `first`.
static void stream_four(const struct bitsliced_keys *keys, block start, uint64_t first, uint8_t out[4][16])
{
    for (uint64_t i = 0; i < 4; i++) block_store(out[i], block_xor(start, block_from_words(0, (first + i) << 56)));
    bitsliced_encrypt_expanded(keys, out);
}

static void stream_xor(const struct onion_cipher *cipher, block start, uint8_t *p, size_t length)
{
    struct bitsliced_keys expanded;
    bitsliced_expand(cipher->stream_keys, &expanded);
    for (uint64_t first = 0; length > 0; first += 4) {
        uint8_t stream[4][16];
        size_t taken = length < sizeof stream ? length : sizeof stream;
        stream_four(&expanded, start, first, stream);
        for (size_t i = 0; i < taken; i++) p[i] ^= stream[i / 16][i % 16];
        p += taken;
        length -= taken;
    }
    onion_cipher_wipe(&expanded, sizeof expanded);
}

static block stream_xor_polyval(
    const struct onion_cipher *cipher, block start, block tag, uint8_t command, uint8_t *xr, size_t m)
{
    stream_xor(cipher, start, xr, m);
    return polyval(cipher, tag, command, xr, m);
}

static void stream_five(const uint8_t keys[11][16], block start, uint64_t first, block out[5])
{
    struct bitsliced_keys expanded;
    uint8_t stream[8][16];
    bitsliced_expand(keys, &expanded);
    stream_four(&expanded, start, first, stream);
    stream_four(&expanded, start, first + 4, stream + 4);
    for (int i = 0; i < 5; i++) out[i] = block_load(stream[i]);
    onion_cipher_wipe(&expanded, sizeof expanded);
    onion_cipher_wipe(stream, sizeof stream);
}

static void expand_keys(struct onion_cipher *cipher, block kb, block ku, block k)
{
    block_store(cipher->block_keys[0], kb);
    block_store(cipher->stream_keys[0], k);
    bitsliced_key_schedule(cipher->block_keys);
    bitsliced_key_schedule(cipher->stream_keys);
    block_store(cipher->powers[POWERS_MAXIMUM - 1], ku);
}

#include "mode.h"

const struct onion_cipher_operations onion_cipher_portable = CGO_OPERATIONS;
