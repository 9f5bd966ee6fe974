#!/usr/bin/env python3
"""Run a command under the restrictions of a systemd unit, applied by hand: for machines on which systemd does not run.

    confine.py UNIT --user ID --network DIR --state DIR [--credential FILE] -- COMMAND [ARGUMENT]...

Reads the unit's [Service] section and does for each directive what systemd.exec(5) says that it does; one that it does not
know is an error, so that the unit cannot grow past what is tested. Needs root, Linux and libseccomp.

`--network` is what the command may see of /tmp, read-only; `--state`, within it, is its state directory. `--credential` is
given to it as LoadCredential does: a copy on a file system of its own, opened to the user by an access list, and the argument
that named it names the copy.
"""

import argparse
import ctypes
import errno
import os
import resource
import signal
import struct
import subprocess
import sys

libc = ctypes.CDLL(None, use_errno=True)

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWUSER = 0x20000, 0x8000000, 0x4000000, 0x10000000
NAMESPACES = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80]
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE, PR_CAP_AMBIENT = 24, 38, 65, 47
SYS_MOUNT_SETATTR, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, 0x8000, 1
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
DEVICES = ["null", "zero", "full", "random", "urandom", "tty"]


def check(result, what):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def read_unit(path):
    """The [Service] section, as directive -> values."""
    section, directives = None, {}
    with open(path) as file:
        for line in file:
            line = line.strip()
            if line.startswith("["):
                section = line
            elif section == "[Service]" and line and not line.startswith("#"):
                name, _, value = line.partition("=")
                directives.setdefault(name, []).append(value)
    return directives


# --- File systems

def mount(source, target, kind=None, flags=0, data=None):
    encode = lambda text: text.encode() if text else None
    check(libc.mount(encode(source), target.encode(), encode(kind), flags, encode(data)), f"mount {target}")


def make_read_only(path, recursively=False, writable=False):
    """Or writable again, one mount: a bind mount takes over what is said of where it comes from."""
    attributes = struct.pack("QQQQ", *((0, MOUNT_ATTR_RDONLY) if writable else (MOUNT_ATTR_RDONLY, 0)), 0, 0)
    check(libc.syscall(SYS_MOUNT_SETATTR, -100, path.encode(), AT_RECURSIVE if recursively else 0, attributes, len(attributes)),
          f"mount_setattr {path}")


def prepare_file_systems(options):
    """ProtectSystem=strict, ProtectHome, PrivateTmp, PrivateDevices, ProcSubset=pid, ProtectProc=invisible, StateDirectory, and
    what ProtectControlGroups, ProtectKernelLogs and ProtectKernelTunables hide or close."""
    network, state = (os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (options.network, options.state))
    secret = open(options.credential, "rb").read() if options.credential else None
    devices = {name: os.open(f"/dev/{name}", os.O_PATH) for name in DEVICES}
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    make_read_only("/", recursively=True)
    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    os.makedirs(options.network, 0o711)
    mount(f"/proc/self/fd/{network}", options.network, None, MS_BIND)
    make_read_only(options.network)
    mount(f"/proc/self/fd/{state}", options.state, None, MS_BIND)
    make_read_only(options.state, writable=True)
    for home in ("/root", "/home"):
        mount("tmpfs", home, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, "mode=000")
    mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755")
    for name, file in devices.items():
        open(f"/dev/{name}", "w").close()
        mount(f"/proc/self/fd/{file}", f"/dev/{name}", None, MS_BIND)
        os.close(file)
    make_read_only("/dev")
    os.close(network)
    os.close(state)
    credentials = None
    if secret is not None:
        credentials = "/run/credentials"
        mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        os.mkdir(credentials, 0o755)
        path = f"{credentials}/{os.path.basename(options.credential)}"
        with open(path, "wb") as file:
            file.write(secret)
        os.chmod(path, 0o400)
        # Owner root: read; this user: read; group and others: nothing. The mode then reads 0440.
        entries = [(0x01, 4, 0xFFFFFFFF), (0x02, 4, options.user), (0x04, 0, 0xFFFFFFFF), (0x10, 4, 0xFFFFFFFF),
                   (0x20, 0, 0xFFFFFFFF)]
        os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries))
        make_read_only("/run")
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=invisible,subset=pid")
    return credentials


# --- System calls

