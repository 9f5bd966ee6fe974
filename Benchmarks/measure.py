"""What every measurement here uses: the load generator, its origin, and what processes cost (CPU, memory)."""

import json
import os
import pathlib
import select
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
GENERATOR = HERE / ".build" / "load"
TICKS = os.sysconf("SC_CLK_TCK")
MEBIBYTE = 1 << 20


class MeasureError(Exception):
    """Something could not be measured; says what and why."""


def build_generator():
    """Compile Load/load.c unless that has been done since it was changed."""
    source = HERE / "Load" / "load.c"
    if GENERATOR.exists() and GENERATOR.stat().st_mtime >= source.stat().st_mtime:
        return
    compiler = next((found for found in map(shutil.which, ("cc", "gcc", "clang")) if found), None)
    if not compiler:
        raise MeasureError("there is no C compiler: install gcc or clang")
    GENERATOR.parent.mkdir(exist_ok=True)
    done = subprocess.run(
        [compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", str(GENERATOR), str(source)],
        capture_output=True, text=True)
    if done.returncode != 0:
        raise MeasureError(f"{source} does not compile: {done.stderr.strip()}")


class Origin:
    """The server that downloads come from and uploads go to, as a process of its own."""

    def __init__(self, check=False):
        build_generator()
        self.process = subprocess.Popen(
            [str(GENERATOR), "origin"] + (["--check"] if check else []), stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().removeprefix("listening ").strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop(self.process)


def stop(process, seconds=5):
    """End a process that was started here."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def read_line(process, seconds):
    """The next line of a process's output; what has come of it after that time."""
    line, deadline = "", time.monotonic() + seconds
    while not line.endswith("\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            break
        byte = os.read(process.stdout.fileno(), 1)
        if not byte:
            break
        line += byte.decode()
    return line.strip()


def generate(kind, target, socks=None, timeout=120, **options):
    """Run the load generator once and return what it measured.

    Options become the generator's: bytes=1 << 30, streams=100, check=True, and so on.
    """
    command = [str(GENERATOR), kind, "--target", target, "--timeout", str(timeout)]
    if socks:
        command += ["--socks", socks]
    for name, value in options.items():
        if value is True:
            command.append(f"--{name}")
        elif value is not None and value is not False:
            command += [f"--{name}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout + 10)
    if done.returncode != 0:
        raise MeasureError(f"{kind} {options} through {socks}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def cpu_seconds(pids):
    """CPU that these processes have used, in all their threads, in seconds."""
    total = 0
    for pid in pids:
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident_mebibytes(pids):
    """Resident memory of these processes, libraries included."""
    total = 0
    for pid in pids:
        try:
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return total / 1024


def descendants(pid):
    """A process and all that it has started."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def with_cpu(roles, action):
    """Run `action` and return its result and the CPU seconds that each role used meanwhile.

    `roles` maps a name to a function that returns process ids.
    """
    before = {name: (pids(), cpu_seconds(pids())) for name, pids in roles.items()}
    result = action()
    return result, {name: cpu_seconds(pids()) - before[name][1] for name, pids in roles.items()}


def network_cpu(cpu):
    """What carrying the bytes cost: without those that only keep the list."""
    return sum(seconds for role, seconds in cpu.items() if role != "directory")


def median(values):
    return statistics.median(values)


def testnet_roles(description):
    """The roles of a network that thor-testnet has described, each with its processes."""
    roles = {"proxy": lambda: [description["proxy"]["pid"]]}
    for index, router in enumerate(description["routers"]):
        roles[f"router {index + 1}"] = lambda pid=router["pid"]: [pid]
    roles["directory"] = lambda: [description["directory"]["pid"]]
    return roles


def note(text):
    print(text, file=sys.stderr, flush=True)
