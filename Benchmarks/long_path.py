#!/usr/bin/env python3
"""How circuits fill a long path: 100 ms of round trip in front of each router, and one slow link.

    Benchmarks/long_path.py                     # 100 ms a hop, 50 MB/s towards the guard
    Benchmarks/long_path.py --delay 20 --rate 5

Starts a directory server, three routers and a proxy. In front of each router is a relay of ours, which hands bytes on
after half a round trip, and in front of the guard not faster than the rate: delay and queue in user space, since not
every kernel can do it. Then one stream downloads for ten seconds, and a second one, with another user name and so on
another circuit, joins it for ten more. Prints the share of the bottleneck that each had, second by second, and how long
bytes waited in front of it.
"""

import argparse
import asyncio
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import measure

HERE = pathlib.Path(__file__).resolve().parent
TIME_LIMIT = 30


class Way:
    """One direction of a relay: what is behind a delay, and perhaps a bottleneck."""

    def __init__(self, delay):
        self.delay = delay
        self.rate = None
        self.free_at = 0.0
        self.waits = []

    def pass_on(self, loop, data, target):
        now = loop.time()
        leaves = now
        if self.rate:
            start = max(now, self.free_at)
            leaves = self.free_at = start + len(data) / self.rate
            self.waits.append((time.monotonic(), start - now))
        loop.call_at(leaves + self.delay, lambda: target.is_closing() or target.write(data))


class Side(asyncio.Protocol):
    """One end of a relayed connection."""

    def __init__(self, way):
        self.way, self.peer, self.early = way, None, []

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def join(self, peer):
        self.peer = peer
        for data in self.early:
            self.data_received(data)
        self.early = []

    def data_received(self, data):
        if self.peer is None:
            self.early.append(data)
        else:
            self.way.pass_on(asyncio.get_running_loop(), data, self.peer)

    def connection_lost(self, _):
        if self.peer:
            asyncio.get_running_loop().call_later(self.way.delay, self.peer.close)


class Relay:
    """Stands in front of a router, whose port it learns before the first connection comes."""

    def __init__(self, delay):
        self.towards, self.back, self.target = Way(delay), Way(delay), None

    async def start(self):
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: self.accepted(loop), "127.0.0.1", 0)
        self.address = "127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        return self

    def accepted(self, loop):
        side = Side(self.towards)

        async def connect():
            host, port = self.target.split(":")
            try:
                _, other = await loop.create_connection(lambda: Side(self.back), host, int(port))
            except OSError:
                return side.transport.close()
            other.join(side.transport)
            side.join(other.transport)

        loop.create_task(connect())
        return side


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return "127.0.0.1:%d" % probe.getsockname()[1]


