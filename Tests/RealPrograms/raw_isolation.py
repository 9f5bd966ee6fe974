"""Who shares a circuit with whom, and by which country streams leave."""

import random
import time

from cases import case
from network import wait_for
from wire import OPENERS, dial, echoed, expect, open4, open5, open_http, receive, refusal, request5, account

GROUP = "Isolation"


def counts(context, name="proxy"):
    """Streams on each circuit, by the circuit's hops and age."""
    return [circuit["streamCount"] for circuit in context.network.status(name)["circuits"] if circuit["streamCount"]]


def open_all(context, wanted, opener):
    """Open a stream for every key of the list, in that order."""
    held = {}
    for key in wanted:
        held.setdefault(key, []).append(opener(key))
    return held


def check_apart(context, held, name="proxy"):
    """End one key's streams after the other's: circuits lose all of their streams with one key, or none."""
    total = sum(len(streams) for streams in held.values())
    settled = wait_for(lambda: sum(counts(context, name)) == total, 10)
    assert settled, f"{total} streams were opened, and {sum(counts(context, name))} are on circuits"
    for key, streams in held.items():
        before = sorted(counts(context, name))
        for stream in streams:
            stream.close()
        total -= len(streams)
        assert wait_for(lambda: sum(counts(context, name)) == total, 10), f"{key}: {counts(context, name)}, wanted {total}"
        after = sorted(counts(context, name))
        # What is left must be whole circuits of those that were there.
        for count in after:
            assert count in before, f"{key}: a circuit kept some of its streams: {before} became {after}"
            before.remove(count)
        assert sum(before) == len(streams), f"{key}: {before} is not {len(streams)} streams"


@case(GROUP, "1,000 random streams: no two users on one circuit")
def thousand(context):
    dice = random.Random(7)
    users = [(b"", b""), (b"a", b""), (b"", b"a"), (b"a", b"a"), (b"a", b"b"), (b"b", b"a"), (b"ab", b""), (b"alice", b"x"),
             (b"alice\0", b"x"), (b"Alice", b"x"), (b"country-se+alice", b"x"), (b"country-se+bob", b"x"), (b"\xff", b""),
             (b"\xfe", b"")]
    held = open_all(context, [dice.choice(users) for _ in range(1000)],
                    lambda user: open5(context, "127.0.0.1", context.echo.port, *user))
    check_apart(context, held)


@case(GROUP, "SOCKS5, SOCKS4 and HTTP never share, with the same user or none")
def protocols(context):
    dice = random.Random(8)
    openers = {
        "socks5": lambda: open5(context, "127.0.0.1", context.echo.port),
        "socks5 alice": lambda: open5(context, "127.0.0.1", context.echo.port, b"alice"),
        "socks4": lambda: open4(context, "127.0.0.1", context.echo.port),
        "socks4 alice": lambda: open4(context, "127.0.0.1", context.echo.port, b"alice"),
        "http": lambda: open_http(context, "127.0.0.1", context.echo.port),
        "http alice": lambda: open_http(context, "127.0.0.1", context.echo.port, "Proxy-Authorization: Basic YWxpY2U6\r\n"),
    }
    held = open_all(context, [dice.choice(list(openers)) for _ in range(120)], lambda key: openers[key]())
    check_apart(context, held)


@case(GROUP, "listeners never share")
def listeners(context):
    dice = random.Random(9)
    places = context.many.addresses[:3]
    held = open_all(context, [dice.choice(places) for _ in range(60)],
                    lambda place: open5(context, "127.0.0.1", context.echo.port, proxy=place))
    check_apart(context, held, "many")


@case(GROUP, "client addresses never share")
def client_addresses(context):
    import socket
    dice = random.Random(10)
    host, port = context.socks.rsplit(":", 1)

    def opener(source):
        connection = socket.create_connection((host, int(port)), 20, (source, 0))
        connection.sendall(b"\5\1\0" + request5("127.0.0.1", context.echo.port))
        assert receive(connection, 12)[3] == 0
        return connection

    held = open_all(context, [dice.choice(("127.0.0.1", "127.0.0.2", "127.7.7.7")) for _ in range(60)], opener)
    check_apart(context, held)


@case(GROUP, "with --isolate-destination: destinations never share")
def destinations_apart(context):
    dice = random.Random(11)
    places = [("127.0.0.1", context.echo.port), ("origin.test", context.echo.port), ("::1", context.echo6.port)]
    held = open_all(context, [dice.choice(places) for _ in range(45)],
                    lambda place: open5(context, *place, proxy=context.strict_names))
    check_apart(context, held, "apart")


@case(GROUP, "a user of one stream each, 200 at once: every stream has a circuit of its own")
def many_users(context):
    held = {}
    try:
        for index in range(100):
            held[index] = open5(context, "127.0.0.1", context.echo.port, b"user%d" % index, b"x")
        assert wait_for(lambda: sum(counts(context)) == 100, 10)
        assert counts(context) == [1] * 100, counts(context)
    finally:
        for stream in held.values():
            stream.close()


@case(GROUP, "300 users one after the other: each is served")
def users_in_turn(context):
    slowest = 0.0
    for index in range(300):
        started = time.monotonic()
        with open5(context, "127.0.0.1", context.echo.port, b"turn%d" % index, b"x") as connection:
            echoed(connection)
        slowest = max(slowest, time.monotonic() - started)
    context.note(f"slowest {slowest * 1000:.0f} ms")
    assert slowest < 3, f"{slowest:.1f} s"


@case(GROUP, "a user name chooses the country, by every protocol")
def countries(context):
    exits = {hop["fingerprint"]: hop["country"] for hop in context.network.status()["exits"]}
    assert len(set(exits.values())) >= 5, exits
    for wish in ("country-se", "country-no+alice", "country-not-se"):
        for opener in (lambda: open5(context, "127.0.0.1", context.echo.port, wish.encode()),
                       lambda: open4(context, "127.0.0.1", context.echo.port, wish.encode()),
                       lambda: open_http(context, "127.0.0.1", context.echo.port,
                                         f"Thor-Country: {wish.split('+')[0].removeprefix('country-')}\r\n")):
            before = [(c["hops"][-1]["country"], c["streamCount"]) for c in context.network.status()["circuits"]]
            with opener():
                used = [c["hops"][-1]["country"] for c in context.network.status()["circuits"] if c["streamCount"]]
                assert len(used) == 1, (wish, used, before)
                if "not" in wish:
                    assert used != ["SE"], used
                else:
                    assert used == [wish[8:10].upper()], (wish, used)
            assert wait_for(lambda: not counts(context), 5)
