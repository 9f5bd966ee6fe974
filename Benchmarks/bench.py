#!/usr/bin/env python3
"""Compare Thor with C Tor, a chain of ssh hops and (if installed) microsocks, on this machine, in one run.

    make bench                              # five runs of a gibibyte each way; about 15 minutes
    Benchmarks/bench.py --runs 1 --size 128 --only thor

Writes a table as Markdown and all figures as JSON. Everything runs on loopback, if possible in a network namespace of
its own, where TCP is cubic and (for half of the latency figures) quickack is set. What cannot be started is left out,
with a note.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import socket
import subprocess
import sys
import threading
import time

import measure
import peers
import report
from measure import MeasureError, note

IN_NAMESPACE = "ONION_BENCH_NAMESPACE"


def enter_namespace():
    """Start again in a network namespace of our own; go on in the machine's own if that is not allowed."""
    if os.environ.get(IN_NAMESPACE):
        return
    unshare = ["unshare", "--net"]
    if os.getuid() != 0:
        unshare += ["--user", "--map-current-user", "--keep-caps"]
    try:
        allowed = subprocess.run([*unshare, "ip", "link", "set", "lo", "up"], capture_output=True).returncode == 0
    except OSError:
        allowed = False
    if allowed:
        os.execvpe(unshare[0], [*unshare, sys.executable, *sys.argv], {**os.environ, IN_NAMESPACE: "1"})
    os.environ[IN_NAMESPACE] = "0"


def prepare_namespace():
    """Return whether the network is ours to set."""
    if os.environ[IN_NAMESPACE] != "1":
        note("no network namespace of our own: the machine's TCP settings stay, and quickack is not measured")
        return False
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    set_routes(quickack=False)
    return True


def set_routes(quickack):
    """TCP cubic (by route: only the machine's owner may choose another default), with or without quickack."""
    for prefix in ("127.0.0.0/8", "127.0.0.1"):
        subprocess.run(
            ["ip", "route", "replace", "table", "local", "local", prefix, "dev", "lo", "proto", "kernel", "scope",
             "host", "src", "127.0.0.1", "congctl", "cubic"] + (["quickack", "1"] if quickack else []), check=True)


