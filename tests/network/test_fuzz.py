"""Whatever a server sends, mip ends with the right files or with InstallError.

The environment variable MIP_FUZZ is the number of examples of each test, 300 when it is not set.
They are the same in each run. The long run, of 10,000 each, is

    MIP_FUZZ=10000 ./tools/test tests/network/test_fuzz.py

It takes some ten minutes. Among the figures at its end are how many documents, responses and
answers there were, how many of them differed, and how each of them ended.
"""

import collections
import contextlib
import hashlib
import json
import os
import subprocess

import pytest
from device import Device, interpreter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("MIP_FUZZ", "300"))

fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

START = """
import json, os, sys
import fake_socket as net
import faults, mip, time
from binascii import hexlify, unhexlify

mip.print = lambda *words: None
time.sleep = lambda seconds: None


INDEX = {"index": "http://index", "mpy": False}


def install(package, **options):
    # [outcome, text, what is on the board, sockets that are open]; and the board is empty.
    outcome = "done"
    text = ""
    try:
        mip.install(package, target="t/u/lib", **options)
    except mip.InstallError as error:
        outcome = "refused"
        text = str(error)
    except Exception as error:
        outcome = "another exception"
        text = repr(error)
    tree = faults.walk(".")
    for path in sorted(tree, reverse=True):
        (os.rmdir if tree[path] is None else os.remove)(path)
    files = {path: hexlify(tree[path]).decode() for path in tree if tree[path] is not None}
    return [outcome, text, files, net.opened]
"""

# A line is a document in hex; it is installed. Any other URL has a content that names it.
DOCUMENTS = (
    START
    + """
CONTENTS = HASHED

for line in sys.stdin:
    document = unhexlify(line.strip())
    sent = []

    def serve(host, path):
        if (host, path) == ("index", "/d/package.json"):
            return net.frame(document, "length")
        if path == "/package/py/dep/latest.json":
            return net.frame(b'{"v": 1, "urls": [["dep.py", "/dep"]]}', "length")
        if path.endswith(".json") or path.endswith("missing"):
            return net.frame(b"", "length", True, b"404 Not Found")
        content = CONTENTS.get(path, ("content of %s %s" % (host, path)).encode())
        sent.append([host, path, hexlify(content).decode()])
        return net.frame(content, "length")

    net.reset()
    net.serve = serve
    print(json.dumps(install("http://index/d/package.json", **INDEX) + [sent]))
"""
)

# A line is, as JSON, {path: [answer in hex, whether the connection ends then]} and the most
# bytes of a read; what they make is installed.
ANSWERS = (
    START
    + """
for line in sys.stdin:
    answers, piece = json.loads(line)

    def serve(host, path):
        if path not in answers:
            return net.frame(b"", "length", True, b"404 Not Found")
        data, end = answers[path]
        return net.Answer(unhexlify(data), end)

    net.reset()
    net.serve = serve
    net.piece = piece
    print(json.dumps(install("p", **INDEX)))
"""
)

# A line is, as JSON, an answer in hex, whether the connection ends then, and the most bytes of
# a read. It comes on a connection that is used once more.
SESSIONS = """
import json, sys
import fake_socket as net
import mip
from binascii import hexlify, unhexlify

buf = bytearray(64)


def get(session, path):
    try:
        answer = session.get("http://host" + path)
        try:
            body = b""
            while True:
                n = answer.raw.readinto(buf)
                if not n:
                    return [answer.status_code, hexlify(body).decode()]
                body += buf[:n]
        finally:
            answer.close()
    except (OSError, ValueError):
        return "refused"
    except Exception as error:
        return repr(error)


for line in sys.stdin:
    data, end, piece = json.loads(line)
    data = unhexlify(data)
    net.reset()
    net.piece = piece
    net.serve = lambda host, path: (
        net.Answer(data, end) if path == "/first" else net.frame(b"second", "length")
    )
    session = mip.Session()
    outcome = [get(session, "/first"), get(session, "/second")]
    session.close()
    print(json.dumps(outcome + [net.opened]))
"""


# A line is, as JSON, a package and options as somebody types them. The network has a module or a
# package at every URL; what is installed is told, and the text of an error.
TYPED = (
    START
    + """
def serve(host, path):
    name = path.split("?")[0]
    if not name.endswith(".json"):
        return net.frame(("content of %s %s" % (host, path)).encode(), "length")
    return net.frame(b'{"v": 1, "version": "1", "urls": [["m.py", "m.py"]]}', "length")


for line in sys.stdin:
    package, options = json.loads(line)
    net.reset()
    net.serve = serve
    print(json.dumps(install(package, **options)))
"""
)


