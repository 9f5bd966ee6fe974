"""What thor-testnet attack promises to whoever runs it: exit code, table, JSON, and nothing left behind."""

import json
import os
import pty
import signal
import subprocess
import tempfile

from network import processes_naming


def scratch_of(context):
    scratch = os.path.join(context.scratch, "attack")
    os.makedirs(scratch, exist_ok=True)
    return scratch


def started(context, *arguments, **options):
    return subprocess.Popen([f"{context.executables}/thor-testnet", "attack", *arguments], text=True,
                            env={**os.environ, "TMPDIR": scratch_of(context)}, **options)


def nothing_left(context):
    scratch = scratch_of(context)
    assert not os.listdir(scratch), f"left behind: {os.listdir(scratch)}"
    left = processes_naming(scratch)
    assert not left, f"left running: {left}"


def attack(context, *arguments):
    process = started(context, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        stdout, stderr = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        # It leaves nothing behind for the checks that follow.
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        raise
    nothing_left(context)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def attacks(context):
    """thor-testnet attack plays what is asked for, says so as table and JSON, and leaves nothing behind."""
    names = ["cell-extend", "cell-replayed", "cell-spoken-by-inner-hop", "handshake-zero-point",
             "handshake-truncated-created", "directory-consensus-forged", "exit-forbidden-targets", "exit-rebinding"]
    result = attack(context, "--json", "-", *names)
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads(result.stdout)
    assert report["held"] is True
    for name in names:
        assert any(line["name"].startswith(name) for line in report["attacks"]), name
    for line in report["attacks"]:
        assert line["verdict"] == "held", line
        assert line["name"] in result.stderr, "no progress, no table"
    assert f"{len(report['attacks'])} of {len(report['attacks'])} attacks held" in result.stderr
    context.figure("attacks that held, of a few", "all", f"{len(report['attacks'])} of {len(report['attacks'])}")


def unknown_attack(context):
    """thor-testnet attack says what is wrong with a name, and lists the attacks that there are."""
    result = attack(context, "cell-does-not-exist")
    assert result.returncode == 64, result.returncode
    assert "cell-does-not-exist" in result.stderr and "--list" in result.stderr, result.stderr
    listed = attack(context, "--list", "flood")
    assert listed.returncode == 0 and "flood-sniper" in listed.stdout, listed.stdout


def stopped_attack(context):
    """Ctrl-C in the middle of an attack ends thor-testnet attack with what was played so far, and leaves nothing behind."""
    with tempfile.TemporaryDirectory() as folder:
        report = f"{folder}/report.json"
        # The second is a long one, with an OR and a proxy of its own.
        process = started(context, "--json", report, "cell-extend-itself", "handshake-downgraded-created",
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        first = process.stdout.readline()
        assert first.startswith("HELD") and "cell-extend-itself" in first, first
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
        nothing_left(context)
        assert process.returncode == 75, (process.returncode, stdout, stderr)
        assert "BROKEN" not in stdout and "| cell-extend-itself |" in stdout, stdout
        assert "1 of 1 attacks held" in stdout and "Stopped before the end" in stdout, stdout
        with open(report, encoding="utf-8") as file:
            told = json.load(file)
        assert told["complete"] is False and told["held"] is False, told
        assert [line["name"] for line in told["attacks"]] == ["cell-extend-itself"], told


def unread_attack(context):
    """thor-testnet attack ends when nobody reads what it says any more."""
    process = started(context, "cell-replayed", "cell-extend-itself", "cell-extend-back", "cell-extend-twice",
                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline().startswith("HELD")
    process.stdout.close()
    stderr = process.stderr.read()
    assert process.wait(timeout=60) == 75, stderr
    nothing_left(context)


def attack_on_terminal(context):
    """thor-testnet attack says at a terminal what happened, in lines that fit."""
    ours, theirs = pty.openpty()
    process = started(context, "cell-extend-itself", stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:
        pass  # What a terminal says at its end.
    os.close(ours)
    assert process.wait(timeout=60) == 0, process.stderr.read()
    assert b"HELD      cell-extend-itself: " in shown and b"| --- |" not in shown, shown
    nothing_left(context)


def attack_without_network(context):
    """thor-testnet attack says at once why its network did not start, and that a report cannot be written."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ["thor-directory", "thor-proxy"]:
            os.symlink(f"{context.executables}/{name}", f"{folder}/{name}")
        with open(f"{folder}/thor-router", "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\necho out of order >&2\nexit 1\n")
        os.chmod(f"{folder}/thor-router", 0o700)
        result = attack(context, "--executables", folder, "cell-replayed")
        assert result.returncode == 69, (result.returncode, result.stderr)
        assert "out of order" in result.stderr and "exit code 1" in result.stderr, result.stderr
        # Before anything is started: the network would not start either.
        result = attack(context, "--executables", folder, "--json", f"{folder}/none/report.json", "cell-replayed")
        assert result.returncode == 73 and "report.json" in result.stderr, (result.returncode, result.stderr)


CHECKS = [attacks, unknown_attack, stopped_attack, unread_attack, attack_on_terminal, attack_without_network]
