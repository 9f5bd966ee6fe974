// AES-128 for four blocks at once, bitsliced in 64-bit words: bit 4 * b + i of word j is bit j of byte b of block i.
//
// A column of the state is thus 16 bits of each word, a row one nibble of each of those, and ShiftRows and MixColumns
// are masks and rotations. Source: FIPS-197; the S-box is the circuit of Boyar and Peralta (2010/191, 113 gates).

// Round keys in this form.
struct bitsliced_keys {
    uint64_t words[11][8];
};

// Transposes the bits of each byte with the words: bit 8 t + i of word j becomes what was bit 8 t + j of word i.
INLINE void bitsliced_transpose(uint64_t q[8])
{
    static const uint64_t masks[3] = {0x5555555555555555, 0x3333333333333333, 0x0f0f0f0f0f0f0f0f};
    for (int step = 0; step < 3; step++) {
        int distance = 1 << step;
        for (int i = 0; i < 8; i++) {
            if (i & distance) continue;
            uint64_t a = q[i], b = q[i + distance], mask = masks[step];
            q[i] = (a & mask) | (b & mask) << distance;
            q[i + distance] = (a >> distance & mask) | (b & ~mask);
        }
    }
}

// Block i lies with its even bytes in word i and its odd ones in word i + 4 before they are transposed.
INLINE void bitsliced_load(uint64_t q[8], const uint8_t blocks[4][16])
{
    for (int i = 0; i < 4; i++) {
        q[i] = q[i + 4] = 0;
        for (int t = 0; t < 8; t++) {
            q[i] |= (uint64_t)blocks[i][2 * t] << (8 * t);
            q[i + 4] |= (uint64_t)blocks[i][2 * t + 1] << (8 * t);
        }
    }
    bitsliced_transpose(q);
}

INLINE void bitsliced_store(uint64_t q[8], uint8_t blocks[4][16])
{
    bitsliced_transpose(q);
    for (int i = 0; i < 4; i++)
        for (int t = 0; t < 8; t++) {
            blocks[i][2 * t] = (uint8_t)(q[i] >> (8 * t));
            blocks[i][2 * t + 1] = (uint8_t)(q[i + 4] >> (8 * t));
        }
}

