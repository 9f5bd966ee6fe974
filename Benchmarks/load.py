#!/usr/bin/env python3
"""Load a running Thor network and say how fast it is, and what each process of it costs.

    thor-testnet --routers 3 --json /tmp/net.json        # in another terminal
    Benchmarks/load.py /tmp/net.json                     # one stream, down and up
    Benchmarks/load.py /tmp/net.json --all               # and 100 streams, latency, many small requests, memory
"""

import argparse
import json

import measure


def transfer(kind, size, streams, origin, socks, roles, runs, check):
    measured = []
    for _ in range(runs):
        result, cpu = measure.with_cpu(
            roles, lambda: measure.generate(kind, origin.address, socks, bytes=size, streams=streams, check=check))
        measured.append((result["mebibytesPerSecond"], cpu))
    rate = measure.median([speed for speed, _ in measured])
    gibibytes = size / (1 << 30)
    cost = {role: measure.median([cpu[role] for _, cpu in measured]) / gibibytes for role in roles}
    network = measure.median([measure.network_cpu(cpu) for _, cpu in measured]) / gibibytes
    spread = " ".join(f"{speed:.0f}" for speed, _ in sorted(measured, key=lambda one: one[0]))
    print(f"{kind:4} x{streams:<4} {rate:7.1f} MiB/s ({spread})   network {network:5.2f} CPU-s/GiB   "
          + "  ".join(f"{role} {seconds:.2f}" for role, seconds in cost.items()), flush=True)


def requests(count, concurrency, origin, socks, roles):
    result, cpu = measure.with_cpu(
        roles, lambda: measure.generate("requests", origin.address, socks, count=count, concurrency=concurrency))
    print(f"small requests x{concurrency:<3} {result['perSecond']:7.0f} /s   median {result['medianMilliseconds']:.2f}"
          f"  p95 {result['p95Milliseconds']:.2f}  p99 {result['p99Milliseconds']:.2f} ms   CPU us per request: "
          + "  ".join(f"{role} {seconds / count * 1e6:.0f}" for role, seconds in cpu.items()), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="what thor-testnet --json has written")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="bytes of each transfer (1024)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each transfer, of which the median (3)")
    parser.add_argument("--only", choices=["down", "up"], help="one direction")
    parser.add_argument("--streams", type=int, default=1, help="parallel streams of a transfer (1)")
    parser.add_argument("--all", action="store_true", help="also 100 streams, latency, small requests and memory")
    parser.add_argument("--check", action="store_true", help="compare every byte (costs CPU)")
    options = parser.parse_args()
    with open(options.network, encoding="utf-8") as file:
        description = json.load(file)
    roles, socks, size = measure.testnet_roles(description), description["socks"], options.size << 20
    kinds = [options.only] if options.only else ["down", "up"]
    with measure.Origin(check=options.check) as origin:
        # The first request builds whatever is not built yet.
        measure.generate("requests", origin.address, socks, count=20)
        memory = {role: measure.resident_mebibytes(pids()) for role, pids in roles.items()}
        for kind in kinds:
            transfer(kind, size, options.streams, origin, socks, roles, options.runs, options.check)
        if options.all:
            for kind in kinds:
                transfer(kind, size, 100, origin, socks, roles, options.runs, options.check)
            requests(2000, 1, origin, socks, roles)
            requests(10000, 50, origin, socks, roles)
        print("resident MiB, before and after: " + "  ".join(
            f"{role} {memory[role]:.1f} {measure.resident_mebibytes(pids()):.1f}" for role, pids in roles.items()))


if __name__ == "__main__":
    main()
