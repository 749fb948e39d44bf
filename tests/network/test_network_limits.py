"""What is too slow, too large or too late; and other sessions than mip's own."""

import json
import re
import socket
import time

import pytest
from internet import INDEX, sha256, tree
from scripted_server import Reply
from test_session import CLOSE, READ, RawServer, fetch, head, sized

# Installs the package p of a server in memory, fake_socket.py, as `pages` are.
START = """
import json, os, sys, time
import fake_socket as net
import faults, mip, ramdisk

said = []
mip.print = lambda *words: said.append(" ".join([str(word) for word in words]))
sleeps = []
in_slices = mip._wait


def wait(seconds, poll=None):
    # What is waited for a network in memory never comes by itself.
    if poll:
        return in_slices(seconds, poll)
    sleeps.append(seconds)


mip._wait = wait
ramdisk.mount("lfs2", 300)
os.chdir("/ram")


def serve(host, path):
    if path in pages:
        answer = pages[path]
        return net.frame(answer, "length") if isinstance(answer, bytes) else answer
    return net.frame(b"", "length", True, b"404 Not Found")


def install(name="http://index/p"):
    # "installed", or the exception and its text.
    net.requests.clear()
    said.clear()
    try:
        mip.install(name, "http://index", "lib", mpy=False)
    except mip.InstallError as error:
        outcome = "refused", str(error)
    except Exception as error:
        outcome = "another exception", repr(error)
    else:
        outcome = "installed", ""
    assert not net.opened
    return outcome


net.serve = serve
ONE = b'{"urls": [["a.py", "a.py"]]}'
"""


# ---- slow ------------------------------------------------------------------------------

# Installs with a clock that runs faster: `speed` of its seconds pass in one.
DRIP = """
import sys, time, utime
import mip

url, speed = sys.argv[1], int(sys.argv[2])
begin = utime.ticks_ms()
time.ticks_ms = lambda: begin + utime.ticks_diff(utime.ticks_ms(), begin) * speed
time.time = lambda: time.ticks_ms() // 1000
time.sleep = lambda seconds: None
try:
    mip.install(url, session=mip.Session(timeout=5))
    print("installed")
except mip.InstallError as error:
    print("InstallError", error)
"""

