"""What package.json says, and who needs whom: it is installed as it says, or one InstallError.

mip runs on a network in memory, tests/helpers/device_modules/fake_socket.py.
"""

import copy
import json
from urllib.parse import urljoin, urlsplit

import jsonschema
import pytest
from internet import sha256, tree

# Installs the packages of a file, the first argument: a list of [name, {path: page in hex}], each
# onto an empty board with the file system that is the second argument. Prints how each ended, in
# hex: [outcome, text of the error, {path: content in hex}, sockets that are open, paths that were
# asked for, lines that were printed].
INSTALL = """
import json, os, sys
import fake_socket as net
import faults, mip, ramdisk
from binascii import hexlify, unhexlify

said = []
mip.print = lambda *words: said.append(" ".join([str(word) for word in words]))
with open(sys.argv[1]) as file:
    cases = json.load(file)
ramdisk.mount(sys.argv[2], 2000)
os.chdir("/ram")


def serve(host, path):
    if path in pages:
        return net.frame(unhexlify(pages[path]), "length")
    return net.frame(b"", "length", True, b"404 Not Found")


net.serve = serve
for name, pages in cases:
    net.reset()
    said.clear()
    outcome = "installed"
    text = ""
    try:
        mip.install(name, "http://index", "t/lib", mpy=False)
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
    asked = [path for host, path in net.requests]
    line = json.dumps([outcome, text, files, net.opened, asked, said])
    print(hexlify(line.encode()).decode())  # there may be lone surrogates in it
"""

URL = "http://index/d/package.json"
PATH = "/d/package.json"


class Ending:
    """How an installation ended.

    outcome: "installed", "refused", or what no call may end with. text: of the error.
    files: {path: content} of what was installed; None unless it was. asked: the paths that were
    asked for. said: the lines that were printed.
    """

    def __init__(self, outcome, text, files, opened, asked, said):
        assert opened == 0, text
        assert outcome in ("installed", "refused"), text
        self.outcome, self.text, self.asked, self.said = outcome, text, asked, said
        self.files = None
        if outcome == "refused":
            assert files == {}
            assert text
        else:
            assert files.pop("t/lib/.mip/record")
            self.files = {
                path.removeprefix("t/lib/"): bytes.fromhex(data) for path, data in files.items()
            }


@pytest.fixture
def endings(device, tmp_path):
    """A function that tells the Ending of each [what is asked for, {path: page}].

    disk: what the board has, see ramdisk.mount().
    """

    def endings(cases, disk="lfs2"):
        def page(data):
            return (data if isinstance(data, bytes) else json.dumps(data).encode()).hex()

        file = tmp_path / "cases.json"
        cases = [
            [name, {path: page(data) for path, data in pages.items()}] for name, pages in cases
        ]
        file.write_text(json.dumps(cases))
        lines = device.run(INSTALL, file, disk, heap="16m", check=True).lines
        assert len(lines) == len(cases)
        texts = [bytes.fromhex(line).decode("utf-8", "surrogatepass") for line in lines]
        return [Ending(*json.loads(text)) for text in texts]

    return endings


# ---- wrong types -----------------------------------------------------------------------

HASHED = {"h.py": b"h = 1\n", "i.py": b"i = 1\n"}
DIGITS = {path: sha256(data) for path, data in HASHED.items()}

# A package.json in which every shape that an entry may have is there.
DOCUMENT = {
    "v": 1,
    "version": "1.0",
    "hashes": [["h.py", DIGITS["h.py"][:8]], ["i.py", DIGITS["i.py"], "more"]],
    "urls": [["u.py", "u.py"], ["w.py", "http://index/w", "more"]],
    "deps": [["needed", "latest"], ["needed"], "needed", ["needed", "latest", "more"]],
    "other": [{"a": 1}],
}
NEEDED = {
    "/package/py/needed/latest.json": "n.py",
    "/package/py/needed/x.json": "n.py",
    "/package/py/x/latest.json": "x.py",
}
PAGES = {
    "/w": b"w = 1\n",
    "/d/u.py": b"u = 1\n",
    "/d/x": b"x = 1\n",
    **{f"/file/{d[:2]}/{d[:n]}": HASHED[p] for p, d in DIGITS.items() for n in (8, 64)},
    **{page: {"urls": [[path, "http://index/w"]]} for page, path in NEEDED.items()},
}

