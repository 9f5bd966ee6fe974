"""What nobody can make grow without end: memory under downloads that are never read, and descriptors that run out."""

import os
import resource
import socket
import time

import socks
from checks_load import MIB, fetch, shared
from network import Network, resident, wait_for

CEILING = 32 * MIB
# What the memory allocator and the sockets of so many streams take besides.
SLACK = 48 * MIB


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def log(network, name):
    with open(f"{network.state}/{name}.log") as file:
        return file.read()


def unread_downloads(context):
    """Downloads that are never read keep every process below its ceiling, and others are served beside them."""
    network = Network(context.executables, routers=3, extra=["--parameter", f"process-queue-limit={CEILING}"])
    unread = []
    try:
        assert wait_for(lambda: fetch(network.socks, context.data.port, "/small/first")[0] == 200, 20)
        before = {name: resident(pid) for name, pid in network.processes.items()}
        growth = dict.fromkeys(before, 0)
        # Each would hold half a mebibyte at the proxy: 160 MiB in all.
        for number in range(320):
            connection = socks.connect(network.socks, "127.0.0.1", context.data.port, user=f"reader{number % 16}",
                                       password="x", receive_buffer=1 << 14)
            connection.sendall(b"GET /bytes/16777216/4 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            unread.append(connection)
        slowest = 0.0
        end = time.monotonic() + 8
        while time.monotonic() < end:
            started = time.monotonic()
            assert fetch(network.socks, context.data.port, "/small/beside")[0] == 200
            slowest = max(slowest, time.monotonic() - started)
            for name, pid in network.processes.items():
                growth[name] = max(growth[name], resident(pid) - before[name])
            time.sleep(0.1)
        name = max(growth, key=growth.get)
        context.figure("growth under 320 downloads that are never read, with a ceiling of 32 MiB",
                       f"at most {(CEILING + SLACK) // MIB} MiB",
                       f"{growth[name] / MIB:.1f} MiB ({name}); requests beside them at most {slowest * 1000:.0f} ms")
        assert growth[name] <= CEILING + SLACK, growth
        proxy = log(network, "proxy")
        assert "a circuit was closed: programs do not take what they asked for" in proxy, proxy[-2000:]
        os.kill(network.processes["proxy"], 15)
        assert wait_for(lambda: "client.limit.queued-bytes=" in log(network, "proxy"), 10), log(network, "proxy")[-2000:]
    finally:
        for connection in unread:
            connection.close()
        network.stop()


@shared
def no_descriptors(context):
    """A daemon that has no descriptor left neither ends nor spins, and serves again as soon as there are some."""
    network = context.network
    router = network.json["routers"][0]
    ports = {"directory": network.json["directory"]["address"], router["nickname"]: router["address"],
             "proxy": network.socks}
    most = 0.0
    for name, address in ports.items():
        pid = network.processes[name]
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        # Lower than what is open: every accept fails.
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(soft, 8), hard))
        waiting = []
        try:
            host, _, port = address.rpartition(":")
            waiting = [socket.create_connection((host, int(port)), timeout=5) for _ in range(3)]
            before, started = processor_seconds(pid), time.monotonic()
            time.sleep(3)
            share = (processor_seconds(pid) - before) / (time.monotonic() - started)
            most = max(most, share)
            assert share < 0.3, f"{name} spins: {share:.0%} of a processor"
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
            for connection in waiting:
                connection.close()
    assert wait_for(lambda: answers(context), 15), "no answer through the proxy"
    context.figure("a daemon without descriptors", "neither ends nor spins", f"at most {most:.0%} of a processor")


def answers(context):
    try:
        return fetch(context.network.socks, context.data.port, "/small/again", timeout=5)[0] == 200
    except OSError:
        return False


CHECKS = [unread_downloads, no_descriptors]