@pytest.fixture(scope="module")
def start(tmp_path_factory, module_path):
    """start(program): a function that hands a line to the program and returns its line, parsed."""
    running = []

    def start(program):
        device = Device(tmp_path_factory.mktemp("fuzz") / "device", module_path, interpreter())
        process = None

        def begin():
            process = device.start(
                program,
                heap="512k",
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                # What a document says comes back in messages, lone surrogates among it.
                errors="surrogateescape",
            )
            running.append(process)
            return process

        def ask(line):
            nonlocal process
            process = process or begin()
            tried.add(line)
            text = ""
            try:
                process.stdin.write(line + "\n")
                process.stdin.flush()
                text = process.stdout.readline()
                return json.loads(text)
            except (OSError, ValueError):
                # It broke: the next line, perhaps a smaller one that does the same, gets another.
                broken, process = process, None
                broken.terminate()
                text += broken.stdout.read()
                raise AssertionError(f"exit status {broken.wait()}\n{text}") from None

        return ask

    yield start
    for process in running:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        process.wait(timeout=10)


# Of one test: how many inputs ended in what, and the inputs, each of which is there once.
ended = collections.Counter()
tried = set()


@pytest.fixture(autouse=True)
def counted(figures):
    """Prints what became of the examples of a test at the end of the test run."""
    ended.clear()
    tried.clear()
    yield
    for (kind, end), number in ended.items():
        figures(f"fuzz: {kind}", number)
        figures(f"fuzz: {kind}: {end}", number)
    for kind in {kind for kind, _ in ended}:
        figures(f"fuzz: {kind}: different ones", len(tried))


def sha(content):
    return hashlib.sha256(content).hexdigest()


# Files of the index: what a hash in a document may mean.
CONTENTS = [b"", b"a = 1\n", b"b = 2\n" * 100, bytes(range(256)) * 3]
HASHED = {f"/file/{sha(c)[:n][:2]}/{sha(c)[:n]}": c for c in CONTENTS for n in (8, 10, 64)}


@pytest.fixture(scope="module")
def documents(start):
    return start(DOCUMENTS.replace("HASHED", repr(HASHED)))


@pytest.fixture(scope="module")
def responses(start):
    return start(ANSWERS)


@pytest.fixture(scope="module")
def typing(start):
    return start(TYPED)


@pytest.fixture(scope="module")
def session(start):
    return start(SESSIONS)


def judge(what, outcome, right):
    """Asserts that the end of an installation is a good one; `right` judges the files.

    what: "documents" or "responses", as which it is counted.
    """
    kind, text, files, opened, *sent = outcome
    assert opened == 0
    assert kind in ("done", "refused"), text
    ended[what, "success" if kind == "done" else "InstallError"] += 1
    if kind == "refused":
        assert files == {}
        assert text and "\n" not in text
        return
    record = files.pop("t/u/lib/.mip/record")
    lines = [json.loads(line) for line in bytes.fromhex(record).splitlines()]
    named = {"t/u/lib/" + line[1]: line[2] for line in lines if line[0] == "file"}
    contents = {path: bytes.fromhex(content) for path, content in files.items()}
    assert named == {path: sha(content) for path, content in contents.items()}
    right({path.removeprefix("t/u/lib/"): content for path, content in contents.items()}, *sent)


# ---- documents -------------------------------------------------------------------------

