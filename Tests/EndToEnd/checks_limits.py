"""What nobody can make grow without end: memory under downloads that are never read, and descriptors."""

import os
import socket
import time

import socks
from checks_load import MIB, fetch
from network import Network, is_alive, resident, wait_for

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
        # Each would hold half a mebibyte at the proxy: 120 MiB in all.
        for number in range(240):
            connection = None
            try:
                connection = socks.connect(network.socks, "127.0.0.1", context.data.port, user=f"reader{number % 16}",
                                           password="x", receive_buffer=1 << 14)
                connection.sendall(b"GET /bytes/16777216/4 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            except (ConnectionError, socks.SocksError):
                pass  # Its circuit has made way: those before it hold too much already.
            if connection:
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
        context.figure("growth under 240 downloads that are never read, with a ceiling of 32 MiB",
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


def few_descriptors(context):
    """With few descriptors floods of connections end no daemon, and a router's flood keeps nobody from its service."""
    network = Network(context.executables, routers=3, prefix=["prlimit", "--nofile=320"])
    flood = []
    try:
        assert wait_for(lambda: answers(network, context), 20)
        targets = [router["address"] for router in network.json["routers"]]
        # A stranger: on this machine 127.0.0.1 is every router's address, which limits of one address exempt.
        flood += [connection for target in targets for connection in connections(target, 400, "127.0.0.9")]
        processor = {name: processor_seconds(pid) for name, pid in network.processes.items()}
        started = time.monotonic()
        assert wait_for(lambda: answers(network, context), 10), "no answer beside the flood of the routers"
        flood += connections(network.json["directory"]["address"], 400, "127.0.0.9")
        flood += connections(network.socks, 400, "127.0.0.9")
        time.sleep(3)
        assert all(is_alive(pid) for pid in network.processes.values()), network.said()
        most = max((processor_seconds(pid) - processor[name]) / (time.monotonic() - started)
                   for name, pid in network.processes.items())
        for connection in flood:
            connection.close()
        assert wait_for(lambda: answers(network, context), 15), "no answer after the flood"
        context.figure("2000 connections to daemons with 320 descriptors", "none ends, none spins",
                       f"at most {most:.0%} of a processor")
        assert most < 0.6, most
    finally:
        for connection in flood:
            connection.close()
        network.stop()


def connections(address, count, source):
    host, _, port = address.rpartition(":")
    made = []
    for _ in range(count):
        try:
            made.append(socket.create_connection((host, int(port)), timeout=5, source_address=(source, 0)))
        except OSError:
            break
    return made


def answers(network, context):
    try:
        return fetch(network.socks, context.data.port, "/small/again", timeout=5)[0] == 200
    except OSError:
        return False


CHECKS = [unread_downloads, few_descriptors]
