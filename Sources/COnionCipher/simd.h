// AES, POLYVAL and the key stream over vector instructions, for vectors of LANES blocks. Each implementation includes
// this file after it has defined TARGET, LANES, GROUP, the operations on one block (see x86.h), the type `vector`, and
//
//   v_load, v_store, v_xor, v_zero, v_broadcast(block)          any alignment
//   v_load_tail(p, n)                                           n bytes and zeros, 0 <= n <= 16 * LANES
//   v_xor_tail(p, n, v)                                         XORs the first n bytes of v into p
//   v_join(b0, b1, b2, b3)                                      the first LANES of these blocks
//   v_head(b0, b1, p)                                           the first LANES of b0, b1, and the blocks at p
//   v_counters(j)                                               block numbers j, j + 1 … in the last byte of each lane
//   v_clmul(a, b, i)                                            lane by lane; i as for PCLMULQDQ
//   v_swap, v_up, v_down                                        lane by lane: swap halves, shift by half a lane
//   v_aesenc, v_aesenclast(v, key)                              lane by lane
//   v_first(v), v_fold(v)                                       the first lane; XOR of the lanes
//
// The tail operations may read the 16 bytes before p, which a body always has: X_R comes after the tag.

#define VECTOR_BYTES (16 * LANES)
#define VECTORS (GROUP / LANES)  // 4 or 8 at once hide the latency of AES and the reduction of POLYVAL
#define GROUP_BYTES (16 * GROUP)
#define LEAD 3  // groups of key stream before hashing begins, where both are done together
#define UNROLL _Pragma("clang loop unroll(full)")

// One product of POLYVAL before reduction, or a sum of them: lo + mid * x^64 + hi * x^128, in each lane.
struct product {
    vector lo, mid, hi;
};

INLINE void accumulate(struct product *sum, vector a, vector b)
{
    sum->lo = v_xor(sum->lo, v_clmul(a, b, 0x00));
    sum->hi = v_xor(sum->hi, v_clmul(a, b, 0x11));
    sum->mid = v_xor(sum->mid, v_xor(v_clmul(a, b, 0x01), v_clmul(a, b, 0x10)));
}

// Multiplies by x^-128 modulo x^128 + x^127 + x^126 + x^121 + 1: Montgomery's reduction, 64 bits at a time.
INLINE vector reduce(struct product sum)
{
    const vector polynomial = v_broadcast(block_from_words(0xc200000000000000, 0xc200000000000000));
    vector lo = v_xor(sum.lo, v_up(sum.mid)), hi = v_xor(sum.hi, v_down(sum.mid));
    lo = v_xor(v_swap(lo), v_clmul(lo, polynomial, 0x00));
    return v_xor(hi, v_xor(v_swap(lo), v_clmul(lo, polynomial, 0x00)));
}

INLINE vector v_multiply(vector a, vector b)
{
    struct product sum = {v_zero(), v_zero(), v_zero()};
    accumulate(&sum, a, b);
    return reduce(sum);
}

// The same for one block, where wide registers would only add latency.
INLINE block gf_multiply(block a, block b)
{
    const block polynomial = block_from_words(0xc200000000000000, 0xc200000000000000);
    block mid = block_xor(block_clmul(a, b, 0x01), block_clmul(a, b, 0x10));
    block lo = block_xor(block_clmul(a, b, 0x00), block_up(mid));
    block hi = block_xor(block_clmul(a, b, 0x11), block_down(mid));
    lo = block_xor(block_swap(lo), block_clmul(lo, polynomial, 0x00));
    return block_xor(hi, block_xor(block_swap(lo), block_clmul(lo, polynomial, 0x00)));
}

// Horner's rule over groups of GROUP blocks, in each lane on its own: all groups but the last multiply every lane with
// the same powers of H^LANES, the last brings each block to its own, so that lanes are added up once, at the end.
INLINE vector polyval_power(const struct onion_cipher *cipher, int i, bool is_last)
{
    const uint8_t *power = cipher->powers[POWERS_MAXIMUM - GROUP + LANES * i];
    return is_last ? v_load(power) : v_broadcast(block_load(power));
}

INLINE vector polyval_group(const struct onion_cipher *cipher, vector sum, const vector x[VECTORS], bool is_last)
{
    struct product product = {v_zero(), v_zero(), v_zero()};
    UNROLL for (int i = VECTORS - 1; i >= 0; i--)
        accumulate(&product, i == 0 ? v_xor(sum, x[0]) : x[i], polyval_power(cipher, i, is_last));
    return reduce(product);
}

// POLYVAL(K_U, tag | command | X_R) on its way, padded with zeros at the end; and in front, to whole groups, where
// they change nothing. The command takes the place of X_L's last byte, so that all blocks but the first lie at xr - 1
// in a row.
struct polyval {
    vector sum;           // of the groups so far
    const uint8_t *next;  // where the next group begins
    size_t length;        // what is left from there
};

