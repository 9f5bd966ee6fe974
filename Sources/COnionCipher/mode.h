// CGO over a block cipher, POLYVAL, and a key stream: DESIGN §6.2, written once. Each implementation includes this file
// after it has defined TARGET, the type `block`, and
//
//   block_load, block_store, block_xor, block_and, block_from_words   16 bytes, little-endian words
//   aes_encrypt, aes_decrypt(round keys, block)                       one block
//   gf_multiply(block, block)                                         POLYVAL's product a * b * x^-128
//   polyval(cipher, tag, command, xr, m)                              POLYVAL(K_U, tag | command | X_R)
//   stream_xor(cipher, start, xr, m)                                  AES-CTR under K, where only the last byte counts
//   stream_xor_polyval(cipher, start, tag, command, xr, m)            stream_xor, then polyval of what it gives
//   stream_five(round keys, start, first, out)                        five blocks of it, from block `first`
//   expand_keys(cipher, K_B, K_U, K)                                  round keys and powers

// Start of the key stream that v chooses.
//
// The low k bits of POLYVAL(B, v) are cleared and at most 2^k blocks used, so that counting on from here touches those
// bits alone: adding a block number is the same as XOR.
INLINE block stream_start(const struct onion_cipher *cipher, block v, size_t length)
{
    size_t blocks = (length - 16 + 15) / 16;
    uint64_t counter = 7;  // 2^k - 1, where 2^k is the least power of two >= blocks + 5, so that k >= 3
    while (counter + 1 < blocks + 5) counter = 2 * counter + 1;
    block h = gf_multiply(block_load(cipher->stream_hash), v);
    return block_and(h, block_from_words(~0ULL, ~(counter << 56)));
}

INLINE void set_key_blocks(struct onion_cipher *cipher, const block keys[5])
{
    expand_keys(cipher, keys[0], keys[1], keys[2]);
    block_store(cipher->stream_hash, keys[3]);
    block_store(cipher->nonce, keys[4]);
}

static TARGET void set_keys(struct onion_cipher *cipher, const uint8_t bytes[ONION_CIPHER_KEY_BYTES])
{
    block keys[5];
    for (int i = 0; i < 5; i++) keys[i] = block_load(bytes + 16 * i);
    set_key_blocks(cipher, keys);
    onion_cipher_wipe(keys, sizeof keys);
}

static TARGET void encrypt(const struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length)
{
    block mask = polyval(cipher, block_load(cipher->last_tag), command, body + 16, length - 16);
    block x = block_xor(mask, aes_encrypt(cipher->block_keys, block_xor(mask, block_load(body))));
    block_store(body, x);
    stream_xor(cipher, stream_start(cipher, x, length), body + 16, length - 16);
}

static TARGET void decrypt(const struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length)
{
    block y = block_load(body);
    block mask = stream_xor_polyval(
        cipher, stream_start(cipher, y, length), block_load(cipher->last_tag), command, body + 16, length - 16);
    block_store(body, block_xor(mask, aes_decrypt(cipher->block_keys, block_xor(mask, y))));
}

static TARGET void update(struct onion_cipher *cipher, size_t length)
{
    block keys[5];
    block start = stream_start(cipher, block_load(cipher->nonce), length);
    stream_five(cipher->stream_keys, start, (length - 16 + 15) / 16, keys);
    set_key_blocks(cipher, keys);
    onion_cipher_wipe(keys, sizeof keys);
}

#define CGO_OPERATIONS {set_keys, encrypt, decrypt, update}
