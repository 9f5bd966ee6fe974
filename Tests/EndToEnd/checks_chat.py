"""ChatGPT through the network: our program, the official Python package, and what the exit router sees."""

import os
import socket
import subprocess
import sys
import threading
import time

from checks_load import shared
from network import HERE, Server, Skipped
from servers import Chat, make_ca

PROMPT = "Wie spät ist es am Polarkreis, bitte?"


class Recorder:
    """A TCP relay in front of a server that keeps every byte, in both directions: what the exit router sees."""

    def __init__(self, port):
        self.target = port
        self.seen = bytearray()
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self.target))
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=(one, other), daemon=True).start()

    def copy(self, source, target):
        try:
            while data := source.recv(65536):
                self.seen += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def stop(self):
        self.listener.close()


def _server(context):
    """The chat server behind a recorder, and the key files; made once."""
    if not hasattr(context, "chat"):
        folder = f"{context.scratch}/chat"
        os.makedirs(folder)
        context.ca, certificate, key = make_ca(folder)
        context.chat = Server("chat", certificate, key)
        context.recorder = Recorder(context.chat.port)
        for name, text in (("good", Chat.KEY), ("bad", "sk-wrong")):
            with open(f"{folder}/{name}", "w") as file:
                file.write(text + "\n")
            os.chmod(f"{folder}/{name}", 0o600)
        context.good, context.bad = f"{folder}/good", f"{folder}/bad"
    return f"https://127.0.0.1:{context.recorder.port}/v1"


def _ask(context, *arguments, key=None, text=None, proxy=True):
    url = _server(context)
    through = ["--proxy", context.network.socks if proxy is True else proxy] if proxy else ["--direct"]
    return subprocess.run(
        [f"{context.executables}/thor-chatgpt", key or context.good, *arguments, "--base-url", url, "--ca-file", context.ca,
         *through],
        input=text, stdin=None if text is not None else subprocess.DEVNULL, text=True, capture_output=True, timeout=90)


@shared
def chat_answers(context):
    """thor-chatgpt asks through the network, and the exit router sees neither key, nor prompt, nor answer."""
    _server(context)
    before = context.recorder.connections
    result = _ask(context, PROMPT)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"Turn 1: you said “{PROMPT}”.\n", result.stdout
    assert context.recorder.connections > before, "the server was not reached through the recorder"
    seen = bytes(context.recorder.seen)
    assert len(seen) > 1000
    for what in (Chat.KEY, PROMPT, "you said", "Bearer", "chat/completions"):
        assert what.encode() not in seen, f"the exit router sees {what!r}"
    context.figure("bytes that the exit saw of a chat", "no key, no prompt", f"{len(seen)} bytes, neither in them")


@shared
def chat_conversation(context):
    """Without a prompt it holds a conversation."""
    result = _ask(context, text="one\n\ntwo\n")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "Turn 1: you said “one”.\nTurn 2: you said “two”.\n", result.stdout


@shared
def chat_failures(context):
    """A bad key, a refused region, a rate limit, no proxy, a broken answer and an unknown CA each get a clear message."""
    _server(context)
    nobody = socket.create_server(("127.0.0.1", 0))
    port = nobody.getsockname()[1]
    nobody.close()
    cases = [
        (77, "401", dict(key=context.bad)), (69, "403", dict(model="forbidden")), (75, "429", dict(model="busy")),
        (69, "middle of the answer", dict(model="cut")), (69, "nothing listens", dict(proxy=f"127.0.0.1:{port}")),
    ]
    for code, words, options in cases:
        model = options.pop("model", "any")
        result = _ask(context, "hello", "--model", model, **options)
        assert result.returncode == code, (words, result.returncode, result.stderr)
        assert words in result.stderr, (words, result.stderr)
        assert "sk-wrong" not in result.stderr and Chat.KEY not in result.stderr, "the key is shown"
    result = subprocess.run(
        [f"{context.executables}/thor-chatgpt", context.good, "hello", "--base-url", _server(context), "--proxy",
         context.network.socks], stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=90)
    assert result.returncode == 76 and "--ca-file" in result.stderr, result.stderr
    result = _ask(context, "hello", "--direct")
    assert result.returncode == 64 and "exclude each other" in result.stderr, result.stderr
    os.chmod(context.bad, 0o644)
    result = _ask(context, "hello", key=context.bad)
    os.chmod(context.bad, 0o600)
    assert result.returncode == 77 and "chmod 600" in result.stderr, result.stderr