_names = st.sampled_from(
    ["a.py", "b.py", "d/c.py", "./e.py", "d//f.py", "A.PY", "a.mpy", "d", "", "../x.py", "/y.py"]
    + ["..", ".mip/record", ".mip", "a\\b.py", "c:d.py", "n\0.py", "é.py", "x" * 256, "http://h/x"]
)
_hashes = st.one_of(
    st.sampled_from([path.rsplit("/")[-1] for path in HASHED]),
    st.sampled_from(["", "zz", "1234567", "12345678", "../../../x", "-1234567", "0x123456"]),
    st.text("0123456789abcdefABCDEF", min_size=6, max_size=66),
)
_sources = st.sampled_from(
    ["a.py", "x/y.py", "../z.py", "http://h/q.py", "https://h:1/q", "//h/s", "/root", "?q", "#f"]
    + ["github:o/r/p.py", "github:o/r", "gitlab:o/r/p@v1", "ftp://h/x", "http:", "http://h:x/y"]
    + ["missing", "a b.py", "é", "", "file:///etc/passwd", ":", "@", "mailto:x", "http://:80/"]
)
_dependencies = st.sampled_from(
    ["dep", "none", "micropython-x", "", "..", "@1", "a/../b", "github:o/r", "github:", "http://h"]
)
_good_names = st.one_of(
    st.sampled_from(["d/c.py", "./e.py", "d//f.py", "/y.py", "é.py", "x" * 255]),
    st.text("ab", min_size=1, max_size=6).map(lambda text: text + ".py"),
)
_good_hashes = st.sampled_from([path.rsplit("/")[-1] for path in HASHED])
_good_sources = st.sampled_from(
    ["a.py", "x/y.py", "../z.py", "http://h/q.py", "https://h:1/q", "//h/s", "/root", "?q", "é"]
    + ["github:o/r/p.py", "gitlab:o/r/p@v1", "a b.py"]
)
_json = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 10**12),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=5),
        _names,
    ),
    lambda values: st.one_of(
        st.lists(values, max_size=3), st.dictionaries(st.text(max_size=4), values, max_size=3)
    ),
    max_leaves=6,
)


def _or_any(values):
    """Mostly `values`, sometimes anything."""
    return st.one_of(values, values, values, _json)


def _pairs(first, second):
    return st.lists(_or_any(st.tuples(_or_any(first), _or_any(second))), max_size=4)


_wild_documents = st.fixed_dictionaries(
    {},
    optional={
        "v": st.sampled_from([1, 1, 1, 2, "1", None, 1.5, [1], True]),
        "version": _or_any(st.sampled_from(["1", "0.1", ""])),
        "hashes": _or_any(_pairs(_names, _hashes)),
        "urls": _or_any(_pairs(_names, _sources)),
        "deps": _or_any(_pairs(_dependencies, st.sampled_from(["latest", "1", "../1", "a/b"]))),
        "x": _json,
    },
)
# Such as people write: of these about half are installed.
_tame_documents = st.fixed_dictionaries(
    {"hashes": st.lists(st.tuples(_good_names, _good_hashes), max_size=3)},
    optional={
        "v": st.just(1),
        "version": st.sampled_from(["1", "0.1", ""]),
        "urls": st.lists(st.tuples(_good_names, _good_sources), max_size=3),
        "deps": st.lists(st.sampled_from(["dep", ["dep"], ["dep", "latest"]]), max_size=2),
        "x": _json,
    },
)
_documents = st.one_of(_wild_documents, _tame_documents)


@st.composite
def _mutated(draw, data):
    """The bytes with a few of them changed, removed, doubled or cut off."""
    data = draw(data) if not isinstance(data, bytes) else data
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.sampled_from([0, 1, 1, 2, 10])))
        what = draw(st.sampled_from(["insert", "remove", "double", "flip", "cut"]))
        new = data[at:end]
        if what == "insert":
            new = draw(st.one_of(st.binary(max_size=3), st.sampled_from(TOKENS)))
        elif what == "remove":
            new = b""
        elif what == "double":
            new += new
        elif what == "flip":
            new = bytes(c ^ 1 << draw(st.integers(0, 7)) for c in new[:1]) + new[1:]
        data = data[:at] + new + (b"" if what == "cut" else data[end:])
    return data


TOKENS = [
    b'"',
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b":",
    b"\\",
    b"\\u00",
    b"null",
    b"\xff",
    b"\xef\xbb\xbf",
]
TOKENS += [
    b"\r\n",
    b"\r\n\r\n",
    b"0",
    b"-",
    b"+",
    b"9",
    b"f",
    b" ",
    b"\0",
    b";",
    b"HTTP/1.1 200 OK\r\n",
]


def right_documents(files, sent):
    """Each file is, whole, something that was served."""
    served = {bytes.fromhex(content) for _, _, content in sent}
    for path, content in files.items():
        assert content in served or content in CONTENTS, path
        assert ".." not in path.split("/")


