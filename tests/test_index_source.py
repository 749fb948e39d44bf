"""What names, URLs and documents mean to the host's tools: the same as to a device.

The tables are those of the device's tests, test_sources.py and test_json_reader.py.
"""

import binascii
import json

import mip_json
import pytest
import test_json_reader
import test_sources as tables
from device import Device, interpreter
from hypothesis import given, settings
from hypothesis import strategies as st
from mip_fetch import escape
from mip_source import (
    NotFoundError,
    PublishError,
    Resolver,
    clean_hash,
    clean_path,
    parse,
)
from publish import INDEX
from test_sources import REPO, WEB, params

DOCUMENT = '{"urls": [["inside.py", "inside.py"]]}'


class Site:
    """What there is to fetch: {URL: text}; `default` for every other .json.

    `asked` has the URLs of the documents that were asked for, as they are sent.
    """

    def __init__(self, texts=None, default=None):
        self.texts = texts or {}
        self.default = default
        self.asked = []

    def __call__(self, location):
        self.asked.append(escape(location))
        text = self.texts.get(location, self.default)
        return None if text is None else text.encode()

    def publish(self, name, version="1.0", deps=(), latest=True):
        """Put a package of the public index there."""
        keys = {"version": version, "hashes": [[f"{name}.mpy", "00000000"]], "deps": list(deps)}
        for label in (version, "latest") if latest else (version,):
            self.texts[f"{INDEX}/package/6/{name}/{label}.json"] = json.dumps(keys)


def resolve(site, *names, **options):
    """Resolve packages; return them, by name in lower case."""
    return Resolver(site, **options).resolve([parse(name) for name in names])


def urls(packages):
    """The URLs of all files of packages, as they are sent."""
    return [escape(url) for package in packages.values() for _, _, url in package.files if url]


def refusal(site, *names):
    """The text with which packages are refused, which is one line."""
    with pytest.raises(PublishError) as error:
        resolve(site, *names)
    text = str(error.value)
    assert text.isprintable()
    return text


# --- Names ---


@pytest.mark.parametrize(("name", "url"), [pytest.param(*row, id=row[0]) for row in tables.NAMES])
def test_a_name(name, url):
    """A name means the URL that it means on a device."""
    site = Site(default=DOCUMENT)
    packages = resolve(site, name)
    assert [*site.asked, *urls(packages)][0] == url


@pytest.mark.parametrize(("name", "version", "url"), tables.VERSIONS)
def test_a_version(name, version, url):
    """A version that is given on its own means what it means on a device."""
    site = Site(default=DOCUMENT)
    packages = Resolver(site).resolve([parse(name, version)])
    assert [*site.asked, *urls(packages)][0] == url


@pytest.mark.parametrize(
    ("name", "document", "written", "fetched"),
    [pytest.param(*row, id=f"{row[0]}-{row[2]}") for row in tables.ENTRIES],
)
def test_the_url_of_a_file(name, document, written, fetched):
    """A URL in a document means the URL that it means on a device."""
    site = Site({document: json.dumps({"urls": [["m.py", written]]})})
    assert urls(resolve(site, name)) == [fetched]


@pytest.mark.parametrize(("asker", "asking"), params(tables.ASKERS))
@pytest.mark.parametrize(("dep", "document"), params(tables.SHAPES))
def test_a_dependency(asker, asking, dep, document):
    """An entry of `deps` means the document that it means on a device, whoever asks."""
    site = Site({asking: f'{{"deps": [{dep}]}}'}, default=DOCUMENT)
    resolve(site, asker)
    assert site.asked == [asking, document]


@pytest.mark.parametrize(("dep", "document"), params(tables.RELATED))
def test_the_ref_of_a_dependency(dep, document):
    """The ref of a repository is for what is in it."""
    asking = f"{REPO}/v1/a/package.json"
    site = Site({asking: f'{{"deps": [{dep}]}}'}, default=DOCUMENT)
    packages = resolve(site, "github:org/repo/a@v1")
    assert [*site.asked, *urls(packages)][1] == document


@pytest.mark.parametrize("url", params(tables.UNUSABLE_URLS))
def test_a_url_that_names_no_file(url):
    """A URL of a repository names no file."""
    text = json.dumps({"urls": [["good.py", "good.py"], ["m.py", url]]})
    site = Site({f"{WEB}/package.json": text})
    assert url.partition("@")[0] in refusal(site, WEB)


@pytest.mark.parametrize(("one", "two"), tables.SPELLINGS)
def test_one_package_in_two_spellings(one, two):
    """A package that is named in two ways is one package."""
    site = Site(default=DOCUMENT)
    assert len(resolve(site, one, two)) == len(site.asked) == 1


