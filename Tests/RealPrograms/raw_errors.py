"""Errors that tell the truth, in time: what SOCKS5 and HTTP say for each way in which a connection can fail."""

import socket
import time

from cases import case
from raw_http import answered, connect
from wire import Origin, SUCCEEDED, dial, expect, open5, receive, refusal, request5, reset, rest, say

GROUP = "Errors"


def told(context, host, port, proxy=None, timeout=30):
    """(SOCKS5 reply, seconds, HTTP status, its seconds)."""
    started = time.monotonic()
    answer, end = say(context, b"\5\1\0" + request5(host, port), timeout, proxy)
    middle = time.monotonic()
    assert len(answer) == 12 and answer[:2] == b"\5\0" and end == "eof", (host, answer, end)
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    status, fields, body = answered(context, connect(place), timeout, proxy)
    assert fields.get("proxy-status") and body, fields
    return answer[3], middle - started, status, time.monotonic() - middle


def check(context, host, port, code, status, seconds, proxy=None, least=0.0):
    got, first, http, second = told(context, host, port, proxy, timeout=max(30, seconds + 5))
    assert (got, http) == (code, status), f"{host}:{port}: SOCKS reply {got} and HTTP status {http}, wanted {code} and {status}"
    assert max(first, second) < seconds, f"{host}:{port}: {first:.1f} s and {second:.1f} s"
    assert min(first, second) >= least, f"{host}:{port}: {first:.1f} s and {second:.1f} s"


@case(GROUP, "a closed port is refused: 5 and 502, in the time of a round trip")
def refused(context):
    with context.closed_port() as port:
        # The first may have to build circuits to other exits.
        told(context, "127.0.0.1", port)
        check(context, "127.0.0.1", port, 5, 502, 1)


@case(GROUP, "a closed port of a name with two addresses: 5")
def refused_name(context):
    with context.closed_port() as port:
        check(context, "both.test", port, 5, 502, 4)


@case(GROUP, "no such name, and a name without address: 4 and 502")
def no_name(context):
    check(context, "nobody.test", 80, 4, 502, 2)
    check(context, "empty.test", 80, 4, 502, 2)


@case(GROUP, "a name server that fails: 4 and 504, within seconds")
def servfail(context):
    check(context, "servfail.test", 80, 4, 504, 6)


@case(GROUP, "a name server that never answers: 4 and 504, in half of the time for connecting and 2 s for other exits")
def silent_names(context):
    check(context, "silent.test", 80, 4, 504, 5 + 2 + 1)


@case(GROUP, "what exit policies forbid: 2 and 403")
def policy(context):
    for host, port in (("10.1.2.3", 80), ("private.test", 80), ("169.254.169.254", 80), ("0.0.0.0", 80),
                       ("fc00::1", 80)):
        check(context, host, port, 2, 403, 3)


@case(GROUP, "a country without exit: 2, at once; a wish that cannot be read: 2")
def no_exit(context):
    from wire import account
    for user in (b"country-zz", b"country-sweden", b"exit-nonsense"):
        started = time.monotonic()
        expect(context, b"\5\1\2" + account(user, b"x") + request5("127.0.0.1", context.echo.port),
               b"\5\2\1\0" + refusal(2))
        assert time.monotonic() - started < 1


@case(GROUP, "a destination that never answers: 6 and 504, when the documented time is over")
def time_out(context):
    with context.silent_port() as port:
        # exit-connect-timeout-ms is 2 s there, and other exits are tried for 2 s.
        check(context, "127.0.0.1", port, 6, 504, 2 + 2 + 1.5, context.hasty, least=1.9)


@case(GROUP, "an origin that accepts and resets: the program sees a reset, and no proper end")
def reset_at_once(context):
    for data in (b"", b"something"):
        with Origin() as origin:
            with dial(context) as connection:
                connection.sendall(b"\5\1\0" + request5("127.0.0.1", origin.port))
                server = origin.accept()
                assert receive(connection, 12) == b"\5\0" + SUCCEEDED
                if data:
                    connection.sendall(data)
                    receive(server, len(data))
                reset(server)
                assert rest(connection, 5) == (b"", "reset")


@case(GROUP, "an origin that closes at once: success, and then a proper end")
def close_at_once(context):
    with Origin() as origin:
        with dial(context) as connection:
            connection.sendall(b"\5\1\0" + request5("127.0.0.1", origin.port))
            origin.accept().close()
            assert rest(connection, 5) == (b"\5\0" + SUCCEEDED, "eof")


@case(GROUP, "addresses are refused with --refuse-addresses: 2 and 403; names are not")
def addresses_refused(context):
    check(context, "127.0.0.1", context.echo.port, 2, 403, 1, context.strict)
    check(context, "::1", context.echo.port, 2, 403, 1, context.strict)
    open5(context, "origin.test", context.echo.port, proxy=context.strict).close()


@case(GROUP, "a failure is no burden for the next request")
def after_failures(context):
    with context.closed_port() as port:
        for _ in range(20):
            told(context, "127.0.0.1", port)
    started = time.monotonic()
    open5(context, "127.0.0.1", context.echo.port).close()
    assert time.monotonic() - started < 1