# What a package.json has to be. A version is only printed, so that any scalar is one.
_path = {"type": "string", "minLength": 1}
_pair = {"type": "array", "minItems": 2}
SCHEMA = {
    "type": "object",
    "required": ["urls"],
    "properties": {
        "v": {"type": "integer", "const": 1},
        "version": {"not": {"type": ["array", "object"]}},
        "urls": {
            "type": "array",
            "items": {**_pair, "prefixItems": [_path, _path]},
        },
        "hashes": {
            "type": "array",
            "items": {
                **_pair,
                "prefixItems": [_path, {"type": "string", "pattern": "^[0-9a-f]{8,64}$"}],
            },
        },
        "deps": {
            "type": "array",
            "items": {
                "anyOf": [
                    _path,
                    {
                        "type": "array",
                        "minItems": 1,
                        "prefixItems": [_path, {"type": "string"}],
                    },
                ]
            },
        },
    },
}
VALUES = [None, True, 1, "", "x", [], ["x"], {}, {"a": "b"}]


def nodes(value, path=()):
    """Yields where each node of a JSON document is: a list of keys and numbers."""
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from nodes(value[key], (*path, key))


def replaced(path, value):
    """DOCUMENT with that value at this node."""
    if not path:
        return value
    document = copy.deepcopy(DOCUMENT)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


def wanted(document):
    """What a good package.json installs: {path: content}."""
    by_digits = {sha[:n]: HASHED[path] for path, sha in DIGITS.items() for n in (8, 64)}
    files = {path: by_digits[digits] for path, digits, *_ in document["hashes"]}
    for path, url, *_ in document["urls"]:
        page = urlsplit(urljoin(URL, url)).path
        files[path] = PAGES[page]
    for dep in document["deps"]:
        name = dep if isinstance(dep, str) else dep[0]
        files[NEEDED[f"/package/py/{name}/latest.json"]] = PAGES["/w"]
    return files


def test_each_node_replaced_by_each_type(endings, figures):
    """Whatever stands in place of a node: what is a package.json then is installed, else not.

    A number behind the two texts of an entry is not tried: it may get a meaning.
    """
    documents = [
        replaced(path, value)
        for path in nodes(DOCUMENT)
        for value in VALUES
        if not (path[2:] == (2,) and isinstance(value, int))
    ]
    figures("metadata: nodes replaced", len(documents))
    assert len(documents) > 250
    validator = jsonschema.Draft202012Validator(SCHEMA)
    cases = [[URL, {**PAGES, PATH: document}] for document in documents]
    for document, ending in zip(documents, endings(cases), strict=True):
        if validator.is_valid(document):
            assert (ending.text, ending.files) == ("", wanted(document)), document
        else:
            assert ending.outcome == "refused", document


@pytest.mark.parametrize("value", [True, [], [1], [1, 1]])
def test_a_format_that_is_no_number(endings, value):
    """A "v" of another type is a format that mip does not know."""
    document = {"v": value, "urls": [["u.py", "u.py"]]}
    assert endings([[URL, {**PAGES, PATH: document}]])[0].outcome == "refused"


# Documents of which the message has to have these words, besides the URL of the document.
FAULTS = {
    "an entry of one": ({"urls": [["m.py"]]}, ["urls"]),
    "an entry of nothing": ({"urls": [[]]}, ["urls"]),
    "an entry of another type": ({"urls": [3]}, ["urls"]),
    "a hash of an entry of one": ({"hashes": [["m.py"]]}, ["hashes"]),
    "a hash that is none": ({"hashes": [["m.py", "xyz"]]}, ["m.py", "hash"]),
    "an empty hash": ({"hashes": [["m.py", ""]]}, ["hashes"]),
    "a short hash": ({"hashes": [["m.py", "1234567"]]}, ["m.py", "hash"]),
    "a dependency without a name": ({"deps": [""]}, ["names no package"]),
    "a dependency of a version alone": ({"deps": ["@1"]}, ["names no package"]),
    "a dependency of another type": ({"deps": [[1]]}, ["deps"]),
    "a path out of the target": ({"urls": [["../m.py", "m.py"]]}, ["../m.py"]),
    "another format": ({"v": 2, "urls": [["m.py", "m.py"]]}, ["newer mip"]),
    "nothing": ({}, ["nothing to install"]),
    "no object": ([], ["not a package.json"]),
}


