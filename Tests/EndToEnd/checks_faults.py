"""Each part of the network is killed, and stopped and let go on, in the middle of a hundred transfers."""

import collections
import os
import random
import resource
import signal
import subprocess
import threading
import time

import socks
from checks_load import MIB, fetch
from network import DirectoryObserver, Network, Skipped, descriptors, identity, is_alive, resident, wait_for
from servers import digest

TRANSFERS = 100
# For how long each is under way at least, so that a fault finds it so.
TRANSFER_SECONDS = 6
# No transfer may say nothing for so long, nor be at it for so long after the fault, whatever happens to it.
SILENCE_LIMIT = 30
END_LIMIT = 45
# Longer than a link may be silent.
STOPPED_SECONDS = 3.5


class Transfers:
    """A hundred downloads at once. Each comes to a whole answer, or to an error; what hangs is an error of ours."""

    def __init__(self, network, port, size):
        self.outcomes = collections.Counter()
        self.wrong = []
        # Those of which a part has come, and not yet the end.
        self.under_way = set()
        self.last_end = None
        wanted = (200, size, digest(size, 11))

        def one(index):
            try:
                result = fetch(network.socks, port, f"/paced/{size}/11/{TRANSFER_SECONDS}", timeout=SILENCE_LIMIT,
                               on_part=lambda: self.under_way.add(index))
                if result == wanted:
                    self.outcomes["whole"] += 1
                else:
                    self.outcomes["wrong"] += 1
                    self.wrong.append(result[:2])
            except TimeoutError:
                self.outcomes["hung"] += 1
            except Exception as error:
                self.outcomes["broken"] += 1
                self.wrong += [repr(error)] if "IncompleteRead" not in repr(error) and not isinstance(error, OSError) else []
            self.under_way.discard(index)
            self.last_end = time.monotonic()

        self.threads = [threading.Thread(target=one, args=(index,), daemon=True) for index in range(TRANSFERS)]
        for thread in self.threads:
            thread.start()

    def have_begun(self):
        return len(self.under_way) + self.outcomes.total() >= TRANSFERS

    def wait(self, since):
        """Wait for all; return how many seconds after `since` the last one ended."""
        for thread in self.threads:
            thread.join(max(0, since + END_LIMIT - time.monotonic()))
        left = sum(thread.is_alive() for thread in self.threads)
        assert left == 0, f"{left} of {TRANSFERS} have not ended {END_LIMIT} s after the fault"
        return max(0, self.last_end - since)


def _works(network, port):
    try:
        return fetch(network.socks, port, "/small/x", timeout=10)[0] == 200
    except OSError:
        return False


def _part(network, part):
    """The pid of a part: for a hop, of the router that the circuit with the most streams has there."""
    if part in ("directory", "proxy"):
        return network.processes[part]
    circuit = max(network.status()["circuits"], key=lambda circuit: circuit["streamCount"])
    assert circuit["streamCount"] > 0, "no circuit carries a stream"
    fingerprint = circuit["hops"][("guard", "middle", "exit").index(part)]["fingerprint"]
    return next(router["pid"] for router in network.json["routers"] if router["fingerprint"] == fingerprint)


def command_of(network, pid):
    """The command that starts a daemon again, by itself, where it was."""
    with open(f"/proc/{pid}/cmdline") as file:
        command = file.read().split("\0")[:-1]
    if "--exit-with-parent" in command:
        command.remove("--exit-with-parent")
    addresses = {network.json["directory"]["pid"]: network.json["directory"]["address"], network.json["proxy"]["pid"]: network.socks}
    addresses.update({router["pid"]: router["address"] for router in network.json["routers"]})
    command[command.index("--listen") + 1] = addresses[pid]
    return command


def start_again(network, pid, command, started):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=network.output, stderr=subprocess.STDOUT)
    started.append(process)
    for entry in [network.json["directory"], network.json["proxy"], *network.json["routers"]]:
        if entry["pid"] == pid:
            entry["pid"] = process.pid


def _report(context, what, transfers, count, seconds):
    outcomes = transfers.outcomes
    context.figure(f"{TRANSFERS} transfers, {what}", "each whole or broken, in bounded time",
                   f"{outcomes['whole']} whole, {outcomes['broken']} broken, the last {seconds:.1f} s after the fault, "
                   f"when {count} were under way")
    assert outcomes["hung"] == 0, f"{outcomes['hung']} hung"
    assert not transfers.wrong, transfers.wrong[:3]


