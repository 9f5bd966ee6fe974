"""The servers that the tests talk with. Run as a program, each in a process of its own: servers.py data|chat ..."""

import hashlib
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import time

BLOCK = 1 << 20
# In how many steps a paced answer comes.
PACES = 32


def blocks(count, seed=0):
    """Yield `count` bytes that are the same for the same seed, and nowhere repeat within it."""
    base = hashlib.shake_256(b"thor test data %d" % seed).digest(BLOCK)
    index = 0
    while count > 0:
        block = index.to_bytes(8, "big") + base[8:]
        yield block[:count]
        count -= len(block)
        index += 1


def digest(count, seed=0):
    sha = hashlib.sha256()
    for block in blocks(count, seed):
        sha.update(block)
    return sha.hexdigest()


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # A client that goes away is nothing to talk about.


class Data(http.server.BaseHTTPRequestHandler):
    """GET /bytes/COUNT/SEED, GET /paced/COUNT/SEED/SECONDS, GET /small/TEXT, PUT /hash."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        parts = self.path.strip("/").split("/")
        if parts[0] in ("bytes", "paced"):
            count, seed = int(parts[1]), int(parts[2]) if len(parts) > 2 else 0
            step = count // PACES if parts[0] == "paced" else BLOCK
            pause = float(parts[3]) / PACES if parts[0] == "paced" else 0
            self.send_response(200)
            self.send_header("Content-Length", str(count))
            self.end_headers()
            for block in blocks(count, seed):
                for start in range(0, len(block), step):
                    time.sleep(pause)
                    self.wfile.write(block[start:start + step])
        else:
            self.answer(200, f"hello {parts[-1]}\n")

    def do_PUT(self):
        sha, left = hashlib.sha256(), int(self.headers["Content-Length"])
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        while left > 0:
            part = self.rfile.read(min(left, BLOCK))
            if not part:
                return
            sha.update(part)
            left -= len(part)
        self.answer(200, sha.hexdigest() + "\n")

    def answer(self, status, text, kind="text/plain"):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Chat(Data):
    """As much of OpenAI's server as a chat needs. The key decides: KEY is good; the model can ask for other answers."""

    KEY = "sk-test-0123456789abcdefghijklmnopqrstuvwxyz"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            return self.refuse(404, "Unknown request URL")
        if self.headers.get("Authorization") != f"Bearer {self.KEY}":
            return self.refuse(401, "Incorrect API key provided: " + self.headers.get("Authorization", "").split()[-1])
        kind = request.get("model", "")
        if kind == "region" or kind.startswith("only-") and kind != f"only-{self.client_address[0]}":
            return self.refuse(403, "Country, region, or territory not supported", "unsupported_country_region_territory")
        if kind == "forbidden":
            return self.refuse(403, "You are not allowed to sample from this model")
        if kind == "busy":
            return self.refuse(429, "Rate limit reached")
        turns = [message for message in request["messages"] if message["role"] == "user"]
        words = f"Turn {len(turns)}: you said “{turns[-1]['content']}”.".split(" ")
        if not request.get("stream"):
            message = {"role": "assistant", "content": " ".join(words)}
            body = {"id": "1", "object": "chat.completion", "created": 1, "model": kind,
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
            return self.answer(200, json.dumps(body), "application/json")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.event({"role": "assistant", "content": ""}, kind)
        for index, word in enumerate(words):
            self.event({"content": word if index == 0 else " " + word}, kind)
            if kind == "cut" and index == 1:
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
                return
            time.sleep(0.02)
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def event(self, delta, model):
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        body = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}
        self.chunk(b"data: " + json.dumps(body).encode() + b"\n\n")

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def refuse(self, status, message, code=None):
        self.answer(status, json.dumps({"error": {"message": message, "type": "test", "code": code}}),
                    "application/json")


def make_ca(directory):
    """Make a CA and a certificate for 127.0.0.1, localhost and chat.test: (CA, chain, key), as files."""
    def run(*arguments, **options):
        subprocess.run(["openssl", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       **options)
    ca, ca_key = f"{directory}/ca.pem", f"{directory}/ca.key"
    certificate, key, request = f"{directory}/server.pem", f"{directory}/server.key", f"{directory}/server.csr"
    run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", ca_key, "-out", ca,
        "-days", "2", "-subj", "/CN=Thor test CA", "-addext", "basicConstraints=critical,CA:TRUE",
        "-addext", "keyUsage=critical,keyCertSign")
    run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
        "-subj", "/CN=chat.test")
    extensions = f"{directory}/extensions"
    with open(extensions, "w") as file:
        file.write("subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:chat.test\nextendedKeyUsage=serverAuth\n")
    run("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-out", certificate, "-days", "2",
        "-extfile", extensions)
    return ca, certificate, key


def serve(handler, files=()):
    """Serve on a free port, which is printed, until standard input ends; with a certificate's and its key's file, TLS."""
    server = Server(("127.0.0.1", 0), handler)
    if files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        # The handshake belongs to the connection's own thread.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print(server.server_address[1], flush=True)
    # Whoever started this holds the other end of standard input.
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    server.serve_forever()


def main():
    serve({"data": Data, "chat": Chat}[sys.argv[1]], sys.argv[2:4] if sys.argv[1] == "chat" else ())


if __name__ == "__main__":
    main()
