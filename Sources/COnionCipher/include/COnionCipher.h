// Counter Galois Onion (CGO), the layer cipher of a circuit: one state per hop and direction.
//
// Source: Tor proposal 359; Degabriele, Melloni, Münch, Stam, "Counter Galois Onion", with AES-128. DESIGN §6.2.
//
// A body is a tag (16 bytes) and what the tag stands for. Every function works in place, takes pointers of any
// alignment, reads and writes nothing outside the body, and is constant-time in keys and data, not in lengths. A body
// length outside the limits below is a programmer's mistake and traps. A state is not thread-safe.

#ifndef ONION_CIPHER_H
#define ONION_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ONION_CIPHER_TAG_BYTES 16
#define ONION_CIPHER_KEY_BYTES 80     // K_B | K_U | K | B | N, each 16
#define ONION_CIPHER_BODY_MINIMUM 17
#define ONION_CIPHER_BODY_MAXIMUM 4032  // n = 251 blocks: the largest n with n + 5 <= 2^8

// The ways to compute it; all give the same bytes.
enum onion_cipher_implementation {
    ONION_CIPHER_PORTABLE,  // any machine: bitsliced AES, POLYVAL by masked integer multiplication
    ONION_CIPHER_AESNI,     // x86-64 with AES-NI, PCLMULQDQ, SSSE3
    ONION_CIPHER_VAES256,   // x86-64 with VAES, VPCLMULQDQ, AVX2
    ONION_CIPHER_VAES512,   // x86-64 with VAES, VPCLMULQDQ, AVX-512 F and BW
    ONION_CIPHER_ARMV8,     // AArch64 with the AES and PMULL instructions
    ONION_CIPHER_IMPLEMENTATION_COUNT
};

// Tells whether this machine (and this build) can run an implementation; any value may be asked about.
bool onion_cipher_is_available(int implementation);

// The fastest implementation that this machine can run.
int onion_cipher_best(void);

// A short name in lower case, as "vaes512".
const char *onion_cipher_name(int implementation);

struct onion_cipher;

// Makes a state from 80 bytes of keys, its last tag zero. Null if memory is short or the implementation not available.
struct onion_cipher *onion_cipher_create(int implementation, const uint8_t keys[ONION_CIPHER_KEY_BYTES]);

// Wipes and frees a state; null is allowed.
void onion_cipher_destroy(struct onion_cipher *cipher);

// Router, cell from the client: adds this hop's layer. True if the cell is for this hop; `tag` is then the cell's tag
// and the keys have been replaced.
bool onion_cipher_forward(
    struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length, uint8_t tag[ONION_CIPHER_TAG_BYTES]);

// Router, cell passed on towards the client: adds this hop's layer.
void onion_cipher_backward(struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length);

// Router, cell of its own: writes the tag into the body, adds this hop's layer, replaces the keys. `tag` is the cell's.
void onion_cipher_originate(
    struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length, uint8_t tag[ONION_CIPHER_TAG_BYTES]);

// Client, cell of its own, the layer of the hop that it is for: writes the tag into the body and replaces the keys.
void onion_cipher_client_originate(
    struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length, uint8_t tag[ONION_CIPHER_TAG_BYTES]);

// Client, cell of its own, the layer of a hop on the way to the one that it is for.
void onion_cipher_client_forward(struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length);

// Client, arriving cell: removes one hop's layer. True if that hop originated it; `tag` is then the cell's tag and the
// keys have been replaced.
bool onion_cipher_client_backward(
    struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length, uint8_t tag[ONION_CIPHER_TAG_BYTES]);

// For tests and benchmarks: the parts that the functions above are made of, and the state as bytes.
void onion_cipher_uiv_encrypt(struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length);
void onion_cipher_uiv_decrypt(struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length);
void onion_cipher_update(struct onion_cipher *cipher, size_t length);
void onion_cipher_read_state(
    const struct onion_cipher *cipher, uint8_t keys[ONION_CIPHER_KEY_BYTES], uint8_t tag[ONION_CIPHER_TAG_BYTES]);
void onion_cipher_set_last_tag(struct onion_cipher *cipher, const uint8_t tag[ONION_CIPHER_TAG_BYTES]);

#endif
