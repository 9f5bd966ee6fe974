"""What a program does to its connection happens at the origin, and the other way round, within 2 s and byte-exact."""

import select
import socket
import struct
import subprocess
import sys
import threading
import time

from checks_load import shared

SECONDS = 2
OPENING = b"\5\1\0\1\x7f\0\0\1"


class Pair:
    """A program's connection through the network, and the origin's end of it."""

    def __init__(self, context):
        self.listener = socket.create_server(("127.0.0.1", 0))
        host, port = context.network.socks.rsplit(":", 1)
        self.program = socket.create_connection((host, int(port)), timeout=20)
        self.program.sendall(b"\5\1\0" + OPENING + struct.pack(">H", self.listener.getsockname()[1]))
        replies = b""
        while len(replies) < 12:
            replies += self.program.recv(12 - len(replies))
        assert replies[:4] == b"\5\0\5\0", replies
        self.listener.settimeout(10)
        self.origin = self.listener.accept()[0]

    def ends(self, reverse):
        return (self.origin, self.program) if reverse else (self.program, self.origin)

    def close(self):
        for one in (self.listener, self.program, self.origin):
            one.close()


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def ending(connection, seconds=SECONDS):
    """Read to the end: ("eof" | "reset" | "nothing", bytes read)."""
    end, count = time.monotonic() + seconds, 0
    while True:
        connection.settimeout(max(0.01, end - time.monotonic()))
        try:
            data = connection.recv(65536)
        except ConnectionResetError:
            return "reset", count
        except TimeoutError:
            return "nothing", count
        if not data:
            return "eof", count
        count += len(data)


def is_broken(connection):
    """Whether a connection that nobody reads or writes is told of a reset."""
    poll = select.poll()
    poll.register(connection, select.POLLERR)
    return bool(poll.poll(SECONDS * 1000))


def write_until_told(connection, told):
    try:
        connection.settimeout(20)
        while True:
            connection.sendall(bytes(65536))
    except OSError as error:
        told.append((time.monotonic(), error))


def half_close(context, reverse):
    pair = Pair(context)
    near, far = pair.ends(reverse)
    near.sendall(bytes(1000))
    near.shutdown(socket.SHUT_WR)
    assert ending(far) == ("eof", 1000)
    far.sendall(bytes(200_000))
    far.close()
    assert ending(near, 10) == ("eof", 200_000)
    pair.close()


def full_close(context, reverse):
    pair = Pair(context)
    near, far = pair.ends(reverse)
    near.sendall(bytes(300_000))
    near.close()
    assert ending(far, 10) == ("eof", 300_000)
    # It goes on writing to somebody who has gone.
    told = []
    writer = threading.Thread(target=write_until_told, args=(far, told))
    started = time.monotonic()
    writer.start()
    writer.join(30)
    assert told and told[0][0] - started < SECONDS, "may go on writing to a connection that is closed"
    pair.close()


def reset_is_reset(context, reverse):
    for prepare in ("at once", "after data", "after the other's half-close"):
        pair = Pair(context)
        near, far = pair.ends(reverse)
        count = 0
        if prepare == "after data":
            near.sendall(bytes(1000))
            far.settimeout(SECONDS)
            while count < 1000:
                count += len(far.recv(1000))
        if prepare == "after the other's half-close":
            near.shutdown(socket.SHUT_WR)
            assert ending(far) == ("eof", 0)
            reset(near)
            assert is_broken(far), prepare
        else:
            reset(near)
            assert ending(far) == ("reset", 0), prepare
        pair.close()


def stops_reading(context, reverse):
    """One end does not read, and closes or resets in the middle of the other's bytes."""
    pair = Pair(context)
    near, far = pair.ends(reverse)
    told = []
    writer = threading.Thread(target=write_until_told, args=(far, told))
    writer.start()
    time.sleep(1)
    started = time.monotonic()
    near.close()
    writer.join(30)
    assert told and told[0][0] - started < SECONDS, "the writer was not told"
    pair.close()


def slow_reader(context, reverse):
    """Everything was written and closed before the other end began to read."""
    pair = Pair(context)
    near, far = pair.ends(reverse)

    def write():
        near.sendall(bytes(3_000_000))
        near.close()

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(1)
    assert ending(far, 20) == ("eof", 3_000_000)
    writer.join(10)
    pair.close()


@shared
def closing(context):
    """Half-close, close, reset and a stop in the middle, by the program and by the origin."""
    for check in (half_close, full_close, reset_is_reset, stops_reading, slow_reader):
        for reverse in (False, True):
            try:
                check(context, reverse)
            except AssertionError as error:
                raise AssertionError(f"{check.__name__} by the {'origin' if reverse else 'program'}: {error}") from error


@shared
def death(context):
    """A program that is killed is gone for the origin."""
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = context.network.socks.rsplit(":", 1)
    request = b"\5\1\0" + OPENING + struct.pack(">H", listener.getsockname()[1])
    code = ("import socket, time\n"
            f"c = socket.create_connection(({host!r}, {port}))\nc.sendall({request!r})\nc.recv(12, socket.MSG_WAITALL)\ntime.sleep(60)")
    program = subprocess.Popen([sys.executable, "-c", code])
    listener.settimeout(20)
    origin = listener.accept()[0]
    time.sleep(0.2)
    program.kill()
    program.wait()
    assert ending(origin) == ("eof", 0)
    listener.close()


CHECKS = [closing, death]
