"""SOCKS4 and 4a, byte for byte."""

import time

from cases import case
from wire import dial, echoed, expect, open4, receive, request4, rest, say

GROUP = "SOCKS4"
GRANTED, REJECTED = b"\0\x5a" + bytes(6), b"\0\x5b" + bytes(6)


@case(GROUP, "by address, and by name (4a)")
def by_address_and_name(context):
    for host in ("127.0.0.1", "origin.test"):
        with open4(context, host, context.echo.port) as connection:
            echoed(connection)


@case(GROUP, "user ids, short and long, of any bytes")
def user_ids(context):
    for user in (b"alice", b"u" * 255, b"u" * 1024, bytes(range(1, 256))):
        with open4(context, "origin.test", context.echo.port, user) as connection:
            echoed(connection)


@case(GROUP, "a user id that never ends is refused, and not kept")
def endless_user_id(context):
    answer, end = say(context, request4("127.0.0.1", 80, b"u" * 70_000)[:-1])
    assert answer == REJECTED, (answer, end)
    # Without an end in sight it does not wait for more than it would take.
    with dial(context) as connection:
        connection.sendall(request4("127.0.0.1", 80, b"u" * 5000)[:-1])
        assert receive(connection, 8, 5) == REJECTED


@case(GROUP, "a name that never ends is refused")
def endless_name(context):
    with dial(context) as connection:
        connection.sendall(request4(b"n" * 300, 80)[:-1])
        assert receive(connection, 8, 5) == REJECTED


@case(GROUP, "names: empty, with a space, and of 256 bytes are refused; 255 bytes are no such name")
def names(context):
    for name in (b"", b"or igin.test", b"n" * 256, b"n" * 255, b"nobody.test"):
        expect(context, request4(name, 80), REJECTED)


@case(GROUP, "byte by byte")
def byte_by_byte4(context):
    with dial(context) as connection:
        for byte in request4("origin.test", context.echo.port, b"alice") + b"hello":
            connection.sendall(bytes([byte]))
            time.sleep(0.003)
        assert receive(connection, 13) == GRANTED + b"hello"


@case(GROUP, "data in the request's segment arrives")
def early_data4(context):
    with dial(context) as connection:
        connection.sendall(request4("127.0.0.1", context.echo.port) + b"early")
        assert receive(connection, 13) == GRANTED + b"early"


@case(GROUP, "BIND and unknown commands are refused")
def commands4(context):
    for command in (0, 2, 3, 0x7F, 0xF1, 0xFF):
        expect(context, request4("127.0.0.1", 80, command=command), REJECTED)


@case(GROUP, "port 0 and address 0.0.0.0 are refused")
def nowhere4(context):
    expect(context, request4("127.0.0.1", 0), REJECTED)
    expect(context, request4("0.0.0.0", 80), REJECTED)


@case(GROUP, "a closed port is refused, in the time of a round trip")
def closed4(context):
    with context.closed_port() as port:
        started = time.monotonic()
        expect(context, request4("127.0.0.1", port), REJECTED)
        assert time.monotonic() - started < 2.5, time.monotonic() - started


@case(GROUP, "RESOLVE (4a) answers in the address")
def resolve4(context):
    expect(context, request4("origin.test", 0, command=0xF0), b"\0\x5a\0\0\x7f\0\0\1")
    expect(context, request4("nobody.test", 0, command=0xF0), REJECTED)


@case(GROUP, "cut off at every byte: the connection ends")
def cut_off4(context):
    import socket
    data = request4("origin.test", 80, b"alice")
    for length in range(len(data)):
        with dial(context) as connection:
            connection.sendall(data[:length])
            connection.shutdown(socket.SHUT_WR)
            answer, end = rest(connection, 5)
            assert answer == b"" and end == "eof", (length, answer, end)