def end_all(network, started):
    """End a network, and the daemons that were started again beside it."""
    for process in started:
        process.kill()
        process.wait()
    if network.process.poll() is None:
        network.stop()


def _round(context, network, port, part, number, size, started):
    transfers = Transfers(network, port, size)
    assert wait_for(transfers.have_begun, SILENCE_LIMIT), "not all transfers begin"
    # Somewhere in the middle of them.
    time.sleep(random.uniform(0, 1))
    pid = _part(network, part)
    command = command_of(network, pid)
    count, broken = len(transfers.under_way), transfers.outcomes["broken"]
    assert count > TRANSFERS // 2, f"only {count} transfers are under way when {part} fails"
    fault = time.monotonic()
    os.kill(pid, number)
    if number == signal.SIGSTOP:
        try:
            time.sleep(STOPPED_SECONDS)
        finally:
            os.kill(pid, signal.SIGCONT)
    else:
        assert wait_for(lambda: not is_alive(pid), 5), f"{part} survived"
        if part == "proxy":
            # Its programs hear of it at once; the next one takes up its state and its port.
            transfers.wait(fault)
        start_again(network, pid, command, started)
    seconds = transfers.wait(fault)
    _report(context, f"{part} {'killed' if number == signal.SIGKILL else 'stopped for %.1f s' % STOPPED_SECONDS}",
            transfers, count, seconds)
    if number == signal.SIGKILL and part != "directory":
        assert transfers.outcomes["broken"] > broken, f"{part} was killed, and no transfer noticed"
    working = wait_for(lambda: _works(network, port), 20)
    assert working, f"no request succeeds after {part} had signal {number}:\n{network.said()[-2000:]}"
    if part == "directory":
        assert transfers.outcomes["whole"] == TRANSFERS, f"{part}: {transfers.outcomes}"


def each_part_fails(context):
    """kill -9 and kill -STOP of each part in turn, during 100 transfers: each is whole or broken, nothing hangs."""
    for _ in range(context.size(1, 5)):
        _all_parts(context, context.data.port, context.size(2 * MIB, 16 * MIB))


def _all_parts(context, port, size):
    # Of its own: thor-testnet ends, and takes all state with it, when the last process that it started has been killed.
    # Links that nobody uses any more are soon gone, so that what is left shows.
    network = Network(context.executables, extra=["--parameter", "link-idle-s=5"])
    started = []
    try:
        assert wait_for(lambda: _works(network, port), 20)
        before = {name: (descriptors(pid), resident(pid)) for name, pid in network.processes.items()}
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for part in ("directory", "guard", "middle", "exit", "proxy"):
                _round(context, network, port, part, number, size, started)
        _nothing_left(context, network, before)
    finally:
        end_all(network, started)


def _nothing_left(context, network, before):
    """What the processes use now against what they used when they had done nothing yet."""
    assert wait_for(lambda: network.status()["openStreamCount"] == 0, 10, step=0.5), network.status()

    def excess():
        return {name: descriptors(pid) - before[name][0] for name, pid in network.processes.items()
                if descriptors(pid) > before[name][0] + 16}

    assert wait_for(lambda: not excess(), 40, step=0.5), f"descriptors left: {excess()}"
    growth = {name: resident(pid) - before[name][1] for name, pid in network.processes.items()}
    name = max(growth, key=growth.get)
    context.figure("memory after all these faults", "within 64 MiB of the beginning",
                   f"at most {growth[name] / MIB:+.1f} MiB ({name})")
    assert growth[name] <= 64 * MIB, growth