@shared
def chat_names(context):
    """The server's name goes to the proxy as a name: nothing here looks it up."""
    _server(context)
    asked = []
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        client, _ = listener.accept()
        asked.append(client.recv(1000))
        client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        client.close()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    result = subprocess.run(
        [f"{context.executables}/thor-chatgpt", context.good, "hello", "--base-url", "https://no-such-name.invalid/v1",
         "--proxy", f"127.0.0.1:{listener.getsockname()[1]}"],
        stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=90)
    thread.join(5)
    listener.close()
    assert asked and asked[0].startswith(b"CONNECT no-such-name.invalid:443 HTTP/1.1\r\n"), asked
    assert result.returncode == 69 and "no-such-name.invalid" in result.stderr, (result.returncode, result.stderr)


def _only(context, router):
    """The model that is served to those who come from this router, and to no others."""
    return f"only-{router['exitSource']}"


@shared
def chat_countries(context):
    """A server that serves one exit's country alone is found by trying others; one that serves none is told of."""
    _server(context)
    url = f"https://127.0.0.1:{context.chat.port}/v1"
    through = ["--base-url", url, "--ca-file", context.ca, "--proxy", context.network.socks]

    def ask(*arguments, text=None):
        return subprocess.run(
            [f"{context.executables}/thor-chatgpt", context.good, *arguments, *through], input=text,
            stdin=None if text is not None else subprocess.DEVNULL, text=True, capture_output=True, timeout=120)

    started = time.monotonic()
    for router in context.network.json["routers"]:
        result = ask(PROMPT, "--model", _only(context, router))
        assert result.returncode == 0 and result.stdout == f"Turn 1: you said “{PROMPT}”.\n", result
        if result.stderr:
            assert f"it serves {router['country']}" in result.stderr and "does not serve" in result.stderr, result.stderr
    count = len(context.network.json["routers"])
    context.figure("a server that serves one of five countries: each found", "all",
                   f"{count} of {count}, in {time.monotonic() - started:.1f} s")
    # A conversation stays where it is served.
    result = ask("--model", _only(context, context.network.json["routers"][4]), text="one\ntwo\n")
    assert result.stdout == "Turn 1: you said “one”.\nTurn 2: you said “two”.\n", result
    assert result.stderr.count("it serves") <= 1, result.stderr
    # Nobody is served.
    result = ask(PROMPT, "--model", "region")
    assert result.returncode == 69 and "Tried: the proxy's choice, " in result.stderr, result
    for router in context.network.json["routers"]:
        assert router["country"] in result.stderr.splitlines()[-1], result.stderr
    # Who wants one country gets it or nothing.
    wanted, other = context.network.json["routers"][:2]
    result = ask(PROMPT, "--country", wanted["country"].lower(), "--model", _only(context, wanted))
    assert result.returncode == 0 and not result.stderr, result
    result = ask(PROMPT, "--country", wanted["country"].lower(), "--model", _only(context, other))
    assert result.returncode == 69 and f"Tried: {wanted['country']}" in result.stderr, result


@shared
def chat_example(context):
    """examples/chatgpt.py, with the official package, gets the same answer."""
    python = os.environ.get("THOR_E2E_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import openai, httpx, socksio"], capture_output=True).returncode != 0:
        raise Skipped("this Python has no openai and httpx[socks]: make test installs them")
    url = _server(context)
    result = subprocess.run(
        [python, f"{HERE}/../../examples/chatgpt.py", context.good, PROMPT, "--base-url", url, "--proxy",
         context.network.socks], stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=90,
        env={**os.environ, "SSL_CERT_FILE": context.ca, "PYTHONIOENCODING": "utf-8"})
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"Turn 1: you said “{PROMPT}”.\n", result.stdout
    for router in context.network.json["routers"][1:4]:
        result = subprocess.run(
            [python, f"{HERE}/../../examples/chatgpt.py", context.good, PROMPT, "--base-url",
             f"https://127.0.0.1:{context.chat.port}/v1", "--model", _only(context, router), "--proxy",
             context.network.socks], stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=120,
            env={**os.environ, "SSL_CERT_FILE": context.ca, "PYTHONIOENCODING": "utf-8"})
        assert result.returncode == 0 and result.stdout == f"Turn 1: you said “{PROMPT}”.\n", result
    result = subprocess.run(
        [python, f"{HERE}/../../examples/chatgpt.py", context.bad, PROMPT, "--base-url", url, "--proxy",
         context.network.socks], stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=90,
        env={**os.environ, "SSL_CERT_FILE": context.ca})
    assert result.returncode != 0 and "401" in result.stderr and "Traceback" not in result.stderr, result.stderr


CHECKS = [chat_answers, chat_conversation, chat_failures, chat_names, chat_countries, chat_example]
