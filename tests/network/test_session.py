"""mip.Session gets URLs as `requests` does, over real sockets, from servers of every manner."""

import contextlib
import json
import socket
import struct
import threading

import pytest
import scripted_server as mip_server
from device import error
from scripted_server import Reply, Server

# Gets the URLs one after the other with one session, and prints a line of JSON for each:
# [status, body in hex], or [name of the error, its text]. The last line is the number of
# sockets and files that are open and were not before.
FETCH = """
import json, os, sys
from binascii import hexlify
import mip

before = len(os.listdir("/dev/fd"))
session = mip.Session(timeout=float(sys.argv[1]))
buf = bytearray(int(sys.argv[2]))
for url in sys.argv[3:]:
    try:
        answer = session.get(url)
        body = b""
        try:
            while True:
                n = answer.raw.readinto(buf)
                if not n:
                    break
                body += buf[:n]
        finally:
            answer.close()
        print(json.dumps([answer.status_code, hexlify(body).decode()]))
    except (OSError, ValueError) as error:
        name = "OSError" if isinstance(error, OSError) else "ValueError"
        print(json.dumps([name, str(error)]))
session.close()
print(len(os.listdir("/dev/fd")) - before)
"""

# Installs, and prints how that ended. The last line is as above.
INSTALL = """
import os, sys
import mip

before = len(os.listdir("/dev/fd"))
try:
    mip.install(sys.argv[1], index=sys.argv[2], mpy=False)
    print("installed")
except mip.InstallError as error:
    print("InstallError", error)
print(len(os.listdir("/dev/fd")) - before)
"""

ERRORS = ("OSError", "ValueError")

# Steps of a RawServer's script.
READ = "read"
CLOSE = "close"
RESET = "reset"


class RawServer:
    """Plays a script for each connection, in turn, and the last one for all that follow.

    A script is a list of steps: READ reads a request up to its empty line. Bytes are sent; a
    list of bytes is sent piece by piece. A function is called with the last request; bytes that
    it returns are sent. CLOSE closes the connection in good order, RESET aborts it. At the end
    of a script the connection stays open until the client closes it.

    scripts: the scripts; a test may add to them before the client comes.
    requests: for each connection, the list of the requests that were read, as bytes.
    """

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.requests = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._sockets = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *error):
        # shutdown() wakes the threads; close() alone does not.
        for sock in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in (self._listener, *self._sockets):
            sock.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                script = self.scripts[min(len(self.requests), len(self.scripts) - 1)]
                requests = []
                self.requests.append(requests)
                self._sockets.append(sock)
                thread = threading.Thread(target=self._play, args=(sock, script, requests))
                self._threads.append(thread)
                thread.start()

    def _play(self, sock, script, requests):
        # The client may go before the script is over.
        with contextlib.suppress(OSError):
            for step in script:
                if step == READ:
                    request = b""
                    while not request.endswith(b"\r\n\r\n"):
                        data = sock.recv(1)
                        if not data:
                            return
                        request += data
                    requests.append(request)
                elif step == CLOSE:
                    sock.close()
                elif step == RESET:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    sock.close()
                else:
                    if callable(step):
                        step = step(requests[-1] if requests else None) or b""
                    for piece in step if isinstance(step, list) else [step]:
                        sock.sendall(piece)
            while sock.recv(4096):
                pass


def fetch(device, *urls, size=512, timeout=10, run_timeout=60):
    """What became of each URL: (status, body), or the name of the error.

    size: bytes in the buffer. timeout: of the session. Fails if a socket stays open.
    """
    result = device.run(FETCH, timeout, size, *urls, timeout=run_timeout, check=True)
    *lines, count = map(json.loads, result.lines)
    assert count == 0, "sockets are left open"
    return [
        first if isinstance(first, str) else (first, bytes.fromhex(second))
        for first, second in lines
    ]


def install(device, package, index="http://127.0.0.1:1"):
    """How an installation ended: "installed", or "InstallError" and its text."""
    return device.run(INSTALL, package, index, check=True).lines[-2]


def left_open(device, package):
    """How many sockets and files an installation left open, and how it ended, as text."""
    *_, end, count = device.run(INSTALL, package, "http://127.0.0.1:1", check=True).lines
    return int(count), end.split()[0]


def sized(body, *headers, status="HTTP/1.1 200 OK"):
    """An answer whose length is in its head."""
    return head(status, *headers, f"Content-Length: {len(body)}") + body


def head(*lines):
    """The lines of a head, and the empty line behind it."""
    return b"".join(line.encode("latin-1") + b"\r\n" for line in (*lines, ""))