static void bitsliced_sub_bytes(uint64_t q[8])
{
    typedef uint64_t w;
    w x0 = q[7], x1 = q[6], x2 = q[5], x3 = q[4], x4 = q[3], x5 = q[2], x6 = q[1], x7 = q[0];

    // Linear, into the tower field
    w y14 = x3 ^ x5, y13 = x0 ^ x6, y9 = x0 ^ x3, y8 = x0 ^ x5, t0 = x1 ^ x2, y1 = t0 ^ x7, y4 = y1 ^ x3;
    w y12 = y13 ^ y14, y2 = y1 ^ x0, y5 = y1 ^ x6, y3 = y5 ^ y8, t1 = x4 ^ y12, y15 = t1 ^ x5, y20 = t1 ^ x1;
    w y6 = y15 ^ x7, y10 = y15 ^ t0, y11 = y20 ^ y9, y7 = x7 ^ y11, y17 = y10 ^ y11, y19 = y10 ^ y8;
    w y16 = t0 ^ y11, y21 = y13 ^ y16, y18 = x0 ^ y16;

    // Inversion
    w t2 = y12 & y15, t3 = y3 & y6, t4 = t3 ^ t2, t5 = y4 & x7, t6 = t5 ^ t2, t7 = y13 & y16, t8 = y5 & y1;
    w t9 = t8 ^ t7, t10 = y2 & y7, t11 = t10 ^ t7, t12 = y9 & y11, t13 = y14 & y17, t14 = t13 ^ t12;
    w t15 = y8 & y10, t16 = t15 ^ t12, t17 = t4 ^ t14, t18 = t6 ^ t16, t19 = t9 ^ t14, t20 = t11 ^ t16;
    w t21 = t17 ^ y20, t22 = t18 ^ y19, t23 = t19 ^ y21, t24 = t20 ^ y18;
    w t25 = t21 ^ t22, t26 = t21 & t23, t27 = t24 ^ t26, t28 = t25 & t27, t29 = t28 ^ t22, t30 = t23 ^ t24;
    w t31 = t22 ^ t26, t32 = t31 & t30, t33 = t32 ^ t24, t34 = t23 ^ t33, t35 = t27 ^ t33, t36 = t24 & t35;
    w t37 = t36 ^ t34, t38 = t27 ^ t36, t39 = t29 & t38, t40 = t25 ^ t39;
    w t41 = t40 ^ t37, t42 = t29 ^ t33, t43 = t29 ^ t40, t44 = t33 ^ t37, t45 = t42 ^ t41;
    w z0 = t44 & y15, z1 = t37 & y6, z2 = t33 & x7, z3 = t43 & y16, z4 = t40 & y1, z5 = t29 & y7, z6 = t42 & y11;
    w z7 = t45 & y17, z8 = t41 & y10, z9 = t44 & y12, z10 = t37 & y3, z11 = t33 & y4, z12 = t43 & y13;
    w z13 = t40 & y5, z14 = t29 & y2, z15 = t42 & y9, z16 = t45 & y14, z17 = t41 & y8;

    // Linear, out of the tower field and through the affine map
    w t46 = z15 ^ z16, t47 = z10 ^ z11, t48 = z5 ^ z13, t49 = z9 ^ z10, t50 = z2 ^ z12, t51 = z2 ^ z5;
    w t52 = z7 ^ z8, t53 = z0 ^ z3, t54 = z6 ^ z7, t55 = z16 ^ z17, t56 = z12 ^ t48, t57 = t50 ^ t53;
    w t58 = z4 ^ t46, t59 = z3 ^ t54, t60 = t46 ^ t57, t61 = z14 ^ t57, t62 = t52 ^ t58, t63 = t49 ^ t58;
    w t64 = z4 ^ t59, t65 = t61 ^ t62, t66 = z1 ^ t63, t67 = t64 ^ t65, s3 = t53 ^ t66;

    q[7] = t59 ^ t63;
    q[6] = t64 ^ ~s3;
    q[5] = t55 ^ ~t67;
    q[4] = s3;
    q[3] = t51 ^ t66;
    q[2] = t47 ^ t65;
    q[1] = t56 ^ ~t62;
    q[0] = t48 ^ ~t60;
}

// The inverse of the S-box's affine map, so that the inverse S-box is this, the S-box, and this again.
static void bitsliced_inverse_affine(uint64_t q[8])
{
    uint64_t x[8];
    for (int j = 0; j < 8; j++) x[j] = 0x63 >> j & 1 ? ~q[j] : q[j];
    for (int j = 0; j < 8; j++) q[j] = x[(j + 2) & 7] ^ x[(j + 5) & 7] ^ x[(j + 7) & 7];
}

static void bitsliced_inverse_sub_bytes(uint64_t q[8])
{
    bitsliced_inverse_affine(q);
    bitsliced_sub_bytes(q);
    bitsliced_inverse_affine(q);
}

// Turns row r by `columns * r` columns: 1 for ShiftRows, 3 for its inverse.
INLINE void bitsliced_shift_rows(uint64_t q[8], int columns)
{
    for (int j = 0; j < 8; j++) {
        uint64_t x = q[j], sum = x & 0x000f000f000f000f;
        for (int r = 1; r < 4; r++) {
            int n = 16 * (columns * r & 3);
            uint64_t row = x & (uint64_t)0x000f000f000f000f << (4 * r);
            sum |= row >> n | row << (64 - n);
        }
        q[j] = sum;
    }
}

// Puts the byte `rows` below in the place of each.
INLINE uint64_t bitsliced_below(uint64_t x, int rows)
{
    uint64_t kept = (0xffffu >> (4 * rows)) * (uint64_t)0x0001000100010001;
    return (x >> (4 * rows) & kept) | (x << (16 - 4 * rows) & ~kept);
}

// Adds times x of `x` in GF(2^8) to `sum`.
INLINE void bitsliced_add_double(uint64_t sum[8], const uint64_t x[8])
{
    for (int j = 0; j < 8; j++) sum[j] ^= j == 0 ? x[7] : 0x1b >> j & 1 ? x[j - 1] ^ x[7] : x[j - 1];
}