def tcp_in_effect():
    """The congestion control that a connection on loopback gets."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).split(b"\0")[0].decode()


class MemoryWatch:
    """The largest resident memory of each role while something runs."""

    def __init__(self, roles):
        self.roles = {role: pids() for role, pids in roles.items()}
        self.largest = {role: 0.0 for role in roles}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        while not self.ended.wait(0.1):
            for role, pids in self.roles.items():
                self.largest[role] = max(self.largest[role], measure.resident_mebibytes(pids))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


class Comparison:
    def __init__(self, options, origin):
        self.options = options
        self.origin = origin
        self.figures = {}

    def record(self, peer, name, value):
        self.figures.setdefault(peer.name, {}).setdefault(name, []).append(value)

    def transfer(self, peer, kind, streams):
        size = self.options.size << 20
        with MemoryWatch(peer.roles) as memory:
            result, cpu = measure.with_cpu(peer.roles, lambda: measure.generate(
                kind, self.origin.address, peer.socks, bytes=size, streams=streams, timeout=self.options.timeout))
        name = f"{kind} {streams}"
        gibibytes = size / (1 << 30)
        self.record(peer, name, {
            "mebibytesPerSecond": result["mebibytesPerSecond"], "networkCPUPerGiB": measure.network_cpu(cpu) / gibibytes,
            "roleCPUPerGiB": {role: seconds / gibibytes for role, seconds in cpu.items()},
            "residentMiB": memory.largest, "generatorCPUSeconds": result["generatorCPUSeconds"]})
        note(f"  {peer.name}: {name}: {result['mebibytesPerSecond']:.0f} MiB/s, "
             f"{measure.network_cpu(cpu) / gibibytes:.2f} CPU-s/GiB")

    def requests(self, peer, name, count, concurrency, **options):
        result, cpu = measure.with_cpu(peer.roles, lambda: measure.generate(
            "requests", self.origin.address, peer.socks, count=count, concurrency=concurrency,
            timeout=self.options.timeout, **options))
        result["roleCPUMicrosecondsPerRequest"] = {role: seconds / count * 1e6 for role, seconds in cpu.items()}
        self.record(peer, name, result)
        note(f"  {peer.name}: {name}: {result['perSecond']:.0f} /s, median {result['medianMilliseconds']:.2f} ms, "
             f"p95 {result['p95Milliseconds']:.2f} ms")

    def requests_beside_bulk(self, peer, count):
        """Latency while another user's download crosses the same routers."""
        stop = subprocess.Popen(
            [str(measure.GENERATOR), "down", "--target", self.origin.address, "--socks", peer.socks, "--user", "bulk",
             "--bytes", str(1 << 40), "--timeout", str(self.options.timeout)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(1)
            self.requests(peer, "requests beside a download", count, 1, user="other")
            if stop.poll() is not None:
                raise MeasureError("the download ended before the requests did")
        finally:
            measure.stop(stop)

    def idle_memory(self, peer):
        self.record(peer, "idle", {
            "residentMiB": {role: measure.resident_mebibytes(pids()) for role, pids in peer.roles.items()}})

    def idle_streams(self, peer, count):
        """What an open stream on which nothing moves adds to each process."""
        before = {role: measure.resident_mebibytes(pids()) for role, pids in peer.roles.items()}
        holder = subprocess.Popen(
            [str(measure.GENERATOR), "hold", "--target", self.origin.address, "--socks", peer.socks, "--streams",
             str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            if not measure.read_line(holder, 60).startswith("holding"):
                raise MeasureError(f"{count} streams could not be opened")
            self.record(peer, "idle streams", {"kibibytesPerStream": {
                role: (measure.resident_mebibytes(pids()) - before[role]) * 1024 / count
                for role, pids in peer.roles.items()}})
        finally:
            holder.stdin.close()
            measure.stop(holder)

    def idle_circuits(self, peer, count):
        if isinstance(peer, peers.Thor):
            self.record(peer, "idle circuits", {
                "kibibytesPerCircuit": peer.kibibytes_per_idle_circuit(self.options.circuits, count)})

    def circuits(self, peer, suffix, count, concurrency):
        if isinstance(peer, peers.Tor):
            rate = peer.circuits_per_second(count, concurrency)
        elif isinstance(peer, peers.Thor):
            rate = peer.circuits_per_second(self.options.circuits, count, concurrency)
        else:
            return
        self.record(peer, f"circuits {concurrency}{suffix}", {"perSecond": rate})
        note(f"  {peer.name}: circuits{suffix}, {concurrency} at a time: {rate:.0f} /s")

    def attempt(self, peer, what, *arguments):
        """One measurement that fails takes only itself out of the table."""
        try:
            what(peer, *arguments)
        except (MeasureError, OSError, subprocess.SubprocessError) as error:
            note(f"  {peer.name}: {error}")
            self.figures.setdefault(peer.name, {}).setdefault("failures", []).append(str(error))

    def run(self, network, owns_network):
        options = self.options
        for peer in network:
            # Content is compared once; this also builds whatever is built on first use.
            self.attempt(peer, lambda one: measure.generate(
                "down", self.origin.address, one.socks, bytes=16 << 20, check=True, timeout=options.timeout))
            self.attempt(peer, lambda one: measure.generate(
                "up", self.origin.address, one.socks, bytes=16 << 20, timeout=options.timeout))
        for run in range(options.runs):
            note(f"run {run + 1} of {options.runs}")
            for streams in (1, 100):
                for kind in ("down", "up"):
                    for peer in network:
                        self.attempt(peer, self.transfer, kind, streams)
            for quickack in ([False, True] if owns_network else [False]):
                if owns_network:
                    set_routes(quickack)
                suffix = " with quickack" if quickack else ""
                for peer in network:
                    self.attempt(peer, self.requests, "warm request" + suffix, options.requests, 1)
                for peer in network:
                    self.attempt(peer, self.requests, "50 clients" + suffix, options.requests * 5, 50)
                for peer in network:
                    self.attempt(peer, self.circuits, suffix, max(20, options.requests // 10), 1)
                    self.attempt(peer, self.circuits, suffix, options.requests, 100)
            if owns_network:
                set_routes(quickack=False)
            for peer in network:
                if peer.has_users:
                    self.attempt(peer, self.requests_beside_bulk, min(500, options.requests))
        # Memory last, once: what is given back late would spoil the figures before.
        for peer in network:
            self.attempt(peer, self.idle_streams, options.idle_streams)
            self.attempt(peer, self.idle_circuits, options.idle_circuits)

    def generator_limit(self):
        """What the load generator does when nothing is in between."""
        class Direct:
            name, roles, socks = "no network", {}, None

        for _ in range(self.options.runs):
            for streams in (1, 100):
                for kind in ("down", "up"):
                    self.attempt(Direct, self.transfer, kind, streams)
            self.attempt(Direct, self.requests, "warm request", self.options.requests, 1)
            self.attempt(Direct, self.requests, "50 clients", self.options.requests * 5, 50)


def machine():
    def first(path, prefix):
        for line in pathlib.Path(path).read_text().splitlines():
            if line.startswith(prefix):
                return line.split(":", 1)[1].strip()
        return ""
    flags = first("/proc/cpuinfo", "flags").split()
    return {
        "processor": first("/proc/cpuinfo", "model name"), "cores": os.cpu_count(),
        "instructions": [flag for flag in ("aes", "pclmulqdq", "vaes", "vpclmulqdq", "avx512f") if flag in flags],
        "kernel": platform.release(), "memory": first("/proc/meminfo", "MemTotal"),
        "tcp": tcp_in_effect(),
        "loadAverageAtStart": os.getloadavg()[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = measure.HERE.parent
    known = {"thor": peers.Thor, "tor": peers.Tor, "ssh": peers.SSHChain, "microsocks": peers.Microsocks}
    parser.add_argument("--executables", default=str(root / ".build" / "release"), help="where thor-testnet is")
    parser.add_argument("--circuits", default=str(measure.HERE / ".build" / "release" / "onion-circuits"),
                        help="the program that builds circuits")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="bytes of each transfer (1024)")
    parser.add_argument("--runs", type=int, default=5, help="how often everything is measured (5)")
    parser.add_argument("--requests", type=int, default=2000, help="small requests per measurement (2000)")
    parser.add_argument("--idle-streams", type=int, default=1000, help="streams to stand idle (1000)")
    parser.add_argument("--idle-circuits", type=int, default=10000, help="circuits to stand idle (10000)")
    parser.add_argument("--timeout", type=int, default=180, help="seconds that one measurement may take (180)")
    parser.add_argument("--only", action="append", choices=list(known), help="these networks alone")
    parser.add_argument("--output", default=str(measure.HERE / "results"), help="directory of the table and the JSON")
    options = parser.parse_args()
    measure.build_generator()
    enter_namespace()
    owns_network = prepare_namespace()
    environment = machine()
    if environment["loadAverageAtStart"] > 0.5:
        note(f"the machine is busy (load average {environment['loadAverageAtStart']:.1f}): the figures suffer")
    left_out, network = {}, []
    with measure.Origin() as origin:
        comparison = Comparison(options, origin)
        try:
            comparison.generator_limit()
            for name in options.only or known:
                peer = peers.Thor(options.executables) if name == "thor" else known[name]()
                note(f"starting {peer.name}")
                try:
                    network.append(peer.__enter__())
                    comparison.idle_memory(peer)
                except MeasureError as error:
                    left_out[peer.name] = str(error)
                    note(f"left out: {peer.name}: {error}")
            versions = {peer.name: peer.version for peer in network}
            comparison.run(network, owns_network)
        finally:
            for peer in network:
                peer.__exit__()
    results = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "machine": environment,
        "options": {"sizeMiB": options.size, "runs": options.runs, "requests": options.requests},
        "versions": versions, "leftOut": left_out, "figures": comparison.figures}
    output = pathlib.Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    (output / "bench.json").write_text(json.dumps(results, indent=1) + "\n")
    table = report.markdown(results)
    (output / "bench.md").write_text(table)
    print(table)
    note(f"written: {output}/bench.md and bench.json")
    if not network:
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except MeasureError as error:
        sys.exit(f"bench: {error}")
