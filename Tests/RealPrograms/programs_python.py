"""Python's clients: requests, httpx, aiohttp, openai, websockets, and what the standard library has."""

import asyncio
import hashlib
import json
import os
import ssl
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from cases import case, need
from servers import Chat, digest

GROUP = "Python"
MIB = 1 << 20


def url(context, path, name="origin.test"):
    return f"http://{name}:{context.web.port}{path}"


def secure_url(context, path):
    return f"https://localhost:{context.secure.port}{path}"


@case(GROUP, "requests: http, https, upload, stream, by socks5h and an HTTP proxy")
def requests_(context):
    need("requests", "socks")
    import requests
    for proxy in (f"socks5h://{context.socks}", f"socks5h://alice:secret@{context.socks}", f"socks4a://{context.socks}",
                  f"http://{context.socks}", f"http://alice:secret@{context.socks}"):
        with requests.Session() as session:
            session.trust_env = False
            session.proxies = {"http": proxy, "https": proxy}
            assert session.get(url(context, "/small/requests"), timeout=30).text == "hello requests\n"
            assert session.get(secure_url(context, "/small/s"), timeout=30, verify=context.certificates[0]).text == "hello s\n"
            data = os.urandom(3 * MIB)
            answer = session.post(url(context, "/upload"), data=data, timeout=30).json()
            assert answer == {"count": len(data), "sha256": hashlib.sha256(data).hexdigest()}, proxy
            sha = hashlib.sha256()
            with session.get(url(context, f"/bytes/{3 * MIB}/1"), stream=True, timeout=30) as response:
                for part in response.iter_content(65536):
                    sha.update(part)
            assert sha.hexdigest() == digest(3 * MIB, 1), proxy


