#!/usr/bin/env python3
"""Make handshake.json: vectors of the circuit handshake (DESIGN section 6.1), independent of the Swift code.

    pip install kyber-py==1.2.0 && python3 make_handshake_vectors.py > handshake.json

X25519 is written out here after RFC 7748, ML-KEM-768 is kyber-py's (FIPS 203), BLAKE2b is Python's own.
All secrets come from SHAKE-256 over a label, so a run always gives the same file.

Fields, all in hex: idSeed (Ed25519 seed of the router's identity; ID is its public key), b/B onion key, x/X client,
kemSeed = d | z of ML-KEM key generation, m = the randomness of encapsulation, y/Y router, ct, ss, the whole Create and
Created, AUTH inside it, and the 160 bytes of keys.
"""
import hashlib
import json
import sys

from kyber_py.ml_kem import ML_KEM_768

P = 2**255 - 19


def x25519(scalar: bytes, point: bytes) -> bytes:
    """RFC 7748, section 5."""
    k = int.from_bytes(scalar, "little") & ~7 & ~(1 << 255) | (1 << 254)
    u = int.from_bytes(point, "little") & ((1 << 255) - 1)
    x1, x2, z2, x3, z3, swap = u, 1, 0, u, 1, 0
    for t in reversed(range(255)):
        bit = (k >> t) & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a, b * b, d * a, c * b
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def ed25519_public(seed: bytes) -> bytes:
    """RFC 8032, section 5.1.5, in affine coordinates."""
    d = -121665 * pow(121666, P - 2, P) % P

    def add(p, q):
        (x1, y1), (x2, y2) = p, q
        k = d * x1 * x2 * y1 * y2
        return (
            (x1 * y2 + x2 * y1) * pow(1 + k, P - 2, P) % P,
            (y1 * y2 + x1 * x2) * pow(1 - k, P - 2, P) % P,
        )

    y = 4 * pow(5, P - 2, P) % P
    x_squared = (y * y - 1) * pow(d * y * y + 1, P - 2, P) % P
    x = pow(x_squared, (P + 3) // 8, P)
    if (x * x - x_squared) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    base = (P - x if x & 1 else x, y)
    k = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little") & ~7 & ~(1 << 255) | (1 << 254)
    result = (0, 1)
    while k:
        if k & 1:
            result = add(result, base)
        base = add(base, base)
        k >>= 1
    return (result[1] | (result[0] & 1) << 255).to_bytes(32, "little")


def blake2b(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, key=key, digest_size=32).digest()


def kdf(seed: bytes, number: int) -> bytes:
    """crypto_kdf_derive_from_key(64 bytes, number, "thorcirc", seed)."""
    salt = number.to_bytes(8, "little") + bytes(8)
    return hashlib.blake2b(b"", key=seed, salt=salt, person=b"thorcirc" + bytes(8), digest_size=64).digest()


PROTOID = b"thor-ntor-x25519-mlkem768-1"
BASE = bytes([9]) + bytes(31)


def extension(kind: int, value: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value


def vector(name: str, create_extensions: bytes = b"", created_extensions: bytes = b"") -> dict:
    def secret(label: str, count: int) -> bytes:
        return hashlib.shake_256(f"thor handshake vector/{name}/{label}".encode()).digest(count)

    id_seed, b, x, y = (secret(label, 32) for label in ("id", "b", "x", "y"))
    kem_seed, m = secret("kem", 64), secret("m", 32)
    identity, B, X, Y = ed25519_public(id_seed), x25519(b, BASE), x25519(x, BASE), x25519(y, BASE)
    ek, dk = ML_KEM_768.key_derive(kem_seed)
    ss, ct = ML_KEM_768._encaps_internal(ek, m)
    assert ML_KEM_768.decaps(dk, ct) == ss

    create = (1).to_bytes(2, "big") + identity + B + X + ek
    create += len(create_extensions).to_bytes(2, "big") + create_extensions
    created = Y + ct + len(created_extensions).to_bytes(2, "big") + created_extensions
    transcript = PROTOID + create + created
    shared = x25519(x, Y) + x25519(x, B) + ss
    assert shared == x25519(y, X) + x25519(b, X) + ss
    verify = blake2b(PROTOID + b":verify", shared + transcript)
    created += blake2b(verify, transcript + b"server")
    seed = blake2b(PROTOID + b":seed", shared + transcript)
    keys = (kdf(seed, 1) + kdf(seed, 2) + kdf(seed, 3))[:160]
    fields = dict(
        idSeed=id_seed, ID=identity, b=b, B=B, x=x, X=X, kemSeed=kem_seed, m=m, y=y, Y=Y, ct=ct, ss=ss,
        createExtensions=create_extensions, createdExtensions=created_extensions, create=create, created=created,
        keys=keys,
    )
    return {"name": name} | {key: value.hex() for key, value in fields.items()}


def self_test() -> None:
    """The published vectors of RFC 7748 section 5.2 and RFC 8032 section 7.1."""
    scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    point = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    assert x25519(scalar, point).hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    assert ed25519_public(seed).hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


if __name__ == "__main__":
    self_test()
    vectors = [
        vector("plain 1"),
        vector("plain 2"),
        vector("unknown extensions in Create", create_extensions=extension(7, b"hello") + extension(0xFFFF, b"")),
        vector("unknown extension in Created", created_extensions=extension(0x0102, bytes(range(40)))),
    ]
    json.dump({"source": "make_handshake_vectors.py, DESIGN section 6.1", "vectors": vectors}, sys.stdout, indent=1)
    print()
