"""SOCKS5, byte for byte: RFC 1928, RFC 1929, and Tor's RESOLVE and RESOLVE_PTR."""

import os
import socket
import time

from cases import case
from wire import SUCCEEDED, account, dial, echoed, expect, open5, receive, refusal, request5, rest, say

GROUP = "SOCKS5"
RESOLVE, RESOLVE_PTR = 0xF0, 0xF1


@case(GROUP, "without account: the exact replies, and the stream works")
def no_account(context):
    with dial(context) as connection:
        connection.sendall(b"\5\1\0")
        assert receive(connection, 2) == b"\5\0"
        connection.sendall(request5("127.0.0.1", context.echo.port))
        assert receive(connection, 10) == SUCCEEDED
        echoed(connection)


@case(GROUP, "an account that is offered is asked for")
def account_preferred(context):
    for methods in (b"\0\2", b"\2\0", b"\2", b"\0\1\2\3"):
        with dial(context) as connection:
            connection.sendall(b"\5" + bytes([len(methods)]) + methods)
            assert receive(connection, 2) == b"\5\2", methods


@case(GROUP, "no acceptable method: 255, and then the end")
def no_method(context):
    for methods in (b"", b"\1", b"\1\3\x80", bytes(range(3, 255))):
        expect(context, b"\5" + bytes([len(methods)]) + methods, b"\5\xff")


@case(GROUP, "255 methods, the good one last")
def many_methods(context):
    with dial(context) as connection:
        connection.sendall(b"\5\xff" + bytes([3]) * 254 + b"\0")
        assert receive(connection, 2) == b"\5\0"


@case(GROUP, "names and passwords of 255 bytes")
def long_accounts(context):
    for name, password in ((b"u" * 255, b"p" * 255), (b"u", b"p" * 255), (b"u" * 255, b"p")):
        with open5(context, "127.0.0.1", context.echo.port, name, password) as connection:
            echoed(connection)


@case(GROUP, "empty names and passwords")
def empty_accounts(context):
    for name, password in ((b"", b""), (b"u", b""), (b"", b"p")):
        with open5(context, "127.0.0.1", context.echo.port, name, password) as connection:
            echoed(connection)


@case(GROUP, "names of any bytes")
def binary_account(context):
    with open5(context, "127.0.0.1", context.echo.port, bytes(range(255)), b"\xff\xfe\0\n") as connection:
        echoed(connection)


@case(GROUP, "everything arrives byte by byte")
def byte_by_byte(context):
    data = b"\5\2\0\2" + account(b"alice", b"secret") + request5("origin.test", context.echo.port) + b"hello"
    with dial(context) as connection:
        for index in range(len(data)):
            connection.sendall(data[index:index + 1])
            time.sleep(0.003)
        assert receive(connection, 14) == b"\5\2\1\0" + SUCCEEDED
        assert receive(connection, 5) == b"hello"


@case(GROUP, "everything in one segment: every reply is sent, in order, and the data arrives")
def pipelined(context):
    greeting = b"\5\2\0\2" + account(b"alice", b"secret")
    with dial(context) as connection:
        connection.sendall(greeting + request5("127.0.0.1", context.echo.port) + b"early data")
        assert receive(connection, 14) == b"\5\2\1\0" + SUCCEEDED
        assert receive(connection, 10) == b"early data"
        echoed(connection)


@case(GROUP, "everything in one segment with a megabyte behind it, and a half-close")
def pipelined_much(context):
    data = os.urandom(1 << 20)
    with dial(context) as connection:
        connection.setblocking(True)
        import threading

        def write():
            connection.sendall(b"\5\1\0" + request5("127.0.0.1", context.echo.port) + data)
            connection.shutdown(socket.SHUT_WR)

        threading.Thread(target=write, daemon=True).start()
        assert receive(connection, 12) == b"\5\0" + SUCCEEDED
        answer, end = rest(connection, 30)
        assert answer == data and end == "eof", (len(answer), end)


@case(GROUP, "a program that half-closes before it has sent anything for the stream has gone")
def half_closed_at_once(context):
    with dial(context) as connection:
        connection.sendall(b"\5\1\0" + request5("127.0.0.1", context.echo.port))
        connection.shutdown(socket.SHUT_WR)
        answer, end = rest(connection, 20)
        # The stream may have been there before the end was.
        assert answer in (b"\5\0", b"\5\0" + SUCCEEDED), answer
        assert end == "eof", end


@case(GROUP, "one segment, and the program half-closes at once")
def pipelined_half_closed(context):
    for size in (1, 5000, 100_000):
        data = os.urandom(size)
        with dial(context) as connection:
            connection.sendall(b"\5\1\0" + request5("127.0.0.1", context.echo.port) + data)
            connection.shutdown(socket.SHUT_WR)
            answer, end = rest(connection, 20)
            assert answer == b"\5\0" + SUCCEEDED + data and end == "eof", (size, len(answer), end)


