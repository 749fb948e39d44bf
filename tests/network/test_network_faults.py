"""The network fails: at every byte, at every call, and in every way that a server can lie.

mip runs on a network in memory, tests/helpers/device_modules/fake_socket.py.
"""

import json

import pytest

# Package, framing, and whether all answers come on one connection.
SWEEPS = {
    "length, kept": ("length", True),
    "length, fresh": ("length", False),
    "chunked, kept": ("chunked", True),
    "chunked, fresh": ("chunked", False),
    "close-delimited": ("close", False),
}
SOURCES = ("index", "urls")

START = """
import os, sys
import fake_socket as net
import faults, mip, oracle, ramdisk, time
from binascii import hexlify
from hashlib import sha256

mip.print = lambda *words: None
ramdisk.mount("fat")
os.chdir("/ram")
sleeps = []
in_slices = getattr(mip, "_wait", None)  # the small build does not wait


def wait(seconds, poll=None):
    # What is waited for a network in memory never comes by itself.
    if poll:
        return in_slices(seconds, poll)
    sleeps.append(seconds)


mip._wait = wait


def package(source, edition):
    # The pages of a package of two files, {path: content}, and what it is to be installed as.
    files = {
        "a.py": faults.content("a.py", edition, 300),
        "d/b.py": faults.content("d/b.py", edition, 700),
    }
    pages = {}
    entries = []
    for path, data in files.items():
        if source == "index":
            sha = hexlify(sha256(data).digest()).decode()[:8]
            entries.append('["%s", "%s"]' % (path, sha))
            pages["/file/%s/%s" % (sha[:2], sha)] = data
        else:
            entries.append('["%s", "%s"]' % (path, path))
            pages["/p/" + path] = data
    key = "hashes" if source == "index" else "urls"
    text = '{"v": 1, "version": "%d", "%s": [%s]}' % (edition, key, ", ".join(entries))
    pages["/package/py/p/latest.json" if source == "index" else "/p/package.json"] = text.encode()
    return pages


def install(source):
    # "done", or the exception.
    net.requests.clear()
    sleeps.clear()
    try:
        name = "p" if source == "index" else "http://index/p/package.json"
        mip.install(name, "http://index", "lib", mpy=False)
    except Exception as error:
        return error
    return "done"


def look():
    return faults.walk(".")


def restore(tree):
    there = look()
    if there != tree:
        for path in sorted(there, reverse=True):
            if path not in tree:
                (os.rmdir if there[path] is None else os.remove)(path)
        for path in sorted(tree):
            if path not in there or tree[path] is not None:
                faults.write(path, tree[path])


def page(pages, path, framing="length", keep=True):
    if path in pages:
        return net.frame(pages[path], framing, keep)
    return net.frame(b"", "length", keep, b"404 Not Found")


def states(source):
    # What the board has with edition 1, what with edition 2, and the pages of edition 2.
    trees = []
    for edition in (1, 2):
        pages = package(source, edition)
        net.serve = lambda host, path: page(pages, path)
        assert install(source) == "done"
        trees.append(look())
    restore(trees[0])
    return trees[0], trees[1], pages


findings = oracle.Findings()


def check(place, outcome, old, new, wanted):
    # What is wrong with the end of an installation; `wanted` are the outcomes that may be.
    problems = []
    tree = look()
    if net.opened:
        problems.append("%d sockets are open" % net.opened)
    if outcome == "done":
        if tree != new:
            problems.append("done with a wrong file")
        elif "done" not in wanted:
            problems.append("done")
    else:
        if not isinstance(outcome, mip.InstallError):
            problems.append("another exception: %r" % outcome)
        elif "refused" not in wanted:
            problems.append("refused: %s" % outcome)
        if tree != old:
            problems.append("a torn file" if [
                path for path in tree
                if tree[path] not in (old.get(path), new.get(path))
            ] else "not what was there before")
    findings.add(place, problems)
    return tree
"""