def chunked(*chunks, end=b"0\r\n\r\n"):
    """An answer in these chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return CHUNKED + body + end


CHUNKED = head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")
BYTES = bytes(range(256)) * 5
SECOND = sized(b"the second answer")

# Answers after which the connection can carry another one: name -> (answer, body).
KEPT = {
    "length": (sized(b"hello"), b"hello"),
    "any bytes": (sized(BYTES), BYTES),
    "body like an answer": (sized(b"\r\n\r\n" + SECOND), b"\r\n\r\n" + SECOND),
    "no reason": (sized(b"hello", status="HTTP/1.1 200"), b"hello"),
    "empty reason": (sized(b"hello", status="HTTP/1.1 200 "), b"hello"),
    "long reason": (sized(b"hello", status="HTTP/1.1 200 " + "so " * 100), b"hello"),
    "names in lower case": (head("HTTP/1.1 200 OK", "content-length: 5") + b"hello", b"hello"),
    "names in odd case": (head("HTTP/1.1 200 OK", "cOnTENT-lENGTH: 5") + b"hello", b"hello"),
    "no space": (head("HTTP/1.1 200 OK", "Content-Length:5", "A:b") + b"hello", b"hello"),
    "many spaces": (head("HTTP/1.1 200 OK", "Content-Length: \t 5 \t") + b"hello", b"hello"),
    "empty values": (sized(b"hello", "Server:", "Via: "), b"hello"),
    "colons in values": (sized(b"hello", "Date: 10:11:12", "X: ::a:"), b"hello"),
    "Latin-1 in a header": (sized(b"hello", "Server: caf\xe9 \xff"), b"hello"),
    "names that begin alike": (
        sized(b"hello", "Content-Length-Was: 9", "Location-X: /"),
        b"hello",
    ),
    "60 headers": (sized(b"hello", *[f"X-{n}: {n}" for n in range(60)]), b"hello"),
    "a long header": (sized(b"hello", "X: " + "x" * 1200), b"hello"),
    "a very long header": (sized(b"hello", "X: " + "x" * 9000, "Y: y"), b"hello"),
    "a long header like another": (
        sized(b"hello", "X: " + "Content-Length: 1" * 400),
        b"hello",
    ),
    "lines end in LF": (b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", b"hello"),
    "keep-alive": (sized(b"hello", "Connection: keep-alive"), b"hello"),
    "identity": (sized(b"hello", "Content-Encoding: identity"), b"hello"),
    "100 before": (head("HTTP/1.1 100 Continue") + sized(b"hello"), b"hello"),
    "103 with headers before": (
        head("HTTP/1.1 103 Early Hints", "Link: </x>", "X: y") + sized(b"hello"),
        b"hello",
    ),
    "three 1xx before": (head("HTTP/1.1 102 Processing") * 3 + sized(b"hello"), b"hello"),
    "length 0": (sized(b""), b""),
    "chunked": (chunked(b"hello"), b"hello"),
    "chunked, any bytes": (chunked(BYTES, BYTES), BYTES + BYTES),
    "chunks of one byte": (chunked(b"h", b"e", b"l", b"l", b"o"), b"hello"),
    "chunk of 1024 bytes": (chunked(b"x" * 1024, b"y"), b"x" * 1024 + b"y"),
    "chunk like a chunk": (chunked(b"0\r\n\r\n", b"\r\n"), b"0\r\n\r\n\r\n"),
    "no chunks": (chunked(), b""),
    "chunk size in capitals": (CHUNKED + b"1A\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n", b"x" * 26),
    "chunk size in small letters": (CHUNKED + b"1a\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n", b"x" * 26),
    "chunk size with zeros": (CHUNKED + b"00005\r\nhello\r\n000\r\n\r\n", b"hello"),
    "chunk extensions": (
        CHUNKED + b'2;a\r\nhe\r\n3 ; a=b;c="d;e"\r\nllo\r\n0;end\r\n\r\n',
        b"hello",
    ),
    "trailers": (chunked(b"hello", end=b"0\r\nX: y\r\nLength: 3\r\n\r\n"), b"hello"),
    "trailers and no chunks": (chunked(end=b"0\r\nX: y\r\n\r\n"), b""),
    "chunked in odd case": (
        head("HTTP/1.1 200 OK", "TRANSFER-encoding: Chunked") + b"5\r\nhello\r\n0\r\n\r\n",
        b"hello",
    ),
}

# Answers after which a new connection is needed: name -> (answer, body).
LAST = {
    "connection ends": (head("HTTP/1.1 200 OK") + b"hello", b"hello"),
    "connection ends, any bytes": (head("HTTP/1.1 200 OK") + BYTES, BYTES),
    "connection ends, no body": (head("HTTP/1.1 200 OK"), b""),
    "connection: close": (sized(b"hello", "Connection: close"), b"hello"),
    "connection: close in odd case": (sized(b"hello", "cONNECTION: Close"), b"hello"),
    "connection: close, chunked": (
        head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Connection: close")
        + b"5\r\nhello\r\n0\r\n\r\n",
        b"hello",
    ),
    "HTTP/1.0": (head("HTTP/1.0 200 OK") + b"hello", b"hello"),
    "HTTP/1.0 with a length": (sized(b"hello", status="HTTP/1.0 200 OK"), b"hello"),
}


@pytest.mark.parametrize(("answer", "body"), KEPT.values(), ids=KEPT)
def test_answers_that_keep_the_connection(device, answer, body):
    """The body comes whole, and the next request goes over the same connection."""
    with RawServer([READ, answer, READ, SECOND]) as server:
        got = fetch(device, server.url + "/a", server.url + "/b")
    assert got == [(200, body), (200, b"the second answer")]
    assert len(server.requests) == 1


@pytest.mark.parametrize(("answer", "body"), LAST.values(), ids=LAST)
def test_answers_that_end_the_connection(device, answer, body):
    """The body comes whole, and the next request goes over a new connection."""
    with RawServer([READ, answer, CLOSE], [READ, SECOND]) as server:
        got = fetch(device, server.url + "/a", server.url + "/b")
    assert got == [(200, body), (200, b"the second answer")]
    assert [len(requests) for requests in server.requests] == [1, 1]


def test_connection_close_is_honoured_before_the_server_closes(device):
    """After `Connection: close` nothing is sent on the connection, open as it may still be."""
    answer = sized(b"hello", "Connection: close")
    with RawServer([READ, answer, READ, SECOND]) as server:
        got = fetch(device, server.url + "/a", server.url + "/b")
    assert got == [(200, b"hello"), (200, b"hello")]
    assert [len(requests) for requests in server.requests] == [1, 1]


def test_keep_alive_of_an_http_1_0_server(device):
    """An HTTP/1.0 answer with a length and keep-alive is read, and so is the next one."""
    answer = sized(b"hello", "Connection: keep-alive", status="HTTP/1.0 200 OK")
    with RawServer([READ, answer, READ, answer]) as server:
        assert fetch(device, server.url + "/a", server.url + "/b") == [(200, b"hello")] * 2


def test_header_lines_about_as_long_as_the_limit(device):
    """A header line of any length, the multiples of 1024 among them, does no harm."""
    lengths = [*range(1016, 1032), *range(2040, 2056)]
    script = []
    for length in lengths:
        script += [READ, sized(b"%d" % length, "X:".ljust(length, "x"), "Y: y")]
    with RawServer(script) as server:
        got = fetch(device, *[server.url + "/"] * len(lengths))
    assert got == [(200, b"%d" % length) for length in lengths]
    assert len(server.requests) == 1


@pytest.mark.parametrize("size", [1, 7, 16, 512])
def test_chunk_borders_at_every_place(device, size):
    """A body in chunks comes whole wherever its chunks end, relative to the buffer."""
    body = bytes(range(48))
    answers = [chunked(body[:n], body[n:]) for n in range(1, len(body))]
    for n in range(1, len(body) + 1):
        answers.append(chunked(*[body[at : at + n] for at in range(0, len(body), n)]))
    script = [step for answer in answers for step in (READ, answer)]
    with RawServer(script) as server:
        got = fetch(device, *[server.url + "/"] * len(answers), size=size)
    assert got == [(200, body)] * len(answers)
    assert len(server.requests) == 1


@pytest.mark.parametrize("size", [1, 4, 5, 6, 512])
def test_buffers_of_any_size(device, size):
    """A body comes whole through a buffer that is smaller, as large and larger."""
    endless = head("HTTP/1.1 200 OK") + b"hello"
    with RawServer([READ, sized(b"hello"), READ, endless, CLOSE]) as server:
        got = fetch(device, server.url + "/a", server.url + "/b", size=size)
    assert got == [(200, b"hello")] * 2


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(sized(b"hello, world", "X: y"), id="length"),
        pytest.param(chunked(b"hello, ", b"world", end=b"0\r\nX: y\r\n\r\n"), id="chunked"),
        pytest.param(head("HTTP/1.1 200 OK", "X: y") + b"hello, world", id="connection ends"),
    ],
)
def test_an_answer_that_arrives_byte_by_byte(device, answer):
    """An answer that arrives in pieces of one byte is the same answer."""
    pieces = [answer[n : n + 1] for n in range(len(answer))]
    with RawServer([READ, pieces, CLOSE]) as server:
        assert fetch(device, server.url + "/") == [(200, b"hello, world")]


def test_a_large_body_over_tls(device, secure_server):
    """A body of many TLS records comes whole, with a length, in chunks and until the end."""
    body = bytes(range(256)) * 300
    for framing in mip_server.FRAMINGS:
        secure_server.routes[f"/{framing}"] = Reply(body=body, framing=framing, chunk_size=5000)
    urls = [f"{secure_server.url}/{framing}" for framing in mip_server.FRAMINGS]
    assert fetch(device, *urls) == [(200, body)] * 3


def test_the_end_stays_the_end(device):
    """Reading on at the end gives 0 again, and takes nothing from the next answer."""
    code = """
