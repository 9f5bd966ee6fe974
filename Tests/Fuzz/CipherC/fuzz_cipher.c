// Fuzzes COnionCipher from C, where the address and undefined-behaviour sanitizers see every access: all implementations
// that this machine can run do the same, and each must give the portable one's bytes, recognitions and states.
//
// An input is one of FuzzCipher's, so that both share corpus and fail cases:
//
//     offset  size  field
//     0       1     where the body begins in its memory, 0 to 15, in the upper half
//     1       2     length of the body; below 2^15 it is a short one
//     3       1     command
//     4       80    keys
//     84      …     pairs: what to do, and a byte that is first written somewhere into the body
//
// Before the first input every body length is tried with every operation. A body lies at the very end of its memory, so that
// a read past it is seen as well as a write.

#include "../../../Sources/COnionCipher/include/COnionCipher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER = 4 + ONION_CIPHER_KEY_BYTES, OPERATION_LIMIT = 8, OPERATIONS = 9 };

struct outcome {
    uint8_t body[ONION_CIPHER_BODY_MAXIMUM];
    uint8_t keys[ONION_CIPHER_KEY_BYTES], last_tag[ONION_CIPHER_TAG_BYTES], tag[ONION_CIPHER_TAG_BYTES];
    bool recognised;
};