# Where a server sends one byte at a time: (before, the bytes, behind).
CHUNKED = head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")
PARTS = 400
LONG = b"#" * PARTS
DRIPPING = {
    "status line": (b"", b"HTTP/1.1 200 " + LONG, b"\r\n\r\nx"),
    "header line": (b"HTTP/1.1 200 OK\r\nX: ", LONG, b"\r\n\r\nx"),
    "header lines": (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * (PARTS // 6), b"\r\nx"),
    "1xx": (b"", b"HTTP/1.1 100 C\r\n\r\n" * (PARTS // 18), b"HTTP/1.1 200 OK\r\n\r\nx"),
    "body": (head("HTTP/1.1 200 OK", f"Content-Length: {PARTS}"), LONG, b""),
    "body without length": (head("HTTP/1.1 200 OK"), LONG, b""),
    "chunks": (CHUNKED, b"1\r\n#\r\n" * (PARTS // 6), b"0\r\n\r\n"),
    "head of a chunk": (CHUNKED + b"1;", LONG, b"\r\n#\r\n0\r\n\r\n"),
    "trailer": (CHUNKED + b"1\r\n#\r\n0\r\nX: ", LONG, b"\r\n\r\n"),
}
DOCUMENT = sized(b'{"urls": [["a.py", "/a.py"]]}', "Connection: close")


class Drip:
    """Steps of a RawServer: parts of an answer, each after a pause.

    sent: how many of the parts went out, in each connection that there was.
    """

    def __init__(self, before, parts, behind, seconds):
        self.sent = []
        self.steps = [self._begin(before), *[self._part(part, seconds) for part in parts], behind]

    def _begin(self, data):
        def begin(request):
            self.sent.append(0)
            return data

        return begin

    def _part(self, part, seconds):
        def after_a_pause(request):
            time.sleep(seconds)
            self.sent[-1] += 1
            return part

        return after_a_pause


def drip(device, speed, *answer):
    """Install a file that drips; return the last line, and how many parts were sent each time."""
    drip = Drip(*answer)
    file = [READ, *drip.steps, CLOSE]
    with RawServer([READ, DOCUMENT, CLOSE], file) as server:
        line = device.run(DRIP, server.url + "/p", speed, check=True).lines[-1]
    return line, drip.sent


@pytest.mark.parametrize("what", DRIPPING)
def test_a_server_that_drips(device, what):
    """A server that sends a byte now and then, each before the time-out, is left soon.

    A byte takes 18 s by the board's clock: after a minute of that, a few have come of 400.
    """
    before, data, behind = DRIPPING[what]
    parts = [data[n : n + 1] for n in range(len(data))]
    line, sent = drip(device, 1200, before, parts, behind, 0.015)
    assert line.startswith("InstallError "), line
    assert "/a.py" in line
    assert len(sent) <= 4
    assert max(sent) < len(parts) // 2
    assert device.tree(everything=True) == {}


def test_a_slow_server(device):
    """What comes in time for its size is taken, though it takes more than a minute.

    It is 512 bytes a second; the limit is 64.
    """
    parts = [b"#" * 1023 + b"\n"] * 40
    before = head("HTTP/1.1 200 OK", "Content-Length: 40960")
    line, sent = drip(device, 100, before, parts, b"", 0.02)
    assert (line, sent) == ("installed", [40])
    assert device.tree() == {"a.py": b"".join(parts)}


def test_a_server_that_is_too_slow(device):
    """What comes too slowly for its size is left, though each part is quick to come."""
    parts = [b"#" * 64] * 200
    before = head("HTTP/1.1 200 OK", "Content-Length: 12800")
    line, sent = drip(device, 300, before, parts, b"", 0.02)
    assert line.startswith("InstallError "), line
    assert max(sent) < 150
    assert device.tree(everything=True) == {}


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", sized(b"hello")[:-1]])
def test_a_time_out_holds_behind_a_redirect(device, server, part):
    """A server that another one redirects to, and that stalls, is an error after `timeout`."""
    with RawServer([READ, part]) as stalling:
        server.routes["/a"] = Reply(302, {"Location": stalling.url + "/b"})
        got = fetch(device, server.url + "/a", timeout=0.2, run_timeout=14)
    assert got[0] in ("OSError", "ValueError")
    assert [len(requests) for requests in stalling.requests] == [1]


# ---- large -----------------------------------------------------------------------------

# A file of which the head says how large it is; for each the outcome, the bytes that were read,
# the files that were opened for writing, and what was free.
TOO_LARGE = (
    START
    + """
opened = []


def recording(path, mode="r"):
    if mode != "rb":
        opened.append(path)
    return open(path, mode)


mip.open = recording
for size in SIZES:
    free = os.statvfs("/ram")
    free = free[0] * free[3]
    length = free + 1 if size is None else size
    text = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % length
    pages = {"/p/package.json": ONE, "/p/a.py": net.Answer(text, False, b"#" * 512)}
    net.reset()
    opened.clear()
    outcome, text = install()
    tree = [path for path in faults.walk(".") if path != "lib"]
    print(json.dumps([outcome, text, str(length), free, net.handed, opened, tree]))
"""
)


def test_a_length_larger_than_the_disk(device):
    """A file that does not fit is refused before it is opened; the message has both sizes."""
    sizes = [None, 10**6, 10**9, 10**15]
    lines = device.run(TOO_LARGE.replace("SIZES", repr(sizes)), heap="4m", check=True).lines
    assert len(lines) == len(sizes)
    for line in lines:
        outcome, text, length, free, handed, opened, tree = json.loads(line)
        assert outcome == "refused"
        assert length in text and "free" in text
        assert handed < 2000, length
        assert [path for path in opened if path.endswith("~mip")] == []
        assert tree == []


# An answer that ends too early, for ever: the outcome.
CUT = (
    START
    + """
for page, body, sent in (("/p/package.json", ONE, 20), ("/p/a.py", b"#" * 300, 123)):
    pages = {"/p/package.json": ONE, "/p/a.py": b"a = 1"}
    text = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body)
    pages[page] = net.Answer(text + body[:sent], True)
    net.reset()
    print(json.dumps([install(), page, sent, len(body)]))
"""
)


def test_the_message_of_a_cut_body(device):
    """The message of a body that was cut has how many bytes came, and of how many."""
    lines = device.run(CUT, heap="4m", check=True).lines
    assert len(lines) == 2
    for line in lines:
        (outcome, text), page, sent, size = json.loads(line)
        assert outcome == "refused"
        assert page in text
        assert f"{sent} of {size}" in text


ENDLESS = {
    "a header line": (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 4096),
    "header lines": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 600),
    "long header lines": (b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 4000 + b"\r\n"),
    "a status line": (b"HTTP/1.1 200 ", b"O" * 4096),
    "a Location": (b"HTTP/1.1 302 Found\r\nLocation: /", b"x" * 4096),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n" * 600),
    "a chunk extension": (CHUNKED + b"1;", b"x" * 4096),
    "a document": (head("HTTP/1.1 200 OK"), b" " * 4096),
    "an entry": (head("HTTP/1.1 200 OK") + b'{"urls": [["', b"x" * 4096),
}


# Bytes after which a server stops. What a client that has gone did not read counts, too.
MOST = 80_000_000


@pytest.mark.needs("heap")
@pytest.mark.parametrize("what", ENDLESS)
def test_an_endless_answer_in_a_small_heap(device, what):
    """What has no end is an InstallError also where memory is short, and is soon left."""
    start, more = ENDLESS[what]
    code = """
import sys
import mip
try:
    mip.install(sys.argv[1])
except mip.InstallError as error:
    print("InstallError", error)
"""
    sent = 0

    def send(request):
        nonlocal sent
        sent += len(more)
        return more

    with RawServer([READ, start, *[send] * (MOST // len(more)), CLOSE]) as server:
        # The library takes 57 KB of it.
        last = device.run(code, server.url + "/p", heap="96k", check=True).lines[-1]
    assert last.startswith("InstallError "), last
    assert "memory" not in last
    assert len(server.requests) <= 4
    assert sent < MOST // 4


MEMORY = (
    START
    + """
pages = {"/p/package.json": ONE, "/p/a.py": b"a = 1"}
net.fault = faults.Fault(1, OSError(12), True, ("connect",))
print(json.dumps(install()))
"""
)


def test_out_of_memory_at_connecting(device):
    """Where TLS gets no memory the message says how much was free."""
    outcome, text = json.loads(device.run(MEMORY, check=True).lines[-1])
    assert outcome == "refused"
    free = re.search(r"out of memory.* ([0-9]+) bytes free", text)
    assert free and int(free[1]) > 10_000, text


# ---- once more -------------------------------------------------------------------------


@pytest.fixture
def three(server):
    """The URL of a package of three files on `server`."""
    names = ["a.py", "b.py", "c.py"]
    document = json.dumps({"urls": [[name, name] for name in names]})
    server.routes["/p/package.json"] = Reply(body=document.encode())
    for name in names:
        server.routes[f"/p/{name}"] = Reply(body=f"# {name}\n".encode())
    return server.url + "/p"


def once(server, path, reply):
    """Have the server give this reply to the first request for `path`, later the one it has."""
    usual = server.routes[path]

    def route(handler):
        server.routes[path] = usual
        handler.send_reply(reply)

    server.routes[path] = route


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        pytest.param(Reply(503, {"Retry-After": "7"}), ["503", "7 s"], id="Retry-After"),
        pytest.param(Reply(429, {"Retry-After": "3600"}), ["429", "60 s"], id="too long"),
        pytest.param(Reply(500), ["500", "1 s"], id="none"),
    ],
)
def test_what_is_tried_again_is_said(device, server, three, reply, words):
    """A retry is said aloud with the URL, the reason, and how long it waits."""
    once(server, "/p/b.py", reply)
    lines = device.mip("install", three, check=True).lines
    (said,) = [line for line in lines if words[0] in line and "/p/b.py" in line]
    assert [word for word in words if word not in said] == []
    assert list(device.tree()) == ["a.py", "b.py", "c.py"]


def test_what_is_staged_stays(device, server, three):
    """When a file is tried again, those that have come already are not fetched again."""
    once(server, "/p/c.py", Reply(503))
    device.mip("install", three, check=True)
    asked = [path for _, _, path in server.requests]
    assert [asked.count(f"/p/{name}") for name in ("a.py", "b.py", "c.py")] == [1, 1, 2]


def test_a_redirect_loop_names_the_url(device, server):
    """A loop of redirects is one InstallError with the URL that it led to."""
    server.routes["/p/package.json"] = Reply(302, {"Location": "/q"})
    server.routes["/q"] = Reply(302, {"Location": "/p/package.json"})
    result = device.mip("install", server.url + "/p")
    assert result.status == 1
    assert "redirected to" in result.err and server.url in result.err
    assert len(server.requests) == 6


@pytest.mark.parametrize("mixed", ["another file", "no file"])
def test_an_index_that_changes_meanwhile(device, server, mixed):
    """Where the index changes behind its JSON nothing is installed, and the next call succeeds."""
    old, new = b"x = 1\n", b"x = 2\n"

    def publish(content):
        digits = sha256(content)[:8]
        document = {"v": 1, "hashes": [["x.py", digits]]}
        server.routes["/package/6/x/latest.json"] = Reply(body=json.dumps(document).encode())
        server.routes[f"/file/{digits[:2]}/{digits}"] = Reply(body=content)
        return f"/file/{digits[:2]}/{digits}"

    path = publish(old)
    reply = server.routes["/package/6/x/latest.json"]

    def change(handler):
        publish(new)
        server.routes[path] = Reply(body=new) if mixed == "another file" else Reply(404)
        handler.send_reply(reply)

    server.routes["/package/6/x/latest.json"] = change
    result = device.mip("install", "-i", server.url, "x")
    assert result.status == 1 and path in result.err
    assert device.tree(device.work, everything=True) == {}
    device.mip("install", "-i", server.url, "x", check=True)
    assert device.tree() == {"x.py": new}


# ---- other sessions --------------------------------------------------------------------


def has_ipv6():
    """Whether this machine can serve at its IPv6 address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 at ::1")
def test_a_host_that_has_only_ipv6(device):
    """A host whose name has an IPv6 address, and no other, is reached."""
    code = """
import socket, sys
look = socket.getaddrinfo
socket.getaddrinfo = lambda host, port, *args: look("::1", int(sys.argv[1]), *args)
import mip
mip.install("http://six.test/a.py")
"""

    class Server(RawServer):
        def __init__(self, *scripts):
            super().__init__(*scripts)
            self._listener.close()
            self._listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
            self.port = self._listener.getsockname()[1]

    with Server([READ, sized(b"a = 1\n")]) as server:
        device.hosts["six.test"] = server.port  # else nothing can take the place of getaddrinfo
        device.run(code, server.port, check=True)
    assert device.tree() == {"a.py": b"a = 1\n"}
    assert b"\r\nHost: six.test\r\n" in server.requests[0][0]


GITHUB = "https://raw.githubusercontent.com"
WITH_REQUESTS = """
import json, sys
import mip, requests
options = json.loads(sys.argv[1])
for verb, *arguments in options:
    try:
        getattr(mip, verb)(*arguments, session=requests)
    except mip.InstallError as error:
        print("InstallError", error)
"""


def with_requests(device, *calls):
    """Make calls of mip with upstream's `requests` as the session; return what was printed."""
    path = [device.path, ".frozen"]
    return device.run(WITH_REQUESTS, json.dumps(calls), path=path, check=True).lines


def test_what_requests_can_do_as_a_session(device, net):
    """With `requests` everything is installed and upgraded as with mip's own session."""
    net.publish("needed", "1.0")
    net.publish("x", "1.0", deps=[["needed", "latest"]])
    net.publish("pinned", "2.0")
    net.publish("pinned", "3.0")
    net.publish("source", kinds=("py",))
    net.put(f"{GITHUB}/org/repo/v1/package.json", '{"urls": [["r.py", "r.py"]]}')
    net.put(f"{GITHUB}/org/repo/v1/r.py")
    net.put("https://codeberg.org/api/v1/repos/org/c/raw/c.py?ref=HEAD")
    net.put("http://example.com/moved.py")
    net.plain.routes["/s.py"] = Reply(302, {"Location": "http://example.com/moved.py"})
    names = ["x", "pinned@2.0", "source", "github:org/repo@v1", "codeberg:org/c/c.py"]
    lines = with_requests(device, ["install", [*names, "http://example.com/s.py"]])
    assert [line for line in lines if line.startswith("InstallError")] == []
    expected = {
        "x.mpy": "x 1.0",
        "needed.mpy": "needed 1.0",
        "pinned.mpy": "pinned 2.0",
        "source.py": "source 1.0",
        "r.py": f"{GITHUB}/org/repo/v1/r.py",
        "c.py": "https://codeberg.org/api/v1/repos/org/c/raw/c.py?ref=HEAD",
        "s.py": "http://example.com/moved.py",
    }
    assert device.tree() == tree(expected)
    net.publish("x", "2.0", deps=[["needed", "latest"]])
    with_requests(device, ["upgrade"])
    assert device.tree() == tree(expected | {"x.mpy": "x 2.0"})
    assert device.run("import mip; print(mip.verify())", check=True).lines == ["[]"]


def test_what_goes_wrong_with_requests_as_a_session(device, net):
    """With `requests`, too, what goes wrong is an InstallError, what passes is tried again."""
    net.publish("x")
    (path,) = (f"/pi/v2/file/{h[:2]}/{h}" for h in [sha256(tree({"x.mpy": "x 1.0"})["x.mpy"])[:8]])
    host = "micropython.org"
    for reply in (
        Reply(404),
        Reply(403),
        Reply(body=b"<html>"),
        Reply(body=b"M\x06\x00\x1f", headers={"Content-Length": "100"}),
        Reply(302, {"Location": "/nowhere"}),
    ):
        net.secure.routes[host, path] = reply
        lines = with_requests(device, ["install", "x"])
        assert lines[-1].startswith("InstallError ") and path in lines[-1]
        assert device.tree(device.work, everything=True) == {}
    lines = with_requests(device, ["install", "no-such-package"])
    assert "no package no-such-package" in lines[-1] and INDEX in lines[-1]
    del net.secure.routes[host, path]
    document = "/pi/v2/package/6/x/latest.json"
    net.secure.routes[host, document] = net_file = Reply(503)

    def busy(handler):
        del net.secure.routes[host, document]
        handler.send_reply(net_file)

    net.secure.routes[host, document] = busy
    lines = with_requests(device, ["install", "x"])
    assert len([line for line in lines if "503" in line]) == 1
    assert device.tree() == tree({"x.mpy": "x 1.0"})


# `requests` of a board that has no sockets, only a modem, or a browser.
REQUESTS = """
import usocket

print("requests was imported")


class Response:
    def __init__(self, sock):
        self.raw = sock
        self.status_code = int(sock.readline().split()[1])
        while sock.readline().strip():
            pass

    def close(self):
        self.raw.close()


def get(url):
    _, _, host, path = url.split("/", 3)
    host, port = host.split(":")
    sock = usocket.socket()
    sock.connect(usocket.getaddrinfo(host, int(port))[0][-1])
    sock.write("GET /%s HTTP/1.0\\r\\nHost: %s\\r\\n\\r\\n" % (path, host))
    return Response(sock)
"""


def test_a_board_without_sockets(device, tmp_path, server, three):
    """Where there is no module `socket`, mip takes `requests` by itself."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "socket.py").write_text("raise ImportError(\"no module named 'socket'\")\n")
    (modules / "requests.py").write_text(REQUESTS)
    code = """
import sys
import mip
mip.install(sys.argv[1]) if len(sys.argv) > 1 else mip.upgrade()
"""
    path = [modules, device.path]
    # What mip is run with has no sockets, so it cannot have used them.
    assert device.run("import socket", path=path).status == 1
    lines = device.run(code, three, path=path, check=True).lines
    assert lines.count("requests was imported") == 1 and lines[-1] == "Done"
    server.routes["/p/b.py"] = Reply(body=b"# another b.py\n")
    lines = device.run(code, path=path, check=True).lines
    assert lines.count("requests was imported") == 1 and lines[-1] == "Done"
    assert device.tree() == {
        "a.py": b"# a.py\n",
        "b.py": b"# another b.py\n",
        "c.py": b"# c.py\n",
    }