@case(GROUP, "requests: 50 threads")
def requests_threads(context):
    need("requests", "socks")
    import requests
    proxies = {"http": f"socks5h://{context.socks}"}

    def one(number):
        return requests.get(url(context, f"/bytes/{MIB // 4}/{number}"), proxies=proxies, timeout=60).content

    with ThreadPoolExecutor(50) as pool:
        for number, content in enumerate(pool.map(one, range(50))):
            assert hashlib.sha256(content).hexdigest() == digest(MIB // 4, number)


@case(GROUP, "requests: errors are exceptions that say what happened")
def requests_errors(context):
    need("requests", "socks")
    import requests
    with context.closed_port() as port:
        for target, words in ((f"http://127.0.0.1:{port}/", "refused"), ("http://nobody.test/", "unreachable")):
            try:
                requests.get(target, proxies={"http": f"socks5h://{context.socks}"}, timeout=30)
                raise AssertionError(f"{target} was answered")
            except requests.ConnectionError as error:
                assert words in str(error).lower(), error
        answer = requests.get(f"http://127.0.0.1:{port}/", proxies={"http": f"http://{context.socks}"}, timeout=30)
        assert answer.status_code == 502 and "refused" in answer.text


@case(GROUP, "httpx: HTTP/1.1 and HTTP/2, synchronous and asynchronous")
def httpx_(context):
    need("httpx", "socksio", "h2")
    import httpx
    from programs_curl import nginx
    server = nginx(context)
    trust = ssl.create_default_context(cafile=context.certificates[0])
    with open(server.file, "rb") as file:
        wanted = hashlib.sha256(file.read()).hexdigest()
    for proxy in (f"socks5h://{context.socks}", f"socks5h://alice:secret@{context.socks}", f"http://{context.socks}"):
        with httpx.Client(proxy=proxy, verify=trust, http2=True, trust_env=False, timeout=30) as client:
            assert client.get(url(context, "/small/httpx")).text == "hello httpx\n"
            answer = client.get(f"https://localhost:{server.secure}/file")
            assert answer.http_version == "HTTP/2" and hashlib.sha256(answer.content).hexdigest() == wanted

        async def many():
            async with httpx.AsyncClient(proxy=proxy, verify=trust, trust_env=False, timeout=60) as client:
                return await asyncio.gather(*[client.get(url(context, f"/small/{number}")) for number in range(50)])

        assert [answer.text for answer in asyncio.run(many())] == [f"hello {number}\n" for number in range(50)]


@case(GROUP, "aiohttp by aiohttp_socks and by its own HTTP proxy")
def aiohttp_(context):
    need("aiohttp", "aiohttp_socks")
    import aiohttp
    from aiohttp_socks import ProxyConnector
    trust = ssl.create_default_context(cafile=context.certificates[0])

    async def fetch(session, **options):
        async with session.get(url(context, "/small/aio"), **options) as answer:
            assert await answer.text() == "hello aio\n"
        async with session.get(secure_url(context, f"/bytes/{2 * MIB}"), ssl=trust, **options) as answer:
            assert hashlib.sha256(await answer.read()).hexdigest() == digest(2 * MIB)
        answers = await asyncio.gather(*[session.get(url(context, f"/small/{number}"), **options) for number in range(40)])
        assert [await answer.text() for answer in answers] == [f"hello {number}\n" for number in range(40)]

    async def all():
        for proxy in (f"socks5://{context.socks}", f"socks5://alice:secret@{context.socks}", f"socks4://{context.socks}",
                      f"http://{context.socks}"):
            async with aiohttp.ClientSession(connector=ProxyConnector.from_url(proxy, rdns=True)) as session:
                await fetch(session)
        async with aiohttp.ClientSession() as session:
            await fetch(session, proxy=f"http://{context.socks}")

    asyncio.run(all())


def openai_client(context, kind, http_client):
    return kind(api_key=Chat.KEY, base_url=secure_url(context, "/v1"), http_client=http_client, max_retries=0)


PROMPT = [{"role": "user", "content": "Wie spät ist es am Polarkreis, bitte?"}]
ANSWER = "Turn 1: you said “Wie spät ist es am Polarkreis, bitte?”."


@case(GROUP, "openai: whole answers and streams, synchronous")
def openai_sync(context):
    need("openai", "httpx", "socksio")
    import httpx
    import openai
    trust = ssl.create_default_context(cafile=context.certificates[0])
    for proxy in (f"socks5h://{context.socks}", f"http://country-se:x@{context.socks}"):
        with httpx.Client(proxy=proxy, verify=trust, trust_env=False, timeout=60) as http:
            client = openai_client(context, openai.OpenAI, http)
            answer = client.chat.completions.create(model="any", messages=PROMPT)
            assert answer.choices[0].message.content == ANSWER
            parts = [part.choices[0].delta.content or ""
                     for part in client.chat.completions.create(model="any", messages=PROMPT, stream=True)]
            assert "".join(parts) == ANSWER and len(parts) > 5, parts


@case(GROUP, "openai: 20 streams at once, asynchronous")
def openai_async(context):
    need("openai", "httpx", "socksio")
    import httpx
    import openai
    trust = ssl.create_default_context(cafile=context.certificates[0])

    async def ask(client):
        text = ""
        async for part in await client.chat.completions.create(model="any", messages=PROMPT, stream=True):
            text += part.choices[0].delta.content or ""
        return text

    async def all():
        async with httpx.AsyncClient(proxy=f"socks5h://{context.socks}", verify=trust, trust_env=False, timeout=60) as http:
            client = openai_client(context, openai.AsyncOpenAI, http)
            return await asyncio.gather(*[ask(client) for _ in range(20)])

    assert asyncio.run(all()) == [ANSWER] * 20


@case(GROUP, "WebSockets by SOCKS5 and by CONNECT: text, a megabyte, pings, and an orderly close")
def websockets_(context):
    need("websockets", "python_socks")
    import websockets
    trust = ssl.create_default_context(cafile=context.certificates[0])
    identity = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity.load_cert_chain(*context.certificates[1:])

    async def serve(connection):
        async for message in connection:
            await connection.send(message)

    async def talk(address, **options):
        async with websockets.connect(address, max_size=8 * MIB, open_timeout=30, **options) as connection:
            data = os.urandom(MIB)
            for message in ("hello", data, "", b""):
                await connection.send(message)
                assert await connection.recv() == message
            await asyncio.wait_for(await connection.ping(), 10)
        assert connection.close_code == 1000, connection.close_code

    async def all():
        async with websockets.serve(serve, "127.0.0.1", 0, max_size=8 * MIB) as plain, \
                websockets.serve(serve, "127.0.0.1", 0, max_size=8 * MIB, ssl=identity) as secure:
            port, secure_port = (one.sockets[0].getsockname()[1] for one in (plain, secure))
            for proxy in (f"socks5h://{context.socks}", f"socks5h://alice:secret@{context.socks}", f"http://{context.socks}"):
                await talk(f"ws://origin.test:{port}/", proxy=proxy)
                await talk(f"wss://localhost:{secure_port}/", proxy=proxy, ssl=trust)

    asyncio.run(all())


@case(GROUP, "urllib by http_proxy and https_proxy")
def urllib_(context):
    handler = urllib.request.ProxyHandler({"http": f"http://{context.socks}", "https": f"http://{context.socks}"})
    trust = ssl.create_default_context(cafile=context.certificates[0])
    opener = urllib.request.build_opener(handler, urllib.request.HTTPSHandler(context=trust))
    assert opener.open(url(context, "/small/urllib"), timeout=30).read() == b"hello urllib\n"
    assert opener.open(secure_url(context, "/small/urllib"), timeout=30).read() == b"hello urllib\n"
    answer = opener.open(urllib.request.Request(url(context, "/upload"), data=b"x" * 100_000), timeout=30)
    assert json.load(answer)["count"] == 100_000


@case(GROUP, "a mail conversation by PySocks: the server speaks first")
def server_first(context):
    need("socks")
    import socks
    from wire import Origin
    with Origin() as origin:
        def serve():
            server = origin.accept()
            server.sendall(b"220 hello\r\n")
            file = server.makefile("rb")
            while line := file.readline():
                server.sendall(b"250 " + line)
            server.close()

        threading.Thread(target=serve, daemon=True).start()
        host, port = context.socks.rsplit(":", 1)
        for kind in (socks.SOCKS5,):
            connection = socks.create_connection(("origin.test", origin.port), 30, proxy_type=kind, proxy_addr=host,
                                                 proxy_port=int(port), proxy_rdns=True)
            file = connection.makefile("rb")
            assert file.readline() == b"220 hello\r\n"
            connection.sendall(b"EHLO\r\n")
            assert file.readline() == b"250 EHLO\r\n"
            connection.close()
