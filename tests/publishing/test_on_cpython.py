"""The device's own code, run by CPython: it means there what it means on a device.

The tables are those of the device's tests, test_sources.py and test_json_reader.py.
"""

import binascii
import json

import pytest
import test_json_reader
import test_sources as tables
from device import Device, interpreter
from folders import ROOT
from hypothesis import example, given, settings
from hypothesis import strategies as st
from internet import INDEX
from mip_index import PublishError, json_reader
from mip_index import device as host
from mip_index.fetch import Answer
from test_sources import REPO, WEB, params

DOCUMENT = '{"urls": [["inside.py", "inside.py"]]}'


class Site:
    """A session: what there is to fetch, {URL: text}; `default` for every other .json.

    `asked` has the URLs that were asked for, as they are sent.
    """

    def __init__(self, texts=None, default=None):
        self.texts = texts or {}
        self.default = default
        self.asked = []

    def get(self, url):
        self.asked.append(host.escape(url))
        default = self.default if ".json" in url else "x = 1\n"
        text = self.texts.get(url, default)
        return Answer(404) if text is None else Answer(200, text.encode())


def install(site, *names, indexes=(INDEX,), kind="6"):
    """Install packages; return them by key."""
    return host.install(names, indexes, kind, site)[0]


def test_it_is_the_devices_own():
    """What runs here is the file that devices have, and nothing of it stays behind."""
    assert host.mip.__file__ == str(ROOT / "mip" / "__init__.py")
    with pytest.raises(ImportError):
        __import__("micropython")


def test_names():
    """A name means the URL that it means on a device."""
    found = {}
    for name, _ in tables.NAMES:
        site = Site(default=DOCUMENT)
        install(site, name)
        found[name] = site.asked[0]
    assert found == dict(tables.NAMES)


def test_urls_of_files():
    """A URL in a document means the URL that it means on a device."""
    for name, document, written, fetched in tables.ENTRIES:
        site = Site({document: json.dumps({"urls": [["m.py", written]]})})
        install(site, name)
        assert site.asked == [document, fetched], (name, written)


def test_source_urls():
    """What `check` takes a URL for is what an installation fetches."""
    for name, _, written, fetched in tables.ENTRIES:
        name, ref = host.parse(name)
        url = host.source_url(written, host.document_of(name), ref)
        assert host.escape(url) == fetched, (name, written)


def test_dependencies():
    """What `check` takes an entry of `deps` for is what an installation asks for."""
    asker = f"{REPO}/v1/a/package.json"
    for _, dep, _ in tables.RELATED:
        site = Site({asker: f'{{"deps": [{dep}]}}'}, default=DOCUMENT)
        install(site, "github:org/repo/a@v1")
        entry = json.loads(dep)
        entry = [entry] if isinstance(entry, str) else entry
        name, ref = host.dependency(entry, "github:org/repo/a/package.json", "v1")
        name = name if host.is_file(name) else host.document_of(name)
        assert host.escape(host.url_of(name, ref)) == site.asked[1], dep


@pytest.mark.parametrize(("written", "installed"), tables.DESTINATIONS)
def test_a_destination(written, installed):
    """A destination has one spelling."""
    assert host.clean_path(written) == installed


@pytest.mark.parametrize(("path", "word"), params(tables.BAD_DESTINATIONS))
def test_a_destination_that_is_refused(path, word):
    """A destination that a device refuses is refused, and more is said of it."""
    with pytest.raises(PublishError) as error:
        host.clean_path(path)
    assert str(error.value).startswith(repr(path)) and str(error.value).isprintable()


@pytest.mark.parametrize("graph", params(tables.GRAPHS))
def test_dependencies_of_dependencies(graph):
    """What is needed is installed, in whichever circle."""
    texts = {
        f"{INDEX}/package/6/{name}/latest.json": json.dumps(
            {"urls": [[f"{name}.py", f"{WEB}/{name}.py"]], "deps": deps}
        )
        for name, deps in graph.items()
    }
    assert sorted(install(Site(texts), "a")) == sorted(graph)


def test_contents():
    """Packages that share a path have each its own content, whichever is there at the end."""
    texts = {
        f"{WEB}/{name}/package.json": '{"urls": [["m.py", "m.py"]]}' for name in ("one", "two")
    }
    texts |= {f"{WEB}/{name}/m.py": f"{name} = 1\n" for name in ("one", "two")}
    found, contents = host.install([f"{WEB}/one", f"{WEB}/two"], [INDEX], "6", Site(texts))
    files = [contents[package.files["m.py"]] for package in found.values()]
    assert files == [b"one = 1\n", b"two = 1\n"]


