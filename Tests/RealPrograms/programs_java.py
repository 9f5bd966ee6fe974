"""Java's built-in proxies."""

import os
import subprocess

from cases import case
from servers import digest

HERE = os.path.dirname(os.path.abspath(__file__))


@case("Java", "the built-in SOCKS 5 and 4 clients and the HTTP proxy, names unresolved, with an account", needs=["java"])
def java(context):
    host, port = context.socks.rsplit(":", 1)
    result = subprocess.run(
        ["java", "-Xshare:auto", f"{HERE}/Programs.java", host, port, str(context.web.port), str(context.echo.port)],
        capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL)
    said = dict(line.split(" ", 1) for line in result.stdout.splitlines())
    wanted = {"socks": "hello java", "http": "hello java", "echo": "true", "account": "hello account",
              "nobody": "SOCKS: Host unreachable", "large": digest(3_000_000), "socks4": "hello java4"}
    assert said == wanted, (said, result.stderr[-2000:])