// The first group.
INLINE struct polyval polyval_begin(
    const struct onion_cipher *cipher, block tag, uint8_t command, const uint8_t *xr, size_t m)
{
    size_t length = m + 1, blocks = 1 + (length + 15) / 16, padding = -blocks % GROUP;
    size_t first = 16 * (GROUP - padding - 1);  // bytes that follow the tag in its group
    const uint8_t *next = xr - 1;
    const block put_command = block_from_words(*next ^ command, 0);
    vector x[VECTORS];

    if (padding == 0 && length >= first) {
        block second = block_xor(block_load(next), put_command);
        x[0] = v_head(tag, second, next + 16);
        if (LANES == 1) x[1] = v_join(second, second, second, second);
        UNROLL for (int i = LANES == 1 ? 2 : 1; i < VECTORS; i++) x[i] = v_load(next + VECTOR_BYTES * i - 16);
    } else {
        _Alignas(64) uint8_t head[GROUP_BYTES] = {0};
        first = first < length ? first : length;
        block_store(head + 16 * padding, tag);
        if (first != 0) {
            memcpy(head + 16 * padding + 16, next, first);
            head[16 * padding + 16] = command;
        }
        UNROLL for (int i = 0; i < VECTORS; i++) x[i] = v_load(head + VECTOR_BYTES * i);
    }
    vector sum = polyval_group(cipher, v_zero(), x, length == first);
    // The tag alone in its group: the command joins the sum, which is added to the block that it belongs to.
    if (first == 0) sum = v_xor(sum, v_join(put_command, block_zero(), block_zero(), block_zero()));
    return (struct polyval){sum, next + first, length - first};
}

// The groups that are left.
INLINE block polyval_end(const struct onion_cipher *cipher, struct polyval p)
{
    vector x[VECTORS];
    if (p.length == 0) return v_fold(p.sum);
    for (; p.length > GROUP_BYTES; p.next += GROUP_BYTES, p.length -= GROUP_BYTES) {
        UNROLL for (int i = 0; i < VECTORS; i++) x[i] = v_load(p.next + VECTOR_BYTES * i);
        p.sum = polyval_group(cipher, p.sum, x, false);
    }
    // The last one is whole but for 15 bytes at most, so that only the last vector is short.
    const int last = VECTORS - 1;
    UNROLL for (int i = 0; i < last; i++) x[i] = v_load(p.next + VECTOR_BYTES * i);
    x[last] = v_load_tail(p.next + VECTOR_BYTES * last, p.length - VECTOR_BYTES * last);
    return v_fold(polyval_group(cipher, p.sum, x, true));
}

INLINE block polyval(const struct onion_cipher *cipher, block tag, uint8_t command, const uint8_t *xr, size_t m)
{
    return polyval_end(cipher, polyval_begin(cipher, tag, command, xr, m));
}

INLINE block aes_encrypt(const uint8_t keys[11][16], block x)
{
    x = block_xor(x, block_load(keys[0]));
    UNROLL for (int i = 1; i < 10; i++) x = block_aesenc(x, block_load(keys[i]));
    return block_aesenclast(x, block_load(keys[10]));
}

// The round keys of the equivalent inverse cipher are made here: once per cell, beside the chain of rounds.
INLINE block aes_decrypt(const uint8_t keys[11][16], block x)
{
    x = block_xor(x, block_load(keys[10]));
    UNROLL for (int i = 9; i > 0; i--) x = block_aesdec(x, block_aesimc(block_load(keys[i])));
    return block_aesdeclast(x, block_load(keys[0]));
}

// XORs a group of key stream, from block `first` on, into as many bytes at p; into less at the end. `start` has round
// key 0 in it already. With `hash`, adds its next group, which must not be its last, between the rounds: the processor
// multiplies in one unit while it makes key stream in another, but not if it has to find the work by itself.
INLINE void stream_group(
    const struct onion_cipher *cipher, block start, size_t first, uint8_t *p, size_t length, struct polyval *hash)
{
    const uint8_t (*keys)[16] = cipher->stream_keys;
    vector x[VECTORS];
    struct product product = {v_zero(), v_zero(), v_zero()};

    start = block_xor(start, block_from_words(0, (uint64_t)first << 56));
    UNROLL for (int j = 0; j < VECTORS; j++) x[j] = v_xor(v_broadcast(start), v_counters(LANES * j));
    UNROLL for (int i = 1; i < 10; i++) {
        vector key = v_broadcast(block_load(keys[i]));
        UNROLL for (int j = 0; j < VECTORS; j++) x[j] = v_aesenc(x[j], key);
        if (hash && i % (8 / VECTORS) == 0 && i <= 8) {
            int j = VECTORS - i / (8 / VECTORS);
            vector data = v_load(hash->next + VECTOR_BYTES * j);
            accumulate(&product, j == 0 ? v_xor(hash->sum, data) : data, polyval_power(cipher, j, false));
        }
    }
    vector key = v_broadcast(block_load(keys[10]));
    UNROLL for (int j = 0; j < VECTORS; j++) x[j] = v_aesenclast(x[j], key);
    if (hash) *hash = (struct polyval){reduce(product), hash->next + GROUP_BYTES, hash->length - GROUP_BYTES};

    UNROLL for (int j = 0; j < VECTORS; j++, p += VECTOR_BYTES, length -= VECTOR_BYTES) {
        if (length < VECTOR_BYTES) {
            v_xor_tail(p, length, x[j]);
            return;
        }
        v_store(p, v_xor(v_load(p), x[j]));
    }
}