@pytest.mark.parametrize(
    ("base", "url", "means"),
    [
        ("./app/package.json", "m.py", "app/m.py"),
        ("./app/package.json", "../m.py", "m.py"),
        ("app/package.json", "sub/../m.py", "app/m.py"),
        ("app/package.json", "../../m.py", "../m.py"),
        ("/sd/app/package.json", "/m.py", "/m.py"),
        ("/sd/app/package.json", "https://example.org/m.py", "https://example.org/m.py"),
    ],
)
def test_a_url_in_a_local_document(base, url, means):
    """A URL in a local document is a path from there."""
    site = Site({base: json.dumps({"urls": [["m.py", url]]})})
    assert urls(resolve(site, base)) == [means]


def test_a_package_that_is_not_there():
    """A package that no index has is refused, naming where it was looked for last."""
    site = Site()
    with pytest.raises(NotFoundError, match=f"^{INDEX}/package/py/x/latest.json: .*package x$"):
        resolve(site, "x")
    assert site.asked == [f"{INDEX}/package/{kind}/x/latest.json" for kind in ("6", "py")]


def test_indexes_are_tried_in_order():
    """A package is of the first index that has it, and so are its files."""
    text = '{"hashes": [["m.py", "00000000"]], "deps": ["y"]}'
    site = Site(
        {"https://host/pi/package/py/x/latest.json": text}
        | {"/sd/pi/package/6/y/latest.json": '{"hashes": [["y.py", "00000000"]]}'}
    )
    packages = resolve(site, "x", indexes=["https://host/pi/", "/sd/pi"])
    assert [package.index for package in packages.values()] == ["https://host/pi", "/sd/pi"]


# --- Documents ---


@pytest.mark.parametrize("text", params(tables.DOCUMENTS))
def test_a_document(text):
    """What a device takes is taken."""
    packages = resolve(Site({f"{WEB}/package.json": text}), WEB)
    assert [package.files for package in packages.values()] == [[("m.py", None, f"{WEB}/m.py")]]


@pytest.mark.parametrize(("text", "word"), params(tables.BAD_DOCUMENTS))
def test_a_document_that_is_refused(text, word):
    """What a device refuses is refused, with the same word."""
    site = Site({f"{WEB}/x/package.json": text.replace("GOOD", '["good.py", "good.py"]')})
    assert word in refusal(site, f"{WEB}/x")


@pytest.mark.parametrize(("written", "installed"), tables.DESTINATIONS)
def test_a_destination(written, installed):
    """A destination has one spelling."""
    assert clean_path(written) == installed


@pytest.mark.parametrize(("path", "word"), params(tables.BAD_DESTINATIONS))
def test_a_destination_that_is_refused(path, word):
    """A destination that a device refuses is refused, with the same word."""
    site = Site({f"{WEB}/package.json": json.dumps({"urls": [[path, "x"]]})})
    text = refusal(site, WEB)
    assert word.replace("\\", "\\\\") in text


@pytest.mark.parametrize("value", params(tables.BAD_HASHES))
def test_a_hash_that_is_refused(value):
    """A hash that a device refuses is refused."""
    site = Site({f"{INDEX}/package/6/x/latest.json": f'{{"hashes": [["m.py", {value}]]}}'})
    refusal(site, "x")


def test_a_hash_in_upper_case():
    """A hash in upper case is taken, as on a device."""
    assert clean_hash("ABCDEF01") == "abcdef01"


@pytest.mark.parametrize(("entries", "path"), params(tables.CLASHES))
def test_entries_that_clash(entries, path):
    """Two entries that cannot both be there are refused, in one package or in two."""
    site = Site({f"{WEB}/package.json": json.dumps({"urls": entries})})
    assert path in refusal(site, WEB)
    site = Site(
        {
            f"{WEB}/{number}/package.json": json.dumps({"urls": [[path, f"../{url}"]]})
            for number, (path, url) in enumerate(entries)
        }
    )
    assert "clashes" in refusal(site, f"{WEB}/0", f"{WEB}/1")


@pytest.mark.parametrize("entry", [["a.py", "1.py"], ["./a.py", "1.py"], ["a.py", "./1.py"]])
def test_an_entry_that_is_there_twice(entry):
    """One destination twice from the same URL is no clash."""
    site = Site({f"{WEB}/package.json": json.dumps({"urls": [["a.py", "1.py"], entry]})})
    assert set(urls(resolve(site, WEB))) == {f"{WEB}/1.py"}