@case(GROUP, "BIND: command not supported (7)")
def bind(context):
    expect(context, b"\5\1\0" + request5("127.0.0.1", 80, command=2), b"\5\0" + refusal(7))


@case(GROUP, "UDP ASSOCIATE: command not supported (7)")
def udp(context):
    expect(context, b"\5\1\0" + request5("0.0.0.0", 0, command=3), b"\5\0" + refusal(7))


@case(GROUP, "unknown commands: 7")
def unknown_commands(context):
    for command in (0, 4, 9, 0x7F, 0xEF, 0xF2, 0xFF):
        expect(context, b"\5\1\0" + request5("127.0.0.1", 80, command=command), b"\5\0" + refusal(7))


@case(GROUP, "unknown address types: 8")
def unknown_types(context):
    for kind in (0, 2, 5, 0xFF):
        expect(context, b"\5\1\0\5\1\0" + bytes([kind]) + b"\x7f\0\0\1\0\x50", b"\5\0" + refusal(8))


@case(GROUP, "a request of another version: 1")
def wrong_request_version(context):
    for version in (4, 1, 0xFF):
        expect(context, b"\5\1\0" + request5("127.0.0.1", 80, version=version), b"\5\0" + refusal(1))


@case(GROUP, "an account of another version is refused")
def wrong_account_version(context):
    answer, end = say(context, b"\5\1\2\5\1a\1b")
    assert answer[:3] == b"\5\2\1" and len(answer) == 4 and answer[3] != 0 and end == "eof", (answer, end)


@case(GROUP, "another first byte: the connection ends")
def wrong_version(context):
    for first in (0, 1, 3, 6, 0x16, 0x80, 0xFF):
        answer, end = say(context, bytes([first]) + b"\1\0")
        assert answer == b"" and end in ("eof", "reset"), (first, answer, end)


@case(GROUP, "port 0 is refused (1)")
def port_zero(context):
    expect(context, b"\5\1\0" + request5("127.0.0.1", 0), b"\5\0" + refusal(1))


@case(GROUP, "an empty name is refused (1)")
def empty_name(context):
    expect(context, b"\5\1\0" + request5(b"", 80), b"\5\0" + refusal(1))


@case(GROUP, "names with NUL are refused (1)")
def nul_names(context):
    for name in (b"\0", b"origin.test\0", b"a\0b"):
        expect(context, b"\5\1\0" + request5(name, 80), b"\5\0" + refusal(1))


@case(GROUP, "names that no name server could know are refused at once (1), and no exit hears of them")
def impossible_names(context):
    asked = len(context.names.asked)
    for name in (b"or igin.test", b" origin.test", b"origin.test\n", b"a\tb", b"\xff\xfe.test", b"a\x7fb"):
        started = time.monotonic()
        expect(context, b"\5\1\0" + request5(name, 80), b"\5\0" + refusal(1))
        assert time.monotonic() - started < 1
    assert len(context.names.asked) == asked, context.names.asked[asked:]


@case(GROUP, "names of 255 bytes are no such name (4)")
def longest_name(context):
    for name in (b"x" * 255, b".".join([b"y" * 63] * 4)[:255], b"." * 255, b"a..test"):
        answer, end = say(context, b"\5\1\0" + request5(name, 80))
        assert answer in (b"\5\0" + refusal(4), b"\5\0" + refusal(1)) and end == "eof", (name, answer, end)


@case(GROUP, "destinations by IPv4, IPv6 and name")
def destinations(context):
    for host, port in (("127.0.0.1", context.echo.port), ("::1", context.echo6.port), ("origin.test", context.echo.port),
                       ("v6.test", context.echo6.port), ("ORIGIN.Test", context.echo.port), ("origin.test.", context.echo.port)):
        with open5(context, host, port) as connection:
            echoed(connection)


@case(GROUP, "addresses that are sent as names")
def addresses_as_names(context):
    for name, port in ((b"127.0.0.1", context.echo.port), (b"::1", context.echo6.port), (b"[::1]", context.echo6.port)):
        with open5(context, name, port) as connection:
            echoed(connection)


@case(GROUP, "an IPv4 address in IPv6's clothes (::ffff:127.0.0.1), as programs with IPv6 sockets send it")
def mapped_addresses(context):
    with dial(context) as connection:
        connection.sendall(b"\5\1\0\5\1\0\4" + bytes(10) + b"\xff\xff\x7f\0\0\1" + context.echo.port.to_bytes(2, "big"))
        assert receive(connection, 12) == b"\5\0" + SUCCEEDED
        echoed(connection)


