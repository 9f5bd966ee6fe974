#!/usr/bin/env python3
"""A machine with a systemd of its own, in namespaces: what its root holds is a layer over this machine's, gone afterwards.

    unshare --mount --pid --fork --kill-child --uts --ipc --net --cgroup machine.py EXECUTABLES FOLDER

Installs the units as `make install` does, with the programs of EXECUTABLES, and boots; once up, systemd runs FOLDER/trial
as root, whose output goes to FOLDER/output. The kernel's own settings are out of reach, as in systemd-nspawn.
"""

import os
import subprocess
import sys

ROOT = os.path.realpath(f"{os.path.dirname(os.path.abspath(__file__))}/../..")
TRIAL = """[Unit]
Description=Trial
Requires=basic.target
After=basic.target
AllowIsolate=yes
[Service]
Type=oneshot
ExecStart=/bin/bash /trial/trial
StandardOutput=file:/trial/output
StandardError=file:/trial/output
"""


def mount(source, target, *options):
    os.makedirs(target, exist_ok=True)
    subprocess.run(["mount", *options, source, target], check=True)


def main():
    executables, folder = sys.argv[1:]
    base = f"{folder}/machine"
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    mount("tmpfs", base, "-t", "tmpfs")
    for name in ("upper", "work", "root"):
        os.mkdir(f"{base}/{name}")
    root = f"{base}/root"
    mount("overlay", root, "-t", "overlay", "-o", f"lowerdir=/,upperdir={base}/upper,workdir={base}/work")
    mount("proc", f"{root}/proc", "-t", "proc")
    mount(f"{root}/proc/sys", f"{root}/proc/sys", "--bind")
    mount("none", f"{root}/proc/sys", "-o", "remount,bind,ro")
    mount("sysfs", f"{root}/sys", "-t", "sysfs", "-o", "ro")
    mount("cgroup2", f"{root}/sys/fs/cgroup", "-t", "cgroup2")
    for name in ("run", "tmp", "dev"):
        mount("tmpfs", f"{root}/{name}", "-t", "tmpfs")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        open(f"{root}/dev/{name}", "w").close()
        subprocess.run(["mount", "--bind", f"/dev/{name}", f"{root}/dev/{name}"], check=True)
    mount("devpts", f"{root}/dev/pts", "-t", "devpts", "-o", "newinstance,ptmxmode=0666")
    os.symlink("pts/ptmx", f"{root}/dev/ptmx")
    os.symlink("/proc/self/fd", f"{root}/dev/fd")
    for name in ("shm", "mqueue"):
        os.mkdir(f"{root}/dev/{name}")
    mount(folder, f"{root}/trial", "--bind")
    subprocess.run(["make", "-s", "-C", ROOT, "install-units", f"DESTDIR={root}", "PREFIX=/usr/local"], check=True)
    mount(executables, f"{root}/usr/local/bin", "--bind")
    with open(f"{root}/etc/machine-id", "w") as file:
        file.write("0123456789abcdef" * 2 + "\n")
    with open(f"{root}/etc/systemd/system/trial.service", "w") as file:
        file.write(TRIAL)
    os.chdir(root)
    os.mkdir("before")
    subprocess.run(["pivot_root", ".", "before"], check=True)
    subprocess.run(["umount", "--lazy", "/before"], check=True)
    # systemd does this itself on a machine that is no container; credentials reach their service by it.
    subprocess.run(["mount", "--make-rshared", "/"], check=True)
    os.execve("/lib/systemd/systemd", ["systemd", "--unit=trial.service", "--show-status=no", "--log-target=null"],
              {"container": "other", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})


if __name__ == "__main__":
    main()