WHERE = [
    ('{\n"a": 1,\n"urls": [x]\n}', "not JSON from line 3, column 10 on: 'x]'"),
    ('{\n"urls": [', "line 2: ends before"),
    ("<html>", "web page"),
    ("[]", "not an object"),
    (b'{\n"version": "\xff"}', "line 2: not UTF-8"),
]


@pytest.mark.parametrize(("text", "words"), WHERE)
def test_where_a_document_is_wrong(text, words):
    """What a device refuses of a document is told by its line."""
    data = text if isinstance(text, bytes) else text.encode()
    assert words in host.refusal(data)


def test_paths_that_clash():
    """What cannot all be there is told: of FAT, of import, of directories."""
    paths = ["a.py", "b/c.py", "A.py", "a.mpy", "b", "a.py", "d.py"]
    assert list(host.clashes(paths)) == [
        (2, 0, "case"),
        (3, 0, "form"),
        (4, 1, "directory"),
        (5, 0, "twice"),
    ]


# --- JSON ---

# Returns a value as text that is the same on both sides; `encode` makes bytes of a str.
CANONICAL = """
def canonical(value, encode):
    if isinstance(value, str):
        return '"%s"' % binascii.hexlify(encode(value)).decode()
    if isinstance(value, list):
        return "[%s]" % ",".join([canonical(each, encode) for each in value])
    if isinstance(value, dict):
        items = [canonical(key, encode) + ":" + canonical(value[key], encode) for key in value]
        return "{%s}" % ",".join(sorted(items))
    return "%.10g" % value if isinstance(value, float) else repr(value)
"""

# Prints what MicroPython's json makes of each line of the input, a document in hex.
BY_MICROPYTHON = f"""
import binascii, json, sys

{CANONICAL}

for line in sys.stdin:
    try:
        print(canonical(json.loads(binascii.unhexlify(line.strip())), lambda text: text.encode()))
    except (ValueError, TypeError):
        print("refused")
"""


@pytest.fixture(scope="module")
def by_micropython(tmp_path_factory):
    """A function of a document, bytes, that returns what MicroPython's json makes of it."""
    device = Device(tmp_path_factory.mktemp("json") / "device", ".frozen", interpreter())
    process = device.start(BY_MICROPYTHON, heap="16m")

    def read(data):
        process.stdin.write(data.hex().encode() + b"\n")
        process.stdin.flush()
        return process.stdout.readline().strip().decode()

    with process:
        yield read
        process.stdin.close()


def by_host(data):
    """What the host makes of a document, as by_micropython() returns it."""
    try:
        value = json_reader.loads(data)
    except ValueError:
        return "refused"
    names = {"binascii": binascii}
    exec(CANONICAL, names)
    return names["canonical"](value, lambda text: text.encode("utf-8", "surrogatepass"))


# MicroPython makes some character of it.
NOT_TAKEN = ("escape u, no digits",)
# Deeper than what a test can walk through.
DEEP = ("unknown key, deeply nested", "deeply nested")


@pytest.mark.parametrize("table", ["TAKEN", "REFUSED", "UNWANTED_REFUSED"])
def test_json_of_the_tables(by_micropython, table):
    """A document is read as MicroPython's json reads it."""
    rows = getattr(test_json_reader, table)
    differ = []
    for name, text in rows.items():
        data = text if isinstance(text, bytes) else text.encode()
        if name in DEEP:
            assert json_reader.loads(data)["v"] == 1
        elif by_micropython(data) != by_host(data):
            differ.append(name)
    assert differ == [name for name in NOT_TAKEN if name in rows]


PIECES = st.sampled_from(
    ["[", "]", "{", "}", ",", ":", " ", "\n", '"', '"a"', '"b\\n"', "1", "-", "1.5", "0", "e", "+"]
    + ["null", "true", "false", "nul", "\\", "x", '"urls"', "\t", '""', "é", "\x0b", "1e5"]
)


@settings(deadline=None, max_examples=300, database=None)
@given(st.lists(PIECES, max_size=14).map("".join))
@example("-e1")
@example("-.")
def test_json_of_any_kind(by_micropython, text):
    """Whatever a document is made of, it is read as MicroPython's json reads it."""
    assert by_host(text.encode()) == by_micropython(text.encode())
