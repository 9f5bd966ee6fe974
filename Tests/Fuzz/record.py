#!/usr/bin/env python3
"""Record real traffic as seeds: record.py CORPUS-FOLDER [STATE-DIRECTORY]

Each program that is installed here is pointed at a proxy that says yes to everything and answers every request with a short
page; what the program says from its first byte on goes to CORPUS-FOLDER/FuzzSOCKS, and requests in absolute form also to
CORPUS-FOLDER/FuzzHTTP. Everything is on loopback: the host that is asked for does not exist.

STATE-DIRECTORY is one of thor-testnet, running or not: its consensus and its routers' descriptors go to FuzzConsensus and
FuzzDescriptor, without their signatures, as those programs want them, and to FuzzDirectoryFrames as the frames they came in.
"""

import hashlib
import os
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import threading

HOST = "recorded.invalid"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nyes"
# What is kept of a conversation: the handshake, and what follows it at once.
LIMIT = 1024


class Proxy:
    """Accepts one connection after the other, and keeps what each says."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.heard = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        connection.settimeout(2)
        said = bytearray()
        self.heard.append(said)

        def read(is_whole):
            while not is_whole(said):
                data = connection.recv(4096)
                if not data:
                    raise EOFError
                said.extend(data)

        try:
            read(lambda said: len(said) >= 2)
            if said[0] == 5:
                self.socks5(connection, said, read)
            elif said[0] == 4:
                read(lambda said: said[8:].count(0) >= (2 if said[4:7] == b"\0\0\0" else 1))
                connection.sendall(bytes([0, 90, 0, 0, 0, 0, 0, 0]))
            elif said.startswith(b"CONNECT"):
                read(lambda said: b"\r\n\r\n" in said)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                read(lambda said: b"\r\n\r\n" in said)
                connection.sendall(PAGE)
                return
            before = len(said)
            read(lambda said: len(said) > before)
            if b"HTTP/1" in said[before:]:
                connection.sendall(PAGE)
        except (EOFError, OSError):
            pass
        finally:
            connection.close()

    def socks5(self, connection, said, read):
        read(lambda said: len(said) >= 2 + said[1])
        methods = said[2 : 2 + said[1]]
        at = 2 + said[1]
        if 2 in methods:
            connection.sendall(bytes([5, 2]))
            read(lambda said: len(said) >= at + 2 and len(said) >= at + 3 + said[at + 1])
            name = said[at + 1]
            read(lambda said: len(said) >= at + 3 + name + said[at + 2 + name])
            at += 3 + name + said[at + 2 + name]
            connection.sendall(bytes([1, 0]))
        else:
            connection.sendall(bytes([5, 0]))
        read(lambda said: len(said) >= at + 5)
        size = {1: 4, 4: 16}.get(said[at + 3], 1 + said[at + 4])
        read(lambda said: len(said) >= at + 6 + size)
        connection.sendall(bytes([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))


def programs(port):
    """Commands by name, each of which makes one connection or a few."""
    proxy = f"127.0.0.1:{port}"
    url = f"http://{HOST}/a?b=c"
    curl = ["curl", "--silent", "--max-time", "3"]
    requests = "import sys, requests; requests.get(sys.argv[2], proxies={'http': sys.argv[1]}, timeout=3)"
    httpx = "import sys, httpx; httpx.get(sys.argv[2], **{'proxy': sys.argv[1]}, timeout=3)"
    return {
        "curl-socks5h": [*curl, "--proxy", f"socks5h://{proxy}", url],
        "curl-socks5h-user": [*curl, "--proxy", f"socks5h://country-se+alice:word@{proxy}", url],
        "curl-socks5-address": [*curl, "--proxy", f"socks5://{proxy}", "http://192.0.2.1:8080/"],
        "curl-socks5-ipv6": [*curl, "--proxy", f"socks5h://{proxy}", "http://[2001:db8::1]/"],
        "curl-socks4": [*curl, "--proxy", f"socks4://alice@{proxy}", "http://192.0.2.1/"],
        "curl-socks4a": [*curl, "--proxy", f"socks4a://{proxy}", url],
        "curl-http": [*curl, "--proxy", f"http://{proxy}", url],
        "curl-http-post": [*curl, "--proxy", f"http://alice:word@{proxy}", "--data", "x=1", url],
        "curl-http-chunked": [*curl, "--proxy", f"http://{proxy}", "-H", "Transfer-Encoding: chunked", "-d", "x=1", url],
        "curl-connect": [*curl, "--proxy", f"http://alice:word@{proxy}", "--insecure", f"https://{HOST}/"],
        "curl-tls-socks5h": [*curl, "--proxy", f"socks5h://{proxy}", "--insecure", f"https://{HOST}/"],
        "wget": ["wget", "-q", "-O", "/dev/null", "-t", "1", "-T", "3", "-e", f"http_proxy={proxy}", url],
        "git": ["git", "-c", f"http.proxy=socks5h://{proxy}", "ls-remote", f"http://{HOST}/r.git"],
        "ssh-nc": [
            "ssh", "-o", f"ProxyCommand=nc -X 5 -x {proxy} %h %p", "-o", "BatchMode=yes", "-o", "ConnectTimeout=3",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", f"nobody@{HOST}",
        ],
        "ncat-socks5": ["ncat", "--proxy", proxy, "--proxy-type", "socks5", "--proxy-dns", "remote", HOST, "80"],
        "ncat-http": ["ncat", "--proxy", proxy, "--proxy-type", "http", HOST, "80"],
        "socat-socks4a": ["socat", "-T", "2", "-", f"SOCKS4A:127.0.0.1:{HOST}:80,socksport={port}"],
        "connect-proxy": ["connect-proxy", "-5", "-S", proxy, "-R", "remote", HOST, "80"],
        "torsocks": ["torsocks", "-P", str(port), *curl, url],
        "tor-resolve": ["tor-resolve", HOST, proxy],
        "tor-resolve-x": ["tor-resolve", "-x", "192.0.2.1", proxy],
        "requests": ["python3", "-c", requests, f"socks5h://{proxy}", url],
        "httpx": ["python3", "-c", httpx, f"socks5://{proxy}", url],
    }


def main():
    folder = sys.argv[1]
    python = os.environ.get("THOR_E2E_PYTHON", "python3")
    for name in programs(0):
        proxy = Proxy()
        command = programs(proxy.port)[name]
        if command[0] == "python3":
            command[0] = python
        if shutil.which(command[0]) is None:
            print(f"{name}: not installed")
            continue
        try:
            subprocess.run(
                command, input=b"hello\r\n", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10,
                # Else connect-proxy tells who is logged in here.
                env={**os.environ, "NO_PROXY": "", "no_proxy": "", "SOCKS5_USER": "alice", "SOCKS5_PASSWORD": "word"})
        except subprocess.TimeoutExpired:
            pass
        for said in {bytes(said[:LIMIT]) for said in proxy.heard if said}:
            keep(os.path.join(folder, "FuzzSOCKS"), said)
            if said[:1].isalpha() and not said.startswith(b"CONNECT"):
                keep(os.path.join(folder, "FuzzHTTP"), bytes([0, 7]) + said)
        print(f"{name}: {len(proxy.heard)} connections")
    if len(sys.argv) > 2:
        record_documents(folder, sys.argv[2])


SIGNATURE = 64
REGISTER, CONSENSUS = 2, 7


def record_documents(folder, state):
    """The signed documents of a network."""
    with open(os.path.join(state, "proxy", "consensus"), "rb") as file:
        consensus = file.read()
    registry = sqlite3.connect(f"file:{os.path.join(state, 'directory', 'registry.sqlite')}?mode=ro", uri=True)
    descriptors = [row[0] for row in registry.execute("select descriptor from router order by identity")]
    registry.close()
    keep(os.path.join(folder, "FuzzConsensus"), consensus[:-SIGNATURE])
    for descriptor in descriptors[:2]:
        keep(os.path.join(folder, "FuzzDescriptor"), descriptor[:-SIGNATURE])
    for kind, document in (CONSENSUS, consensus), (REGISTER, descriptors[0]):
        frame = struct.pack(">IB", len(document), kind) + document
        # Where it is cut in two.
        keep(os.path.join(folder, "FuzzDirectoryFrames"), bytes([0, 100]) + frame)
    print(f"documents: a consensus, {len(descriptors)} descriptors")


def keep(folder, data):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, f"real-{hashlib.sha1(data).hexdigest()[:12]}"), "wb") as file:
        file.write(data)


if __name__ == "__main__":
    main()