// From byte `done` on, a multiple of GROUP_BYTES.
INLINE void stream_rest(const struct onion_cipher *cipher, block start, uint8_t *xr, size_t m, size_t done)
{
    for (; m - done >= GROUP_BYTES; done += GROUP_BYTES)
        stream_group(cipher, start, done / 16, xr + done, GROUP_BYTES, NULL);
    if (done < m) stream_group(cipher, start, done / 16, xr + done, m - done, NULL);
}

INLINE void stream_xor(const struct onion_cipher *cipher, block start, uint8_t *xr, size_t m)
{
    stream_rest(cipher, block_xor(start, block_load(cipher->stream_keys[0])), xr, m, 0);
}

// The hash keeps one group behind what has been written: bytes that are still on their way to memory cannot be loaded
// across the borders of the stores.
INLINE block stream_xor_polyval(
    const struct onion_cipher *cipher, block start, block tag, uint8_t command, uint8_t *xr, size_t m)
{
    if (m < LEAD * GROUP_BYTES) {
        stream_xor(cipher, start, xr, m);
        return polyval(cipher, tag, command, xr, m);
    }
    start = block_xor(start, block_load(cipher->stream_keys[0]));
    size_t done = 0;
    for (; done < LEAD * GROUP_BYTES; done += GROUP_BYTES)
        stream_group(cipher, start, done / 16, xr + done, GROUP_BYTES, NULL);
    struct polyval hash = polyval_begin(cipher, tag, command, xr, m);
    for (; m - done >= GROUP_BYTES; done += GROUP_BYTES)
        stream_group(cipher, start, done / 16, xr + done, GROUP_BYTES, &hash);
    stream_rest(cipher, start, xr, m, done);
    return polyval_end(cipher, hash);
}

INLINE void stream_five(const uint8_t keys[11][16], block start, uint64_t first, block out[5])
{
    start = block_xor(start, block_load(keys[0]));
    UNROLL for (int j = 0; j < 5; j++) out[j] = block_xor(start, block_from_words(0, (first + j) << 56));
    UNROLL for (int i = 1; i < 10; i++)
        UNROLL for (int j = 0; j < 5; j++) out[j] = block_aesenc(out[j], block_load(keys[i]));
    UNROLL for (int j = 0; j < 5; j++) out[j] = block_aesenclast(out[j], block_load(keys[10]));
}

// The next round key of AES-128. AESENCLAST on four equal words is SubWord, since ShiftRows then moves nothing, and
// is several times faster than AESKEYGENASSIST.
INLINE block next_round_key(block key, uint32_t constant)
{
    const block rotate_last_word = block_from_words(0x0c0f0e0d0c0f0e0d, 0x0c0f0e0d0c0f0e0d);
    const uint64_t constants = (uint64_t)constant << 32 | constant;
    block word = block_aesenclast(block_shuffle(key, rotate_last_word), block_from_words(constants, constants));
    key = block_xor(key, block_shift_words(key, 1));
    key = block_xor(key, block_shift_words(key, 2));
    return block_xor(key, word);
}

INLINE void expand_keys(struct onion_cipher *cipher, block kb, block ku, block k)
{
    static const uint8_t constants[10] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36};
    block_store(cipher->block_keys[0], kb);
    block_store(cipher->stream_keys[0], k);
    UNROLL for (int i = 0; i < 10; i++) {
        kb = next_round_key(kb, constants[i]);
        k = next_round_key(k, constants[i]);
        block_store(cipher->block_keys[i + 1], kb);
        block_store(cipher->stream_keys[i + 1], k);
    }

    // H^LANES … H^1 as one vector, and each vector of powers from the one below it.
    block h2 = gf_multiply(ku, ku);
    vector powers[VECTORS];
    powers[0] = LANES == 1   ? v_join(ku, ku, ku, ku)
                : LANES == 2 ? v_join(h2, ku, ku, ku)
                             : v_join(gf_multiply(h2, h2), gf_multiply(h2, ku), h2, ku);
    UNROLL for (int width = 1; width < VECTORS; width *= 2) {
        // H^(width * LANES) in every lane
        vector step = v_broadcast(v_first(powers[width - 1]));
        UNROLL for (int i = 0; i < width; i++) powers[width + i] = v_multiply(powers[i], step);
    }
    UNROLL for (int i = 0; i < VECTORS; i++) v_store(cipher->powers[POWERS_MAXIMUM - LANES * (i + 1)], powers[i]);
}
