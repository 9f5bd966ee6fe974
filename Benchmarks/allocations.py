#!/usr/bin/env python3
"""Count what the processes of a running network allocate for each cell that they carry.

    Benchmarks/allocations.py                 # downloads and uploads 256 MiB through a network of its own

Puts a counter in front of malloc and its like (Sources/CAllocations, by LD_PRELOAD) in every process of a test network.
The counter is checked first: against a program that allocates a known number of times.
"""

import argparse
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import measure
import peers
from measure import MeasureError

SOURCES = measure.HERE / "Sources" / "CAllocations"
LIBRARY = measure.HERE / ".build" / "liballocations.so"
CELL_DATA = 2043 - 16 - 5

SELF_CHECK = r"""
#include <stdlib.h>
int main(int count, char **arguments) {
    for (int i = atoi(arguments[count - 1]); i > 0; i--) {
        void *volatile memory = malloc(10);
        memory = realloc(memory, 1000000);
        free(memory);
        memory = calloc(2, 8);
        free(memory);
    }
}
"""


def build_counter():
    compiler = next((found for found in map(shutil.which, ("cc", "gcc", "clang")) if found), None)
    if not compiler:
        raise MeasureError("there is no C compiler: install gcc or clang")
    LIBRARY.parent.mkdir(exist_ok=True)
    subprocess.run(
        [compiler, "-std=gnu11", "-O2", "-fPIC", "-shared", f"-I{SOURCES / 'include'}", "-o", str(LIBRARY),
         str(SOURCES / "allocations.c")], check=True)
    return compiler


def environment(directory):
    return {"LD_PRELOAD": str(LIBRARY), "ALLOCATIONS_DIRECTORY": str(directory)}


def counts(directory, pid):
    path = pathlib.Path(directory) / str(pid)
    if not path.exists():
        raise MeasureError(f"process {pid} does not count its allocations")
    return struct.unpack("QQ", path.read_bytes())


def check_counter(compiler, directory):
    """The difference between 1,000 and 11,000 rounds of three allocations must be 30,000."""
    program = pathlib.Path(directory) / "check"
    subprocess.run([compiler, "-O0", "-x", "c", "-o", str(program), "-"], input=SELF_CHECK, text=True, check=True)
    found = []
    for rounds in (1_000, 11_000):
        process = subprocess.Popen([str(program), str(rounds)], env={**os.environ, **environment(directory)})
        process.wait(20)
        found.append(counts(directory, process.pid)[0])
    if found[1] - found[0] != 30_000:
        raise MeasureError(f"the counter counts {found[1] - found[0]} allocations where there are 30000")


def measure_network(options, directory):
    size = options.size << 20
    cells = size / CELL_DATA
    with measure.Origin() as origin, peers.Thor(options.executables, environment(directory)) as network:
        for kind in ("down", "up"):
            # Buffers and queues grow to their size first.
            measure.generate(kind, origin.address, network.socks, bytes=min(size, 64 << 20))
            before = {role: counts(directory, pids()[0]) for role, pids in network.roles.items()}
            measure.generate(kind, origin.address, network.socks, bytes=size)
            after = {role: counts(directory, pids()[0]) for role, pids in network.roles.items()}
            for role in network.roles:
                calls, count = (after[role][field] - before[role][field] for field in (0, 1))
                print(f"| {kind} | {role} | {calls / cells * 1000:.1f} | {count / cells:.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executables", default=str(measure.HERE.parent / ".build" / "release"))
    parser.add_argument("--size", type=int, default=256, metavar="MIB", help="bytes of each transfer (256)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="allocations-") as directory:
        check_counter(build_counter(), directory)
        print("The counter has checked itself. One stream, data cells of one direction.\n")
        print("| transfer | process | allocations per 1000 cells | bytes asked for per cell |")
        print("| --- | --- | ---: | ---: |")
        measure_network(options, directory)


if __name__ == "__main__":
    try:
        main()
    except (MeasureError, subprocess.SubprocessError) as error:
        sys.exit(f"allocations: {error}")
