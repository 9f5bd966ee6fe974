"""Byte-exact streams: closing in every order by every protocol, the last bytes, full duplex, idle ends."""

import hashlib
import os
import random
import socket
import subprocess
import sys
import threading
import time

import checks_closing
from cases import case
from wire import OPENERS, Origin, dial, open5, receive, request5, reset, rest

GROUP = "Streams"
MIB = 1 << 20


class Pair(checks_closing.Pair):
    """The program's connection, by whichever protocol, and the origin's end of it."""

    protocol = "socks5"

    def __init__(self, context):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.program = OPENERS[Pair.protocol](context, "127.0.0.1", self.listener.getsockname()[1])
        self.program.settimeout(20)
        self.listener.settimeout(10)
        self.origin = self.listener.accept()[0]


def by_every_protocol(context, check):
    ours, checks_closing.Pair = checks_closing.Pair, Pair
    try:
        for protocol in OPENERS:
            Pair.protocol = protocol
            for reverse in (False, True):
                try:
                    check(context, reverse)
                except AssertionError as error:
                    raise AssertionError(f"{protocol}, by the {'origin' if reverse else 'program'}: {error}") from error
    finally:
        checks_closing.Pair = ours


@case(GROUP, "half-close: the other direction goes on, and everything is delivered")
def half_close(context):
    by_every_protocol(context, checks_closing.half_close)


@case(GROUP, "close: the last bytes arrive, and writing on ends within 2 s")
def full_close(context):
    by_every_protocol(context, checks_closing.full_close)


@case(GROUP, "a reset is a reset, within 2 s")
def resets(context):
    by_every_protocol(context, checks_closing.reset_is_reset)


@case(GROUP, "a stop in the middle of the other's bytes is told within 2 s")
def stops_reading(context):
    by_every_protocol(context, checks_closing.stops_reading)


@case(GROUP, "what was written and closed before anybody read arrives")
def slow_reader(context):
    by_every_protocol(context, checks_closing.slow_reader)


@case(GROUP, "a program that is killed is gone for the origin within 2 s")
def killed(context):
    checks_closing.death(context)


@case(GROUP, "a program that is killed in the middle of an upload and of a download")
def killed_in_flight(context):
    for wish in ("upload", "download"):
        with Origin() as origin:
            request = b"\5\1\0" + request5("127.0.0.1", origin.port)
            code = ("import socket\n"
                    f"host, port = {context.socks!r}.rsplit(':', 1)\n"
                    "c = socket.create_connection((host, int(port)))\n"
                    f"c.sendall({request!r})\n"
                    "c.recv(12, socket.MSG_WAITALL)\n"
                    + ("while True: c.sendall(bytes(65536))" if wish == "upload" else "while True: c.recv(65536)"))
            program = subprocess.Popen([sys.executable, "-c", code])
            server = origin.accept()
            end = time.monotonic() + 0.5
            server.settimeout(5)
            while time.monotonic() < end:
                server.recv(65536) if wish == "upload" else server.sendall(bytes(65536))
            program.kill()
            program.wait()
            started = time.monotonic()
            try:
                while True:
                    if wish == "upload":
                        if not server.recv(1 << 20):
                            break
                    else:
                        server.sendall(bytes(65536))
            except OSError as error:
                assert not isinstance(error, TimeoutError), error
            assert time.monotonic() - started < 2, f"{wish}: {time.monotonic() - started:.1f} s"
            server.close()


@case(GROUP, "the last bytes before a close arrive, whatever their number")
def last_bytes(context):
    for size in (1, 2, 497, 498, 2020, 2047, 2048, 2049, 4096, 65_535, 65_536, 65_537, 1_000_003):
        data = os.urandom(size)
        for reverse in (False, True):
            with Origin() as origin:
                program = open5(context, "127.0.0.1", origin.port)
                server = origin.accept()
                near, far = (server, program) if reverse else (program, server)
                got = []
                reader = threading.Thread(target=lambda: got.append(rest(far, 20)))
                reader.start()
                near.sendall(data)
                near.close()
                reader.join()
                assert got == [(data, "eof")], (size, reverse, len(got[0][0]), got[0][1])
                far.close()