// Each byte becomes 2 a0 + 3 a1 + a2 + a3 = 2 (a0 + a1) + a1 + (a2 + a3).
static void bitsliced_mix_columns(uint64_t q[8])
{
    uint64_t pair[8], sum[8];
    for (int j = 0; j < 8; j++) {
        uint64_t below = bitsliced_below(q[j], 1);
        pair[j] = q[j] ^ below;
        sum[j] = below ^ bitsliced_below(pair[j], 2);
    }
    bitsliced_add_double(sum, pair);
    memcpy(q, sum, sizeof sum);
}

// The inverse is MixColumns after adding 4 (a0 + a2) to each byte.
static void bitsliced_inverse_mix_columns(uint64_t q[8])
{
    uint64_t pair[8], twice[8] = {0};
    for (int j = 0; j < 8; j++) pair[j] = q[j] ^ bitsliced_below(q[j], 2);
    bitsliced_add_double(twice, pair);
    bitsliced_add_double(q, twice);
    bitsliced_mix_columns(q);
}

INLINE void bitsliced_add(uint64_t q[8], const uint64_t key[8])
{
    for (int j = 0; j < 8; j++) q[j] ^= key[j];
}

static void bitsliced_expand(const uint8_t keys[11][16], struct bitsliced_keys *expanded)
{
    for (int i = 0; i < 11; i++) {
        uint8_t blocks[4][16];
        for (int j = 0; j < 4; j++) memcpy(blocks[j], keys[i], 16);
        bitsliced_load(expanded->words[i], blocks);
    }
}

static void bitsliced_encrypt_expanded(const struct bitsliced_keys *keys, uint8_t blocks[4][16])
{
    uint64_t q[8];
    bitsliced_load(q, blocks);
    bitsliced_add(q, keys->words[0]);
    for (int i = 1; i <= 10; i++) {
        bitsliced_sub_bytes(q);
        bitsliced_shift_rows(q, 1);
        if (i < 10) bitsliced_mix_columns(q);
        bitsliced_add(q, keys->words[i]);
    }
    bitsliced_store(q, blocks);
}

static void bitsliced_encrypt(const uint8_t keys[11][16], uint8_t blocks[4][16])
{
    struct bitsliced_keys expanded;
    bitsliced_expand(keys, &expanded);
    bitsliced_encrypt_expanded(&expanded, blocks);
    onion_cipher_wipe(&expanded, sizeof expanded);
}

static void bitsliced_decrypt(const uint8_t keys[11][16], uint8_t blocks[4][16])
{
    struct bitsliced_keys expanded;
    uint64_t q[8];
    bitsliced_expand(keys, &expanded);
    bitsliced_load(q, blocks);
    for (int i = 10; i >= 1; i--) {
        bitsliced_add(q, expanded.words[i]);
        if (i < 10) bitsliced_inverse_mix_columns(q);
        bitsliced_shift_rows(q, 3);
        bitsliced_inverse_sub_bytes(q);
    }
    bitsliced_add(q, expanded.words[0]);
    bitsliced_store(q, blocks);
    onion_cipher_wipe(&expanded, sizeof expanded);
}

// Fills in round keys 1 to 10 from round key 0.
static void bitsliced_key_schedule(uint8_t keys[11][16])
{
    uint8_t constant = 1;
    for (int i = 1; i < 11; i++) {
        uint8_t blocks[4][16] = {{0}};
        uint64_t q[8];
        for (int j = 0; j < 4; j++) blocks[0][j] = keys[i - 1][12 + ((j + 1) & 3)];
        bitsliced_load(q, blocks);
        bitsliced_sub_bytes(q);
        bitsliced_store(q, blocks);
        blocks[0][0] ^= constant;
        constant = (uint8_t)(constant << 1 ^ (constant >> 7) * 0x1b);
        for (int j = 0; j < 16; j++) keys[i][j] = keys[i - 1][j] ^ (j < 4 ? blocks[0][j] : keys[i][j - 4]);
    }
}