class Comparison(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("operator", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


NOT_EQUAL, EQUAL, AT_LEAST, MASKED_EQUAL = 1, 4, 5, 7
ALLOW = 0x7FFF0000


def refuse(code):
    return 0x00050000 | code


class Filter:
    """A seccomp filter, by libseccomp."""

    library = None

    def __init__(self, default):
        if Filter.library is None:
            Filter.library = ctypes.CDLL("libseccomp.so.2")
            Filter.library.seccomp_init.restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.library.seccomp_init(ctypes.c_uint32(default)))

    def rule(self, action, name, *comparisons):
        number = self.library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return  # Not one of this architecture.
        array = (Comparison * len(comparisons))(*comparisons)
        code = self.library.seccomp_rule_add_array(self.context, ctypes.c_uint32(action), number, len(comparisons), array)
        if code < 0:
            raise OSError(-code, f"seccomp rule for {name}: {os.strerror(-code)}")

    def load(self):
        code = self.library.seccomp_load(self.context)
        if code < 0:
            raise OSError(-code, f"seccomp_load: {os.strerror(-code)}")


def calls_of(word, seen=None):
    """The system calls that a word of SystemCallFilter stands for."""
    if not word.startswith("@"):
        return {word}
    listing = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter", word], check=True, capture_output=True,
                             text=True).stdout
    found = set()
    for line in listing.splitlines()[1:]:
        line = line.strip()
        if line and not line.startswith("#"):
            found |= calls_of(line)
    return found


def system_call_filters(directives):
    """What SystemCallFilter and the other directives that are done with seccomp refuse; the widest comes last."""
    filters = []
    families = [FAMILIES[name] for name in directives["RestrictAddressFamilies"][0].split()]
    addresses = Filter(ALLOW)
    for family in range(64):
        if family not in families:
            addresses.rule(refuse(errno.EAFNOSUPPORT), "socket", Comparison(0, EQUAL, family, 0))
    addresses.rule(refuse(errno.EAFNOSUPPORT), "socket", Comparison(0, AT_LEAST, 64, 0))
    filters.append(addresses)

    namespaces = Filter(ALLOW)
    namespaces.rule(refuse(errno.ENOSYS), "clone3")
    namespaces.rule(refuse(errno.EPERM), "setns")
    for flag in NAMESPACES:
        # In clone, the low byte is a signal's number: CLONE_NEWTIME is for unshare alone.
        for name in ("unshare", "clone") if flag != 0x80 else ("unshare",):
            namespaces.rule(refuse(errno.EPERM), name, Comparison(0, MASKED_EQUAL, flag, flag))
    filters.append(namespaces)

    executable = Filter(ALLOW)
    executable.rule(refuse(errno.EPERM), "mmap", Comparison(2, MASKED_EQUAL, 6, 6))
    for name in ("mprotect", "pkey_mprotect"):
        executable.rule(refuse(errno.EPERM), name, Comparison(2, MASKED_EQUAL, 4, 4))
    executable.rule(refuse(errno.EPERM), "shmat", Comparison(2, MASKED_EQUAL, 0o100000, 0o100000))
    filters.append(executable)

    modes = Filter(ALLOW)
    for bit in (0o4000, 0o2000):
        for name, argument in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir", 1), ("mkdirat", 2), ("mknod", 1),
                               ("mknodat", 2), ("creat", 1)):
            modes.rule(refuse(errno.EPERM), name, Comparison(argument, MASKED_EQUAL, bit, bit))
        for name, argument in (("open", 2), ("openat", 3)):
            modes.rule(refuse(errno.EPERM), name, Comparison(argument - 1, MASKED_EQUAL, os.O_CREAT, os.O_CREAT),
                       Comparison(argument, MASKED_EQUAL, bit, bit))
    modes.rule(refuse(errno.ENOSYS), "openat2")
    modes.rule(refuse(errno.ENOSYS), "fchmodat2")
    filters.append(modes)

    personality = Filter(ALLOW)
    personality.rule(refuse(errno.EPERM), "personality", Comparison(0, NOT_EQUAL, 0, 0))
    filters.append(personality)

    allowed = set()
    for line in directives["SystemCallFilter"]:
        named = set().union(*(calls_of(word) for word in line.lstrip("~").split()))
        allowed = allowed - named if line.startswith("~") else allowed | named
    # systemd-analyze lists what is always allowed as @default, and systemd keeps it allowed.
    allowed |= calls_of("@default")
    calls = Filter(refuse(getattr(errno, directives["SystemCallErrorNumber"][0])))
    for name in sorted(allowed):
        calls.rule(ALLOW, name)
    filters.append(calls)
    return filters


# --- The rest

def size(text):
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1])
    return int(text[:-1]) * factor if factor else int(text)


