"""Starting and ending: what thor-testnet promises, and what programs say when they cannot start."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

from network import HERE, Network, is_alive, wait_for

sys.path.append(f"{HERE}/../RealPrograms")

from nodes import OwnNetwork  # noqa: E402, of the folder above


def description(context):
    """The description appears when the network is ready, and has exactly the promised fields."""
    network = Network(context.executables, routers=4)
    try:
        json = network.json
        assert set(json) == {"socks", "directory", "routers", "proxy", "stateDirectory"}, json
        assert set(json["directory"]) == {"address", "pid", "publicKeyFile"}, json
        assert set(json["proxy"]) == {"address", "pid"}, json
        assert len(json["routers"]) == 4
        for router in json["routers"]:
            assert set(router) == {"nickname", "fingerprint", "address", "pid", "country", "exitSource"}, router
        assert len({router["nickname"] for router in json["routers"]}) == 4
        assert len({router["fingerprint"] for router in json["routers"]}) == 4
        for pid in network.processes.values():
            assert is_alive(pid)
        assert "curl --proxy socks5h://" + json["socks"] in network.said(), network.said()
        context.figure("test network of 4 routers ready", "-", f"{network.seconds_to_ready:.1f} s")
    finally:
        network.kill()
        wait_for(lambda: not network.leftovers(), 15)


def stops(context):
    """Ctrl-C, SIGTERM, and kill -9 of thor-testnet leave nothing behind, not even a daemon that was stopped."""
    cases = [("Ctrl-C", signal.SIGINT, None), ("SIGTERM", signal.SIGTERM, None), ("kill -9", signal.SIGKILL, None),
             ("kill -9, one router stopped", signal.SIGKILL, "router"),
             ("Ctrl-C, its janitor killed", signal.SIGINT, "janitor")]
    for name, number, harmed in cases:
        network = Network(context.executables, routers=3)
        if harmed == "router":
            os.kill(network.json["routers"][0]["pid"], signal.SIGSTOP)
        if harmed == "janitor":
            janitor = int(subprocess.check_output(["pgrep", "-P", str(network.process.pid), "-f", "--", "--janitor"]))
            os.kill(janitor, signal.SIGKILL)
            assert wait_for(lambda pid=janitor: not is_alive(pid), 5)
        started = time.monotonic()
        network.stop(number)
        gone = wait_for(lambda: not network.leftovers(), 15)
        assert gone, f"after {name} there is still {network.leftovers()}"
        context.figure(f"everything gone after {name}", "within seconds", f"{time.monotonic() - started:.1f} s")
        if number != signal.SIGKILL:
            assert network.process.returncode == 0, network.process.returncode


def one_daemon_dies(context):
    """The death of one daemon is reported, and the network goes on."""
    network = Network(context.executables, routers=4)
    try:
        victim = network.json["routers"][1]
        os.kill(victim["pid"], signal.SIGKILL)
        assert wait_for(lambda: victim["nickname"] + " was ended by signal 9" in network.said(), 5), network.said()
        assert network.process.poll() is None
        others = [pid for pid in network.processes.values() if pid != victim["pid"]]
        assert all(is_alive(pid) for pid in others)
    finally:
        network.stop()


def side_by_side(context):
    """Two test networks run side by side."""
    first = Network(context.executables, routers=3)
    try:
        second = Network(context.executables, routers=3)
        assert first.socks != second.socks
        second.stop()
        assert all(is_alive(pid) for pid in first.processes.values())
    finally:
        first.stop()


def stops_when_cut_off(context):
    """A proxy that waits for a circuit, to ask the directory for routers that live, still stops at once."""
    network = OwnNetwork(context.executables, routers=3)
    try:
        for router in network.routers:
            os.kill(router.pid, signal.SIGKILL)
        # It asks ten seconds after it last did.
        time.sleep(12)
        started = time.monotonic()
        network.proxy.process.terminate()
        assert network.proxy.process.wait(10) == 0, network.proxy.said()
        context.figure("cut off from all routers: told to end (SIGTERM)", "at once", f"{time.monotonic() - started:.1f} s")
    finally:
        network.stop()


def start_errors(context):
    """Every start-up error says what is wrong and what to do, and ends with its sysexits code."""
    folder = f"{context.scratch}/errors"
    os.makedirs(folder, exist_ok=True)

    def program(name, *arguments, timeout=20):
        result = subprocess.run([f"{context.executables}/{name}", *arguments], stdin=subprocess.DEVNULL, text=True,
                                capture_output=True, timeout=timeout)
        return result.returncode, result.stderr

    def make_key(name):
        code, said = program("thor-keys", "generate", f"{folder}/{name}.key")
        assert code == 0, said
        code, said = program("thor-keys", "public", f"{folder}/{name}.key", f"{folder}/{name}.pub")
        assert code == 0, said

    for name in ("directory", "router", "other"):
        make_key(name)
    shutil.copy(f"{folder}/directory.key", f"{folder}/open.key")
    os.chmod(f"{folder}/open.key", 0o644)
    with open(f"{folder}/broken.key", "w") as file:
        file.write("this is no key\n")
    os.chmod(f"{folder}/broken.key", 0o600)
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    nobody = free.getsockname()[1]
    free.close()
    states = iter(range(100))

    def state():
        return ["--state", f"{folder}/state{next(states)}"]

    key, public = f"{folder}/directory.key", f"{folder}/directory.pub"
    router_key, missing = f"{folder}/router.key", f"{folder}/missing.key"
    here = ["--listen", "127.0.0.1:0"]
    cases = [
        ("no such key file", 66, "thor-directory", [missing, "--open-registration", *here]),
        ("key readable by others", 77, "thor-directory", [f"{folder}/open.key", "--open-registration", *here]),
        ("damaged key file", 65, "thor-directory", [f"{folder}/broken.key", "--open-registration", *here]),
        ("port taken", 71, "thor-directory", [key, "--open-registration", "--listen", f"127.0.0.1:{port}"]),
        ("unknown option", 64, "thor-directory", [key, "--nonsense"]),
        ("unknown parameter", 78, "thor-directory", [key, "--open-registration", "--parameter", "nonsense=1", *here]),
        ("no key argument", 64, "thor-directory", ["--open-registration", *here]),
        ("a port in place of an address", 64, "thor-directory", [key, "--open-registration", "--listen", "9030"]),
        ("router: no such key file", 66, "thor-router", ["127.0.0.1", public, missing, *here]),
        ("router: no directory key", 66, "thor-router", ["127.0.0.1", f"{folder}/missing.pub", router_key, *here]),
        ("router: contact too long", 64, "thor-router",
         ["127.0.0.1", public, router_key, "--contact", "x" * 129, *here]),
        ("router: contact of two lines", 64, "thor-router",
         ["127.0.0.1", public, router_key, "--contact", "x\ny", *here]),
        ("router: no port to advertise", 64, "thor-router",
         ["127.0.0.1", public, router_key, "--advertise", "192.0.2.1:0", *here]),
        ("router: port taken", 71, "thor-router",
         [f"127.0.0.1:{nobody}", public, router_key, "--listen", f"127.0.0.1:{port}"]),
        ("proxy: no directory key", 66, "thor-proxy", ["127.0.0.1", f"{folder}/missing.pub", *here]),
        ("proxy: port taken", 71, "thor-proxy", [f"127.0.0.1:{nobody}", public, "--listen", f"127.0.0.1:{port}"]),
    ]
    wrong = []
    for what, wanted, name, arguments in cases:
        try:
            code, said = program(name, *arguments, *state())
        except subprocess.TimeoutExpired:
            wrong.append(f"{what}: still running after 20 s")
            continue
        if code != wanted:
            wrong.append(f"{what}: exit code {code}, wanted {wanted}: {said.strip()[-300:]}")
        elif len(said.strip()) < 20:
            wrong.append(f"{what}: says only {said!r}")
    taken.close()
    # The list of parameters needs no key.
    code, _ = program("thor-directory", "--parameter", "help")
    if code != 0:
        wrong.append(f"--parameter help: exit code {code}")

    # What the directory refuses for good: the router's advice, and the fingerprint that is to be added.
    open(f"{folder}/routers.txt", "w").close()
    directory = subprocess.Popen(
        [f"{context.executables}/thor-directory", key, "--routers", f"{folder}/routers.txt", *here, *state()],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        address = directory.stdout.readline().split()[1]
        with open(f"{folder}/router.pub") as file:
            fingerprint = file.read().strip()
        code, said = program("thor-router", address, public, router_key, *here, *state())
        if code != 76 or f"The fingerprint is {fingerprint}." not in said:
            wrong.append(f"router not in the allow file: exit code {code}: {said.strip()[-300:]}")
    finally:
        directory.terminate()
        directory.communicate()

    # A wrong directory key shows only once there is a directory.
    network = Network(context.executables, routers=3)
    try:
        address = network.json["directory"]["address"]
        for name, arguments in (("thor-router", [address, f"{folder}/other.pub", router_key, *here]),
                                ("thor-proxy", [address, f"{folder}/other.pub", *here])):
            try:
                code, said = program(name, *arguments, *state())
                if code != 76:
                    wrong.append(f"{name}, wrong directory key: exit code {code}, wanted 76: {said.strip()[-300:]}")
            except subprocess.TimeoutExpired:
                wrong.append(f"{name}, wrong directory key: still running after 20 s")
    finally:
        network.stop()
    assert not wrong, "\n".join(wrong)


def testnet_start_errors(context):
    """thor-testnet says why it cannot start, and leaves nothing behind."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()

    def run(*arguments):
        return subprocess.run([f"{context.executables}/thor-testnet", *arguments], stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=60, env={**os.environ, "TMPDIR": context.scratch})

    result = run("--routers", "3", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    taken.close()
    assert result.returncode == 71, (result.returncode, result.stdout, result.stderr)
    result = run("--routers", "2")
    assert result.returncode == 64, result.returncode
    for arguments, code in ((("--listen", "0.0.0.0:0"), 64), (("--state", f"{context.scratch}/{'a' * 100}"), 78),
                            (("--routers", "3", "--listen", "127.0.0.1:0", "--json", f"{context.scratch}/none/x"), 73)):
        result = run(*arguments)
        assert result.returncode == code, (arguments, result.returncode, result.stderr)
        assert "--password-file" not in result.stderr and "NSError" not in result.stderr, result.stderr
    open_directory = f"{context.scratch}/open"
    os.makedirs(open_directory)
    with open(f"{open_directory}/something", "w"):
        pass
    os.chmod(open_directory, 0o755)
    result = run("--state", open_directory)
    assert result.returncode == 77, (result.returncode, result.stderr)
    assert "chmod 700" in result.stderr, result.stderr
    assert not [name for name in os.listdir(context.scratch) if name.startswith("thor-testnet-")]


CHECKS = [description, stops, stops_when_cut_off, one_daemon_dies, side_by_side, start_errors, testnet_start_errors]