@fuzz
@given(_documents)
def test_any_document_is_installed_or_refused(documents, document):
    """Whatever package.json says, the files are those it names, or it is an InstallError."""

    def right(files, sent):
        right_documents(files, sent)
        wanted = set()
        digits = {}
        needed = set()
        for key, value in document.items():
            if key in ("hashes", "urls"):
                for path, source, *_ in value:
                    path = "/".join(p for p in path.split("/") if p not in ("", "."))
                    wanted.add(path)
                    # Of a path that is there twice it is the last entry.
                    digits[path] = source.lower() if key == "hashes" else ""
            if key == "deps":
                # What is named like a file is one, of the same place as the document.
                names = [dep if isinstance(dep, str) else dep[0] for dep in value]
                needed |= {name.split("@")[0].rsplit("/")[-1] for name in names}
                wanted |= {name for name in needed if name.endswith((".py", ".mpy"))}
        assert wanted == set(files) - {"dep.py"}
        # Of two packages that have one path it is the later one's: what is needed comes later.
        for path in set(digits) - needed:
            assert sha(files[path]).startswith(digits[path])
        assert document.get("v", 1) == 1

    judge("documents", documents(json.dumps(document).encode().hex()), right)


@fuzz
@given(_mutated(_documents.map(lambda document: json.dumps(document).encode())))
def test_any_damaged_document_is_installed_or_refused(documents, text):
    """Whatever is damaged in a package.json, it is whole files or an InstallError."""
    judge("documents", documents(text.hex()), right_documents)


@fuzz
@given(
    st.one_of(st.binary(max_size=200), st.text('{}[]",:v1urls \\n', max_size=60).map(str.encode))
)
def test_any_bytes_are_installed_or_refused(documents, text):
    """Whatever bytes are in place of a package.json, it is whole files or an InstallError."""
    judge("documents", documents(text.hex()), right_documents)


# ---- responses -------------------------------------------------------------------------

FILES = {"a.py": b"a = 1\n" * 20, "d/b.py": b"b = 2\n" * 60}
PAGES = {f"/file/{sha(c)[:2]}/{sha(c)[:8]}": c for c in FILES.values()}
DOCUMENT = json.dumps({"v": 1, "hashes": [[p, sha(c)[:8]] for p, c in FILES.items()]}).encode()
DOCUMENT_PATH = "/package/py/p/latest.json"

_lines = st.sampled_from(
    [b"Server: x", b"content-type:text/plain", b"X-Empty:", b"Connection: keep-alive", b"ETag: :"]
    + [b"Retry-After: 5", b"Content-Encoding: identity", b"X: " + b"y" * 1500, b"Location: /x"]
)


