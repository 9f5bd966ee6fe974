"""Circuits that are there when needed: a fast start, new identities, routers that die or freeze, circuits that retire."""

import os
import signal
import subprocess
import threading
import time

from cases import case
from network import wait_for
from nodes import OwnNetwork
from wire import dial, echoed, open5, receive, request5

GROUP = "Circuits"


def first_byte(context, name):
    """Seconds from the start of a proxy to the first byte of the first request."""
    started = time.monotonic()
    proxy = context.network.start_proxy(name, ["127.0.0.1:0"], waits=False)
    try:
        proxy.wait(lambda: proxy.addresses, 10)
        with open5(context, "127.0.0.1", context.echo.port, proxy=proxy.addresses[0]) as connection:
            echoed(connection)
        return time.monotonic() - started
    finally:
        proxy.stop()
        context.network.daemons.remove(proxy)


@case(GROUP, "the first byte: within 1 s from nothing, 0.3 s with a consensus on disk")
def fast_start(context):
    # The best of three: others use this machine too.
    fresh = min(first_byte(context, f"fresh{number}") for number in range(3))
    again = min(first_byte(context, "fresh0") for _ in range(3))
    context.note(f"{fresh:.2f} s and {again:.2f} s")
    assert fresh < 1 and again < 0.3, f"{fresh:.2f} s and {again:.2f} s"


@case(GROUP, "a new identity, by command and by SIGHUP: new streams have new circuits, the open ones go on")
def new_identity(context):
    def by_command():
        subprocess.run([f"{context.executables}/thor-proxy", "newnym", "--state", context.network.state()], check=True,
                       capture_output=True, timeout=10)

    for renew in (by_command, lambda: os.kill(context.network.proxy.pid, signal.SIGHUP)):
        with open5(context, "127.0.0.1", context.echo.port) as old:
            assert wait_for(lambda: any(circuit["streamCount"] for circuit in context.network.status()["circuits"]), 5)
            renew()
            assert wait_for(lambda: [circuit["state"] for circuit in context.network.status()["circuits"]
                                     if circuit["streamCount"]] == ["retiring"], 5), context.network.status()
            with open5(context, "127.0.0.1", context.echo.port) as new:
                echoed(new)
                echoed(old)
                used = [circuit for circuit in context.network.status()["circuits"] if circuit["streamCount"]]
                assert len(used) == 2, used


@case(GROUP, "a circuit retires in time, and leaves its streams to finish")
def retires(context):
    # circuit-lifetime-s is 4 there.
    with open5(context, "127.0.0.1", context.echo.port, proxy=context.hasty) as old:
        end = time.monotonic() + 6
        while time.monotonic() < end:
            echoed(old)
            time.sleep(0.2)
        with open5(context, "127.0.0.1", context.echo.port, proxy=context.hasty) as new:
            echoed(new)
            echoed(old)
            used = [circuit for circuit in context.hasty_network.status()["circuits"] if circuit["streamCount"]]
            assert len(used) == 2, used


def exit_of(network):
    """The router by which the one open stream leaves."""
    def look():
        used = [circuit for circuit in network.status()["circuits"] if circuit["streamCount"]]
        return used[0]["hops"][-1]["nickname"] if used else None
    return wait_for(look, 5)


def broken(context, number):
    """A network of which routers may be lost."""
    network = OwnNetwork(context.executables, routers=6, router_options=["--resolver", context.names.address])
    pids = {router.name: router.pid for router in network.routers}
    try:
        # A stream that is not connected yet: its name is being looked up when the exit goes.
        connection = dial(context, proxy=network.socks)
        connection.sendall(b"\5\1\0" + request5("slow.test", context.echo.port))
        victim = exit_of(network)
        os.kill(pids[victim], number)
        lost = time.monotonic()
        answers = []

        def moved():
            answers.append(receive(connection, 12, 30))
            answers.append(time.monotonic() - lost)

        thread = threading.Thread(target=moved)
        thread.start()
        with open5(context, "127.0.0.1", context.echo.port, proxy=network.socks) as other:
            echoed(other)
        seconds = time.monotonic() - lost
        thread.join()
        assert answers and answers[0][3] == 0, answers
        echoed(connection)
        connection.close()
        # The guard, too.
        hop = network.status()["guard"]["nickname"]
        second = 0.0
        if hop != victim:
            os.kill(pids[hop], number)
            lost = time.monotonic()
            with open5(context, "127.0.0.1", context.echo.port, proxy=network.socks) as other:
                echoed(other)
            second = time.monotonic() - lost
        return seconds, second, answers[1]
    finally:
        for pid in pids.values():
            try:
                os.kill(pid, signal.SIGCONT)
            except OSError:
                pass
        network.stop()


@case(GROUP, "a router dies: a stream that waits moves on, new requests succeed within 3 s, also after the guard's death")
def router_dies(context):
    seconds, guard, moved = broken(context, signal.SIGKILL)
    context.note(f"{seconds:.1f} s, guard {guard:.1f} s, the waiting stream {moved:.1f} s")
    assert seconds < 3 and guard < 3, (seconds, guard)


@case(GROUP, "a router freezes: a stream that waits moves on, new requests succeed within 4 s, also when the guard does")
def router_freezes(context):
    seconds, guard, moved = broken(context, signal.SIGSTOP)
    context.note(f"{seconds:.1f} s, guard {guard:.1f} s, the waiting stream {moved:.1f} s")
    assert seconds < 4 and guard < 4, (seconds, guard)
