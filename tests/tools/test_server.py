"""The test server itself: what other tests conclude from it is only as right as it is."""

import contextlib
import http.client
import json
import os
import socket
import ssl
import threading
import time

import pytest
import scripted_server as mip_server
from scripted_server import Reply, Server

# No test waits this long; one that would hang fails instead.
TIMEOUT = 20


@contextlib.contextmanager
def connection(server, context=None):
    """A connection to the server, as a socket and a file to read from it."""
    with contextlib.ExitStack() as stack:
        sock = socket.create_connection(("127.0.0.1", server.port), TIMEOUT)
        stack.callback(sock.close)
        if context:
            sock = context.wrap_socket(
                sock, server_hostname="localhost", suppress_ragged_eofs=False
            )
            stack.callback(sock.close)
        yield sock, stack.enter_context(sock.makefile("rb"))


def request(target, method="GET", host="localhost"):
    """The bytes of a request."""
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def read_answer(file, method="GET"):
    """Read one answer: (status, headers, body). The body ends as its headers say."""
    status = int(file.readline().split()[1])
    headers = {}
    while line := file.readline().strip():
        name, value = line.decode().split(": ", 1)
        headers[name] = value
    if method == "HEAD":
        return status, headers, b""
    if headers.get("Transfer-Encoding") == "chunked":
        body = b""
        while size := int(file.readline(), 16):
            body += file.read(size)
            assert file.read(2) == b"\r\n"
        assert file.readline() == b"\r\n"
        return status, headers, body
    return status, headers, file.read(int(headers.get("Content-Length", -1)))


def get(server, target, method="GET", host="localhost", context=None):
    """Make a request on a connection of its own: (status, headers, body)."""
    with connection(server, context) as (sock, file):
        sock.sendall(request(target, method, host))
        return read_answer(file, method)


@pytest.fixture
def sends(server, monkeypatch):
    """A list of what the server sends, one item a send."""
    sends = []
    sendall = socket.socket.sendall

    def noted(sock, data, *flags):
        if sock.getsockname()[1] == server.port:
            sends.append(bytes(data))
        return sendall(sock, data, *flags)

    monkeypatch.setattr(socket.socket, "sendall", noted)
    return sends


@pytest.fixture
def client_context(authority):
    """The TLS settings of a client that trusts the tests' authority."""
    return ssl.create_default_context(cafile=authority.pem)


def test_files(server):
    (server.root / "d").mkdir()
    (server.root / "d" / "a.json").write_bytes(b"{}")
    (server.root / "empty").write_bytes(b"")
    (server.root / "a b\u00e9").write_bytes(b"x")
    json_headers = {"Content-Type": "application/json", "Content-Length": "2"}
    assert get(server, "/d/a.json") == (200, json_headers, b"{}")
    assert get(server, "/d/a.json", "HEAD") == (200, json_headers, b"")
    status, headers, body = get(server, "/empty")
    assert (status, headers["Content-Length"], body) == (200, "0", b"")
    assert headers["Content-Type"] == "application/octet-stream"
    # Escaped, and as MicroPython sends it: in UTF-8.
    assert get(server, "/a%20b%C3%A9")[2] == b"x"
    assert get(server, "/a%20b\u00e9")[2] == b"x"


def test_the_page_of_a_directory(server):
    """A directory is its index.html, and its name without the slash leads to that with it."""
    (server.root / "d").mkdir()
    page = {"Content-Type": "text/html; charset=utf-8", "Content-Length": "4"}
    for directory in ("/", "/d/"):
        assert get(server, directory)[0] == 404
        (server.root / directory.strip("/") / "index.html").write_bytes(b"<p/>")
        assert get(server, directory) == (200, page, b"<p/>")
        assert get(server, f"{directory}?a=b", "HEAD") == (200, page, b"")
    assert get(server, "/d/index.html/")[0] == 404
    for target, there in (("/d", "/d/"), ("/d?a=b", "/d/?a=b"), ("//d", "/d/")):
        status, headers, _ = get(server, target)
        assert (status, headers["Location"]) == (301, there)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mip.mjs", "text/javascript; charset=utf-8"),
        ("a.JS", "text/javascript; charset=utf-8"),
        ("micropython.wasm", "application/wasm"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.mpy", "application/octet-stream"),
        ("js", "application/octet-stream"),
    ],
)
def test_types(server, name, kind):
    """What a page loads has the type without which a browser does not take it."""
    (server.root / name).write_bytes(b"x")
    assert get(server, f"/{name}")[1]["Content-Type"] == kind