# The connection is cut after every byte; where it is cut at each attempt, which takes four times
# as long, after every third.
CUTS = (
    START
    + """
source, framing = sys.argv[1:3]
keep, lasting = [word == "True" for word in sys.argv[3:]]
old, new, pages = states(source)
cut = None  # (path, byte)
struck = 0


def serve(host, path):
    global struck
    answer = page(pages, path, framing, keep)
    if cut and path == cut[0] and (lasting or not struck):
        struck += 1
        answer.data = answer.data[: cut[1]]
        answer.end = True
    return answer


net.reset()
net.serve = serve
check("without a fault", install(source), old, new, ["done"])
assert net.connections == (1 if keep else 3), net.connections
urls = [path for host, path in net.requests]
for url in urls:
    data = page(pages, url, framing, keep).data
    body = data.find(b"\\r\\n\\r\\n") + 4
    for n in range(0, len(data), 3 if lasting else 1):
        cut = url, n
        struck = 0
        restore(old)
        net.reset()
        findings.count("cuts")
        outcome = install(source)
        # Where the end of the connection is the end of the body, no one can tell.
        silent = framing == "close" and n >= body
        if silent and source == "urls" and not url.endswith(".json") and outcome == "done":
            findings.count("not to be told from whole")
            name = "lib" + url[2:]
            if look()[name] != pages[url][: n - body] or net.opened:
                findings.add(cut, ["not what came"])
        else:
            wanted = ["refused"] if lasting else ["done", "refused"] if silent else ["done"]
            check(cut, outcome, old, new, wanted)
        if max([net.requests.count(request) for request in net.requests]) > 5:
            findings.add(cut, ["more than 5 requests"])
        if outcome != "done":
            findings.count("refused")
            cut = None
            net.reset()
            check((url, n, "again"), install(source), old, new, ["done"])
findings.show()
"""
)

# An error at every call of a socket.
ERRNO = (
    START
    + """
old, new, pages = states("index")
number, lasting = int(sys.argv[1]), sys.argv[2] == "True"
net.serve = lambda host, path: page(pages, path, "chunked")
at = 0
while True:
    at += 1
    restore(old)
    net.reset()
    net.fault = faults.Fault(at, OSError(number), lasting, ("connect", "write", "read"))
    outcome = install("index")
    if not net.fault.struck:
        break
    findings.count("errors")
    check(at, outcome, old, new, ["refused", "done"] if lasting else ["done"])
    if lasting and outcome == "done":
        findings.count("asked whether there is more")
    # What is done with is not an error when it is only asked whether there is more.
    if lasting and outcome != "done" and str(number) not in str(outcome):
        findings.add(at, ["without the number: %s" % outcome])
    net.fault = None
    check("again", install("index"), old, new, ["done"])
check("never", outcome, old, new, ["done"])
findings.show()
"""
)

# One page answers as argv says, for so many requests; prints [outcome, requests for that page,
# the waits, bytes read], and what is wrong.
ANSWERS = (
    START
    + """
import json
source = sys.argv[1]
old, new, pages = states(source)
rows = CASES
for name, which, data, end, more, times in rows:
    urls = [path for path in pages]
    url = ([u for u in urls if u.endswith(".json")] + [u for u in urls if "json" not in u])[which]
    left = times

    def serve(host, path):
        global left
        if path == url and left:
            left -= 1
            return net.Answer(data, end, more)
        return page(pages, path)

    restore(old)
    net.reset()
    net.serve = serve
    outcome = install(source)
    check(name, outcome, old, new, ["done", "refused"])
    asked = net.requests.count(("index", url))
    print(json.dumps([name, str(outcome), asked, sleeps, net.handed]))
    if outcome != "done":
        left = 0
        net.reset()
        check("again", install(source), old, new, ["done"])
findings.show()
"""
)

# Gets two URLs from one server with a session; the first answer is as the row says. Prints both:
# [status, body] or the name of the exception.
SESSION = """
import fake_socket as net
import json, mip

def get(session, path):
    buf = bytearray(64)
    try:
        answer = session.get("http://host/" + path)
        try:
            body = b""
            while len(body) < 100000:
                n = answer.raw.readinto(buf)
                if not n:
                    break
                body += buf[:n]
        finally:
            answer.close()
        return [answer.status_code, body.decode()]
    except (OSError, ValueError) as error:
        return "refused"
    except Exception as error:
        return repr(error)

for data, end, more in CASES:
    for piece in (1, 1000):
        net.reset()
        net.piece = piece
        net.serve = lambda host, path: (
            net.Answer(data, end, more) if path == "/first" else net.frame(b"second", "length")
        )
        session = mip.Session()
        outcome = [get(session, "first"), get(session, "second")]
        session.close()
        print(json.dumps(outcome + [net.opened, net.handed]))
"""


def sweep(device, program, *args):
    """Run a sweep; return its lines, its counts, and what it found wrong."""
    result = device.run(program, *args, heap="512k", timeout=300, check=True)
    *lines, last = result.lines
    counts, problems = json.loads(last.removeprefix("## "))
    return [json.loads(line) for line in lines], counts, problems