import mip, sys
session = mip.Session()
buf = bytearray(64)
for path in "abc":
    answer = session.get(sys.argv[1] + path)
    print([answer.raw.readinto(buf) for _ in range(4)])
    answer.close()
"""
    script = [READ, sized(b"hello"), READ, chunked(b"hello"), READ, sized(b"")]
    with RawServer(script) as server:
        lines = device.run(code, server.url + "/", check=True).lines
    assert lines == ["[5, 0, 0, 0]", "[5, 0, 0, 0]", "[0, 0, 0, 0]"]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(sized(b"x" * 3000), id="length"),
        pytest.param(chunked(b"x" * 3000, b"y" * 3000), id="chunked"),
        pytest.param(head("HTTP/1.1 204 No Content"), id="204 has no body"),
        pytest.param(head("HTTP/1.1 304 Not Modified", "Content-Length: 5"), id="304 has none"),
        pytest.param(sized(b"x" * 3000, status="HTTP/1.1 404 Not Found"), id="404"),
    ],
)
def test_an_answer_may_be_closed_before_its_end(device, first):
    """Bytes of an answer that was closed early are not taken for the next answer."""
    code = """
import mip, sys
session = mip.Session()
answer = session.get(sys.argv[1] + "/a")
if answer.status_code == 200:
    answer.raw.readinto(bytearray(100))