@case(GROUP, "bytes in pieces of random sizes, both ways at once, arrive in order")
def random_pieces(context):
    chance = random.Random(4)
    data = [chance.randbytes(5 * MIB) for _ in range(2)]
    with Origin() as origin:
        ends = [open5(context, "127.0.0.1", origin.port), origin.accept()]
        sums = [None, None]

        def write(index):
            offset, dice = 0, random.Random(index)
            while offset < len(data[index]):
                size = dice.choice((1, 7, 100, 2043, 9000, 70_000, 200_000))
                ends[index].sendall(data[index][offset:offset + size])
                offset += size
            ends[index].shutdown(socket.SHUT_WR)

        def read(index):
            sums[index] = rest(ends[1 - index], 60)

        threads = [threading.Thread(target=what, args=(index,)) for what in (write, read) for index in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for index in (0, 1):
            assert sums[index] == (data[index], "eof"), (index, len(sums[index][0]), sums[index][1])
        for end in ends:
            end.close()


@case(GROUP, "full-duplex echo does not stall (256 MiB; 1 GiB with --full)")
def echo(context):
    size, block = context.size(256, 1024) * MIB, hashlib.shake_256(b"echo").digest(MIB)
    connection = open5(context, "127.0.0.1", context.echo.port)
    connection.settimeout(60)
    sha, wanted = hashlib.sha256(), hashlib.sha256()

    def write():
        for _ in range(size // MIB):
            connection.sendall(block)
        connection.shutdown(socket.SHUT_WR)

    started = time.monotonic()
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    count = 0
    while data := connection.recv(1 << 18):
        sha.update(data)
        count += len(data)
    writer.join(10)
    for _ in range(size // MIB):
        wanted.update(block)
    assert count == size and sha.digest() == wanted.digest(), count
    seconds = time.monotonic() - started
    context.note(f"{size // MIB} MiB in {seconds:.1f} s, {size / MIB / seconds:.0f} MiB/s each way")


@case(GROUP, "a half-closed stream on which nothing moves ends when the documented time is over (stream-idle-s)")
def idle_half_closed(context):
    # It is 10 s there.
    with Origin() as origin:
        program = open5(context, "127.0.0.1", origin.port, proxy=context.hasty)
        server = origin.accept()
        program.shutdown(socket.SHUT_WR)
        assert rest(server, 3) == (b"", "eof")
        started = time.monotonic()
        data, end = rest(program, 25)
        seconds = time.monotonic() - started
        assert data == b"" and end in ("eof", "reset"), (data, end)
        assert 6 < seconds < 20, f"{seconds:.1f} s"
        server.close()
        program.close()


@case(GROUP, "an open stream on which nothing moves does not end")
def idle_open(context):
    with Origin() as origin:
        program = open5(context, "127.0.0.1", origin.port, proxy=context.hasty)
        server = origin.accept()
        assert rest(program, 14) == (b"", "nothing")
        server.sendall(b"still here")
        assert receive(program, 10) == b"still here"
        server.close()
        program.close()


@case(GROUP, "a program that goes away while it waits leaves nothing behind at the origin")
def gone_while_waiting(context):
    for how in ("close", "reset"):
        with Origin() as origin:
            connection = dial(context)
            connection.sendall(b"\5\1\0" + request5("127.0.0.1", origin.port))
            if how == "close":
                connection.close()
            else:
                reset(connection)
            try:
                server = origin.accept(2)
            except TimeoutError:
                continue
            data, end = rest(server, 3)
            assert data == b"" and end in ("eof", "reset"), (how, data, end)
            # Nobody reads there any more: what is written is soon refused.
            try:
                stop = time.monotonic() + 3
                while time.monotonic() < stop:
                    server.sendall(bytes(1000))
                    time.sleep(0.02)
                raise AssertionError(f"{how}: the origin may go on writing")
            except (BrokenPipeError, ConnectionResetError):
                pass
            server.close()


@case(GROUP, "a slow stream and a fast one beside each other")
def slow_beside_fast(context):
    with Origin() as origin:
        slow = open5(context, "127.0.0.1", origin.port)
        server = origin.accept()
        server.setblocking(False)
        try:
            while True:
                server.send(bytes(65536))
        except BlockingIOError:
            pass
        worst = 0.0
        for _ in range(50):
            started = time.monotonic()
            with open5(context, "127.0.0.1", context.echo.port) as fast:
                fast.sendall(b"x")
                receive(fast, 1)
            worst = max(worst, time.monotonic() - started)
        assert worst < 1, f"{worst:.2f} s"
        slow.close()
        server.close()
