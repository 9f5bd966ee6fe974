#!/usr/bin/env python3
"""Write path-draw.json: known answers for the path draw, made without any of the Swift code.

An independent implementation of what is documented above `drawPath`, `DrawStream` and `PathSeed`, with hashlib's
BLAKE2b, and Ed25519 public keys after RFC 8032 section 5.1.  Run it in this folder; it takes no arguments.
"""

import hashlib
import ipaddress
import json
import random

# Ed25519 public keys, RFC 8032 section 5.1.5, in extended coordinates.
P = 2**255 - 19
D = -121665 * pow(121666, P - 2, P) % P
GY = 4 * pow(5, P - 2, P) % P


def recover_x(y):
    xx = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return x if x % 2 == 0 else P - x


def add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def public_key(seed):
    h = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(h[:32], "little") & ((1 << 254) - 8) | (1 << 254)
    gx = recover_x(GY)
    point, base = (0, 1, 1, 0), (gx, GY, 1, gx * GY % P)
    while scalar:
        if scalar & 1:
            point = add(point, base)
        base = add(base, base)
        scalar >>= 1
    z = pow(point[2], P - 2, P)
    x, y = point[0] * z % P, point[1] * z % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def blake(data, key=b""):
    return hashlib.blake2b(data, digest_size=32, key=key).digest()


class Stream:
    def __init__(self, seed):
        self.seed, self.block, self.words = seed, 0, []

    def word(self):
        if not self.words:
            block = blake(b"thor path stream v1" + self.block.to_bytes(8, "big"), key=self.seed)
            self.block += 1
            self.words = [int.from_bytes(block[i:i + 8], "big") for i in (0, 8, 16, 24)]
        return self.words.pop(0)

    def below(self, bound):
        mask = (1 << (bound - 1).bit_length()) - 1
        while True:
            value = self.word() & mask
            if value < bound:
                return value

    def draw(self, candidates):
        if not candidates:
            return None
        value, total = self.below(sum(c["weight"] for c in candidates)), 0
        for candidate in candidates:
            total += candidate["weight"]
            if total > value:
                return candidate


def subnet(address):
    ip = ipaddress.ip_address(address)
    return ipaddress.ip_network((ip, 16 if ip.version == 4 else 32), strict=False)


def related(a, b, same_subnet_allowed):
    if a is b:
        return True
    if a["public"] in b["family"] and b["public"] in a["family"]:
        return True
    if same_subnet_allowed:
        return False
    return bool({subnet(x) for x in a["addresses"]} & {subnet(x) for x in b["addresses"]})


def may_allow(policy, port):
    for rule in policy:
        action, rest = rule.split(" ")
        target, ports = rest.rsplit(":", 1)
        low, _, high = ("1-65535" if ports == "*" else ports).partition("-")
        if int(low) <= port <= int(high or low):
            if action == "accept":
                return True
            if target == "*":
                return False
    return False


def is_last_hop(router, case):
    if case["exit"] is not None and router["public"] != case["exit"]:
        return False
    if case["onlyCountries"] is not None and router["country"] not in case["onlyCountries"]:
        return False
    if case["notCountries"] is not None and router["country"] in case["notCountries"]:
        return False
    if case["purpose"] == "directory":
        return True
    return "exit" in router["flags"] and (case["purpose"] == "resolver" or may_allow(router["policy"], case["port"]))


def draw_path(routers, case):
    stream = Stream(bytes.fromhex(case["seed"]))
    same = case["allowSameSubnet"]
    by_key = {r["public"]: r for r in routers}
    usable = [r for r in sorted(routers, key=lambda r: bytes.fromhex(r["public"])) if r["public"] not in case["exclude"]]
    sample = case["guards"]
    if sample:
        guards = [by_key[g] for g in sample if g in by_key and by_key[g] in usable and "guard" in by_key[g]["flags"]]
    else:
        guards = [r for r in usable if "guard" in r["flags"]]
    if not guards:
        return "noUsableGuard"
    ends = [r for r in usable if is_last_hop(r, case)]
    if not ends:
        return "noLastHop"
    while guards:
        guard = guards[0] if sample else stream.draw(guards)
        lasts = [r for r in ends if not related(r, guard, same)]
        while lasts:
            last = stream.draw(lasts)
            middle = stream.draw([r for r in usable if not related(r, guard, same) and not related(r, last, same)])
            if middle is not None:
                return [guard["public"], middle["public"], last["public"]]
            lasts.remove(last)
        guards.remove(guard)
    return "tooFewUnrelatedRouters"


