// The public functions: which tag goes where at a router and at a client, and which implementation runs.

#include "internal.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
// Extended control register 0: which vector registers the operating system saves. Needs OSXSAVE.
static uint64_t saved_registers(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

// CPUID and not __builtin_cpu_supports: that one wants a run-time library, and knows VAES only in newer ones.
static bool machine_has(int implementation)
{
    enum { PCLMULQDQ = 1 << 1, SSSE3 = 1 << 9, AES = 1 << 25, OSXSAVE = 1 << 27 };                        // 1: ecx
    enum { AVX2 = 1 << 5, AVX512F = 1 << 16, AVX512BW = 1 << 30, VAES = 1 << 9, VPCLMULQDQ = 1 << 10 };  // 7: ebx, ecx
    unsigned a, b1, c1, d, b7 = 0, c7 = 0;
    if (!__get_cpuid(1, &a, &b1, &c1, &d)) return false;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d)) b7 = c7 = 0;
    uint64_t saved = c1 & OSXSAVE ? saved_registers() : 0;

    bool aesni = (c1 & PCLMULQDQ) && (c1 & SSSE3) && (c1 & AES);
    bool vaes = aesni && (saved & 0x6) == 0x6 && (b7 & AVX2) && (c7 & VAES) && (c7 & VPCLMULQDQ);
    bool wide = vaes && (saved & 0xe6) == 0xe6 && (b7 & AVX512F) && (b7 & AVX512BW);
    switch (implementation) {
    case ONION_CIPHER_AESNI: return aesni;
    case ONION_CIPHER_VAES256: return vaes;
    case ONION_CIPHER_VAES512: return wide;
    default: return false;
    }
}
#elif defined(__aarch64__)
static bool machine_has(int implementation)
{
    if (implementation != ONION_CIPHER_ARMV8) return false;
#if defined(__linux__)
    enum { AES = 1 << 3, PMULL = 1 << 4 };
    unsigned long capabilities = getauxval(AT_HWCAP);
    return (capabilities & AES) && (capabilities & PMULL);
#elif defined(__APPLE__)
    return true;
#else
    return false;
#endif
}
#else
static bool machine_has(int implementation) { (void)implementation; return false; }
#endif

static const struct onion_cipher_operations *operations_of(int implementation)
{
    switch (implementation) {
    case ONION_CIPHER_PORTABLE: return &onion_cipher_portable;
#if defined(__x86_64__)
    case ONION_CIPHER_AESNI: return &onion_cipher_aesni;
    case ONION_CIPHER_VAES256: return &onion_cipher_vaes256;
    case ONION_CIPHER_VAES512: return &onion_cipher_vaes512;
#elif defined(__aarch64__)
    case ONION_CIPHER_ARMV8: return &onion_cipher_armv8;
#endif
    default: return NULL;
    }
}

// A bit for each implementation that can run here, found out once: asking costs tens of microseconds where a hypervisor
// answers, and every circuit makes ciphers.
static unsigned available(void)
{
    static _Atomic unsigned known;  // 0: not asked yet
    unsigned mask = atomic_load_explicit(&known, memory_order_relaxed);
    if (mask == 0) {
        mask = 1u << ONION_CIPHER_PORTABLE;
        for (int i = 0; i < ONION_CIPHER_IMPLEMENTATION_COUNT; i++)
            if (machine_has(i)) mask |= 1u << i;
        atomic_store_explicit(&known, mask, memory_order_relaxed);
    }
    return mask;
}

bool onion_cipher_is_available(int implementation)
{
    if (implementation < 0 || implementation >= ONION_CIPHER_IMPLEMENTATION_COUNT) return false;
    return available() >> implementation & 1;
}

int onion_cipher_best(void)
{
    static const int fastest_first[] = {
        ONION_CIPHER_VAES512, ONION_CIPHER_VAES256, ONION_CIPHER_AESNI, ONION_CIPHER_ARMV8};
    for (size_t i = 0; i < sizeof fastest_first / sizeof *fastest_first; i++)
        if (onion_cipher_is_available(fastest_first[i])) return fastest_first[i];
    return ONION_CIPHER_PORTABLE;
}

const char *onion_cipher_name(int implementation)
{
    switch (implementation) {
    case ONION_CIPHER_PORTABLE: return "portable";
    case ONION_CIPHER_AESNI: return "aesni";
    case ONION_CIPHER_VAES256: return "vaes256";
    case ONION_CIPHER_VAES512: return "vaes512";
    case ONION_CIPHER_ARMV8: return "armv8";
    default: return "unknown";
    }
}

// The empty statement may read the memory, as far as the compiler knows, so that the zeros must be there.
void onion_cipher_wipe(void *memory, size_t length)
{
    memset(memory, 0, length);
    __asm__ volatile("" : : "r"(memory) : "memory");
}

