"""The web server that programs talk with, in a process of its own: web.py [CERTIFICATE KEY]."""

import hashlib
import json
import os
import struct
import sys
import zlib

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../EndToEnd"))

from servers import BLOCK, Chat, blocks, serve

RESOURCES = 100


def picture(seed):
    """A PNG of one colour, 8 by 8."""
    colour = bytes([(seed * 67) % 256, (seed * 151) % 256, (seed * 31) % 256])
    rows = b"".join(b"\0" + colour * 8 for _ in range(8))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


PAGE = """<!doctype html><html><head><meta charset="utf-8"><title>loading</title>
<style>body {{ font: 20px sans-serif; margin: 20px }} img {{ width: 48px; height: 48px; margin: 3px; border: 1px solid black }}
</style></head><body><h1>A page of {count} pictures</h1><p id="said">loading</p>{images}<script>
addEventListener("load", () => {{
  const images = [...document.images], whole = images.filter((one) => one.complete && one.naturalWidth === 8).length;
  document.getElementById("said").textContent = `${{whole}} of ${{images.length}} pictures came`;
  document.title = `done ${{whole}}`;
}});
</script></body></html>"""


class Web(Chat):
    """GET /bytes/COUNT[/SEED] with ranges, /small/TEXT, /page, /picture/N; PUT and POST /upload say what came."""

    def do_GET(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[0] == "bytes":
            return self.send_range(int(parts[1]), int(parts[2]) if len(parts) > 2 else 0)
        if parts[0] == "picture":
            return self.send(200, picture(int(parts[1])), "image/png")
        if parts[0] == "page":
            images = "".join(f'<img src="/picture/{number}" alt="">' for number in range(RESOURCES))
            return self.send(200, PAGE.format(count=RESOURCES, images=images).encode(), "text/html; charset=utf-8")
        if parts[0] == "chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for block in blocks(int(parts[1])):
                self.chunk(block)
            return self.chunk(b"")
        self.answer(200, f"hello {parts[-1]}\n")

    def do_HEAD(self):
        self.send(200, b"", "text/plain")

    def send_range(self, count, seed):
        first, last = 0, count - 1
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes="):
            start, _, end = wanted[6:].partition("-")
            first, last = (int(start), int(end or last)) if start else (max(0, count - int(end)), last)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{count}")
        else:
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        offset = 0
        for block in blocks(count, seed):
            begin, end = max(first - offset, 0), min(last + 1 - offset, len(block))
            if begin < end:
                self.wfile.write(block[begin:end])
            offset += len(block)
            if offset > last:
                return

    def do_PUT(self):
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        sha, count = hashlib.sha256(), 0
        for part in self.body():
            sha.update(part)
            count += len(part)
        self.send(200, json.dumps({"count": count, "sha256": sha.hexdigest()}).encode(), "application/json")

    def do_POST(self):
        if self.path.startswith("/v1/"):
            return super().do_POST()
        self.do_PUT()

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            left = int(self.headers.get("Content-Length", 0))
            while left > 0:
                part = self.rfile.read(min(left, BLOCK))
                if not part:
                    return
                left -= len(part)
                yield part

    def send(self, status, data, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(data)


if __name__ == "__main__":
    serve(Web, sys.argv[1:3])