answer.close()
answer = session.get(sys.argv[1] + "/b")
buf = bytearray(100)
print(answer.status_code, buf[: answer.raw.readinto(buf)].decode())
"""
    with RawServer([READ, first, READ, SECOND], [READ, SECOND]) as server:
        result = device.run(code, server.url, check=True)
    assert result.lines == ["200 the second answer"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(CHUNKED + b"5;" + b"x" * 2000 + b"\r\nhello\r\n0\r\n\r\n", id="extension"),
        pytest.param(chunked(b"hello", end=b"0\r\nX: " + b"x" * 2000 + b"\r\n\r\n"), id="trailer"),
        pytest.param(chunked(b"hello", end=b"0\r\nX: " + b"x" * 1021 + b"\r\n\r\n"), id="1024"),
    ],
)
def test_long_lines_in_a_chunked_body(device, answer):
    """A long line between chunks is passed over or an error, never a part of the body."""
    with RawServer([READ, answer]) as server:
        got = fetch(device, server.url + "/")[0]
    assert got == (200, b"hello") or got in ERRORS


# --- Redirects ---

REDIRECTS = {
    # name: (what is asked for, Location, what is asked for next)
    "relative": ("/x/a.json", "b.json", "/x/b.json"),
    "relative, dot": ("/x/a.json", "./b.json", "/x/b.json"),
    "relative, up": ("/x/y/a.json", "../b.json", "/x/b.json"),
    "relative, down": ("/x/a.json", "y/b.json", "/x/y/b.json"),
    "relative, up beyond the root": ("/x/a.json", "../../../b.json", "/b.json"),
    "relative to a root": ("", "b.json", "/b.json"),
    "relative to a directory": ("/x/", "b.json", "/x/b.json"),
    "relative to a query with slashes": ("/x/a.json?ref=c/d", "b.json", "/x/b.json"),
    "a colon in a relative one": ("/x/a.json", "y/b:c.json", "/x/y/b:c.json"),
    "a query only": ("/x/a.json", "?b=c", "/x/a.json?b=c"),
    "root-relative": ("/x/a.json", "/b.json", "/b.json"),
    "root-relative, a directory": ("/x/a", "/x/b/", "/x/b/"),
    "root-relative, two slashes": ("/x/a", "/x//b", "/x//b"),
    "root-relative, a query": ("/x/a", "/b?c=d/e", "/b?c=d/e"),
    "root-relative, a colon": ("/x/a", "/b:c", "/b:c"),
    "root-relative, a URL in the query": ("/x/a", "/b?to=http://c/d", "/b?to=http://c/d"),
    "scheme-relative": ("/x/a", "//HOST/b", "/b"),
    "absolute": ("/x/a", "http://HOST/b", "/b"),
    "absolute, a root": ("/x/a", "http://HOST", "/"),
    "absolute, a query": ("/x/a", "http://HOST/b?c=d&e=f", "/b?c=d&e=f"),
    "absolute, a directory": ("/x/a", "http://HOST/b/", "/b/"),
    "absolute, a fragment": ("/x/a", "http://HOST/b#c", "/b"),
    "a space": ("/x/a", "/b c", "/b%20c"),
    "UTF-8": ("/x/a", "/\xc3\xa9", "/%C3%A9"),
    "escaped": ("/x/a", "/b%20c%2Fd", "/b%20c%2Fd"),
}


@pytest.mark.parametrize(("asked", "location", "then"), REDIRECTS.values(), ids=REDIRECTS)
def test_redirects(device, server, asked, location, then):
    """A redirect is followed to the URL that its Location means."""
    location = location.replace("HOST", f"127.0.0.1:{server.port}")
    server.routes[asked or "/"] = Reply(302, {"Location": location}, b"moved")
    server.routes[then] = Reply(body=b"here")
    assert fetch(device, server.url + asked) == [(200, b"here")]
    assert [path for _, _, path in server.requests] == [asked or "/", then]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("framing", mip_server.FRAMINGS)
def test_statuses_that_redirect(device, server, status, framing):
    """All redirecting statuses are followed, whatever the body that comes with them."""
    server.routes["/a"] = Reply(status, {"location": "/b"}, b"moved " * 200, framing)
    server.routes["/b"] = Reply(body=b"here")
    assert fetch(device, server.url + "/a") == [(200, b"here")]


def test_a_redirect_without_a_body_keeps_the_connection(device, server):
    """A chain of redirects to the same server takes one connection."""
    server.routes["/a"] = Reply(302, {"Location": "/b"})
    server.routes["/b"] = Reply(302, {"Location": server.url + "/c"})
    server.routes["/c"] = Reply(body=b"here")
    assert fetch(device, server.url + "/a") == [(200, b"here")]
    assert server.connections == 1


def test_a_redirect_without_location_is_an_answer(device, server):
    """A 3xx answer without a Location is the answer itself."""
    server.routes["/a"] = Reply(304)
    server.routes["/b"] = Reply(302, body=b"somewhere")
    got = fetch(device, server.url + "/a", server.url + "/b")
    assert got == [(304, b""), (302, b"somewhere")]


@pytest.mark.parametrize("status", [300, 304, 305, 399])
def test_statuses_that_do_not_redirect(device, server, status):
    """Other 3xx answers are answers, whatever their Location."""
    server.routes["/a"] = Reply(status, {"Location": "/b"})
    server.routes["/b"] = Reply(body=b"here")
    assert fetch(device, server.url + "/a") == [(status, b"")]


def test_a_location_that_is_too_long(device, server):
    """It is said that it is, and not where it comes from."""
    server.routes["/a.py"] = Reply(302, {"Location": "/b" * 2000})
    result = device.run(f"import mip; mip.install({server.url + '/a.py'!r})")
    assert error(result).endswith("/a.py: redirected to a URL that is too long")


def test_a_redirect_to_another_host(device, server, tmp_path):
    """A redirect to another host is followed, and the request names that host."""
    server.routes["/a"] = Reply(302, {"Location": "http://two.test/b"})
    with Server(tmp_path) as other:
        other.routes["/b"] = Reply(302, {"Location": "c"})
        other.routes["/c"] = Reply(body=b"here")
        device.hosts.update({"one.test": server.port, "two.test": other.port})
        assert fetch(device, "http://one.test/a") == [(200, b"here")]
        assert other.requests == [("GET", "two.test", "/b"), ("GET", "two.test", "/c")]
        assert other.headers_seen[0]["host"] == "two.test"
    assert server.requests == [("GET", "one.test", "/a")]


@pytest.mark.parametrize("location", ["/{1}", "{0}/{1}"], ids=["relative", "absolute"])
def test_five_redirects_are_followed_and_six_are_not(device, server, location):
    """A chain of five redirects leads to the answer; a sixth redirect is an error."""
    for n in range(1, 7):
        server.routes[f"/{n}"] = Reply(302, {"Location": location.format(server.url, n - 1)})
    server.routes["/0"] = Reply(body=b"here")
    assert fetch(device, server.url + "/5") == [(200, b"here")]
    assert len(server.requests) == 6
    server.reset()
    assert fetch(device, server.url + "/6")[0] in ERRORS
    assert ("GET", "127.0.0.1", "/0") not in server.requests


def test_a_redirect_loop_ends_in_an_error(device, server):
    """URLs that redirect to each other end in an error, after six requests at most."""
    server.routes["/a"] = Reply(302, {"Location": "/b"})
    server.routes["/b"] = Reply(302, {"Location": "/a"})
    assert fetch(device, server.url + "/a")[0] in ERRORS
    assert len(server.requests) <= 6


@pytest.mark.parametrize("hops", [1, 2])
def test_a_redirect_from_https_to_http_is_refused(device, server, secure_server, hops):
    """A redirect from https to http is an error, and nothing is asked over http."""
    server.routes["/b"] = Reply(body=b"here")
    secure_server.routes["/1"] = Reply(302, {"Location": server.url + "/b"})
    secure_server.routes["/2"] = Reply(302, {"Location": "/1"})
    assert fetch(device, f"{secure_server.url}/{hops}")[0] in ERRORS
    assert len(secure_server.requests) == hops
    assert server.requests == []


def test_redirects_that_stay_with_https_or_go_to_it(device, server, secure_server):
    """A redirect from http to https is followed, and one without a scheme stays with https."""
    host = secure_server.url.split("//")[1]
    server.routes["/a"] = Reply(302, {"Location": secure_server.url + "/b"})
    secure_server.routes["/b"] = Reply(302, {"Location": f"//{host}/c"})
    secure_server.routes["/c"] = Reply(body=b"here")
    assert fetch(device, server.url + "/a") == [(200, b"here")]


def test_a_long_location_is_followed_whole_or_not_at_all(device, server):
    """A Location of more than 1024 bytes, as signed URLs have them, is not cut short."""
    target = "/b?signature=" + "0123456789" * 150
    server.routes["/a"] = Reply(302, {"Location": target})
    server.routes["/b"] = Reply(body=b"here")
    got = fetch(device, server.url + "/a")[0]
    assert [path for _, _, path in server.requests[1:]] in ([], [target])
    assert got == (200, b"here") or got in ERRORS


# --- Kept connections ---


def test_requests_to_one_host_take_one_connection(device, server):
    """Requests that follow each other go over one connection."""
    for n in range(8):
        server.routes[f"/{n}"] = Reply(body=b"%d" % n, framing=mip_server.FRAMINGS[n % 2])
    got = fetch(device, *[f"{server.url}/{n}" for n in range(8)])
    assert got == [(200, b"%d" % n) for n in range(8)]
    assert server.connections == 1


def test_requests_to_two_hosts_take_a_connection_each(device, server, tmp_path):
    """Requests to two servers in turn go over one connection to each."""
    server.routes["/a"] = Reply(body=b"one")
    with Server(tmp_path) as other:
        other.routes["/a"] = Reply(body=b"two")
        got = fetch(device, *[server.url + "/a", other.url + "/a"] * 3)
        assert got == [(200, b"one"), (200, b"two")] * 3
        assert (server.connections, other.connections) == (1, 1)


def test_names_of_one_server_do_not_share_a_connection(device, server):
    """Each host name has a connection of its own, also where two are one machine."""
    server.routes[("one.test", "/a")] = Reply(body=b"one")
    server.routes[("two.test", "/a")] = Reply(body=b"two")
    device.hosts.update({"one.test": server.port, "two.test": server.port})
    got = fetch(device, *["http://one.test/a", "http://two.test/a"] * 2)
    assert got == [(200, b"one"), (200, b"two")] * 2
    assert server.connections == 2


def test_one_tls_handshake_for_many_requests(device, secure_server):
    """Requests to one host over TLS take one handshake."""
    for n in range(5):
        secure_server.routes[f"/{n}"] = Reply(body=b"%d" % n)
    got = fetch(device, *[f"{secure_server.url}/{n}" for n in range(5)])
    assert got == [(200, b"%d" % n) for n in range(5)]
    assert secure_server.connections == 1


ENDS = {
    "closed before the next request": [CLOSE],
    "reset before the next request": [RESET],
    "closed after the next request": [READ, CLOSE],
    "reset after the next request": [READ, RESET],
}


@contextlib.contextmanager
def dying(end, *others):
    """A server whose first connection dies after an answer, and URLs to fetch.

    The second URL is of another server, which does not answer before the connection is dead,
    unless it dies of the third request.
    """
    die, dead = threading.Event(), threading.Event()

    def wait(request):
        die.wait(10)

    def died(request):
        dead.set()

    def kill(request):
        die.set()
        if READ not in end:
            dead.wait(10)

    first = [READ, sized(b"hello"), wait, *end, died]
    second = [READ, kill, sized(b"other")]
    with RawServer(first, *others) as server, RawServer(second) as other:
        yield server, [server.url + "/a", other.url + "/", server.url + "/b"]


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_kept_connection_that_died_is_replaced(device, end):
    """A request on a kept connection that gets no byte of answer is made again on a new one."""
    with dying(end, [READ, SECOND]) as (server, urls):
        got = fetch(device, *urls)
    assert got == [(200, b"hello"), (200, b"other"), (200, b"the second answer")]
    assert len(server.requests) == 2
    assert server.requests[1] == [server.requests[0][0].replace(b"/a", b"/b")]


def test_a_kept_connection_is_replaced_only_once(device):
    """A server that never answers a request twice is an error, not an endless loop."""
    with dying([CLOSE], [READ, CLOSE]) as (server, urls):
        got = fetch(device, *urls)
    assert got[:2] == [(200, b"hello"), (200, b"other")]
    assert got[2] in ERRORS
    assert len(server.requests) <= 10


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(b"HTT", id="version"),
        pytest.param(b"HTTP/1.1 2", id="status"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1", id="header"),
        pytest.param(sized(b"not all of this")[:-4], id="body"),
    ],
)
def test_a_kept_connection_that_dies_in_an_answer(device, part):
    """An answer that was cut on a kept connection is never taken for a whole one."""
    with dying([READ, part, CLOSE], [READ, SECOND]) as (_, urls):
        got = fetch(device, *urls)
    assert got[:2] == [(200, b"hello"), (200, b"other")]
    assert got[2] == (200, b"the second answer") or got[2] in ERRORS


# --- What goes wrong ---


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        pytest.param(sized(b"hello, world", "X: y"), True, id="length"),
        pytest.param(chunked(b"hello, ", b"world", end=b"0\r\nX: y\r\n\r\n"), True, id="chunked"),
        pytest.param(head("HTTP/1.1 200 OK", "X: y") + b"hello, world", False, id="neither"),
    ],
)
def test_an_answer_that_is_cut_after_any_byte(device, answer, ends):
    """A cut answer is an error wherever it is cut, if its head says where it ends."""

    def cut(request):
        return answer[: int(request.split()[1][1:])]

    start = len(answer) if ends else len(answer) - len(b"hello, world")
    with RawServer([READ, cut, CLOSE]) as server:
        got = fetch(device, *[f"{server.url}/{n}" for n in range(len(answer) + 1)])
    assert [outcome for outcome in got[:start] if outcome not in ERRORS] == []
    assert got[-1] == (200, b"hello, world")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\r\n\r\n", id="empty lines"),
        pytest.param(b"\n" * 300, id="many empty lines"),
        pytest.param(b"\x15\x03\x03\x00\x02\x02\x50", id="a TLS alert"),
        pytest.param(b"SSH-2.0-OpenSSH_9.7\r\n", id="SSH"),
        pytest.param(b"hello\r\n\r\n", id="a word"),
        pytest.param(b"<html>\r\n<body>\r\n\r\nhello", id="HTTP/0.9"),
        pytest.param(b"\xff\xfe \x80\r\n\r\n", id="no text"),
        pytest.param(b"\0" * 5000, id="a long line of NUL"),
        pytest.param(sized(b"hello", status="ICY 200 OK"), id="ICY"),
        pytest.param(sized(b"hello", status="HTTP/2 200 OK"), id="HTTP/2"),
        pytest.param(sized(b"hello", status="HTTP/1.1"), id="no status"),
        pytest.param(sized(b"hello", status="HTTP/1.1 "), id="empty status"),
        pytest.param(sized(b"hello", status="HTTP/1.1 abc"), id="a word as status"),
        pytest.param(sized(b"hello", status="HTTP/1.1 -200 OK"), id="negative status"),
        pytest.param(sized(b"hello", status="HTTP/1.1 2_00 OK"), id="underscore in the status"),
        pytest.param(sized(b"hello", status="HTTP/1.1 0xc8 OK"), id="hexadecimal status"),
        pytest.param(sized(b"hello", status="200 OK"), id="no version"),
        pytest.param(sized(b"hello", "no colon"), id="header without a colon"),
        pytest.param(sized(b"hello", "Content-Length: five"), id="a word as length"),
        pytest.param(sized(b"hello", "Content-Encoding: gzip"), id="compressed"),
        pytest.param(head("HTTP/1.1 200 OK", "Transfer-Encoding: gzip") + b"hello", id="gzip"),
        pytest.param(head("HTTP/1.1 302 Found", "Location: /\xff") + b"hello", id="Location"),
        pytest.param(CHUNKED + b"hello\r\n", id="chunk without a size"),
        pytest.param(CHUNKED + b"\r\nhello\r\n0\r\n\r\n", id="empty chunk size"),
        pytest.param(CHUNKED + b"5\r\nhello, world\r\n0\r\n\r\n", id="chunk longer than its size"),
        pytest.param(CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n", id="negative chunk size"),
        pytest.param(CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n", id="chunk size with 0x"),
    ],
)
def test_what_is_not_http_is_an_error(device, answer):
    """An answer that is not HTTP, or not in a way that mip knows, raises OSError or ValueError."""
    with RawServer([READ, answer, CLOSE]) as server:
        assert fetch(device, server.url + "/")[0] in ERRORS


STALLS = {
    "no answer": [READ],
    "in the head": [READ, b"HTTP/1.1 200 OK\r\nContent-"],
    "in a line of the head": [READ, b"HTTP/1.1 200 OK\r\n"],
    "in the body": [READ, sized(b"hello, world")[:-5]],
    "in a chunk": [READ, CHUNKED + b"c\r\nhello"],
    "between chunks": [READ, CHUNKED + b"5\r\nhello\r\n"],
    "in a body without length": [READ, head("HTTP/1.1 200 OK") + b"hello"],
}


@pytest.mark.parametrize("script", STALLS.values(), ids=STALLS)
def test_a_server_that_stalls_is_an_error(device, script):
    """A server that sends no more, and does not close, is an error after `timeout`."""
    with RawServer(script) as server:
        got = fetch(device, server.url + "/", timeout=0.2, run_timeout=14)
    assert got[0] in ERRORS


@pytest.mark.parametrize("script", STALLS.values(), ids=STALLS)
def test_a_server_that_stalls_over_tls_is_an_error(device, secure_server, script):
    """The same over TLS, where a body without length must not pass for a whole one."""
    done = threading.Event()

    def stall(handler):
        handler.wfile.write(b"".join(script[1:]))
        done.wait(14)
        handler.close_connection = True

    secure_server.routes["/"] = stall
    try:
        got = fetch(device, secure_server.url + "/", timeout=0.2, run_timeout=14)
    finally:
        done.set()
    assert got[0] in ERRORS


def test_a_server_that_stalls_in_the_handshake_is_an_error(device):
    """A server that accepts and never shakes hands is an error after `timeout`."""
    with RawServer([]) as server:
        url = server.url.replace("http:", "https:")
        assert fetch(device, url + "/", timeout=0.2, run_timeout=14)[0] in ERRORS


def test_a_server_that_speaks_no_tls_is_an_error(device, server):
    """https to a server that speaks plain HTTP is an error, and so is the reverse."""
    got = fetch(device, server.url.replace("http:", "https:") + "/")
    assert got[0] in ERRORS
    assert server.requests == []


def refused_port():
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


# A label of a name has at most 63 letters, so no resolver has to be asked for this one.
UNKNOWN = "x" * 64 + ".invalid"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://127.0.0.1:PORT/", id="nobody listens"),
        pytest.param("https://127.0.0.1:PORT/", id="nobody listens, TLS"),
        pytest.param(f"http://{UNKNOWN}/", id="unknown name"),
        pytest.param(f"https://{UNKNOWN}/", id="unknown name, TLS"),
        pytest.param(f"http://{UNKNOWN}:8080/x", id="unknown name with a port"),
        pytest.param("http://127.0.0.1:http/", id="a word as port"),
        pytest.param("ftp://127.0.0.1/x", id="another scheme"),
        pytest.param("127.0.0.1/x", id="no scheme"),
        pytest.param("", id="nothing"),
    ],
)
def test_hosts_that_cannot_be_reached(device, url):
    """A host that refuses, is unknown, or is no host raises OSError or ValueError."""
    assert fetch(device, url.replace("PORT", str(refused_port())))[0] in ERRORS


def test_a_failed_exchange_closes_its_socket_itself(device, server):
    """A request that fails leaves no socket open, while the session is still in use."""
    code = """