def test_how_long_files_may_be_kept(tmp_path):
    """Files, and nothing else, have the Cache-Control that a function of their path tells."""
    (tmp_path / "a").write_bytes(b"x")
    with Server(tmp_path, cache_control=lambda path: f"of {path}") as server:
        server.routes["/route"] = Reply(200)
        assert get(server, "/a?b=c")[1]["Cache-Control"] == "of /a"
        assert get(server, "/a", "HEAD")[1]["Cache-Control"] == "of /a"
        for target in ("/missing", "/route"):
            assert "Cache-Control" not in get(server, target)[1]


def test_missing_files(server):
    (server.root / "a").write_bytes(b"x")
    (server.root / "d").mkdir()
    for target in ("/", "/b", "/d", "/d/", "/a/", "/a/b", "/%00", "/a%00", "/" + 300 * "n"):
        status, headers, body = get(server, target)
        assert (status, len(body)) == (404, int(headers["Content-Length"])), target


def test_nothing_outside_root(server, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (server.root / "d").mkdir()
    os.symlink(tmp_path / "secret", server.root / "link")
    os.symlink(tmp_path, server.root / "links")
    outside = os.path.relpath("/etc/passwd", server.root)
    targets = ["/../secret", "/%2e%2e/secret", "/..%2fsecret", "/d/../../secret", "../secret"]
    targets += ["/link", "/links/secret", "//etc/passwd", "/%2fetc/passwd", "/" + outside]
    targets += [str(tmp_path / "secret"), "/" + str(tmp_path / "secret"), "/?/../../secret"]
    assert [get(server, target)[0] for target in targets] == [404] * len(targets)


def test_symbolic_links_inside_root(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a").write_bytes(b"x")
    os.symlink("a", tmp_path / "site" / "link")
    os.symlink("site", tmp_path / "root")
    with Server(tmp_path / "root") as server:
        assert get(server, "/link")[2] == b"x"


def test_connections_are_kept(server):
    (server.root / "a").write_bytes(b"x")
    with connection(server) as (sock, file):
        for target, status in (("/a", 200), ("/b", 404), ("/a", 200)):
            sock.sendall(request(target))
            assert read_answer(file)[0] == status
    assert server.connections == 1


def test_requests_sent_ahead_are_answered_in_order(server):
    for name in "abcde":
        (server.root / name).write_text(name)
    with connection(server) as (sock, file):
        sock.sendall(b"".join(request("/" + name) for name in "abcde"))
        assert [read_answer(file)[2] for _ in "abcde"] == [b"a", b"b", b"c", b"d", b"e"]
    assert server.connections == 1
    assert [path for _, _, path in server.requests] == ["/a", "/b", "/c", "/d", "/e"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("framing", ["file", *mip_server.FRAMINGS])
def test_an_answer_is_one_send(server, sends, framing, method):
    if framing == "file":
        (server.root / "a").write_bytes(5000 * b"x")
    else:
        server.routes["/a"] = Reply(body=5000 * b"x", framing=framing)
    with connection(server) as (sock, file):
        sock.sendall(request("/a", method))
        body = read_answer(file, method)[2]
    assert body == (b"" if method == "HEAD" else 5000 * b"x")
    assert len(sends) == 1
    assert sends[0].endswith(b"\r\n\r\n") == (method == "HEAD" or framing == "chunked")


def test_an_error_is_one_send(server, sends):
    get(server, "/missing")
    get(server, "/a", "DELETE")
    assert [send.split()[1] for send in sends] == [b"404", b"501"]


def test_large_files_are_sent_in_blocks(server, sends):
    content = os.urandom(2 * mip_server.BLOCK + 1)
    (server.root / "a").write_bytes(content)
    assert get(server, "/a")[2] == content
    assert [len(send) for send in sends[1:]] == [mip_server.BLOCK, 1]
    assert sends[0].endswith(content[: mip_server.BLOCK])


def test_small_segments_do_not_wait(server):
    def option(handler):
        value = handler.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        return Reply(body=b"no delay" if value else b"delay")

    server.routes["/"] = option
    assert get(server, "/")[2] == b"no delay"


def test_tls(secure_server, client_context):
    (secure_server.root / "a").write_bytes(b"x")
    with connection(secure_server, client_context) as (sock, file):
        sock.sendall(2 * request("/a"))
        assert [read_answer(file)[2] for _ in "12"] == [b"x", b"x"]
    assert secure_server.connections == 1
    assert secure_server.url == f"https://localhost:{secure_server.port}"


def test_a_failed_handshake_is_not_a_connection(secure_server, client_context):
    with pytest.raises(ssl.SSLCertVerificationError):
        get(secure_server, "/", context=ssl.create_default_context())
    assert get(secure_server, "/", context=client_context)[0] == 404
    assert secure_server.connections == 1


def test_a_slow_handshake_holds_up_nobody(secure_server, client_context):
    with connection(secure_server):  # and never says a word
        assert get(secure_server, "/", context=client_context)[0] == 404


def test_the_end_of_a_body_is_no_cut_with_tls(secure_server, client_context):
    secure_server.routes["/a"] = Reply(body=b"x", framing="close")
    # Without a close_notify this raises: the client does not suppress it.
    assert get(secure_server, "/a", context=client_context)[2] == b"x"


def test_sites(tmp_path):
    for name in ("root", "one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    sites = {"one.test": tmp_path / "one", "two.test": tmp_path / "two"}
    with Server(tmp_path / "root", sites=sites) as server:
        hosts = ["one.test", "TWO.test:443", "three.test", f"127.0.0.1:{server.port}"]
        assert [get(server, "/a", host=host)[2] for host in hosts] == [
            b"one",
            b"two",
            b"root",
            b"root",
        ]
        assert get(server, "/../two/a", host="one.test")[0] == 404
        assert [host for _, host, _ in server.requests[:2]] == ["one.test", "two.test"]


def test_queries(server):
    (server.root / "a.json").write_text("any")
    (server.root / "a.json?ref=v1").write_text("v1")
    (server.root / "a.json?ref=feature").mkdir()
    (server.root / "a.json?ref=feature" / "x").write_text("feature/x")
    answers = {"": b"any", "?ref=v2": b"any", "?ref=v1": b"v1", "?ref=feature%2Fx": b"feature/x"}
    for query, body in answers.items():
        assert get(server, "/a.json" + query)[2] == body
    assert server.requests[-1] == ("GET", "localhost", "/a.json?ref=feature%2Fx")


def test_routes_are_found(server):
    (server.root / "a").write_text("file")
    server.routes.update(
        {
            "/a": Reply(body=b"path"),
            "/a?x=1": Reply(body=b"query"),
            ("one.test", "/a"): Reply(body=b"host"),
        }
    )
    assert get(server, "/a")[2] == get(server, "/a?x=2")[2] == b"path"
    assert get(server, "/a?x=1")[2] == b"query"
    assert get(server, "/a", host="one.test:80")[2] == b"host"
    server.routes.clear()
    assert get(server, "/a")[2] == b"file"


def test_status_and_headers_of_a_route(server):
    server.routes["/a"] = Reply(302, {"Location": "/b"})
    assert get(server, "/a") == (302, {"Content-Length": "0", "Location": "/b"}, b"")
    server.routes["/a"] = Reply(599)
    assert get(server, "/a")[0] == 599


@pytest.mark.parametrize(
    "reply, header, kept",
    [
        (Reply(body=b"body"), "Content-Length: 4", True),
        (Reply(body=b"body", framing="chunked", chunk_size=3), "Transfer-Encoding: chunked", True),
        (Reply(body=b"body", framing="close"), "Connection: close", False),
        (Reply(body=b"body", version="HTTP/1.0"), "HTTP/1.0 200 OK", False),
        (Reply(body=b"body", headers={"connection": "Close"}), "connection: Close", False),
    ],
)
def test_framings(server, reply, header, kept):
    server.routes["/a"] = reply
    (server.root / "b").write_text("next")
    with connection(server) as (sock, file):
        sock.sendall(request("/a"))
        assert read_answer(file)[2] == b"body"
        sock.sendall(request("/b"))
        if kept:
            assert read_answer(file)[2] == b"next"
        else:
            assert file.read() == b""
    with connection(server) as (sock, file):
        sock.sendall(request("/a", "HEAD"))
        sock.shutdown(socket.SHUT_WR)
        head = file.read().decode()
    assert header in head.splitlines()
    assert ("Content-Length" in head) == (reply.framing == "length")


def test_chunks(server):
    server.routes["/a"] = Reply(body=b"12345", framing="chunked", chunk_size=3)
    with connection(server) as (sock, file):
        sock.sendall(request("/a"))
        sock.shutdown(socket.SHUT_WR)
        assert file.read().partition(b"\r\n\r\n")[2] == b"3\r\n123\r\n2\r\n45\r\n0\r\n\r\n"


def test_an_unknown_framing_is_refused():
    with pytest.raises(ValueError, match="gzip"):
        Reply(framing="gzip")


@pytest.mark.parametrize("length, kept", [("9", False), ("x", False), ("-1", False), ("2", True)])
def test_wrong_lengths(server, length, kept):
    server.routes["/a"] = Reply(headers={"content-length": length}, body=b"body")
    with connection(server) as (sock, file):
        sock.sendall(request("/a") + request("/missing"))
        sock.shutdown(socket.SHUT_WR)
        answers = file.read()
    assert answers.lower().startswith(b"http/1.1 200 ok\r\ncontent-length: " + length.encode())
    assert (b"body" in answers, b"404" in answers) == (True, kept)


def test_a_function_as_route(server):
    def write(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        handler.wfile.write(b"Content-Length: 9\r\n\r\ncut")
        handler.close_connection = True

    server.routes["/a"] = write
    replies = iter([Reply(503), Reply(200)])
    server.routes["/b"] = lambda handler: next(replies)
    with connection(server) as (sock, file):
        sock.sendall(request("/b") + request("/b") + request("/a"))
        assert [read_answer(file)[0] for _ in "12"] == [503, 200]
        assert file.read() == b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut"


def test_the_last_answer_arrives_before_the_end(server):
    # A socket closed with unread requests in it resets the connection, and the answer is lost
    # unless the client has read it by then: so this one takes its time.
    body = 200_000 * b"x"
    server.routes["/a"] = Reply(body=body, framing="close")
    requests = request("/a") + 3000 * request("/b")
    with connection(server) as (sock, file):
        sock.sendall(requests)
        time.sleep(0.05)
        assert read_answer(file)[2] == body


def test_counters(server):
    (server.root / "a").write_bytes(5 * mip_server.BLOCK * b"x")
    server.routes["/b"] = lambda handler: handler.wfile.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    with connection(server) as (sock, file):
        sock.sendall(b"GET /a HTTP/1.1\r\nHost: h:1\r\nX-Key: v\r\n\r\n" + request("/b", "HEAD"))
        sock.shutdown(socket.SHUT_WR)
        received = len(file.read())
    assert server.bytes_sent == received > 5 * mip_server.BLOCK
    assert server.requests == [("GET", "h", "/a"), ("HEAD", "localhost", "/b")]
    assert server.headers_seen == [{"host": "h:1", "x-key": "v"}, {"host": "localhost"}]
    assert server.connections == 1
    server.reset()
    assert (server.connections, server.bytes_sent) == (0, 0)
    assert server.requests == server.headers_seen == []
    get(server, "/a")
    assert server.connections == len(server.requests) == 1


def test_requests_that_are_refused(server):
    with connection(server) as (sock, file):
        sock.sendall(b"what is this\r\n\r\n")
        status, headers, _ = read_answer(file)
        assert (status, headers["Connection"]) == (400, "close")
        assert file.read() == b""
    assert get(server, "/", "POST")[0] == 501
    assert server.requests == []


def test_http_1_0_clients(server):
    (server.root / "a").write_bytes(b"x")
    with connection(server) as (sock, file):
        sock.sendall(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert file.read().endswith(b"Connection: close\r\n\r\nx")


def test_closing_ends_everything(tmp_path, authority):
    before = threading.active_count()
    for options in ({}, {"tls": authority.context}, {"delay": 0.001}):
        with Server(tmp_path, **options) as server, contextlib.ExitStack() as stack:
            context = None
            if server.url.startswith("https:"):
                context = ssl.create_default_context(cafile=authority.pem)
            kept = [stack.enter_context(connection(server, context)) for _ in range(3)]
            for sock, file in kept[1:]:  # the first one is silent
                sock.sendall(request("/"))
                assert read_answer(file)[0] == 404
            server.close()
            assert threading.active_count() == before
            for sock, _ in kept:
                # An end or a reset: the client does not hang.
                with contextlib.suppress(OSError):
                    assert sock.recv(1) == b""
            with pytest.raises(ConnectionRefusedError):
                get(server, "/")


def test_closing_many(tmp_path):
    for _ in range(20):
        with Server(tmp_path) as server:
            assert get(server, "/")[0] == 404
    with Server(tmp_path):  # closed before it could have begun
        pass


def test_serving_without_a_thread(tmp_path):
    server = Server(tmp_path)
    answers = []

    def client():
        try:
            answers.append(get(server, "/")[0])
        finally:
            server.shutdown()

    thread = threading.Thread(target=client)
    thread.start()
    server.serve_forever()
    server.close()
    thread.join()
    assert answers == [404]


def test_delay_is_a_round_trip(tmp_path, authority):
    delay = 0.03
    with Server(tmp_path, delay=delay) as server, connection(server) as (sock, file):
        waits = []
        for number in (1, 1, 1, 40):
            start = time.monotonic()
            sock.sendall(number * request("/"))
            assert [read_answer(file)[0] for _ in range(number)] == number * [404]
            waits.append(time.monotonic() - start)
        # Never less than the round trip; the first one includes that of connecting.
        assert waits[0] >= 2 * delay
        assert min(waits[1:]) >= delay
        # Requests sent ahead share one.
        assert waits[3] < 40 * delay
        sock.shutdown(socket.SHUT_WR)
        assert file.read() == b""
        # An end comes through from the other side too.
        server.routes["/end"] = Reply(body=b"x", framing="close")
        assert get(server, "/end")[2] == b"x"
    context = ssl.create_default_context(cafile=authority.pem)
    with Server(tmp_path, delay=delay, tls=authority.context) as server:
        assert get(server, "/", context=context)[0] == 404


def test_verbose_is_a_line_per_request(tmp_path, capfd):
    (tmp_path / "a").write_bytes(b"x")
    for verbose in (False, True):
        with Server(tmp_path, verbose=verbose) as server, connection(server) as (sock, file):
            sock.sendall(request("/a") + request("/b"))
            assert [read_answer(file)[0] for _ in "ab"] == [200, 404]
    lines = ["127.0.0.1 GET /a HTTP/1.1 200", "127.0.0.1 GET /b HTTP/1.1 404"]
    assert capfd.readouterr().err.splitlines() == lines


def test_an_error_in_a_route_is_shown(server, capfd):
    def wrong(handler):
        raise KeyError("mistake in the test")

    server.routes["/a"] = wrong
    with connection(server) as (sock, file):
        sock.sendall(request("/a"))
        assert file.read() == b""
    server.close()
    assert "mistake in the test" in capfd.readouterr().err


def test_standard_client(server):
    (server.root / "a.json").write_text(json.dumps({"v": 1}))
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
    with contextlib.closing(client):
        for _ in range(2):
            client.request("GET", "/a.json")
            assert json.load(client.getresponse()) == {"v": 1}
    assert server.connections == 1