def draw_guards(routers, seed, count, existing):
    stream = Stream(seed)
    ordered = sorted(routers, key=lambda r: bytes.fromhex(r["public"]))
    left = [r for r in ordered if "guard" in r["flags"] and r["public"] not in existing]
    sample = []
    while left and len(sample) < count:
        sample.append(stream.draw(left))
        left.remove(sample[-1])
    return [r["public"] for r in sample]


POLICIES = [
    [],
    ["reject *:25", "accept *:*"],
    ["accept *:80", "accept *:443"],
    ["reject 192.0.2.0/24:*", "reject *:1-1023", "accept [2001:db8::]/32:22", "accept *:1024-65535"],
    ["accept 198.51.100.7:22", "reject *:*"],
]


def make_network(rng, label, count):
    routers = []
    for index in range(count):
        seed = blake(f"{label} router {index}".encode())
        addresses = [f"{rng.choice([5, 9, 44])}.{rng.randrange(count)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"]
        if rng.random() < 0.4:
            addresses.append(f"2a00:{rng.randrange(1, count):x}:1::{rng.randrange(1, 9999):x}")
        flags = [f for f, chance in (("guard", 0.6), ("exit", 0.6), ("fast", 0.5), ("stable", 0.5)) if rng.random() < chance]
        weight = rng.choice([1, rng.randrange(1, 100), rng.randrange(1, 10**9), 2**40])
        routers.append({"seed": seed.hex(), "public": public_key(seed).hex(), "flags": flags, "weight": weight,
                        "country": rng.choice(["", "SE", "DE", "IS"]), "addresses": addresses, "family": [],
                        "policy": rng.choice(POLICIES)})
    for _ in range(count // 3):
        a, b = rng.sample(routers, 2)
        a["family"].append(b["public"])
        if rng.random() < 0.6:
            b["family"].append(a["public"])
    for router in routers:
        router["family"] = sorted(set(router["family"]))[:8]
    return routers


def main():
    rng = random.Random(20261123)
    secret, salt, digest = (blake(x) for x in (b"secret", b"salt", b"digest"))
    document = {
        "origin": "make_path_vectors.py, which lies beside this file",
        "seeds": [{"secret": secret.hex(), "salt": salt.hex(), "digest": digest.hex(), "counter": str(counter),
                   "commitment": blake(secret).hex(),
                   "seed": blake(secret + salt + digest + counter.to_bytes(8, "big"), key=b"thor path draw v1").hex(),
                   "guardSeed": blake(secret + digest, key=b"thor guard draw v1").hex()}
                  for counter in (0, 1, 258, 2**64 - 1)],
        "networks": [],
    }
    for number, count in enumerate((3, 4, 5, 8, 20, 40)):
        routers = make_network(rng, f"network {number}", count)
        cases, samples = [], []
        for index in range(25):
            seed = blake(f"network {number} case {index}".encode())
            everyone = [r["public"] for r in routers]
            wish = rng.random()
            case = {
                "seed": seed.hex(),
                "guards": rng.sample(everyone, min(count, 3)) if rng.random() < 0.5 else [],
                "purpose": rng.choice(["exit", "exit", "exit", "resolver", "directory"]),
                "port": rng.choice([22, 25, 80, 443, 8443]),
                "exclude": rng.sample(everyone, 1) if rng.random() < 0.3 else [],
                "onlyCountries": ["DE", "SE"] if wish < 0.15 else None,
                "notCountries": ["IS"] if 0.15 < wish < 0.3 else None,
                "exit": rng.choice(everyone) if wish > 0.9 else None,
                "allowSameSubnet": rng.random() < 0.3,
            }
            case["result"] = draw_path(routers, case)
            cases.append(case)
        for size in (1, 3, 100):
            seed = blake(f"network {number} sample {size}".encode())
            existing = [routers[0]["public"]] if size == 3 else []
            samples.append({"seed": seed.hex(), "count": size, "existing": existing,
                            "sample": draw_guards(routers, seed, size, existing)})
        document["networks"].append({"routers": routers, "cases": cases, "guardSamples": samples})
    with open("path-draw.json", "w") as file:
        json.dump(document, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
