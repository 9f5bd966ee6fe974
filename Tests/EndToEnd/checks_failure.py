"""Routers and directories that die, freeze, come and come back."""

import os
import signal
import subprocess
import threading
import time

from checks_load import fetch, shared
from network import DirectoryObserver, identity, is_alive, wait_for


@shared
def observer_sees_all(context):
    """The consensus names every router."""
    observer = DirectoryObserver(context.network.json["directory"]["address"])
    body = observer.consensus()
    observer.close()
    for router in context.network.json["routers"]:
        assert identity(router["fingerprint"]) in body, router["nickname"]


def _leaves(context, name, number):
    """Signal a router; return the seconds until it is out of the consensus."""
    router = context.network.json["routers"][name]
    wanted = identity(router["fingerprint"])
    observer = DirectoryObserver(context.network.json["directory"]["address"])
    assert wanted in observer.consensus()
    os.kill(router["pid"], number)
    seconds = observer.wait_until(lambda body: wanted not in body, 20)
    observer.close()
    return seconds


@shared
def frozen_router(context):
    """A router that is stopped (kill -STOP) leaves the consensus within 8 s, and comes back when it goes on."""
    router = context.network.json["routers"][3]
    try:
        seconds = _leaves(context, 3, signal.SIGSTOP)
    finally:
        observer = DirectoryObserver(context.network.json["directory"]["address"])
        os.kill(router["pid"], signal.SIGCONT)
    assert seconds is not None, "still in the consensus after 20 s"
    context.figure("router stopped: out of the consensus", "8 s", f"{seconds:.1f} s")
    assert seconds <= 8
    back = observer.wait_until(lambda body: identity(router["fingerprint"]) in body, 30)
    observer.close()
    assert back is not None, "did not come back"
    context.figure("router goes on: back in the consensus", "-", f"{back:.1f} s")


@shared
def killed_router(context):
    """A router that is killed leaves the consensus within 8 s, and requests go on."""
    port = context.data.port
    seconds = _leaves(context, 4, signal.SIGKILL)
    assert seconds is not None, "still in the consensus after 20 s"
    context.figure("router killed: out of the consensus", "8 s", f"{seconds:.1f} s")
    assert seconds <= 8
    working = wait_for(lambda: _works(context, port), 10)
    assert working, "no request succeeds any more"


def _works(context, port):
    try:
        return fetch(context.network.socks, port, "/small/x", timeout=20)[0] == 200
    except OSError:
        return False


@shared
def new_router(context):
    """A new router is in the consensus within 5 s of its start."""
    network, folder = context.network, f"{context.scratch}/new"
    os.makedirs(folder)
    for arguments in (["generate", f"{folder}/key"], ["public", f"{folder}/key", f"{folder}/pub"]):
        subprocess.run([f"{context.executables}/thor-keys", *arguments], check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(f"{folder}/pub") as file:
        wanted = identity(file.read().strip())
    observer = DirectoryObserver(network.json["directory"]["address"])
    observer.consensus()
    router = subprocess.Popen(
        [f"{context.executables}/thor-router", network.json["directory"]["address"],
         network.json["directory"]["publicKeyFile"], f"{folder}/key", "--listen", "127.0.0.1:0", "--nickname", "Newcomer",
         "--exit-policy", "accept 127.0.0.0/8:*", "--state", f"{folder}/state"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        seconds = observer.wait_until(lambda body: wanted in body, 20)
        assert seconds is not None, "not in the consensus after 20 s"
        context.figure("new router: in the consensus", "5 s", f"{seconds:.1f} s")
        assert seconds <= 5
    finally:
        observer.close()
        router.terminate()
        started = time.monotonic()
        router.wait(10)
        context.figure("router told to end (SIGTERM)", "within seconds", f"{time.monotonic() - started:.1f} s")


@shared
def directory_restart(context):
    """The directory is killed and started again: its network is back within 10 s, and clients do not notice."""
    network = context.network
    pid, address = network.json["directory"]["pid"], network.json["directory"]["address"]
    with open(f"/proc/{pid}/cmdline") as file:
        command = file.read().split("\0")[:-1]
    command[command.index("--listen") + 1] = address
    command.remove("--exit-with-parent")
    alive = [identity(router["fingerprint"]) for router in network.json["routers"] if is_alive(router["pid"])]

    errors, requests, stop = [], [0], threading.Event()

    def keep_asking():
        while not stop.is_set():
            try:
                assert fetch(network.socks, context.data.port, "/small/meanwhile", timeout=30)[0] == 200
            except Exception as error:
                errors.append(repr(error))
            requests[0] += 1
            time.sleep(0.05)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    directory = None
    try:
        os.kill(pid, signal.SIGKILL)
        assert wait_for(lambda: not is_alive(pid), 5)
        time.sleep(2)
        started = time.monotonic()
        directory = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                     text=True)
        assert directory.stdout.readline().startswith("listening"), "the directory did not start again"

        def registered():
            try:
                observer = DirectoryObserver(address)
                body = observer.consensus()
                observer.close()
                return body is not None and all(one in body for one in alive)
            except OSError:
                return False

        assert wait_for(registered, 20, step=0.2), "the routers did not come back"
        seconds = time.monotonic() - started
        # The directory keeps its last set for a while after a start: that they really are back shows when they stay.
        time.sleep(context.size(15, 30))
        assert registered(), "the routers were listed, and then were not"
    finally:
        stop.set()
        asking.join()
        if directory is not None:
            directory.terminate()
            directory.wait(10)
    context.figure("directory killed and started again: all routers listed", "10 s", f"{seconds:.1f} s")
    context.figure("requests meanwhile", "no error", f"{requests[0]} requests, {len(errors)} errors")
    assert seconds <= 10
    assert not errors, errors[:3]


CHECKS = [observer_sees_all, frozen_router, new_router, killed_router, directory_restart]