def answers(device, source, rows):
    """{name: [outcome, requests, waits, bytes read]} for the rows of ANSWERS."""
    lines, _, problems = sweep(device, ANSWERS.replace("CASES", repr(rows)), source)
    assert problems == {}
    return {line[0]: line[1:] for line in lines}


def sessions(device, rows):
    """For each row [first, second, open sockets, bytes], by reads of one byte and of all."""
    lines = device.run(SESSION.replace("CASES", repr(rows)), heap="4m", check=True).lines
    outcomes = [json.loads(line) for line in lines]
    assert len(outcomes) == 2 * len(rows)
    return list(zip(outcomes[::2], outcomes[1::2], strict=True))


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("name", SWEEPS)
@pytest.mark.parametrize("source", SOURCES)
def test_a_connection_cut_after_any_byte(device, figures, source, name, lasting):
    """A cut connection ends in the right files, or in InstallError and what was there before."""
    framing, keep = SWEEPS[name]
    _, counts, problems = sweep(device, CUTS, source, framing, keep, lasting)
    silent = counts.get("not to be told from whole", 0)
    figures("network: cut points", counts["cuts"])
    figures("network: cut bodies without length or hash", silent)
    for text in ("done with a wrong file", "a torn file"):
        figures("network: " + text, problems.get(text, [0])[0])
    others = [found[0] for text, found in problems.items() if text.startswith("another")]
    figures("network: other exceptions", sum(others))
    assert problems == {}
    assert counts["cuts"] > (300 if lasting else 1000)
    assert bool(silent) == (framing == "close" and source == "urls")
    assert bool(counts.get("refused")) == (lasting or framing == "close")


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("number", [103, 104, 105, 110, 113, 118, 128])
def test_an_error_at_any_call_of_a_socket(device, figures, number, lasting):
    """An error of a connection is retried, and one that stays is named by its number."""
    _, counts, problems = sweep(device, ERRNO, number, lasting)
    figures("network: errors of sockets", counts["errors"])
    assert problems == {}
    assert counts["errors"] > 20
    assert counts.get("asked whether there is more", 0) == lasting


def reply(status, headers="", body="x"):
    """An answer as bytes."""
    text = f"HTTP/1.1 {status} Reason\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}"
    return text.encode()


PASSING = (429, 500, 502, 503, 504)
FINAL = (204, 206, 226, 301, 302, 304, 400, 401, 403, 404, 410, 418, 501, 505)


@pytest.mark.parametrize("which", [0, 2], ids=["document", "file"])
@pytest.mark.parametrize("status", PASSING)
def test_a_busy_server_is_asked_again(device, status, which):
    """429, 500, 502, 503 and 504 are retried with growing waits, and a few times only."""
    data = reply(status)
    found = answers(
        device, "index", [("once", which, data, False, b"", 1), ("ever", which, data, 0, b"", -1)]
    )
    assert found["once"][:2] == ["done", 2]
    outcome, asked, waits, _ = found["ever"]
    assert str(status) in outcome
    assert 3 <= asked <= 5 and len(waits) == asked - 1
    assert waits == sorted(set(waits))


@pytest.mark.parametrize("which", [0, 2], ids=["document", "file"])
def test_an_answer_that_is_final_is_not_asked_for_again(device, which):
    """Any other status than 200 and those that pass is asked for once, and names itself."""
    rows = [(str(s), which, reply(s), False, b"", -1) for s in FINAL if s not in (204, 304)]
    rows += [(str(s), which, b"HTTP/1.1 %d No\r\n\r\n" % s, True, b"", -1) for s in (204, 304)]
    found = answers(device, "index", rows)
    assert len(found) == len(FINAL)
    for status, (outcome, asked, waits, _) in found.items():
        assert outcome != "done", status
        assert ("not found" if status in ("404", "410") else status) in outcome
        assert (asked, waits) == (1, []), status


# Value: the wait that follows. 1 is mip's own first wait.
RETRY_AFTER = {
    "7": 7,
    "60": 60,
    "61": 60,
    "999999": 60,
    "1" + "0" * 30: 60,
    "0": 1,
    "-5": 1,
    "+5": 1,
    "": 1,
    "soon": 1,
    "1.5": 1,
    "5, 6": 1,
    "0x10": 1,
    "Wed, 21 Oct 2026 07:28:00 GMT": 1,
}