def full_disk(context):
    """With a full disk requests go on; with room again all is as ever; and nothing starts silently without it."""
    folder = f"{context.scratch}/full"
    os.makedirs(folder)
    # In a mount namespace of its own, and so gone with the network.
    mount = ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs -o size=2m none {folder} && exec \"$@\"", "sh"]
    if subprocess.run([*mount, "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0:
        raise Skipped("this user may mount nothing")
    network = Network(context.executables, extra=["--state", f"{folder}/state"], prefix=mount)
    port = context.data.port
    # The same directory, seen from outside.
    inside = f"/proc/{network.process.pid}/root{folder}"
    try:
        assert wait_for(lambda: _works(network, port), 20)
        _fill(f"{inside}/filler")
        lost = network.json["routers"][4]
        observer = DirectoryObserver(network.json["directory"]["address"])
        assert identity(lost["fingerprint"]) in observer.consensus()
        os.kill(lost["pid"], signal.SIGKILL)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            assert wait_for(lambda: _works(network, port), 10), "no request succeeds any more"
            time.sleep(0.2)
        for name, pid in network.processes.items():
            assert is_alive(pid) or pid == lost["pid"], f"{name} has died of a full disk"
        key = f"{context.scratch}/full-key"
        subprocess.run([f"{context.executables}/thor-keys", "generate", key], check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        root = f"/proc/{network.process.pid}/root"
        began = time.monotonic()
        result = subprocess.run(
            [f"{context.executables}/thor-router", network.json["directory"]["address"],
             root + network.json["directory"]["publicKeyFile"], key, "--listen", "127.0.0.1:0", "--state", f"{inside}/new"],
            capture_output=True, text=True, timeout=30)
        # Its link key has no place.
        assert result.returncode not in (0, 70) and "space" in result.stderr, f"started on a full disk: {result}"
        context.figure("a full disk: requests; a start that fails", "no error; says why, at once",
                       f"no error; {time.monotonic() - began:.1f} s")
        os.unlink(f"{inside}/filler")
        # A revision that could not be stored is not given out; now it is.
        seconds = observer.wait_until(lambda body: identity(lost["fingerprint"]) not in body, 20)
        observer.close()
        assert seconds is not None, "no newer consensus, with room on the disk"
        assert wait_for(lambda: _works(network, port), 10)
    finally:
        if network.process.poll() is None:
            network.stop()


def _fill(path):
    """Write until the disk takes no byte more."""
    with open(path, "wb", buffering=0) as file:
        for count in (1 << 16, 1 << 8, 1):
            try:
                while file.write(bytes(count)) == count:
                    pass
            except OSError:
                pass


def descriptors_spent(context):
    """A process without a descriptor to spare refuses what it cannot do, and recovers when it has some."""
    network = Network(context.executables)
    port = context.data.port
    try:
        assert wait_for(lambda: _works(network, port), 20)
        for part in ("proxy", "guard", "exit"):
            # The others go the way of this one.
            held = [socks.connect(network.socks, "127.0.0.1", port, timeout=SILENCE_LIMIT)]
            pid = _part(network, part)
            limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            outcomes = collections.Counter()
            try:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors(pid) + 3, limits[1]))
                threads = [threading.Thread(target=_hold, args=(network, port, outcomes, held), daemon=True)
                           for _ in range(60)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(SILENCE_LIMIT + 5)
                assert not any(thread.is_alive() for thread in threads), f"{part}: connections hang"
                used = _cpu_seconds(pid)
                time.sleep(2)
                used = _cpu_seconds(pid) - used
            finally:
                for connection in held:
                    connection.close()
                if is_alive(pid):
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            assert is_alive(pid), f"{part} has died of it"
            assert used < 0.5, f"{part} is busy with nothing: {used:.1f} s of CPU in 2 s"
            assert wait_for(lambda: _works(network, port), 20), f"{part}: no request succeeds afterwards"
            context.figure(f"60 connections, {part} with 3 descriptors to spare", "connected or refused, and well afterwards",
                           f"{outcomes['connected']} connected, {outcomes['refused']} refused, {used:.1f} s of CPU in 2 s")
        assert wait_for(lambda: network.status()["openStreamCount"] == 0, 20, step=0.5), network.status()
    finally:
        if network.process.poll() is None:
            network.stop()


def _hold(network, port, outcomes, held):
    """Open a connection through the network, and keep it."""
    try:
        held.append(socks.connect(network.socks, "127.0.0.1", port, timeout=SILENCE_LIMIT))
        outcomes["connected"] += 1
    except OSError:
        outcomes["refused"] += 1


def _cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


CHECKS = [each_part_fails, full_disk, descriptors_spent]