def map_users(user):
    """PrivateUsers: of all users there are only root and this one, and root there is nobody here."""
    ready, mapped = os.pipe(), os.pipe()
    if (helper := os.fork()) == 0:
        os.read(ready[0], 1)
        try:
            for kind in ("gid", "uid"):
                with open(f"/proc/{os.getppid()}/{kind}_map", "w") as file:
                    file.write(f"0 0 1\n{user} {user} 1\n")
            os.write(mapped[1], b"x")
        finally:
            os._exit(0)
    check(libc.unshare(CLONE_NEWUSER), "unshare")
    os.write(ready[1], b"x")
    os.close(mapped[1])
    if os.read(mapped[0], 1) != b"x":
        raise OSError("the users could not be mapped")
    os.waitpid(helper, 0)
    for end in (*ready, mapped[0]):
        os.close(end)


def confine(directives, options):
    """Apply them all to this process; return where the credentials are."""
    def expect(name, *values):
        given = directives.pop(name, None)
        if given != list(values):
            raise SystemExit(f"confine.py: the unit has {name}={given}, and what is known here is {list(values)}")

    # What concerns the service manager, and not the process.
    for name in ("Type", "NotifyAccess", "User", "EnvironmentFile", "LoadCredential", "ExecStart", "StateDirectory",
                 "StateDirectoryMode", "TimeoutStartSec", "TimeoutStopSec", "WatchdogSec", "Restart", "RestartSec",
                 "RestartPreventExitStatus", "TasksMax", "MemorySwapMax"):
        directives.pop(name, None)
    # Keyrings, control groups with their lists of devices, and cleaning up afterwards are left to systemd.
    for name in ("KeyringMode", "RemoveIPC", "DevicePolicy", "PrivateMounts"):
        directives.pop(name)

    os.environ.update(word.split("=", 1) for word in directives.pop("Environment"))
    filters = system_call_filters(directives)
    for name in ("SystemCallFilter", "SystemCallErrorNumber", "RestrictAddressFamilies"):
        directives.pop(name)
    expect("SystemCallArchitectures", "native")
    for name in ("RestrictNamespaces", "RestrictSUIDSGID", "RestrictRealtime", "LockPersonality", "MemoryDenyWriteExecute"):
        expect(name, "yes")

    check(libc.unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS), "unshare")
    expect("PrivateIPC", "yes")
    expect("ProtectHostname", "yes")
    expect("PrivateUsers", "yes")
    mask = int(directives.pop("UMask")[0], 8)
    for name, value in (("ProtectSystem", "strict"), ("ProtectHome", "yes"), ("PrivateTmp", "yes"), ("PrivateDevices", "yes"),
                        ("ProtectProc", "invisible"), ("ProcSubset", "pid"), ("ProtectControlGroups", "yes"),
                        ("ProtectKernelLogs", "yes"),
                        ("ProtectKernelModules", "yes"), ("ProtectKernelTunables", "yes"), ("ProtectClock", "yes")):
        expect(name, value)
    for name in ("LimitCORE", "LimitNOFILE", "LimitMEMLOCK"):
        kind = getattr(resource, name.replace("Limit", "RLIMIT_"))
        limit, most = size(directives.pop(name)[0]), resource.getrlimit(kind)[1]
        # Even root may not raise it everywhere.
        limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(kind, (limit, limit))

    expect("CapabilityBoundingSet", "")
    expect("AmbientCapabilities", "")
    expect("NoNewPrivileges", "yes")
    if directives:
        raise SystemExit(f"confine.py: not known: {', '.join(directives)}")

    # Mounts want root of the machine; with its own users, the process has left that behind.
    credentials = prepare_file_systems(options)
    map_users(options.user)
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break
    os.umask(mask)
    os.setgroups([])
    os.setresgid(options.user, options.user, options.user)
    os.setresuid(options.user, options.user, options.user)
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if libc.prctl(PR_SET_MDWE, 1, 0, 0, 0) < 0:
        print("confine.py: the kernel knows no PR_SET_MDWE; the system call filter alone forbids writable code",
              file=sys.stderr)
    # Loading one must not be refused by the one before.
    for each in filters:
        each.load()
    return credentials


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("unit")
    parser.add_argument("--user", type=int, required=True)
    parser.add_argument("--network", required=True)
    parser.add_argument("--state", required=True)
    parser.add_argument("--credential")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    # By descriptor: where it lies may be hidden soon.
    program = os.open(options.command[0], os.O_RDONLY | os.O_CLOEXEC)
    credentials = confine(read_unit(options.unit), options)
    command = options.command
    if credentials:
        copy = f"{credentials}/{os.path.basename(options.credential)}"
        command = [copy if word == options.credential else word for word in command]
        os.environ["CREDENTIALS_DIRECTORY"] = credentials
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execve(program, command, os.environ)


if __name__ == "__main__":
    main()