def test_retry_after(device):
    """Retry-After is a number of seconds, honoured up to a minute; anything else is ignored."""
    rows = [
        (value, 1, reply(503, f"Retry-After: {value}\r\n"), False, b"", 1) for value in RETRY_AFTER
    ]
    found = answers(device, "index", rows)
    waits = {value: outcome[2] for value, outcome in found.items()}
    assert waits == {value: [wait] for value, wait in RETRY_AFTER.items()}
    assert {outcome[0] for outcome in found.values()} == {"done"}


def test_a_wrong_content_is_asked_for_twice_at_most(device):
    """A file with another hash than the index says is refused, after two requests at most."""
    rows = [
        ("same length", 1, reply(200, "", "x" * 300), False, b"", -1),
        ("a web page", 1, reply(200, "", "<html>log in</html>"), False, b"", -1),
        ("empty", 1, reply(200, "", ""), False, b"", -1),
    ]
    for name, (outcome, asked, _, _) in answers(device, "index", rows).items():
        assert outcome != "done", name
        assert asked <= 2, name


def test_a_web_page_for_a_document_is_refused(device):
    """A web page where package.json should be is called a web page."""
    rows = [("page", 0, reply(200, "", "<!DOCTYPE html><html></html>"), False, b"", -1)]
    assert "web page" in answers(device, "index", rows)["page"][0]


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"