@st.composite
def _answers(draw, body):
    """An answer with this body in any valid framing: its head and body, and whether it ends."""
    lines = draw(st.lists(_lines, max_size=4))
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    end = framing == "close"
    if framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif framing == "chunked":
        lines.append(
            draw(st.sampled_from([b"Transfer-Encoding: chunked", b"TRANSFER-ENCODING:Chunked"]))
        )
        text = b""
        while body:
            size = draw(st.integers(1, len(body)))
            extension = draw(st.sampled_from([b"", b";a", b';a="b;c"', b" "]))
            text += b"%x%s\r\n%s\r\n" % (size, extension, body[:size])
            body = body[size:]
        body = text + b"0\r\n" + draw(st.sampled_from([b"", b"X: y\r\n"])) + b"\r\n"
    if end or draw(st.booleans()):
        lines.append(b"Connection: close")
        end = True
    lines = draw(st.permutations(lines))
    early = draw(st.sampled_from([b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
    status = draw(st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.0 200 OK"]))
    return early + b"\r\n".join([status, *lines, b"", b""]), body, end


_pieces = st.sampled_from([1, 7, 64, 100000])


@fuzz
@given(st.data(), st.binary(max_size=300), _pieces)
def test_any_valid_answer_is_exact(session, data, body, piece):
    """Whatever the valid framing of a body, the session reads exactly that body."""
    head, text, end = data.draw(_answers(body))
    outcome = session(json.dumps([(head + text).hex(), end, piece]))
    ended["answers", "read"] += 1
    second = [200, b"second".hex()]
    assert outcome == [[200, body.hex()], second, 0]


@fuzz
@given(st.data(), st.booleans(), _pieces)
def test_any_answer_is_read_or_refused(session, data, end, piece):
    """Whatever a server sends, it is an answer, OSError or ValueError; and so is the next one."""
    answers = _answers(b"first body").map(lambda answer: answer[0] + answer[1])
    answer = data.draw(st.one_of(_mutated(answers), st.binary(max_size=100)))
    first, second, opened = session(json.dumps([answer.hex(), end, piece]))
    assert opened == 0
    ended["answers", "refused" if first == "refused" else "read"] += 1
    if first != "refused":
        status, body = first
        assert isinstance(status, int)
        assert len(body) // 2 <= len(answer)
    # A redirect, damaged or not, may lead anywhere: here to the second answer.
    assert second == [200, b"second".hex()]


@fuzz
@given(st.data(), _pieces)
def test_any_damaged_answer_is_installed_or_refused(responses, data, piece):
    """Whatever is damaged in the answers of an index, it is the right files or InstallError."""
    answers = {}
    damaged = data.draw(st.sets(st.sampled_from([DOCUMENT_PATH, *PAGES]), min_size=1))
    for path, body in {DOCUMENT_PATH: DOCUMENT, **PAGES}.items():
        head, text, end = data.draw(_answers(body))
        if path in damaged:
            # A document has no hash, so of its answer only the head is damaged.
            head = data.draw(_mutated(head))
            if path != DOCUMENT_PATH and data.draw(st.booleans()):
                text = data.draw(_mutated(text))
        answers[path] = [(head + text).hex(), end]

    def right(files):
        assert files == FILES

    judge("responses", responses(json.dumps([answers, piece])), right)


# ---- what is typed -----------------------------------------------------------------------

# Parts of which what people type is made, right and wrong.
_words = st.sampled_from(
    [
        "aioble",
        "AIOBLE",
        "umqtt.simple",
        "org/repo",
        "github:",
        "GitHub:",
        "gitlab:",
        "codeberg:",
        "pypi:",
        "fs:",
        "http://",
        "https://",
        "HTTPS://",
        "ftp://",
        "github.com/",
        "gitlab.com/",
        "codeberg.org/",
        "example.org",
        "example.org:80",
        ":x",
        "user@",
        "[::1]",
        "/tree/",
        "/blob/",
        "/-/tree/",
        "/src/branch/",
        "main",
        "v1",
        ".git",
        ".zip",
        ".py",
        ".mpy",
        "package.json",
        "/",
        "//",
        ".",
        "..",
        "./",
        "../",
        "@",
        "@1.0",
        "==",
        ">=",
        "~",
        "^",
        "<",
        ",",
        "#",
        "?",
        "?token=T",
        "%20",
        "~",
        "*",
        '"',
        ":",
        "\\",
        "#sha256=",
        "#sha256=00",
        "{MPY_ARCH}",
        "latest",
        "HEAD",
        "-",
        ".mip",
        "lib",
    ]
    + [" ", "", "\n", "\t", "\0", "\x1b", "\xe9", "\u20ac", "#sha256=" + "0" * 64]
)
_texts = st.one_of(
    st.lists(_words, max_size=6).map("".join),
    st.text(st.characters(max_codepoint=0xD7FF), max_size=12),
)
_anything = st.one_of(
    _texts,
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.just(1.5),
    st.lists(_texts, max_size=3),
)
_options = st.fixed_dictionaries(
    {},
    optional={
        "version": st.one_of(_texts, st.none(), st.integers(0, 2), st.just(1.5)),
        "index": st.one_of(st.none(), _texts, st.lists(_texts, max_size=2)),
        "mpy": st.booleans(),
        "deps": st.booleans(),
    },
)

# Words of Python, not of mip. (mip quotes what was typed, which may have them.)
PYTHON = ("NoneType", "object", "unpack", "index out of", "argument", "Error '", "codec", "iter")


@fuzz
@given(st.one_of(_texts, _texts, _anything), _options)
def test_anything_typed_is_installed_or_refused(typing, package, options):
    """Whatever is typed, it is a tree below the target, or InstallError in mip's own words."""
    call = json.dumps([package, options])
    kind, text, files, opened = typing(call)
    assert opened == 0
    assert kind in ("done", "refused"), text
    ended["typed", "success" if kind == "done" else "InstallError"] += 1
    if kind == "refused":
        assert files == {}
        assert text and "\n" not in text
        for word in PYTHON:
            assert word not in text or word in call, text
    else:
        record = bytes.fromhex(files.pop("t/u/lib/.mip/record")).decode()
        lines = [json.loads(line) for line in record.split("\n")[:-1]]
        assert set(files) == {"t/u/lib/" + line[1] for line in lines if line[0] == "file"}
        assert "token=T" not in record