@pytest.mark.parametrize(("document", "words"), FAULTS.values(), ids=FAULTS)
def test_the_message_has_the_document_and_the_fault(endings, document, words):
    """The message says which document is wrong, and what is wrong with it."""
    (ending,) = endings([[URL, {**PAGES, PATH: document}]])
    assert ending.outcome == "refused"
    assert [word for word in [URL, *words] if word not in ending.text] == []


# ---- strange texts ---------------------------------------------------------------------

GOOD = b'"urls": [["u.py", "u.py"]]'
INSTALLED = "installed"
REFUSED = "refused"
EITHER = "either"


def deep(text, number):
    return b"[" * number + text + b"]" * number


# Texts that nest, by the number of brackets: name -> (text, most brackets that are taken).
ANY = 10**6
NESTED = {
    "the document": (lambda n: deep(b"1", n), 0),
    "no end": (lambda n: b'{"urls": ' + b"[" * n, 0),
    "no end of objects": (lambda n: b"{" * n, 0),
    "objects": (lambda n: b'{"a":' * (n // 9) + b"1" + b"}" * (n // 9), 0),
    "an entry": (lambda n: b'{"urls": [' + deep(b"1", n) + b"]}", 0),
    "a path": (lambda n: b'{"urls": [[' + deep(b'"u.py"', n) + b', "u.py"]]}', 0),
    "more of an entry": (
        lambda n: b'{"urls": [["u.py", "u.py", ' + deep(b"1", n) + b"]]}",
        10,
    ),
    "more of a dependency": (
        lambda n: b"{" + GOOD + b', "deps": [["x", "latest", ' + deep(b"1", n) + b"]]}",
        10,
    ),
    "another key": (lambda n: b'{"a": ' + deep(b"1", n) + b", " + GOOD + b"}", ANY),
    "objects in another key": (
        lambda n: b'{"a": ' + b'{"b":' * (n // 9) + b"1" + b"}" * (n // 9) + b", " + GOOD + b"}",
        ANY,
    ),
    "version": (lambda n: b"{" + GOOD + b', "version": ' + deep(b"1", n) + b"}", EITHER),
}


@pytest.mark.parametrize("number", [10, 1000, 100_000])
def test_nesting(endings, number):
    """However deep a document nests, it is installed or an InstallError."""
    cases = [[URL, {**PAGES, PATH: text(number)}] for text, _ in NESTED.values()]
    for (name, (_, most)), ending in zip(NESTED.items(), endings(cases), strict=True):
        if most == ANY or (most != EITHER and number <= most):
            assert (ending.text, "u.py" in ending.files) == ("", True), name
        elif number == 100_000 or most == 0:
            assert ending.outcome == REFUSED, name


TEXTS = {
    "a byte order mark": (b"\xef\xbb\xbf{" + GOOD + b"}", INSTALLED),
    "UTF-16": (("{" + GOOD.decode() + "}").encode("utf-16"), REFUSED),
    "not UTF-8 in a path": (b'{"urls": [["\xff.py", "u.py"]]}', REFUSED),
    "not UTF-8 in a URL": (b'{"urls": [["u.py", "\xe9.py"]]}', REFUSED),
    "not UTF-8 in a dependency": (b"{" + GOOD + b', "deps": ["\xff"]}', REFUSED),
    "not UTF-8 in a version": (b"{" + GOOD + b', "version": "\xff"}', REFUSED),
    "not UTF-8 in a key": (b"{" + GOOD + b', "\xff": 1}', REFUSED),
    "NUL in a path": (b'{"urls": [["u\\u0000.py", "u.py"]]}', REFUSED),
    "NUL as it is": (b"{" + GOOD + b"\0}", REFUSED),
    "NUL behind": (b"{" + GOOD + b"}\0", REFUSED),
    "text behind": (b"{" + GOOD + b"} x", REFUSED),
    "another document behind": (b"{" + GOOD + b"}{" + GOOD + b"}", REFUSED),
    "NaN": (b'{"version": NaN, ' + GOOD + b"}", REFUSED),
    "Infinity": (b'{"version": Infinity, ' + GOOD + b"}", REFUSED),
    "-Infinity as the format": (b'{"v": -Infinity, ' + GOOD + b"}", REFUSED),
    "1e999 as the format": (b'{"v": 1e999, ' + GOOD + b"}", REFUSED),
    "1e999 as a version": (b'{"version": 1e999, ' + GOOD + b"}", EITHER),
    "1e999 as a path": (b'{"urls": [[1e999, "u.py"]]}', REFUSED),
    "1e999 as an entry": (b'{"urls": [1e999]}', REFUSED),
    "1e999 of another key": (b'{"a": 1e999, ' + GOOD + b"}", INSTALLED),
    "many digits": (b'{"v": 1' + b"0" * 1000 + b", " + GOOD + b"}", REFUSED),
    "NUL in a dependency": (b"{" + GOOD + b', "deps": ["x\\u0000"]}', REFUSED),
    "a lone surrogate in a URL": (b'{"urls": [["u.py", "\\ud800"]]}', REFUSED),
    "a lone surrogate in a dependency": (b"{" + GOOD + b', "deps": ["\\udc00"]}', REFUSED),
    "a lone surrogate in a version": (b"{" + GOOD + b', "version": "\\ud800"}', EITHER),
    "a lone surrogate in a key": (b"{" + GOOD + b', "\\ud800": 1}', INSTALLED),
}


def test_strange_texts(endings):
    """What is no text, no JSON or no number is an InstallError that names the document."""
    cases = [[URL, {**PAGES, PATH: text}] for text, _ in TEXTS.values()]
    for (name, (_, end)), ending in zip(TEXTS.items(), endings(cases), strict=True):
        assert end in (EITHER, ending.outcome), name
        if ending.outcome == REFUSED:
            assert "http://index/" in ending.text, name
        else:
            assert ending.files == {"u.py": PAGES["/d/u.py"]}, name


def test_a_document_cut_after_any_byte(endings):
    """A document that ends too early, though its answer is whole, is an InstallError."""
    entries = {key: DOCUMENT[key][-1:] for key in ("hashes", "urls", "deps")}
    text = json.dumps({"v": 1, **entries, "version": "1.0"}).encode()
    cases = [[URL, {**PAGES, PATH: text[:n]}] for n in range(len(text))]
    assert {ending.outcome for ending in endings(cases)} == {REFUSED}


# The limit of a document, in bytes.
LIMIT = 1 << 20


@pytest.mark.parametrize(("size", "outcome"), [(LIMIT, INSTALLED), (LIMIT + 1, REFUSED)])
def test_the_largest_document(device, tmp_path, size, outcome):
    """A document of 1 MiB is read in a heap that could not hold it, and a larger one is not."""
    code = """
import mip, sys

class Answer:
    status_code = 200
    def __init__(self, text, left):
        self.raw = self
        self.text, self.left = text, left
    def readinto(self, buf):
        # The text, and white space behind it.
        n = min(len(buf), self.left)
        for i in range(n):
            buf[i] = 32
        part = self.text[:n]
        buf[:len(part)] = part
        self.text = self.text[len(part):]
        self.left -= n
        return n
    def close(self):
        pass

class Session:
    def get(self, url):
        if url.endswith(".json"):
            return Answer(b'{"urls": [["u.py", "u.py"]]}', int(sys.argv[1]))
        return Answer(b"u = 1", 5)

try:
    mip.install("http://index/d", session=Session())
    print("installed")
except mip.InstallError as error:
    print("refused", error)
"""
    last = device.run(code, size, heap="128k", check=True).lines[-1]
    assert last.split()[0] == outcome, last
    assert device.tree() == ({"u.py": b"u = 1"} if outcome == INSTALLED else {})


# ---- duplicate keys --------------------------------------------------------------------

# A text, and the files that are installed; None where it is refused.
TWICE = {
    "format, newer last": ('{"v": 1, "v": 2, "urls": [["u.py", "u.py"]]}', None),
    "format, newer first": ('{"v": 2, "v": 1, "urls": [["u.py", "u.py"]]}', None),
    "format, the same": ('{"v": 1, "v": 1, "urls": [["u.py", "u.py"]]}', ["u.py"]),
    "urls": ('{"urls": [["u.py", "u.py"]], "urls": [["w.py", "/w"]]}', ["u.py", "w.py"]),
    "urls, the same": ('{"urls": [["u.py", "u.py"]], "urls": [["u.py", "u.py"]]}', ["u.py"]),
    "urls that meet": ('{"urls": [["u.py", "u.py"]], "urls": [["u.py", "/w"]]}', ["u.py"]),
    "urls, one of them no list": ('{"urls": [["u.py", "u.py"]], "urls": 1}', None),
    "deps": ('{"deps": ["x"], "deps": ["needed"]}', ["n.py", "x.py"]),
    "another key": ('{"a": [1], "a": {"urls": 1}, "urls": [["u.py", "u.py"]]}', ["u.py"]),
    "one by an escape": ('{"urls": [["u.py", "u.py"]], "ur\\u006cs": 1}', None),
}


def test_keys_that_are_there_twice(endings):
    """Where a key is there twice both count; no file is installed that the other one denies."""
    cases = [[URL, {**PAGES, PATH: text.encode()}] for text, _ in TWICE.values()]
    for (name, (_, files)), ending in zip(TWICE.items(), endings(cases), strict=True):
        assert (sorted(ending.files) if ending.files else None) == files, name


# Paths that on FAT, which drops dots and spaces at the end of a name, are others.
FOLDED = {
    "the record": [".mip./record"],
    "the coming record": [".mip../new"],
    "a staged file": [".mip. ./0"],
    "two that are one": ["a.py", "a.py."],
    "two directories that are one": ["d/a.py", "d../a.py"],
}


@pytest.mark.parametrize("paths", FOLDED.values(), ids=FOLDED)
def test_paths_that_fat_takes_for_others(endings, paths):
    """On FAT no path is mip's own, or that of another entry, by a dot or space behind a name."""
    urls = [[path, url] for path, url in zip(paths, ("u.py", "/w"), strict=False)]
    (ending,) = endings([[URL, {**PAGES, PATH: {"urls": urls}}]], disk="fat")
    assert ending.outcome == REFUSED
    assert paths[-1] in ending.text


# ---- names and versions ----------------------------------------------------------------

# Names with a version that would lead elsewhere in the index, or out of it.
CLIMBING = [
    "needed@../x/latest",
    "needed@../../6/x/1",
    "needed@/etc/passwd",
    "needed@1/2",
    "needed@1/",
    "needed@/",
    "..",
    "..@1",
    "..@../x",
    "needed..",
]


@pytest.mark.parametrize("how", ["asked for", "with a version", "version apart"])
def test_versions_that_climb(endings, how):
    """A name of the index, or its version, with `/` or `..` in it leads to no page of the index.

    In one text, what has a `/` in it is a path, of the board or next to the document.
    """
    cases = []
    for text in CLIMBING:
        dep = text.split("@") if how == "version apart" else text
        name = text if how == "asked for" else URL
        cases.append([name, {**PAGES, PATH: {"urls": [["u.py", "u.py"]], "deps": [dep]}}])
    for text, ending in zip(CLIMBING, endings(cases), strict=True):
        assert ending.outcome == REFUSED, text
        assert [path for path in ending.asked if not path.startswith("/d/")] == [], text
        if how == "version apart" or "/" not in text:
            assert ending.asked == ([] if how == "asked for" else [PATH]), text


@pytest.mark.parametrize("name", ["\\nx", "x\\ny", "x\\u001b[2J", "x\\r", "x\\u007f", "x@1\\n2"])
def test_control_characters_in_a_name(endings, name):
    """A control character in the name of a dependency is not printed, nor in the message."""
    text = b"{" + GOOD + b', "deps": ["' + name.encode() + b'"]}'
    (ending,) = endings([[URL, {**PAGES, PATH: text}]])
    assert ending.outcome == REFUSED
    lines = [ending.text, *ending.said]
    assert [line for line in lines if any(c < " " or c == "\x7f" for c in line)] == []


# ---- who needs whom --------------------------------------------------------------------


def chain(length):
    """The pages of packages of which each needs the next one."""
    pages = {"/w": b"w = 1\n"}
    for n in range(length):
        document = {"urls": [[f"m{n}.py", "http://index/w"]]}
        if n + 1 < length:
            document["deps"] = [f"p{n + 1}"]
        pages[f"/package/py/p{n}/latest.json"] = document
    return pages


# The limit of the packages of one run.
PACKAGES = 200


def test_a_chain_of_a_hundred(endings):
    """A chain of 100 packages is installed."""
    (ending,) = endings([["p0", chain(100)]])
    assert (ending.text, len(ending.files or ())) == ("", 100)


def test_a_chain_of_a_thousand(endings):
    """A chain of 1,000 packages is refused with the limit and where it was, with no file."""
    (ending,) = endings([["p0", chain(1000)]])
    assert f"more than {PACKAGES} packages" in ending.text
    assert f"p{PACKAGES}" in ending.text or f"p{PACKAGES - 1}" in ending.text
    assert len(ending.asked) <= PACKAGES + 1 and "/w" not in ending.asked


def test_a_package_that_needs_many(endings):
    """A package with more dependencies than a run may have packages is refused by that limit.

    No other package is asked for.
    """
    pages = chain(1)
    names = [f"p{n}" for n in range(1, PACKAGES + 1)]
    for name in names:
        pages[f"/package/py/{name}/latest.json"] = {"urls": [[f"{name}.py", "http://index/w"]]}
    pages["/package/py/p0/latest.json"] = {"deps": names}
    (ending,) = endings([["p0", pages]])
    assert f"more than {PACKAGES} packages" in ending.text
    assert ending.asked == ["/package/py/p0/latest.json"]


def test_one_dependency_many_times(endings):
    """A dependency that is there 100 times is one package."""
    (ending,) = endings([[URL, {**PAGES, PATH: {"deps": ["needed", ["needed"]] * 50}}]])
    assert list(ending.files) == ["n.py"]
    assert len(ending.asked) == 3


NAME_AND_URL = {
    "name first": ["h", "http://index/package/py/h/latest.json"],
    "URL first": ["http://index/package/py/h/latest.json", "h"],
    "pinned": ["h@1.0", "http://index/package/py/h/1.0.json"],
    "pinned and latest": ["h@1.0", "http://index/package/py/h/latest.json"],
}


@pytest.mark.parametrize("deps", NAME_AND_URL.values(), ids=NAME_AND_URL)
def test_a_package_by_name_and_by_url(endings, deps):
    """A package that is needed by name and by URL has its files fetched and installed once."""
    document = {"version": "1.0", "hashes": [["h.py", DIGITS["h.py"][:8]]]}
    pages = {f"/package/py/h/{version}.json": document for version in ("latest", "1.0")}
    (ending,) = endings([[URL, {**PAGES, **pages, PATH: {"deps": deps}}]])
    assert ending.files == {"h.py": HASHED["h.py"]}
    assert len([path for path in ending.asked if path.startswith("/file/")]) == 1


# ---- an index that went back -----------------------------------------------------------


@pytest.mark.parametrize("verb", ["install", "upgrade"])
def test_an_index_that_went_back(device, net, verb):
    """An index with an older version than the record's is said aloud, with both versions."""
    net.publish("x", "2.0")
    device.run("import mip; mip.install('x')", check=True)
    net.publish("x", "1.0")
    call = "mip.install('x')" if verb == "install" else "mip.upgrade()"
    result = device.run(f"import mip; {call}", check=True)
    assert len([line for line in result.lines if "2.0" in line and "1.0" in line]) == 1
    assert device.tree() == tree({"x.mpy": "x 1.0"})