@case(GROUP, "localhost is the exit's machine, which a test network opens")
def localhost(context):
    for name in ("localhost", "LOCALHOST.", "a.localhost"):
        with open5(context, name, context.echo.port) as connection:
            echoed(connection)


@case(GROUP, "a name with an address of each family reaches the one that listens")
def both_families(context):
    for port in (context.echo.port, context.echo6.port):
        with open5(context, "both.test", port) as connection:
            echoed(connection)


@case(GROUP, "the reserved byte is not looked at")
def reserved(context):
    with dial(context) as connection:
        connection.sendall(b"\5\1\0" + request5("127.0.0.1", context.echo.port, reserved=0x55))
        assert receive(connection, 12) == b"\5\0" + SUCCEEDED
        echoed(connection)


@case(GROUP, "a refusal arrives although the program goes on sending")
def refusal_survives(context):
    for size in (100, 60_000):
        with dial(context) as connection:
            connection.sendall(b"\5\1\0" + request5("127.0.0.1", 80, command=2) + bytes(size))
            time.sleep(0.1)
            assert receive(connection, 12) == b"\5\0" + refusal(7)


@case(GROUP, "RESOLVE: a name's address")
def resolve(context):
    expect(context, b"\5\1\0" + request5("origin.test", 0, RESOLVE), b"\5\0\5\0\0\1\x7f\0\0\1\0\0")
    expect(context, b"\5\1\0" + request5("v6.test", 0, RESOLVE), b"\5\0\5\0\0\4" + bytes(15) + b"\1\0\0")
    expect(context, b"\5\1\0" + request5("both.test", 0, RESOLVE), b"\5\0\5\0\0\1\x7f\0\0\1\0\0")


@case(GROUP, "RESOLVE: an address is its own answer")
def resolve_literal(context):
    expect(context, b"\5\1\0" + request5("192.0.2.7", 0, RESOLVE), b"\5\0\5\0\0\1\xc0\0\2\7\0\0")
    expect(context, b"\5\1\0" + request5(b"192.0.2.7", 0, RESOLVE), b"\5\0\5\0\0\1\xc0\0\2\7\0\0")


@case(GROUP, "RESOLVE: no such name, no address, a server that fails (4), and what policy hides (2)")
def resolve_failures(context):
    for name, code in (("nobody.test", 4), ("empty.test", 4), ("servfail.test", 4), ("private.test", 2)):
        expect(context, b"\5\1\0" + request5(name, 0, RESOLVE), b"\5\0" + refusal(code))


@case(GROUP, "RESOLVE_PTR: an address's name")
def resolve_reverse(context):
    wanted = b"\5\0\5\0\0\3\x0borigin.test\0\0"
    expect(context, b"\5\1\0" + request5("127.0.0.1", 0, RESOLVE_PTR), wanted)
    expect(context, b"\5\1\0" + request5(b"127.0.0.1", 0, RESOLVE_PTR), wanted)
    expect(context, b"\5\1\0" + request5("::1", 0, RESOLVE_PTR), b"\5\0\5\0\0\3\7v6.test\0\0")


@case(GROUP, "RESOLVE_PTR: nobody there (4), and a name is no address (8)")
def resolve_reverse_failures(context):
    expect(context, b"\5\1\0" + request5("127.9.9.9", 0, RESOLVE_PTR), b"\5\0" + refusal(4))
    expect(context, b"\5\1\0" + request5("origin.test", 0, RESOLVE_PTR), b"\5\0" + refusal(8))


@case(GROUP, "a request cut off at every byte: the connection ends, and nothing else happens")
def cut_off(context):
    data = b"\5\1\2" + account(b"alice", b"secret") + request5("origin.test", 80)
    for length in range(len(data)):
        with dial(context) as connection:
            connection.sendall(data[:length])
            connection.shutdown(socket.SHUT_WR)
            answer, end = rest(connection, 5)
            assert end == "eof" and (b"\5\2\1\0").startswith(answer), (length, answer, end)


@case(GROUP, "with --password-file: the password decides, under any name")
def password(context):
    proxy = context.locked
    with open5(context, "127.0.0.1", context.echo.port, b"anybody", b"open sesame", proxy=proxy) as connection:
        echoed(connection)
    expect(context, b"\5\1\0", b"\5\xff", proxy=proxy)
    for word in (b"", b"open sesam", b"open sesame ", b"x" * 255):
        answer, end = say(context, b"\5\1\2" + account(b"anybody", word), proxy=proxy)
        assert answer[:3] == b"\5\2\1" and answer[3:] not in (b"", b"\0") and end == "eof", (word, answer, end)
