"""ChatGPT through the network: our program, the official Python package, and what the exit router sees."""

import os
import socket
import subprocess
import sys
import threading

from checks_load import shared
from network import HERE, Server
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
    nobody = socket.create_server(("127.0.0.1", 0))
    port = nobody.getsockname()[1]
    nobody.close()
    cases = [
        (77, "401", dict(key=context.bad)), (69, "403", dict(model="region")), (75, "429", dict(model="busy")),
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
    os.chmod(context.bad, 0o644)
    result = _ask(context, "hello", key=context.bad)
    os.chmod(context.bad, 0o600)
    assert result.returncode == 77 and "chmod 600" in result.stderr, result.stderr


@shared
def chat_names(context):
    """The server's name goes to the proxy as a name: nothing here looks it up."""
    asked = []
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        client, _ = listener.accept()
        client.recv(100)
        client.sendall(b"\x05\x00")
        asked.append(client.recv(300))
        client.sendall(b"\x05\x04\x00\x01" + bytes(6))
        client.close()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    result = subprocess.run(
        [f"{context.executables}/thor-chatgpt", context.good, "hello", "--base-url", "https://no-such-name.invalid/v1",
         "--proxy", f"127.0.0.1:{listener.getsockname()[1]}"],
        stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=90)
    thread.join(5)
    listener.close()
    assert asked and asked[0][:4] == b"\x05\x01\x00\x03" and b"no-such-name.invalid" in asked[0], asked
    assert result.returncode == 69 and "no-such-name.invalid" in result.stderr, (result.returncode, result.stderr)


@shared
def chat_example(context):
    """examples/chatgpt.py, with the official package, gets the same answer."""
    python = os.environ.get("THOR_E2E_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import openai, httpx, socksio"], capture_output=True).returncode != 0:
        print("    skipped: this Python has no openai and httpx[socks] (make test-python installs them)")
        return
    url = _server(context)
    result = subprocess.run(
        [python, f"{HERE}/../../examples/chatgpt.py", context.good, PROMPT, "--base-url", url, "--proxy",
         context.network.socks], stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=90,
        env={**os.environ, "SSL_CERT_FILE": context.ca, "PYTHONIOENCODING": "utf-8"})
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"Turn 1: you said “{PROMPT}”.\n", result.stdout
    result = subprocess.run(
        [python, f"{HERE}/../../examples/chatgpt.py", context.bad, PROMPT, "--base-url", url, "--proxy",
         context.network.socks], stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=90,
        env={**os.environ, "SSL_CERT_FILE": context.ca})
    assert result.returncode != 0 and "401" in result.stderr and "Traceback" not in result.stderr, result.stderr


CHECKS = [chat_answers, chat_conversation, chat_failures, chat_names, chat_example]
