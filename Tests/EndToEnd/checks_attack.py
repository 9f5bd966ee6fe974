"""What thor-testnet attack promises to whoever runs it: exit code, table, JSON, and nothing left behind."""

import json
import os
import subprocess

from network import processes_naming


def attack(context, *arguments):
    scratch = os.path.join(context.scratch, "attack")
    os.makedirs(scratch, exist_ok=True)
    result = subprocess.run([f"{context.executables}/thor-testnet", "attack", *arguments], capture_output=True, text=True,
                            timeout=300, env={**os.environ, "TMPDIR": scratch})
    assert not os.listdir(scratch), f"left behind: {os.listdir(scratch)}"
    left = processes_naming(scratch)
    assert not left, f"left running: {left}"
    return result


def attacks(context):
    """thor-testnet attack plays what is asked for, says so as table and JSON, and leaves nothing behind."""
    names = ["cell-extend", "cell-replayed", "cell-spoken-by-inner-hop", "handshake-zero-point", "exit-forbidden-targets"]
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


CHECKS = [attacks, unknown_attack]
