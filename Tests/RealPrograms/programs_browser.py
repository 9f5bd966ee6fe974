"""Chromium without a screen, a page of 100 pictures: by SOCKS5 and as an HTTP proxy, over HTTP and HTTPS."""

import os
import shutil
import subprocess
import tempfile

from cases import case

GROUP = "Chromium"


def browse(context, proxy, url, name):
    """Open a page; return its document, and keep a screenshot."""
    with tempfile.TemporaryDirectory(dir=context.scratch) as profile:
        picture = f"{profile}/picture.png"
        common = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                  "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
                  f"--user-data-dir={profile}/data", f"--proxy-server={proxy}", "--proxy-bypass-list=<-loopback>",
                  "--ignore-certificate-errors", "--window-size=1000,800", "--virtual-time-budget=20000", "--timeout=30000"]
        result = subprocess.run([*common, "--dump-dom", url], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
        subprocess.run([*common, f"--screenshot={picture}", url], capture_output=True, timeout=120, stdin=subprocess.DEVNULL)
        size = os.path.getsize(picture) if os.path.exists(picture) else 0
        if context.screenshots and size:
            os.makedirs(context.screenshots, exist_ok=True)
            shutil.copy(picture, f"{context.screenshots}/{name}.png")
        return result.stdout, size


def check(context, scheme, kinds, server):
    for kind in kinds:
        name = f"{kind}-{scheme}"
        # By SOCKS4 it would look the name up by itself.
        host = "127.0.0.1" if kind == "socks4" else "origin.test"
        page, size = browse(context, f"{kind}://{context.socks}", f"{scheme}://{host}:{server.port}/page", name)
        assert "100 of 100 pictures came" in page, (name, page[-300:])
        assert size > 5000, (name, size)


@case(GROUP, "a page of 100 pictures over HTTP, by SOCKS5, SOCKS4 and an HTTP proxy", needs=["chromium"])
def chromium_http(context):
    check(context, "http", ("socks5", "socks4", "http"), context.web)


@case(GROUP, "a page of 100 pictures over HTTPS, by SOCKS5 and an HTTP proxy", needs=["chromium"])
def chromium_https(context):
    check(context, "https", ("socks5", "http"), context.secure)


@case(GROUP, "the port itself, opened as a page", needs=["chromium"])
def chromium_page(context):
    page, size = browse(context, "direct://", f"http://{context.socks}/", "port")
    assert "This is a Thor proxy" in page, page[:500]