struct onion_cipher *onion_cipher_create(int implementation, const uint8_t keys[ONION_CIPHER_KEY_BYTES])
{
    void *memory;
    if (!onion_cipher_is_available(implementation)) return NULL;
    if (posix_memalign(&memory, _Alignof(struct onion_cipher), sizeof(struct onion_cipher)) != 0) return NULL;
    struct onion_cipher *cipher = memset(memory, 0, sizeof(struct onion_cipher));
    cipher->operations = operations_of(implementation);
    cipher->operations->set_keys(cipher, keys);
    return cipher;
}

void onion_cipher_destroy(struct onion_cipher *cipher)
{
    if (!cipher) return;
    onion_cipher_wipe(cipher, sizeof *cipher);
    free(cipher);
}

static void check(size_t length)
{
    if (length < ONION_CIPHER_BODY_MINIMUM || length > ONION_CIPHER_BODY_MAXIMUM) __builtin_trap();
}

// In constant time: which byte of a tag is wrong is nobody's business. That it is wrong shows in what happens next.
static bool is_equal(const uint8_t a[16], const uint8_t b[16])
{
    uint64_t x[2], y[2];
    memcpy(x, a, 16);
    memcpy(y, b, 16);
    uint64_t difference = (x[0] ^ y[0]) | (x[1] ^ y[1]);
    return ((difference | (0 - difference)) >> 63) == 0;
}

void onion_cipher_uiv_encrypt(struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length)
{
    check(length);
    cipher->operations->encrypt(cipher, command, body, length);
}

void onion_cipher_uiv_decrypt(struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length)
{
    check(length);
    cipher->operations->decrypt(cipher, command, body, length);
}

void onion_cipher_update(struct onion_cipher *cipher, size_t length)
{
    check(length);
    cipher->operations->update(cipher, length);
}

bool onion_cipher_forward(
    struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length, uint8_t tag[ONION_CIPHER_TAG_BYTES])
{
    check(length);
    memcpy(tag, body, 16);
    cipher->operations->encrypt(cipher, command, body, length);
    memcpy(cipher->last_tag, body, 16);
    if (!is_equal(body, cipher->nonce)) return false;
    cipher->operations->update(cipher, length);
    return true;
}

void onion_cipher_backward(struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length)
{
    check(length);
    cipher->operations->encrypt(cipher, command, body, length);
    memcpy(cipher->last_tag, body, 16);
}

void onion_cipher_originate(
    struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length, uint8_t tag[ONION_CIPHER_TAG_BYTES])
{
    check(length);
    memcpy(body, cipher->nonce, 16);
    cipher->operations->encrypt(cipher, command, body, length);
    memcpy(cipher->last_tag, body, 16);
    memcpy(cipher->nonce, body, 16);
    memcpy(tag, body, 16);
    cipher->operations->update(cipher, length);
}

void onion_cipher_client_originate(
    struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length, uint8_t tag[ONION_CIPHER_TAG_BYTES])
{
    check(length);
    memcpy(body, cipher->nonce, 16);
    cipher->operations->decrypt(cipher, command, body, length);
    memcpy(cipher->last_tag, cipher->nonce, 16);
    memcpy(tag, body, 16);
    cipher->operations->update(cipher, length);
}

void onion_cipher_client_forward(struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length)
{
    uint8_t arrived[16];
    check(length);
    memcpy(arrived, body, 16);
    cipher->operations->decrypt(cipher, command, body, length);
    memcpy(cipher->last_tag, arrived, 16);
}

bool onion_cipher_client_backward(
    struct onion_cipher *cipher, uint8_t command, uint8_t *body, size_t length, uint8_t tag[ONION_CIPHER_TAG_BYTES])
{
    check(length);
    memcpy(tag, body, 16);
    cipher->operations->decrypt(cipher, command, body, length);
    memcpy(cipher->last_tag, tag, 16);
    if (!is_equal(body, cipher->nonce)) return false;
    memcpy(cipher->nonce, tag, 16);
    cipher->operations->update(cipher, length);
    return true;
}

void onion_cipher_read_state(
    const struct onion_cipher *cipher, uint8_t keys[ONION_CIPHER_KEY_BYTES], uint8_t tag[ONION_CIPHER_TAG_BYTES])
{
    memcpy(keys, cipher->block_keys[0], 16);
    memcpy(keys + 16, cipher->powers[POWERS_MAXIMUM - 1], 16);
    memcpy(keys + 32, cipher->stream_keys[0], 16);
    memcpy(keys + 48, cipher->stream_hash, 16);
    memcpy(keys + 64, cipher->nonce, 16);
    memcpy(tag, cipher->last_tag, 16);
}

void onion_cipher_set_last_tag(struct onion_cipher *cipher, const uint8_t tag[ONION_CIPHER_TAG_BYTES])
{
    memcpy(cipher->last_tag, tag, 16);
}