import mip, os, sys
before = len(os.listdir("/dev/fd"))
session = mip.Session(timeout=0.2)
for url in sys.argv[1:]:
    try:
        session.get(url)
        print("no error")
    except (OSError, ValueError):
        print(len(os.listdir("/dev/fd")) - before)
"""
    server.routes["/loop"] = Reply(302, {"Location": "/loop", "Connection": "close"})
    scripts = (
        [READ, b"HTTP/1.1 200 OK\r\n", CLOSE],
        [READ],
        [READ, RESET],
        [READ, b"SSH-2.0\r\n\r\n"],
    )
    with contextlib.ExitStack() as stack:
        raws = [stack.enter_context(RawServer(script)) for script in scripts]
        urls = [raw.url + "/" for raw in raws]
        urls += [server.url + "/loop", urls[0].replace("http:", "https:")]
        urls += [f"http://127.0.0.1:{refused_port()}/", f"http://{UNKNOWN}/"]
        result = device.run(code, *urls, check=True)
    assert result.lines == ["0"] * len(urls)


# --- What is sent ---


def test_the_request(device):
    """A request is these bytes: Host has the port, and a space is escaped."""
    with RawServer([READ, sized(b"hello")]) as server:
        assert fetch(device, server.url + "/a b?c=d") == [(200, b"hello")]
    assert server.requests == [
        [
            b"GET /a%%20b?c=d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: mip\r\n"
            b"Accept-Encoding: identity\r\n\r\n" % server.port
        ]
    ]


HEADER = """
import mip, sys
session = mip.Session({"http://127.0.0.1": {"A": "b\\r\\nX: y", "C\\nD": "e\\n"}})
session.get(sys.argv[1]).close()
"""


def test_a_header_adds_no_lines_to_the_request(device):
    """The ends of lines in what is given as a header are spaces."""
    with RawServer([READ, sized(b"hello")]) as server:
        device.run(HEADER, server.url + "/a", check=True)
    ((request,),) = server.requests
    assert sorted(request.rstrip(b"\r\n").split(b"\r\n")[4:]) == [b"A: b  X: y", b"C D: e "]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        pytest.param("", "/", id="none"),
        pytest.param("/", "/", id="root"),
        pytest.param("/a/b.json", "/a/b.json", id="plain"),
        pytest.param("/a/", "/a/", id="directory"),
        pytest.param("//a//b", "//a//b", id="slashes"),
        pytest.param("/a?b=c&d=/e", "/a?b=c&d=/e", id="query"),
        pytest.param("/-._~!$&'()*+,;=:@%41", "/-._~!$&'()*+,;=:@%41", id="allowed"),
        pytest.param("/a b", "/a%20b", id="space"),
        pytest.param("/a ", "/a%20", id="space at the end"),
        pytest.param("/a%20b%2F", "/a%20b%2F", id="escaped already"),
        pytest.param("/é€", "/%C3%A9%E2%82%AC", id="not ASCII"),
        pytest.param("/a\tb", "/a%09b", id="tab"),
        pytest.param("/a\x7fb", "/a%7Fb", id="DEL"),
        pytest.param("/a\nb", "/a%0Ab", id="LF"),
        pytest.param(
            "/a HTTP/1.1\r\nHost: evil\r\n\r\nGET /b",
            "/a%20HTTP/1.1%0D%0AHost:%20evil%0D%0A%0D%0AGET%20/b",
            id="CR LF",
        ),
    ],
)
def test_what_a_url_becomes_in_the_request(device, path, target):
    """What may not stand in a request line is escaped, and the rest is sent as it is."""
    with RawServer([READ, sized(b"hello")]) as server:
        assert fetch(device, server.url + path) == [(200, b"hello")]
    (requests,) = server.requests
    assert [request.split(b"\r\n")[0] for request in requests] == [
        f"GET {target} HTTP/1.1".encode()
    ]


@pytest.mark.parametrize(
    "end", ["\r\n", "\n", " ", "\r\nX: y"], ids=["CR LF", "LF", "space", "line"]
)
def test_a_host_adds_no_lines_to_the_request(device, end):
    """White space behind a port is an error, or does not reach the request."""
    with RawServer([READ, sized(b"hello")]) as server:
        got = fetch(device, server.url + end + "/a")[0]
    if got in ERRORS:
        assert server.requests in ([], [[]])
    else:
        lines = server.requests[0][0].split(b"\r\n")
        assert lines[0] == b"GET /a HTTP/1.1"
        assert lines[1] == b"Host: 127.0.0.1:%d" % server.port
        assert lines[3:] == [b"", b""]


def test_the_host_header_has_no_standard_port(device, server, secure_server):
    """A host without a port in the URL is sent without one."""
    server.routes["/a"] = secure_server.routes["/a"] = Reply(body=b"hello")
    device.hosts.update({"one.test": server.port, "codeberg.org": secure_server.port})
    assert fetch(device, "http://one.test/a", "https://codeberg.org/a") == [(200, b"hello")] * 2
    assert server.headers_seen[0]["host"] == "one.test"
    assert secure_server.headers_seen[0]["host"] == "codeberg.org"


# --- Through install() ---


def package(server, **files):
    """Put a package of files at /p/package.json; the keyword is the name without ".py"."""
    urls = [[f"{name}.py", f"{name}.py"] for name in files]
    server.routes["/p/package.json"] = Reply(body=json.dumps({"urls": urls}).encode())
    for name, reply in files.items():
        server.routes[f"/p/{name}.py"] = reply if callable(reply) else as_reply(reply)
    return server.url + "/p/package.json"


def as_reply(reply):
    """The Reply for bytes that are a body."""
    return reply if isinstance(reply, Reply) else Reply(body=reply)


def raw(answer):
    """A route that sends these bytes and closes the connection."""

    def route(handler):
        handler.wfile.write(answer)
        handler.close_connection = True

    return route


CUT = {
    "length": raw(sized(b"hello, world")[:-1]),
    "chunk": raw(chunked(b"hello, world")[:-8]),
    "no last chunk": raw(chunked(b"hello, world")[: -len(b"0\r\n\r\n")]),
    "end of the last chunk": raw(chunked(b"hello, world")[:-2]),
    "head": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n"),
    "line of the head": raw(b"HTTP/1.1 200 OK\r\nContent-Leng"),
    "nothing": raw(b""),
}


@pytest.mark.parametrize("reply", CUT.values(), ids=CUT)
def test_a_cut_file_installs_nothing(device, server, reply):
    """A file that was cut is an InstallError; no file, no record and no debris is left."""
    url = package(server, a=b"whole", b=reply)
    assert install(device, url).startswith("InstallError ")
    assert device.tree(everything=True) == {}


@pytest.mark.parametrize("reply", CUT.values(), ids=CUT)
def test_a_cut_file_leaves_the_old_ones(device, server, reply):
    """An update whose last file was cut leaves every file and the record as they were."""
    assert install(device, package(server, a=b"old a", b=b"old b")) == "installed"
    before = device.tree(everything=True)
    assert install(device, package(server, a=b"new a", b=reply)).startswith("InstallError ")
    assert device.tree(everything=True) == before
    # The fault is gone.
    assert install(device, package(server, a=b"new a", b=b"new b")) == "installed"
    assert device.tree() == {"a.py": b"new a", "b.py": b"new b"}


@pytest.mark.parametrize("framing", mip_server.FRAMINGS)
def test_a_cut_package_json_installs_nothing(device, server, framing):
    """A package.json that was cut is an InstallError, also where only the JSON tells."""
    url = package(server, a=b"whole", b=b"whole")
    whole = server.routes["/p/package.json"].body
    answer = {
        "length": sized(whole),
        "chunked": chunked(whole),
        "close": head("HTTP/1.1 200 OK") + whole,
    }[framing]
    for cut in (1, 3, len(whole) // 2):
        server.routes["/p/package.json"] = raw(answer[:-cut])
        assert install(device, url).startswith("InstallError ")
        assert device.tree(everything=True) == {}


def test_a_cut_body_without_length_is_told_by_the_hash(device, index):
    """A body that ends with the connection is held against the hash of the index."""
    name = "keyvalue"
    with Server(index) as server:
        document = json.loads((index / "package" / "py" / name / "latest.json").read_text())
        for _, digits in document["hashes"]:
            path = f"/file/{digits[:2]}/{digits}"
            content = (index / path[1:]).read_bytes()
            server.routes[path] = raw(head("HTTP/1.1 200 OK") + content[:-1])
        assert install(device, name, server.url).startswith("InstallError ")
        assert device.tree(everything=True) == {}
        server.routes.clear()
        assert install(device, name, server.url) == "installed"


FAILURES = {
    "404": Reply(404),
    "500": Reply(500, body=b"x" * 3000),
    "a redirect loop": Reply(302, {"Location": "/p/b.py"}),
    "not HTTP": raw(b"SSH-2.0-OpenSSH_9.7\r\n"),
    "a cut body": raw(sized(b"hello, world")[:-1]),
    "no host": Reply(302, {"Location": f"http://{UNKNOWN}/"}),
}


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("reply", FAILURES.values(), ids=FAILURES)
def test_install_closes_everything_after_a_failure(device, server, secure_server, reply, secure):
    """A failed install leaves no socket, no file open, while the interpreter still runs."""
    url = package(secure_server if secure else server, a=b"a", b=reply)
    assert left_open(device, url) == (0, "InstallError")


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b"<html>log in</html>" * 200, id="HTML"),
        pytest.param(b'{"urls": [["a.py", "a.py"]]} x', id="text behind"),
        pytest.param(b'{"v": 2}' + b" " * 2000, id="version 2"),
        pytest.param(b'{"urls": [["../a.py", "a.py"]]}' + b" " * 2000, id="refused path"),
    ],
)
def test_install_closes_everything_after_a_bad_document(device, server, document):
    """A package.json that is refused leaves no socket, no file open."""
    url = package(server, a=b"a")
    server.routes["/p/package.json"] = Reply(body=document)
    assert left_open(device, url) == (0, "InstallError")


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("framing", mip_server.FRAMINGS)
def test_install_closes_everything_after_success(device, server, secure_server, framing, secure):
    """An install that succeeds leaves no socket, no file open."""
    reply = Reply(body=b"b", framing=framing)
    url = package(secure_server if secure else server, a=b"a", b=reply)
    assert left_open(device, url) == (0, "installed")
    assert device.tree() == {"a.py": b"a", "b.py": b"b"}


@pytest.mark.parametrize("port", ["refused", "unknown"])
def test_install_names_what_could_not_be_reached(device, port):
    """A host that cannot be reached is an InstallError that names it."""
    host = f"127.0.0.1:{refused_port()}" if port == "refused" else UNKNOWN
    text = install(device, f"http://{host}/p/package.json")
    assert text.startswith("InstallError ")
    assert host in text
    assert device.tree(everything=True) == {}


# Installs with the session that the second argument names.
WITH_SESSION = """
import os, sys
import mip