@pytest.mark.parametrize(
    "entry",
    [
        '["m.mpy", "{MPY_ARCH}/m.mpy"]',
        '["m.mpy", "m-{MPY_VERSION}.mpy"]',
        '["m.mpy", "m.mpy", 2566]',
    ],
)
def test_an_entry_that_depends_on_the_board(entry):
    """What differs from board to board has no meaning on the host."""
    site = Site({f"{WEB}/package.json": f'{{"urls": [{entry}]}}'})
    assert "m.mpy depends on the board" in refusal(site, WEB)


def test_other_third_elements_are_ignored():
    """A third element that is no number is ignored, as on a device."""
    site = Site({f"{WEB}/package.json": '{"urls": [["m.py", "m.py", "why"]]}'})
    assert urls(resolve(site, WEB)) == [f"{WEB}/m.py"]


# --- Packages that meet ---


@pytest.mark.parametrize("graph", params(tables.GRAPHS))
def test_dependencies_of_dependencies(graph):
    """Cycles end, and a package that is needed often is read once."""
    site = Site()
    for name, deps in graph.items():
        site.publish(name, deps=deps)
    assert sorted(resolve(site, "a")) == sorted(graph)
    assert sorted(site.asked) == [f"{INDEX}/package/6/{name}/latest.json" for name in graph]


def versions(site, *names):
    """Publish packages in the versions 1.0, 2.0 and, the latest, 3.0."""
    for name in names:
        for version in "1.0", "2.0", "3.0":
            site.publish(name, version)


@pytest.mark.parametrize(("first", "second", "askers", "pins"), params(tables.CONFLICTS))
def test_two_pinned_versions(first, second, askers, pins):
    """Two pinned versions of a package are refused: who asked and for what is said."""
    site = Site(default=DOCUMENT)
    versions(site, "x")
    site.publish("package-a", deps=first)
    site.publish("package-b", deps=second)
    text = refusal(site, "package-a", "package-b")
    for word in pins + [f"package-{name}" for name in askers]:
        assert word in text


@pytest.mark.parametrize("asked", params(tables.PINS))
def test_a_pinned_version_wins(asked):
    """A pinned version wins over the latest, in whichever order they are met."""
    site = Site()
    versions(site, "x")
    site.publish("pins", deps=[["x", "1.0"]])
    site.publish("likes", deps=[["x", "latest"]])
    site.publish("middle", deps=["pins"])
    site.publish("deep", deps=["middle"])
    assert resolve(site, *asked)["x"].version == "1.0"


def test_too_many_packages():
    """A chain of dependencies without an end is refused."""

    def endless(url):
        number = int(url.split("/")[-2][1:])
        return json.dumps({"deps": [f"{WEB}/p{number + 1}"]}).encode()

    assert "p200: more than 200 packages" in refusal(endless, f"{WEB}/p0")


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
        value = mip_json.loads(data)
    except ValueError as error:
        assert str(error) and "\n" not in str(error)
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
            assert mip_json.loads(data)["v"] == 1
        elif by_micropython(data) != by_host(data):
            differ.append(name)
    assert differ == [name for name in NOT_TAKEN if name in rows]


PIECES = st.sampled_from(
    ["[", "]", "{", "}", ",", ":", " ", "\n", '"', '"a"', '"b\\n"', "1", "-", "1.5", "0", "e", "+"]
    + ["null", "true", "false", "nul", "\\", "x", '"urls"', "\t", '""', "é", "\x0b", "1e5"]
)


@settings(deadline=None, max_examples=300, database=None)
@given(st.lists(PIECES, max_size=14).map("".join))
def test_json_of_any_kind(by_micropython, text):
    """Whatever a document is made of, it is read as MicroPython's json reads it."""
    assert by_host(text.encode()) == by_micropython(text.encode())


WHERE = [
    ('{\n"a": 1,\n"b": x\n}', "line 3: not JSON from 'x"),
    ('{\n"a": [', "line 2: ends before"),
    ("\ufeff{}", "byte order mark"),
    ("<html>", "web page"),
    ("{}\n\n{}", "line 3: not JSON from '{}'"),
    (b'{\n"a": "\xff"}', "line 2: not UTF-8"),
    ('{"a": "\\uZZZZ"}', "line 1: not JSON from"),
]


@pytest.mark.parametrize(("text", "words"), WHERE)
def test_where_json_is_wrong(text, words):
    """What is wrong with a document is told by its line."""
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ValueError) as error:
        mip_json.loads(data)
    assert words in str(error.value)


def test_keys_that_are_there_twice():
    """The keys that an object has twice are told; the last one counts."""
    duplicates = []
    data = b'{"a": 1, "b": {"c": 1, "c": 2}, "a": 3}'
    assert mip_json.loads(data, duplicates) == {"a": 3, "b": {"c": 2}}
    assert duplicates == ["c", "a"]