# What a server sends without end: (first bytes, bytes repeated).
ENDLESS = {
    "status line": (b"HTTP/1.1 200 ", b"O" * 4096),
    "header line": (OK + b"X: ", b"x" * 4096),
    "header lines": (OK, b"X: y\r\n" * 500),
    "long header lines": (OK, b"X: " + b"y" * 2000 + b"\r\n"),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "103 with headers": (b"", b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" * 100),
    "empty lines first": (b"", b"\r\n" * 1000),
    "chunk size": (CHUNKED, b"1" * 4096),
    "chunk extension": (CHUNKED + b"1;", b"x" * 4096),
    "trailers": (CHUNKED + b"1\r\nx\r\n0\r\n", b"X: y\r\n" * 500),
    "trailer line": (CHUNKED + b"1\r\nx\r\n0\r\nX: ", b"y" * 4096),
    "tiny chunks of a document": (CHUNKED, b"1\r\n{\r\n" * 500),
    "body without length": (OK + b"\r\n", b" " * 4096),
    "body in chunks": (CHUNKED, b"400\r\n" + b" " * 1024 + b"\r\n"),
    "body of 10^30 bytes": (OK + b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\n", b" " * 4096),
}
# The most bytes that are read of an endless head, and of an endless document.
MOST_OF_A_HEAD = 4 * 128 * 1024
MOST_OF_A_DOCUMENT = 4 * 1200 * 1024


def test_what_is_endless_is_not_read_for_ever(device):
    """An endless answer for a document is refused, and a limited part of it is read."""
    rows = [(name, 0, data, False, more, -1) for name, (data, more) in ENDLESS.items()]
    for name, (outcome, asked, _, handed) in answers(device, "index", rows).items():
        assert outcome != "done", name
        assert asked <= 4, name
        assert handed < (MOST_OF_A_DOCUMENT if "body" in name else MOST_OF_A_HEAD), name


# On a small disk: a file that is larger, by what it is framed with.
FULL = (
    START
    + """
import json
for data, more in CASES:
    net.reset()
    restore({})
    before = os.statvfs("/ram")[3]
    net.serve = lambda host, path: (
        net.frame(b'{"v": 1, "urls": [["a.py", "a.py"]]}', "length")
        if path.endswith(".json") else net.Answer(data, False, more)
    )
    try:
        mip.install("http://index/p/package.json", target="/ram/lib")
        outcome = "done"
    except mip.InstallError:
        outcome = "refused"
    tree = faults.walk("/ram")
    free = os.statvfs("/ram")[3]
    print(json.dumps([outcome, sorted(tree), net.opened, before - free, len(net.requests)]))
"""
)


def test_a_body_without_end_fills_no_disk(device):
    """A file larger than the disk is refused, and what was stored of it is removed."""
    names = ["body without length", "body in chunks", "body of 10^30 bytes"]
    rows = [ENDLESS[name] for name in names]
    result = device.run(FULL.replace("CASES", repr(rows)), heap="4m", check=True)
    assert len(result.lines) == len(rows)
    for name, line in zip(names, result.lines, strict=True):
        outcome, tree, opened, used, asked = json.loads(line)
        assert (outcome, opened) == ("refused", 0), name
        assert set(tree) <= {"lib"}, name
        assert used < 10, name  # of 100s; littlefs may take some blocks for itself
        assert asked <= 2, name


REDIRECTS = """
import fake_socket as net
import json, mip

def serve(host, path):
    if (host, path) in TABLE:
        headers = "Content-Length: 0\\r\\n" + TABLE[host, path]
        return ("HTTP/1.1 302 Found\\r\\n%s\\r\\n\\r\\n" % headers).encode()
    return net.frame(("%s %s" % (host, path)).encode(), "length")

net.serve = serve
for url in URLS:
    net.reset()
    session = mip.Session()
    try:
        answer = session.get(url)
        buf = bytearray(200)
        n = answer.raw.readinto(buf)
        outcome = [answer.status_code, buf[:n].decode()]
        answer.close()
    except (OSError, ValueError) as error:
        outcome = ["refused", str(error)]
    session.close()
    print(json.dumps([outcome, net.requests, net.opened]))
"""

# Where (host, path) is redirected to: a header line.
LOCATIONS = {
    ("h", "/self"): "Location: /self",
    ("h", "/ping"): "Location: http://i/pong",
    ("i", "/pong"): "Location: http://h/ping",
    ("h", "/d/relative"): "Location: x",
    ("h", "/d/up"): "Location: ../x",
    ("h", "/absolute"): "Location: http://i/x",
    ("h", "/scheme-relative"): "Location: //i/x",
    ("h", "/case"): "LOCATION:/x",
    ("h", "/down"): "Location: http://h/x",
    ("h", "/other"): "Location: https://i/x",
    ("h", "/file"): "Location: file:///etc/passwd",
    ("h", "/none"): "X: y",
    ("h", "/query"): "Location: ?a=b",
    **{("h", f"/{n}"): f"Location: /{n - 1}" for n in range(1, 9)},
}
# URL: the answer's status and body, or "refused"; and how many requests there are at most.
FOLLOWED = {
    "http://h/self": ("refused", 6),
    "http://h/ping": ("refused", 6),
    "http://h/5": ((200, "h /0"), 6),
    "http://h/6": ("refused", 6),
    "http://h/d/relative": ((200, "h /d/x"), 2),
    "http://h/d/up": ((200, "h /x"), 2),
    "http://h/absolute": ((200, "i /x"), 2),
    "http://h/scheme-relative": ((200, "i /x"), 2),
    "http://h/case": ((200, "h /x"), 2),
    "http://h/down": ((200, "h /x"), 2),
    "https://h/down": ("refused", 1),
    "https://h/other": ((200, "i /x"), 2),
    "http://h/file": ("refused", 1),
    "http://h/none": ((302, ""), 1),
    "http://h/query": ((200, "h /query?a=b"), 2),
}


def test_redirects(device):
    """At most five redirects are followed, wherever to, but never from https to http."""
    code = REDIRECTS.replace("TABLE", repr(LOCATIONS)).replace("URLS", repr(list(FOLLOWED)))
    lines = device.run(code, check=True).lines
    assert len(lines) == len(FOLLOWED)
    for (url, (expected, most)), line in zip(FOLLOWED.items(), lines, strict=True):
        outcome, requests, opened = json.loads(line)
        got = "refused" if outcome[0] == "refused" else tuple(outcome)
        assert got == expected, url
        assert len(requests) <= most, url
        assert opened == 0, url


ADDRESSES = (
    START
    + """
import json
old, new, pages = states("index")
net.serve = lambda host, path: page(pages, path)
for addresses, dead, lost in (
    (["a", "b"], ["a"], None), (["a", "b"], ["a", "b"], None), (["b"], [], OSError(-2))
):
    net.reset()
    net.addresses, net.dead = addresses, dead
    net.fault = faults.Fault(1, lost, True, ("resolve",)) if lost else None
    outcome = install("index")
    check(str(addresses), outcome, old, new, ["done", "refused"])
    print(json.dumps([str(outcome), len(sleeps)]))
    restore(old)
findings.show()
"""
)


def test_addresses_of_a_name(device):
    """The next address is tried when one is dead, and a name that has none asks: online?"""
    lines, _, problems = sweep(device, ADDRESSES)
    assert problems == {}
    assert lines[0] == ["done", 0]
    assert "the server refused the connection" in lines[1][0]
    assert "is the board online?" in lines[2][0]
    assert lines[2][1] <= 3


EVIL = reply(200, "", "evil")
# Bytes behind an answer that is complete.
LEFT_OVER = {
    "an answer": reply(200, "", "first") + EVIL,
    "behind chunks": CHUNKED + b"5\r\nfirst\r\n0\r\n\r\n" + EVIL,
    "a line end": reply(200, "", "first") + b"\r\n",
    "one byte": reply(200, "", "first") + b"H",
    "more body": reply(200, "", "first") + b" and more",
}


@pytest.mark.parametrize("end", [False, True], ids=["open", "closed"])
def test_bytes_behind_an_answer_are_not_the_next_one(device, end):
    """Bytes behind an answer are neither part of it nor of the next one."""
    rows = [(data, end, b"") for data in LEFT_OVER.values()]
    for name, outcomes in zip(LEFT_OVER, sessions(device, rows), strict=True):
        for outcome in outcomes:
            assert outcome[:3] == [[200, "first"], [200, "second"], 0], name


def head(*lines):
    """The head of an answer with these header lines."""
    return OK + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def chunked(body, *lines):
    """An answer in chunks, `body` with the chunks' own lines."""
    return head(b"Transfer-Encoding: chunked", *lines) + body


REFUSED = "refused"
# What a server sends, after which it closes the connection: the body, or "refused".
FRAMINGS = {
    # Bounded like the head.
    "a long trailer": (
        chunked(b"5\r\nfirst\r\n0\r\nX:" + b"y" * 1022 + b"\r\n\r\n"),
        "first",
    ),
    "a trailer of 20,000 bytes": (
        chunked(b"5\r\nfirst\r\n0\r\nX:" + b"y" * 20000 + b"\r\n\r\n"),
        REFUSED,
    ),
    # Rows 17 and 4: lengths.
    "negative length": (head(b"Content-Length: -5") + b"first", REFUSED),
    "length with a plus": (head(b"Content-Length: +5") + b"first", REFUSED),
    "two lengths in one": (head(b"Content-Length: 5, 5") + b"first", REFUSED),
    "hexadecimal length": (head(b"Content-Length: 0x5") + b"first", REFUSED),
    "length with underscore": (head(b"Content-Length: 1_0") + b"first12345", REFUSED),
    "empty length": (head(b"Content-Length:") + b"first", REFUSED),
    "no number": (head(b"Content-Length: five") + b"first", REFUSED),
    "a fraction": (head(b"Content-Length: 5.0") + b"first", REFUSED),
    "inner space": (head(b"Content-Length: 5 5") + b"first", REFUSED),
    "too long a length": (head(b"Content-Length: 6") + b"first", REFUSED),
    "huge length": (head(b"Content-Length: 1" + b"0" * 30) + b"first", REFUSED),
    "different lengths": (
        head(b"Content-Length: 5", b"Content-Length: 6") + b"first!",
        REFUSED,
    ),
    "the same length twice": (
        head(b"Content-Length: 5", b"Content-Length: 5") + b"first",
        "first",
    ),
    "leading zeros": (head(b"Content-Length: 0005") + b"first", "first"),
    "white space around": (head(b"CONTENT-LENGTH:\t 5 \t") + b"first", "first"),
    "length zero": (head(b"Content-Length: 0"), ""),
    "no length": (head() + b"first", "first"),
    # Row 18: headers.
    "header without colon": (head(b"Content-Length 5") + b"first", REFUSED),
    "long header line": (head(b"X: " + b"y" * 5000, b"Content-Length: 5") + b"first", "first"),
    "length behind a long line": (
        head(b"X: " + b"y" * 1021 + b"Content-Length: 2", b"Content-Length: 5") + b"first",
        "first",
    ),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 5\n\nfirst", "first"),
    "long Content-Length": (head(b"Content-Length: " + b"0" * 1100 + b"5") + b"first", REFUSED),
    "long Transfer-Encoding": (
        head(b"Transfer-Encoding: chunked" + b" " * 1100) + b"5\r\nfirst\r\n0\r\n\r\n",
        REFUSED,
    ),
    "2,000 headers": (head(*[b"X: y"] * 2000, b"Content-Length: 5") + b"first", "first"),
    "3,000 headers": (head(*[b"X: y"] * 3000, b"Content-Length: 5") + b"first", REFUSED),
    "end in the headers": (OK + b"Content-Length: 5\r\n", REFUSED),
    "end in a header line": (OK + b"Content-Le", REFUSED),
    # Row 19: status lines.
    "nothing": (b"", REFUSED),
    "TLS": (b"\x15\x03\x01\x00\x02\x02\x46", REFUSED),
    "TLS and a line end": (b"\x15\x03\x01\x00\x02\x02\x46\n\n", REFUSED),
    "ICY": (b"ICY 200 OK\r\n\r\nfirst", REFUSED),
    "HTTP/2": (b"HTTP/2 200 OK\r\n\r\nfirst", REFUSED),
    "HTTP/0.9": (b"first", REFUSED),
    "HTTP/0.9 with a line": (b"first\nsecond\n\n", REFUSED),
    "no status": (b"HTTP/1.1\r\n\r\nfirst", REFUSED),
    "status in letters": (b"HTTP/1.1 abc OK\r\n\r\nfirst", REFUSED),
    "negative status": (b"HTTP/1.1 -200 OK\r\n\r\nfirst", REFUSED),
    "status with a plus": (b"HTTP/1.1 +200 OK\r\n\r\nfirst", REFUSED),
    "status with underscore": (b"HTTP/1.1 2_00 OK\r\n\r\nfirst", REFUSED),
    "no reason": (b"HTTP/1.1 200\r\n\r\nfirst", "first"),
    "HTTP/1.0 with length": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nfirst", "first"),
    "100 first": (b"HTTP/1.1 100 Continue\r\n\r\n" + reply(200, "", "first"), "first"),
    "103 with headers first": (
        b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" + reply(200, "", "first"),
        "first",
    ),
    "only 100": (b"HTTP/1.1 100 Continue\r\n\r\n", REFUSED),
    # Row 20: chunks.
    "chunks": (chunked(b"2\r\nfi\r\n3\r\nrst\r\n0\r\n\r\n"), "first"),
    "upper case": (chunked(b"A\r\n0123456789\r\n0\r\n\r\n"), "0123456789"),
    "zeros before a size": (chunked(b"0005\r\nfirst\r\n000\r\n\r\n"), "first"),
    "extensions": (chunked(b'5;a;b="c"\r\nfirst\r\n0;d\r\n\r\n'), "first"),
    "trailers": (chunked(b"5\r\nfirst\r\n0\r\nX: y\r\nContent-Length: 1\r\n\r\n"), "first"),
    "no chunk": (chunked(b"0\r\n\r\n"), ""),
    "not hexadecimal": (chunked(b"5g\r\nfirst\r\n0\r\n\r\n"), REFUSED),
    "negative size": (chunked(b"-5\r\nfirst\r\n0\r\n\r\n"), REFUSED),
    "size with a plus": (chunked(b"+5\r\nfirst\r\n0\r\n\r\n"), REFUSED),
    "size with 0x": (chunked(b"0x5\r\nfirst\r\n0\r\n\r\n"), REFUSED),
    "size with underscore": (chunked(b"0_5\r\nfirst\r\n0\r\n\r\n"), REFUSED),
    "no size": (chunked(b"\r\nfirst\r\n0\r\n\r\n"), REFUSED),
    "no size but extension": (chunked(b";a\r\nfirst\r\n0\r\n\r\n"), REFUSED),
    "no line end behind data": (chunked(b"5\r\nfirst0\r\n\r\n"), REFUSED),
    "a longer chunk": (chunked(b"5\r\nfirst!\r\n0\r\n\r\n"), REFUSED),
    "a shorter chunk": (chunked(b"6\r\nfirst\r\n0\r\n\r\n"), REFUSED),
    "oversize line": (chunked(b"0" * 1500 + b"5\r\nfirst\r\n0\r\n\r\n"), REFUSED),
    "long extension": (chunked(b"5;" + b"x" * 1022 + b"\r\nfirst\r\n0\r\n\r\n"), "first"),
    "size behind a long extension": (
        chunked(b"5;" + b"x" * 1022 + b"first\r\n0\r\n\r\n" + b"\r\nfirst\r\n0\r\n\r\n"),
        REFUSED,
    ),
    "oversize extension": (
        chunked(b"5;" + b"x" * 20000 + b"\r\nfirst\r\n0\r\n\r\n"),
        REFUSED,
    ),
    "no final chunk": (chunked(b"5\r\nfirst\r\n"), REFUSED),
    "no end of the final chunk": (chunked(b"5\r\nfirst\r\n0\r\n"), REFUSED),
    "end in the trailers": (chunked(b"5\r\nfirst\r\n0\r\nX: y\r\n"), REFUSED),
    "huge chunk": (chunked(b"f" * 30 + b"\r\nfirst\r\n0\r\n\r\n"), REFUSED),
    "gzip, chunked": (
        head(b"Transfer-Encoding: gzip, chunked") + b"5\r\nfirst\r\n0\r\n\r\n",
        REFUSED,
    ),
    "unknown coding": (head(b"Transfer-Encoding: identity") + b"first", REFUSED),
    "chunked twice": (
        chunked(b"5\r\nfirst\r\n0\r\n\r\n", b"Transfer-Encoding: gzip"),
        REFUSED,
    ),
    # Row 21.
    "gzip": (head(b"Content-Encoding: gzip", b"Content-Length: 5") + b"first", REFUSED),
    "br": (head(b"Content-Encoding: br", b"Content-Length: 5") + b"first", REFUSED),
    "identity": (head(b"Content-Encoding: identity", b"Content-Length: 5") + b"first", "first"),
}
# Here the framing is open to opinion: refused, or this body.
EITHER = {
    "chunked and a length": (
        chunked(b"5\r\nfirst\r\n0\r\n\r\n", b"Content-Length: 5"),
        "first",
    ),
    "a length and chunked": (
        head(b"Content-Length: 3", b"Transfer-Encoding: chunked") + b"5\r\nfirst\r\n0\r\n\r\n",
        "first",
    ),
    "folded header": (head(b"X: a", b" b", b"Content-Length: 5") + b"first", "first"),
    "folded header with a colon": (
        head(b"X: a", b" Content-Length: 2", b"Content-Length: 5") + b"first",
        "first",
    ),
    "NUL in a header": (head(b"X: a\0b", b"Content-Length: 5") + b"first", "first"),
    "NUL in a name": (head(b"X\0: ab", b"Content-Length: 5") + b"first", "first"),
    "space before the colon": (head(b"Content-Length : 5") + b"first", "first"),
    "empty lines first": (b"\r\n" + reply(200, "", "first"), "first"),
}


@pytest.mark.parametrize("end", [False, True], ids=["open", "closed"])
def test_framing(device, end):
    """A hostile framing is refused, a valid one exact, and the next answer is the next one."""
    rows = [(data, end, b"") for data, _ in (FRAMINGS | EITHER).values()]
    problems = []
    for name, outcomes in zip(FRAMINGS | EITHER, sessions(device, rows), strict=True):
        for first, second, opened, _ in outcomes:
            expected = (FRAMINGS | EITHER)[name][1]
            if name == "no length" or name in ("no reason",):
                expected = expected if end else REFUSED  # else it is silent until the time-out
            wanted = [expected] if expected == REFUSED else [[200, expected]]
            wanted += [REFUSED] if name in EITHER else []
            if first not in wanted or second != [200, "second"] or opened:
                problems.append((name, first, second, opened))
    assert problems == []


def test_framing_cut_after_any_byte(device, figures):
    """An answer in chunks or with a length that is cut after any byte is never taken for whole."""
    names = [
        name
        for name, (data, body) in FRAMINGS.items()
        if body != REFUSED and (b"chunked" in data or b"ength" in data) and len(data) < 300
    ]
    rows, cuts = [], []
    for name in names:
        data = FRAMINGS[name][0]
        rows += [(data[:n], True, b"") for n in range(len(data))]
        cuts += [(name, n) for n in range(len(data))]
    figures("network: cut points of framings", len(cuts))
    assert len(cuts) > 500
    problems = [
        (cut, outcome)
        for cut, outcomes in zip(cuts, sessions(device, rows), strict=True)
        for outcome in outcomes
        if outcome[:3] != [REFUSED, [200, "second"], 0]
    ]
    assert problems == []


DYING = (
    START
    + """
import json
source = "index"
old, new, pages = states(source)
for at in range(1, 4):
    for how in ("end before", "end after", "half a status line", "reset"):
        number = 0

        def serve(host, path):
            global number
            number += 1
            answer = page(pages, path)
            if number == at:
                if how == "end before":
                    answer.end = True  # behind the answer, though it says nothing of it
                elif how == "end after":
                    return net.Answer(b"", True)
                elif how == "half a status line":
                    return net.Answer(b"HTTP/1.", True)
                elif how == "reset":
                    raise OSError(104)
            return answer

        restore(old)
        net.reset()
        net.serve = serve
        check((at, how), install(source), old, new, ["done"])
        print(json.dumps([at, how, sleeps]))
findings.show()
"""
)


def test_a_kept_connection_that_dies(device):
    """A kept connection that died before a byte of the answer came is replaced without a wait."""
    lines, _, problems = sweep(device, DYING)
    assert problems == {}
    assert len(lines) == 12
    waits = {(at, how): waits for at, how, waits in lines}
    for (at, how), slept in waits.items():
        if how == "end before" or (at > 1 and how in ("end after", "reset")):
            assert slept == [], (at, how)
        assert len(slept) <= 1, (at, how)