class Answer:
    # Has what the interface of a session promises, and not a name more.
    def __init__(self, answer):
        self._answer = answer
        self.status_code = answer.status_code
        self.raw = Raw(answer.raw)
    def close(self):
        self._answer.close()
        print("closed")

class Raw:
    def __init__(self, raw):
        self._raw = raw
    def readinto(self, buf):
        return self._raw.readinto(buf)

class Strict:
    def get(self, url):
        print("got", url[url.find("/", 8):])
        return Answer(requests.get(url))

import requests
session = requests if sys.argv[3] == "requests" else Strict()
before = len(os.listdir("/dev/fd"))
mip.install(sys.argv[1], index=sys.argv[2], session=session)
print(len(os.listdir("/dev/fd")) - before)
"""


@pytest.mark.parametrize("session", ["requests", "strict"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_requests_is_a_session(device, index, authority, session, secure):
    """MicroPython's own `requests`, or anything with its interface, serves as the session."""
    with Server(index, tls=authority.context if secure else None) as server:
        result = device.run(
            WITH_SESSION,
            "telemetry",
            server.url,
            session,
            path=[device.path, ".frozen"],
            check=True,
        )
        asked = [path for _, _, path in server.requests]
    assert result.lines[-1] == "0"
    published = json.loads((index / "package" / "6" / "telemetry" / "latest.json").read_text())
    assert device.tree() == {
        path: (index / "file" / digits[:2] / digits).read_bytes()
        for path, digits in published["hashes"]
    }
    if session == "strict":
        calls = [line for line in result.lines if line.startswith(("got ", "closed"))]
        assert calls == [call for path in asked for call in (f"got {path}", "closed")]


def test_a_session_that_would_block_is_not_at_the_end(device):
    """None from readinto, which means "nothing yet", does not pass for the end of a file."""
    code = """
import mip
class Answer:
    status_code = 200
    def __init__(self, parts):
        self.raw = self
        self.parts = parts
    def readinto(self, buf):
        if not self.parts:
            return 0
        part = self.parts.pop(0)
        if part is None:
            return None
        buf[: len(part)] = part
        return len(part)
    def close(self):
        pass
class Session:
    def get(self, url):
        if url.endswith(".json"):
            return Answer([b'{"urls": [["a.py", "a.py"]]}'])
        return Answer([b"hello, ", None, b"world"])
try:
    mip.install("http://localhost/p", session=Session())
    print("installed")
except mip.InstallError:
    print("InstallError")
"""
    end = device.run(code, check=True).lines[-1]
    assert (end, device.tree()) in (
        ("InstallError", {}),
        ("installed", {"a.py": b"hello, world"}),
    )