def start_relays(delay):
    """The relays, on an event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    async def start():
        return [await Relay(delay).start() for _ in range(3)]

    return asyncio.run_coroutine_threadsafe(start(), loop).result(10)


class Network:
    """A directory server, three routers behind relays, and a proxy."""

    def __init__(self, executables, relays):
        self.executables, self.processes = executables, []
        self.state = tempfile.mkdtemp(prefix="thor-long-path-")
        try:
            self.start(relays)
        except BaseException:
            self.stop(keeping=True)
            raise

    def run(self, program, *arguments):
        log = open(f"{self.state}/{len(self.processes)}-{program}.log", "w")
        process = subprocess.Popen(
            [f"{self.executables}/{program}", *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append(process)

    def key(self, name):
        subprocess.run([f"{self.executables}/thor-keys", "generate", f"{self.state}/{name}.key"], check=True,
                       capture_output=True)
        return f"{self.state}/{name}.key"

    def start(self, relays):
        directory, key = free_address(), self.key("directory")
        public = f"{self.state}/directory.pub"
        subprocess.run([f"{self.executables}/thor-keys", "public", key, public], check=True, capture_output=True)
        self.run("thor-directory", key, "--listen", directory, "--open-registration", "--state", f"{self.state}/ds",
                 "--parameter", "allow-loopback=1", "--parameter", "allow-same-subnet=1")
        self.wait(lambda: self.answers(directory), "the directory server")
        self.relay_of = {}
        for index, relay in enumerate(relays):
            relay.target = free_address()
            self.relay_of[f"router{index}"] = relay
            self.run("thor-router", directory, public, self.key(f"router{index}"), "--listen", relay.target,
                     "--advertise", relay.address, "--nickname", f"router{index}", "--state", f"{self.state}/{index}",
                     "--exit-policy", "accept 127.0.0.0/8:*")
        self.socks = free_address()
        self.run("thor-proxy", directory, public, "--listen", self.socks, "--state", f"{self.state}/proxy")
        self.wait(self.open_circuits, "a circuit")

    def answers(self, address):
        host, port = address.split(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def status(self):
        done = subprocess.run([f"{self.executables}/thor-proxy", "status", "--json", "--state", f"{self.state}/proxy"],
                              capture_output=True, text=True)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def open_circuits(self):
        return [circuit for circuit in self.status().get("circuits", []) if circuit["state"] == "open"]

    def wait(self, condition, what):
        end = time.monotonic() + TIME_LIMIT
        while not condition():
            if time.monotonic() > end or any(process.poll() is not None for process in self.processes):
                raise measure.MeasureError(f"{what} did not come up; see the logs in {self.state}")
            time.sleep(0.1)

    def stop(self, keeping=False):
        for process in reversed(self.processes):
            measure.stop(process)
        if not keeping:
            shutil.rmtree(self.state, ignore_errors=True)


class Download(threading.Thread):
    """Reads from the origin through the proxy, and notes when how much came."""

    def __init__(self, socks, origin, user, seconds):
        super().__init__(daemon=True)
        self.arguments, self.seconds, self.pieces = (socks, origin, user), seconds, []
        self.start()

    def run(self):
        socks, origin, user = self.arguments
        host, port = socks.split(":")
        with socket.create_connection((host, int(port)), 30) as connection:
            name = user.encode()
            connection.sendall(b"\5\1\2" + b"\1" + bytes([len(name)]) + name + b"\1x")
            target_host, target_port = origin.split(":")
            connection.sendall(b"\5\1\0\1" + socket.inet_aton(target_host) + int(target_port).to_bytes(2, "big"))
            expected, reply = 2 + 2 + 10, b""
            while len(reply) < expected:
                reply += connection.recv(expected - len(reply)) or b"?" * expected
            if reply[5:6] != b"\0" or reply[:4] != b"\5\2\1\0":
                raise measure.MeasureError(f"the proxy refused: {reply.hex()}")
            connection.sendall(b"GET /%d HTTP/1.1\r\nHost: origin\r\n\r\n" % (1 << 34))
            self.began = time.monotonic()
            end = self.began + self.seconds
            while time.monotonic() < end:
                count = len(connection.recv(1 << 20))
                if count == 0:
                    raise measure.MeasureError("the stream ended early")
                self.pieces.append((time.monotonic(), count))

    def rate(self, start, end):
        return sum(count for when, count in self.pieces if start <= when < end) / (end - start)


def report(name, download, origin_time, rate, seconds):
    shares = [download.rate(origin_time + second, origin_time + second + 1) / rate * 100 for second in range(seconds)]
    print(f"{name:8} " + " ".join(f"{share:4.0f}" for share in shares), flush=True)
    return shares


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executables", default=HERE.parent / ".build" / "release")
    parser.add_argument("--delay", type=float, default=100, metavar="MS", help="round trip in front of each router (100)")
    parser.add_argument("--rate", type=float, default=50, metavar="MB/S", help="bottleneck, in millions of bytes (50)")
    options = parser.parse_args()
    rate, round_trip = options.rate * 1e6, 3 * options.delay / 1000
    relays = start_relays(options.delay / 2000)
    network = Network(os.path.realpath(options.executables), relays)
    try:
        with measure.Origin() as origin:
            guard = network.open_circuits()[0]["hops"][0]["nickname"]
            bottleneck = network.relay_of[guard].back
            bottleneck.rate = rate
            first = Download(network.socks, origin.address, "first", 20)
            time.sleep(10)
            second = Download(network.socks, origin.address, "second", 10)
            first.join(60)
            second.join(60)
            began = first.began
            print(f"round trip {round_trip * 1000:.0f} ms, bottleneck {options.rate:g} MB/s; percent of it, each second:")
            alone = report("first", first, began, rate, 20)
            report("second", second, began, rate, 20)
            joined = second.began
            halves = [download.rate(joined + 5, joined + 9) / rate * 100 for download in (first, second)]
            waits = [wait for when, wait in bottleneck.waits if began <= when]
            print(f"after 3 s alone: {sum(alone[3:10]) / 7:.0f} %   (wanted: 80)")
            print(f"5 s after the second came: {halves[0]:.0f} % and {halves[1]:.0f} %   (wanted: about half each)")
            print(f"longest wait in front of the bottleneck: {max(waits) * 1000:.0f} ms   "
                  f"(wanted: at most {2 * round_trip * 1000:.0f})")
    finally:
        network.stop()


if __name__ == "__main__":
    main()