static void demand(bool holds, const char *what)
{
    if (holds) return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static bool perform(unsigned operation, struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length,
    uint8_t tag[ONION_CIPHER_TAG_BYTES])
{
    switch (operation % OPERATIONS) {
    case 0: return onion_cipher_forward(cipher, command, body, length, tag);
    case 1: onion_cipher_backward(cipher, command, body, length); return false;
    case 2: onion_cipher_originate(cipher, command, body, length, tag); return true;
    case 3: onion_cipher_client_originate(cipher, command, body, length, tag); return true;
    case 4: onion_cipher_client_forward(cipher, command, body, length); return false;
    case 5: return onion_cipher_client_backward(cipher, command, body, length, tag);
    case 6: onion_cipher_uiv_encrypt(cipher, command, body, length); return false;
    case 7: onion_cipher_uiv_decrypt(cipher, command, body, length); return false;
    default: onion_cipher_update(cipher, length); return false;
    }
}

static void read_outcome(struct outcome *outcome, const struct onion_cipher *cipher, const uint8_t *body, size_t length)
{
    memcpy(outcome->body, body, length);
    onion_cipher_read_state(cipher, outcome->keys, outcome->last_tag);
}

// Does the operations of `script` with one implementation; `outcomes` gets what each of them leaves, and their number is
// returned.
static size_t play(int implementation, const uint8_t *keys, uint8_t command, size_t start, size_t length,
    const uint8_t *script, size_t script_length, struct outcome outcomes[OPERATION_LIMIT])
{
    struct onion_cipher *cipher = onion_cipher_create(implementation, keys);
    uint8_t *memory = malloc(start + length);
    demand(cipher && memory, "no memory");
    memset(memory, 0x5a, start);
    uint8_t *body = memory + start;
    for (size_t i = 0; i < length; i++) body[i] = script_length ? script[i % script_length] : 0;
    size_t count = 0;
    for (; count < OPERATION_LIMIT && 2 * count + 1 < script_length; count++) {
        uint8_t operation = script[2 * count];
        struct outcome *outcome = &outcomes[count];
        body[(operation >> 3) * 67u % length] = script[2 * count + 1];
        memset(outcome->tag, 0, sizeof outcome->tag);
        // FuzzCipher takes the lowest three bits; the rest of the byte makes the ninth, which that has no need of.
        unsigned kind = operation == 0xff ? 8 : operation & 7;
        outcome->recognised = perform(kind, cipher, command, body, length, outcome->tag);
        if (!outcome->recognised) memset(outcome->tag, 0, sizeof outcome->tag);
        read_outcome(outcome, cipher, body, length);
    }
    for (size_t i = 0; i < start; i++) demand(memory[i] == 0x5a, "written before the body");
    free(memory);
    onion_cipher_destroy(cipher);
    return count;
}

static void compare(const uint8_t *keys, uint8_t command, size_t start, size_t length, const uint8_t *script, size_t script_length)
{
    static struct outcome expected[OPERATION_LIMIT], found[OPERATION_LIMIT];
    size_t count = play(ONION_CIPHER_PORTABLE, keys, command, start, length, script, script_length, expected);
    for (int i = ONION_CIPHER_PORTABLE + 1; i < ONION_CIPHER_IMPLEMENTATION_COUNT; i++) {
        if (!onion_cipher_is_available(i)) continue;
        play(i, keys, command, start, length, script, script_length, found);
        for (size_t j = 0; j < count; j++) {
            demand(found[j].recognised == expected[j].recognised, "a cell is recognised in another way");
            demand(!memcmp(found[j].tag, expected[j].tag, sizeof found[j].tag), "a tag is another");
            demand(!memcmp(found[j].body, expected[j].body, length), "a body is another");
            demand(!memcmp(found[j].keys, expected[j].keys, sizeof found[j].keys), "keys are others");
            demand(!memcmp(found[j].last_tag, expected[j].last_tag, sizeof found[j].last_tag), "a last tag is another");
        }
    }
}

// A cell goes out with one implementation's state and is read with another's: what one end makes the other recognises.
static void exchange(const uint8_t *keys, uint8_t command, size_t length)
{
    for (int i = 0; i < ONION_CIPHER_IMPLEMENTATION_COUNT; i++) {
        int other = (i + 1) % ONION_CIPHER_IMPLEMENTATION_COUNT;
        if (!onion_cipher_is_available(i) || !onion_cipher_is_available(other)) continue;
        struct onion_cipher *client = onion_cipher_create(i, keys), *router = onion_cipher_create(other, keys);
        uint8_t *body = malloc(length), said[ONION_CIPHER_TAG_BYTES], heard[ONION_CIPHER_TAG_BYTES];
        demand(client && router && body, "no memory");
        for (size_t j = 0; j < length; j++) body[j] = (uint8_t)(j * 7);
        onion_cipher_client_originate(client, command, body, length, said);
        demand(onion_cipher_forward(router, command, body, length, heard), "a cell is not recognised");
        demand(!memcmp(said, heard, sizeof said), "the ends have different tags");
        for (size_t j = 16; j < length; j++) demand(body[j] == (uint8_t)(j * 7), "a body is not what was sent");
        free(body);
        onion_cipher_destroy(client);
        onion_cipher_destroy(router);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    uint8_t keys[ONION_CIPHER_KEY_BYTES];
    for (size_t i = 0; i < sizeof keys; i++) keys[i] = (uint8_t)(i * 7 + 1);
    uint8_t script[2 * OPERATION_LIMIT];
    for (size_t i = 0; i < OPERATION_LIMIT; i++) {
        script[2 * i] = (uint8_t)(i * 9);
        script[2 * i + 1] = (uint8_t)(255 - i);
    }
    uint8_t update[] = {6, 0, 0xff, 1, 0xff, 2, 7, 3};
    for (size_t length = ONION_CIPHER_BODY_MINIMUM; length <= ONION_CIPHER_BODY_MAXIMUM; length++) {
        compare(keys, 3, length % 16, length, script, sizeof script);
        compare(keys, 4, 0, length, update, sizeof update);
        exchange(keys, 3, length);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size <= HEADER) return 0;
    size_t given = (size_t)data[1] << 8 | data[2];
    size_t count = ONION_CIPHER_BODY_MAXIMUM - ONION_CIPHER_BODY_MINIMUM + 1;
    size_t length = ONION_CIPHER_BODY_MINIMUM + given % (given < 0x8000 ? 96 : count);
    compare(data + 4, data[3], data[0] >> 4, length, data + HEADER, size - HEADER);
    return 0;
}
