"""`mip-index check`: it finds what is wrong with a package.json, and for whom.

A table of packages with one fault each says what is found and which clients fail.  The clients
themselves install every package of the table, and have to fail just where it says so.
"""

import csv
import json
import re
import ssl
import urllib.request
from dataclasses import dataclass

import mip_index
import pytest
from device import Device
from folders import CORPUS, ROOT
from internet import INDEX, by_mpremote, bytecode, sha256
from jsonschema import Draft7Validator
from mip_index import PublishError, check
from mip_index import device as host
from mip_index.clients import CLIENTS, FIELD
from mip_index.document import KNOWN_KEYS, SCHEMA
from mip_index.fetch import Answer
from mip_index.store import package_path
from test_sources import BAD_DESTINATIONS, DESTINATIONS, params

GITHUB = "https://raw.githubusercontent.com"
OURS = ("ours",)
MPREMOTE = ("mpremote",)

# What is in the repository of each package of the table, beside its package.json in pkg/.
MODULE = b"m = 1\n"
NATIVE = b"M\x06\x12\x1f" + bytes(8)  # for architecture 4, armv6m
FILES = {
    "top.py": b"top = 1\n",
    "pkg/m.py": MODULE,
    "pkg/sub/n.py": b"n = 1\n",
    "pkg/sub/package.json": b'{"urls": [["needed.py", "n.py"]]}',
    "pkg/a b.py": b"space = 1\n",
    "pkg/caf\u00e9.py": b"letter = 1\n",
    "pkg/old.mpy": b"M\x05\x00\x1f" + bytes(8),
    "pkg/text.mpy": b"m = 1\n",
    "pkg/native.mpy": NATIVE,
    "pkg/page.html": b"<p>\n",
}
# What is elsewhere.
OTHER_FILES = {
    f"{GITHUB}/other/repo/HEAD/x.py": b"x = 1\n",
    f"{GITHUB}/other/repo/HEAD/y.py": b"y = 1\n",
    f"{GITHUB}/other/repo/HEAD/package.json": b'{"urls": [["x.py", "x.py"]]}',
    f"{GITHUB}/other/repo/v1/package.json": b'{"urls": [["x.py", "x.py"]]}',
    f"{GITHUB}/other/repo/v1/x.py": b"x = 1\n",
    "https://example.org/x.py": b"x = 1\n",
    "https://example.org/x.py?access_token=abc": b"x = 1\n",
}

# Why a fault is not seen by installing a package on the disk of a host.
FAT = "only on FAT"
IMPORT = "only when it is imported"
SERVER = "only on a server that does not take it"
MEMORY = "only with more memory than a test has"
BOARD = "only on another board"
BUILD = "only where it is built"
DIFFERENT = "all install something, each something else"


@dataclass(frozen=True)
class Fault:
    """A package.json with a fault.

    name: of the fault; text: the document, in which "org/repo" is the repository that it is in.
    entry, words: of the finding. clients: those that fail, none where it is a warning.
    unseen: why that does not show when clients install it here.
    """

    name: str
    text: object
    entry: str
    words: str
    clients: tuple = CLIENTS
    unseen: str = ""


def urls(*entries, **keys):
    """A document with these entries of `urls`, or with a single one of two texts."""
    return {"urls": [list(entry) for entry in entries], **keys}


def deps(*entries):
    """A document with these entries of `deps`, and a file."""
    return {"urls": [["m.py", "m.py"]], "deps": list(entries)}


GOOD = ["m.py", "m.py"]

FAULTS = [
    # The text.
    Fault("cut", '{"urls": [["m.py", "m.py"]]', "", "line 1: ends before"),
    Fault("no JSON", '{"urls": [["m.py", m.py]]}', "", "line 1, column 20 on: 'm.py"),
    Fault("number", '{"version": 1.0.0, "urls": []}', "", 'column 13 on: \'1.0.0, "urls"'),
    Fault("comment", '{\n // x\n "urls": []}', "", "not JSON from line 2, column 2 on: '// x'"),
    Fault("README", "# Title\n", "", "not JSON from line 1, column 1 on: '# Title'"),
    Fault("web page", "<html></html>", "", "web page"),
    Fault("BOM", '\ufeff{"urls": [["m.py", "m.py"]]}', "", "order mark", ("upstream",)),
    Fault("not UTF-8", b'{"version": "\xff", "urls": [["m.py", "m.py"]]}', "", "UTF-8"),
    Fault("trailing comma", '{"urls": [["m.py", "m.py"],]}', "", "only Micro", MPREMOTE),
    Fault("missing comma", '{"urls": [["m.py" "m.py"]]}', "", "only Micro", MPREMOTE),
    Fault("newline in a text", '{"x": "a\nb", "urls": [["m.py", "m.py"]]}', "", "only", MPREMOTE),
    Fault(
        "a key twice",
        '{"urls": [["m.py", "m.py"]], "urls": [["n.py", "sub/n.py"]]}',
        "",
        "'urls' is there twice",
        unseen=DIFFERENT,
    ),
    # The shape.
    Fault("list", [["m.py", "m.py"]], "", "not an object"),
    Fault("newer format", urls(GOOD, v=2), "v", "only version", OURS),
    Fault("nothing", {"name": "x"}, "", "nothing to install", OURS),
    Fault("nothing in lists", {"urls": [], "deps": []}, "", "nothing to install", OURS),
    Fault("large", urls(GOOD, x="x" * (1 << 20)), "", "1048576 bytes", OURS, unseen=MEMORY),
    Fault("version a number", urls(GOOD, version=0.2), "version", 'write "0.2"', unseen=BUILD),
    Fault("nested", "[" * 100_000, "", "brackets are nested too deeply", CLIENTS),
    Fault(
        "half a character", '{"urls": [["m\\ud800.py", "m.py"]]}', "", "half a character", MPREMOTE
    ),
    Fault("a list of authors", urls(GOOD, author=["x"]), "author", "not a text", ()),
    Fault("misspelt key", urls(GOOD, versoin="1"), "versoin", "version?", ()),
    Fault("key of another form", urls(GOOD, Deps=[]), "Deps", "deps?", ()),
    Fault("another word", urls(GOOD, dependencies=[]), "dependencies", "no client reads it", ()),
    Fault("urls null", {"urls": None}, "urls", "a list of"),
    Fault("urls an object", {"urls": {"m.py": "m.py"}}, "urls", "a list of"),
    Fault("urls a text", {"urls": "m.py"}, "urls", "a list of"),
    Fault("entry a text", {"urls": [GOOD, "m.py"]}, "urls[1]", "[destination, URL]"),
    Fault("entry of one", {"urls": [["m.py"]]}, "urls[0]", "[destination, URL]"),
    Fault("entry of three", {"urls": [[*GOOD, "x"]]}, "urls[0]", "two elements", FIELD),
    Fault("entry of numbers", {"urls": [[1, 2]]}, "urls[0]", "not"),
    Fault("no URL", urls(["m.py", ""]), "urls[0]", "empty"),
    Fault("hashes a text", {"hashes": "x"}, "hashes", "a list of"),
    Fault("hash of one", {"hashes": [["m.py"]]}, "hashes[0]", "[destination, hash]"),
    Fault("deps an object", {"deps": {"needed": "1"}}, "deps", "a list of"),
    Fault("deps a text", {"deps": "needed"}, "deps", "a list of"),
    Fault("dep a number", deps(1), "deps[0]", "[name, version]"),
    Fault("dep a text", deps("needed"), "deps[0]", "a text alone", FIELD),
    Fault("dep of one", deps(["needed"]), "deps[0]", "no version", FIELD),
    Fault("dep of none", deps([]), "deps[0]", "[name, version]"),
    Fault("dep of three", deps(["needed", "1", "x"]), "deps[0]", "two elements", FIELD),
    Fault("dep with a number", deps(["needed", 1]), "deps[0]", "a version is", OURS),
    Fault("long entry", urls(GOOD, ["n.py", "./" * 2100 + "m.py"]), "urls[1]", "4096", OURS),
    # Destinations.
    Fault("above", urls(["../m.py", "m.py"]), "urls[0]", "out of the target"),
    Fault("above, later", urls(["a/../../m.py", "m.py"]), "urls[0]", "out of the target"),
    Fault("root of an IDE", urls(["fs:m.py", "m.py"]), "urls[0]", "fs:", unseen=FAT),
    Fault("drive", urls(["C:m.py", "m.py"]), "urls[0]", "colon", unseen=FAT),
    Fault(
        "swapped",
        urls(["github:org/repo/pkg/m.py", "m.py"]),
        "urls[0]",
        "swapped?",
        unseen=FAT,
    ),
    Fault("backslash", urls(["a\\m.py", "m.py"]), "urls[0]", "backslash", unseen=FAT),
    Fault("control", urls(["a\nb.py", "m.py"]), "urls[0]", "control", unseen=FAT),
    Fault("directory", urls(["a/", "m.py"]), "urls[0]", "names no file"),
    Fault("no destination", urls(["", "m.py"]), "urls[0]", "names no file"),
    Fault("mip's own", urls([".mip/record", "m.py"]), "urls[0]", "own directory", OURS),
    Fault("space at the end", urls(["m.py ", "m.py"]), "urls[0]", "space", unseen=FAT),
    Fault("long name", urls(["n" * 256, "m.py"]), "urls[0]", "too long"),
    Fault("long name in UTF-8", urls(["\u00e9" * 128, "m.py"]), "urls[0]", "too long"),
    Fault("tilde", urls(["LONGFI~1.PY", "m.py"]), "urls[0]", "short names", OURS),
    Fault("characters of FAT", urls(["m?.py", "m.py"]), "urls[0]", "FAT refuses", OURS),
    Fault("dot at the end", urls(["m.", "m.py"]), "urls[0]", "ends with a dot", OURS),
    Fault("root", urls(["/m.py", "m.py"]), "urls[0]", "not to the root", ()),
    Fault("lib", urls(["lib/m.py", "m.py"]), "urls[0]", "lib/lib/m.py", ()),
    Fault("spelling", urls(["./m.py", "m.py"]), "urls[0]", "write that", ()),
    Fault("boot.py", urls(["boot.py", "m.py"]), "urls[0]", "from the root only", ()),
    Fault("main.py", urls(["/main.py", "m.py"]), "urls[0]", "from the root only", ()),
    # Destinations that meet.
    Fault("same twice", urls(GOOD, GOOD), "urls[1]", "there twice, see urls[0]", ()),
    Fault("two for one", urls(GOOD, ["m.py", "sub/n.py"]), "urls[1]", "two places", ()),
    Fault("case", urls(GOOD, ["M.py", "sub/n.py"]), "urls[1]", "one file on FAT", unseen=FAT),
    Fault(
        "case of a directory",
        urls(["a/m.py", "m.py"], ["A/m.py", "sub/n.py"]),
        "urls[1]",
        "one file on FAT",
        unseen=FAT,
    ),
    Fault(
        "source and bytecode",
        urls(GOOD, ["m.mpy", "good.mpy"]),
        "urls[1]",
        "only the .py is imported",
        (),
    ),
    Fault("file, directory", urls(["a", "m.py"], ["a/m.py", "m.py"]), "urls[0]", "a directory"),
    Fault("directory, file", urls(["a/m.py", "m.py"], ["a", "m.py"]), "urls[1]", "a directory"),
    Fault(
        "module and package",
        urls(["a.py", "m.py"], ["a/__init__.py", "m.py"]),
        "urls[0]",
        "takes the directory",
        (),
    ),
    # URLs.
    Fault("missing", urls(GOOD, ["n.py", "n.py"]), "urls[1]", "'n.py': there is no such"),
    Fault("other case", urls(["m.py", "M.py"]), "urls[0]", "'M.py': there is no such"),
    Fault("repository", urls(["m.py", "github:org/repo"]), "urls[0]", "names no file"),
    Fault("other forge", urls(["m.py", "sourcehut:o/r/m.py"]), "urls[0]", "no client knows"),
    Fault("scheme", urls(["m.py", "ftp://example.org/m.py"]), "urls[0]", "no client knows"),
    Fault(
        "page",
        urls(["m.py", "https://github.com/org/repo/blob/main/pkg/m.py"]),
        "urls[0]",
        "name it github:ORG/REPO/PATH",
    ),
    Fault(
        "page of Codeberg",
        urls(["m.py", "https://codeberg.org/org/repo/src/branch/main/m.py"]),
        "urls[0]",
        "name it codeberg:ORG/REPO/PATH",
    ),
    Fault(
        "page of another forge",
        urls(["m.py", "https://gitlab.com/org/repo/-/blob/main/m.py"]),
        "urls[0]",
        "name it gitlab:ORG/REPO/PATH",
    ),
    Fault(
        "token",
        urls(["x.py", "https://example.org/x.py?access_token=abc"]),
        "urls[0]",
        "a secret",
        (),
    ),
    Fault("own ref", urls(["m.py", "github:org/repo/pkg/m.py@v1"]), "urls[0]", "no @", FIELD),
    Fault("from the root", urls(["m.py", "/top.py"]), "urls[0]", "mpremote fetch", FIELD),
    Fault("from the scheme", urls(["x.py", "//example.org/x.py"]), "urls[0]", "no file", CLIENTS),
    Fault("space", urls(["m.py", "a b.py"]), "urls[0]", "send spaces", FIELD),
    Fault("letter", urls(["m.py", "caf\u00e9.py"]), "urls[0]", "sends letters", MPREMOTE),
    Fault("dots", urls(["m.py", "../top.py"]), "urls[0]", "the dots", ()),
    Fault(
        "other repository",
        urls(["x.py", "github:other/repo/x.py"]),
        "urls[0]",
        f"upstream and mpremote fetch {GITHUB}/other/repo/TAG/x.py, installed @TAG",
        (),
    ),
    # Hashes.
    Fault("own hashes", {"hashes": [["m.py", sha256(MODULE)]]}, "hashes", "in none"),
    Fault("short hash", {"hashes": [["m.py", "1234567"]]}, "hashes[0]", "8 to 64"),
    Fault("no hash", {"hashes": [["m.py", "1234567g"]]}, "hashes[0]", "8 to 64"),
    # Packages that are needed.
    Fault("latest", deps(["github:other/repo", "latest"]), "deps[0]", "a branch", FIELD),
    Fault("range", deps(["needed", ">=1"]), "deps[0]", "no ranges"),
    Fault("range of a branch", deps(["github:other/repo", "x*"]), "deps[0]", "no such package"),
    Fault("range of numbers", deps(["needed", "1.x"]), "deps[0]", "no ranges"),
    Fault(
        "hidden by what it needs",
        urls(["needed.py", "m.py"], deps=[["needed", "1"]]),
        "deps[0]",
        "one hides the other",
        (),
    ),
    Fault("dep page", deps(["https://github.com/other/repo", "v1"]), "deps[0]", "fetch", FIELD),
    Fault("name@version", deps(["needed@1", "latest"]), "deps[0]", "mpremote fetch", FIELD),
    Fault("star", deps(["needed", "*"]), "deps[0]", "mpremote fetch", FIELD),
    Fault("relative", deps(["./sub", "latest"]), "deps[0]", "mpremote fetch", FIELD),
    Fault("no name", deps(["", "1"]), "deps[0]", "empty"),
    Fault("dots for a name", deps(["..", "1"]), "deps[0]", "not the name"),
    Fault("path for a version", deps(["needed", "../x"]), "deps[0]", "not the name"),
    Fault("owner", deps(["github:org", "v1"]), "deps[0]", "names no file"),
    Fault("unknown forge", deps(["sourcehut:org/x", "1"]), "deps[0]", "names no package"),
    Fault("no package", deps(["nowhere", "latest"]), "deps[0]", "no such package"),
    Fault("no version", deps(["needed", "9"]), "deps[0]", "no version 9 of needed"),
    Fault("no repository", deps(["github:no/repo", "v1"]), "deps[0]", "no such package"),
    Fault("itself", deps(["github:org/repo/pkg", ""]), "deps[0]", "never end", FIELD),
    Fault("two versions", deps(["needed", "1"], ["needed", "2"]), "deps[1]", "two", OURS),
    # Bytecode.
    Fault("old", urls(["m.mpy", "old.mpy"]), "urls[0]", "bytecode of version 5", unseen=IMPORT),
    Fault("text", urls(["m.mpy", "text.mpy"]), "urls[0]", "not bytecode", unseen=IMPORT),
    Fault("native", urls(["m.mpy", "native.mpy"]), "urls[0]", "armv6m", (), unseen=BOARD),
]

# Documents with nothing wrong in them.
SOUND = {
    "relative": urls(GOOD, ["sub/n.py", "sub/n.py"], v=1, version="1.0", deps=[]),
    "full": urls(["m.py", "github:org/repo/pkg/m.py"], ["n.py", "github:ORG/Repo/pkg/sub/n.py"]),
    "elsewhere": urls(["x.py", "https://example.org/x.py"]),
    "data": urls(["m/page.html", "page.html"], ["m/m.mpy", "good.mpy"]),
    "needs": deps(["needed", "1"], ["other", "latest"]),
    "needs repositories": deps(["github:other/repo", "v1"], ["github:other/repo/y.py", ""]),
    "needs of the web": deps(["https://example.org/x.py", ""], ["https://example.org/p/", "x"]),
    "other keys": {"$schema": "x", **urls(GOOD, name="x", description="y", author="z")},
    "similar names": urls(["a.py", "m.py"], ["ab.py", "m.py"], ["a/b.py", "m.py"])
    | {"urls": [["a.py", "m.py"], ["ab.py", "m.py"], ["c/a.py", "m.py"], ["c/b.mpy", "good.mpy"]]},
    "only needs": {"deps": [["needed", "latest"]]},
}


def document(text, repo):
    """The bytes of a document of the table, for a repository."""
    if isinstance(text, bytes):
        return text
    text = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    return text.replace("org/repo", repo).replace("ORG/Repo", repo.upper()).encode()


def content_of(repo, text):
    """{URL: bytes} of a repository with a package.json, and what it names under other names."""
    data = document(text, repo)
    files = {**FILES, "pkg/good.mpy": bytecode("m = 1\n"), "pkg/package.json": data}
    places = [(repo, "HEAD")]
    if b"@v1" in data or b"ORG/" in data:
        places += [(repo, "v1"), (repo.upper(), "HEAD")]
    return {
        f"{GITHUB}/{owner}/{ref}/{path}": data
        for owner, ref in places
        for path, data in files.items()
    }


def world():
    """{URL: bytes} of what the packages of the table need."""
    files = dict(OTHER_FILES)
    files["https://example.org/p/package.json"] = b'{"urls": [["p.py", "../x.py"]]}'
    for name, versions in (("needed", "12"), ("other", "1")):
        for version in versions:
            data = bytecode(f"{name} = {version}\n")
            keys = {"v": 1, "version": version, "hashes": [[f"{name}.mpy", sha256(data)[:8]]]}
            files[f"{INDEX}/file/{sha256(data)[:2]}/{sha256(data)[:8]}"] = data
            for label in (version, "latest"):
                url = f"{INDEX}/{package_path('6', name, label)}"
                files[url] = json.dumps(keys).encode()
    return files


class Files:
    """A session for the contents that a function of a URL returns; None is not found."""

    def __init__(self, content):
        self._content = content

    def get(self, url):
        data = self._content(url)
        return Answer(404) if data is None else Answer(200, data)


# A session without a network.
DISK = Files(lambda url: pytest.fail(f"asked for {url}"))


def found(text, place="github:org/repo/pkg", **options):
    """The findings about a document that is in pkg/ of the repository org/repo."""
    files = {**world(), **content_of("org/repo", text)}
    return check(place, session=Files(files.get), **options)


def matching(findings, fault):
    """Those of the findings that tell of a fault."""
    return [
        finding
        for finding in findings
        if finding.entry == fault.entry
        and fault.words in finding.reason
        and finding.warning == (not fault.clients)
        and (finding.clients == fault.clients or finding.warning)
    ]


# --- What is found ---


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found(fault):
    """A fault is found, with its place and its clients, and no other is."""
    findings = found(fault.text)
    assert len(matching(findings, fault)) == 1, [str(finding) for finding in findings]
    if fault.clients:
        # That there are hashes at all is another one.
        errors = [each for each in findings if not each.warning and each.entry != "hashes"]
        assert len(errors) == (fault.entry != "hashes"), [str(each) for each in errors]
    else:
        assert all(finding.warning for finding in findings)


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_found_in_a_sound_package(name):
    """In a package.json with which nothing is wrong nothing is found."""
    assert found(SOUND[name]) == []


def test_every_fault_is_in_the_table_once():
    """The names of the table are distinct, as they are names of tests."""
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


# --- What clients do ---

# Installs each package of PACKAGES into a directory of its own, and prints between marks what it
# printed and how it ended. Without TLS, of which hundreds of connections would take a minute.
INSTALL_ALL = """
import sys

class tls:
    PROTOCOL_TLS_CLIENT = CERT_NONE = CERT_REQUIRED = 0

    class SSLContext:
        def __init__(self, protocol):
            pass

        def wrap_socket(self, sock, server_hostname=None):
            return sock

sys.modules["tls"] = tls

import mip

for number, package in enumerate(PACKAGES):
    print("\\n<%d>" % number)
    try:
        mip.install(package, target="t%d/lib" % number)
    except BaseException as error:
        print("\\n<failed>", type(error).__name__, error)
"""


def by_micropython(device, packages):
    """Have a device's mip install packages; return a list of {path: bytes}, None for failed."""
    # A word of the command line cannot be that long.
    done = device.run(INSTALL_ALL.replace("PACKAGES", repr(packages)), timeout=120)
    outputs = re.split(r"\n<\d+>\n", done.out)[1:]
    assert len(outputs) == len(packages), str(done)
    result = []
    for number, output in enumerate(outputs):
        failed = "\n<failed>" in output or "may be partially installed" in output
        files = device.tree(device.work / f"t{number}", everything=True)
        files = {path: data for path, data in files.items() if not path.startswith("lib/.mip/")}
        result.append(None if failed else files)
    return result


def meant(fetch, package):
    """What is installed of a package as it is meant, {path: bytes}; None if it has no meaning."""
    try:
        packages, contents = host.install([package], [INDEX], "6", Files(fetch))
    except PublishError:
        return None
    return {
        f"lib/{path}": contents[hash]
        for each in packages.values()
        for path, hash in each.files.items()
    }


def works(installed, meant):
    """Whether a client has installed what was meant or, if it has no meaning, anything."""
    if installed is None:
        return False
    if meant is None:
        return all(path.startswith("lib/") for path in installed)
    return installed == meant


def test_clients_fail_where_the_check_says_so(net, device, monkeypatch):
    """Every package of the table fails for the clients that it says, and works for the others."""
    seen = [fault for fault in FAULTS if not fault.unseen]
    texts = [fault.text for fault in seen] + list(SOUND.values())
    claims = [fault.clients for fault in seen] + [()] * len(SOUND)
    names = [fault.name for fault in seen] + list(SOUND)
    files = world()
    for number, text in enumerate(texts):
        files |= content_of(f"org/r{number}", text)
    for url, data in files.items():
        net.put(url, data)
    packages = [f"github:org/r{number}/pkg" for number in range(len(texts))]
    net.connect(monkeypatch, tls=False)
    # Reading the system's certificates for each connection would take longest.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr(ssl, "_create_default_https_context", lambda: context)
    monkeypatch.setattr(urllib.request, "_opener", None)
    device.hosts = dict.fromkeys(net.hosts, net.plain.port)
    work = device.work.with_name("upstream")
    upstream = Device(work, ".frozen", device.interpreter, device.hosts)
    installed = {
        "ours": by_micropython(device, packages),
        "upstream": by_micropython(upstream, packages),
        "mpremote": [by_mpremote(package) for package in packages],
    }
    wrong = []
    for number, package in enumerate(packages):
        tree = meant(files.get, package)
        failed = tuple(c for c in CLIENTS if not works(installed[c][number], tree))
        if failed != claims[number]:
            wrong.append((names[number], failed))
    assert wrong == []


# --- Where a package.json is ---


def errors(findings):
    """Those of the findings that are errors, as they are printed."""
    return [str(finding) for finding in findings if not finding.warning]


def test_a_ref_that_leaks():
    """Asked for at a ref, a URL into another repository fails for those that use it there, too."""
    text = urls(["x.py", "github:other/repo/x.py"], GOOD)
    text["version"] = "@v1"
    (finding,) = found(text, "github:org/repo/pkg@v1")
    assert (finding.entry, finding.clients, finding.warning) == ("urls[0]", FIELD, False)
    assert f"upstream and mpremote fetch {GITHUB}/other/repo/v1/x.py: " in finding.reason


def write(directory, text, **files):
    """Write a package.json and modules into a directory; return it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "package.json").write_bytes(document(text, "org/repo"))
    for name, data in files.items():
        (directory / f"{name}.py").write_bytes(data)
    return directory


def test_a_package_of_the_working_directory(tmp_path, monkeypatch):
    """A URL may lead upwards; a link in the directory of the package may not lead out of it."""
    write(tmp_path / "x", urls(["o.py", "../o.py"], ["m.py", "m.py"]), m=MODULE)
    (tmp_path / "o.py").write_bytes(MODULE)
    monkeypatch.chdir(tmp_path / "x")
    assert errors(check("package.json", session=DISK)) == []
    (tmp_path / "x" / "m.py").unlink()
    (tmp_path / "x" / "m.py").symlink_to("../o.py")
    (error,) = errors(check("package.json", session=DISK))
    assert error.startswith("error: urls[1]: 'm.py' leads out of the package's directory")


@pytest.mark.parametrize("written", ["package.json", ""])
def test_a_local_package(tmp_path, written):
    """What is relative to a path is looked up there; other files of a directory do not matter."""
    text = urls(GOOD, ["n.py", "sub/../n.py"], ["o.py", "../o.py"])
    write(tmp_path / "x", text, m=MODULE)
    (tmp_path / "o.py").write_bytes(MODULE)
    findings = check(str(tmp_path / "x" / written), session=DISK)
    assert errors(findings) == ["error: urls[1]: 'sub/../n.py': there is no such file"]


def test_a_local_package_without_files(tmp_path):
    """With files=False nothing but the package.json is read."""
    text = urls(GOOD, ["x.py", "github:other/repo/x.py"], ["y.mpy", "y-{MPY_ARCH}.mpy"])
    text |= {"deps": [["nowhere", "1"]]}
    write(tmp_path, text)
    assert errors(check(str(tmp_path), session=DISK, files=False)) == []


def test_a_local_package_under_its_name(tmp_path):
    """What a package names in its own repository is looked up on the disk, if that is known."""
    text = urls(
        ["a.py", "github:org/repo/pkg/m.py"],
        ["b.py", "github:Org/Repo/top.py"],
        ["c.py", "github:org/repo/gone.py"],
        ["d.py", "github:other/repo/x.py"],
    )
    write(tmp_path / "pkg", text, m=MODULE)
    (tmp_path / "top.py").write_bytes(MODULE)
    asked = []

    def get(url):
        asked.append(url)
        return OTHER_FILES.get(url)

    options = {"session": Files(get), "published": "github:org/repo/pkg"}
    findings = check(str(tmp_path / "pkg"), **options)
    assert errors(findings) == ["error: urls[2]: 'github:org/repo/gone.py': there is no such file"]
    assert asked == [f"{GITHUB}/other/repo/HEAD/x.py"]
    leak = [finding for finding in findings if finding.warning]
    assert [finding.entry for finding in leak] == ["urls[3]"]


def test_the_repository_of_a_local_package_is_guessed(tmp_path):
    """The repository that most URLs name is taken for the package's own."""
    text = urls(
        ["a.py", "github:org/repo/a.py"],
        ["x.py", "github:other/repo/x.py"],
        ["b.py", "github:org/repo/b.py"],
    )
    write(tmp_path, text)
    findings = check(str(tmp_path), session=DISK, files=False)
    assert [(each.entry, each.clients, each.warning) for each in findings] == [
        ("urls[1]", FIELD, True)
    ]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("nowhere", "nowhere: no such file"),
        ("github:no/repo", f"{GITHUB}/no/repo/HEAD/package.json: no such file"),
        ("https://example.org/x.py", "not a package.json"),
        ("https://example.org/site/index.json", "an index: name its directory on the disk"),
    ],
)
def test_a_place_without_a_package(tmp_path, monkeypatch, place, words):
    """A place where there is no package.json is an error of its own."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PublishError, match=re.escape(words)):
        check(place, session=Files(lambda url: None))


def test_an_index_on_the_web():
    """An index at a URL is told from a package that is not there."""
    there = {"https://example.org/site/index.json": b"{}"}
    with pytest.raises(PublishError, match="^https://example.org/site: an index: name its"):
        check("https://example.org/site", session=Files(there.get))


def test_a_name_that_is_no_repository(tmp_path):
    """What a package cannot be installed as is refused for --as."""
    write(tmp_path, urls(GOOD), m=MODULE)
    with pytest.raises(PublishError, match="^me/sht3x: --as takes github:ORG/REPO$"):
        check(str(tmp_path), published="me/sht3x")


def test_a_directory_for_a_file(tmp_path):
    """A directory where a file is named is told as one, by `check` and by `build`."""
    write(tmp_path / "p", urls(["sht3x", "sht3x"], version="1"))
    (tmp_path / "p" / "sht3x").mkdir()
    found_there = errors(check(str(tmp_path / "p"), session=DISK))
    assert found_there == ["error: urls[0]: 'sht3x': is a directory: name its files"]
    with pytest.raises(PublishError, match="/sht3x is a directory: name its files$"):
        mip_index.build(tmp_path / "p", tmp_path / "site")


def test_files_that_cannot_be_fetched():
    """A server that fails is a warning where its file was to be read, and is asked no more."""
    asked = []

    def get(url):
        asked.append(url)
        if url.endswith(".py"):
            raise ValueError("not online")
        return b'{"urls": [["m.py", "m.py"], ["n.py", "n.py"]]}'

    findings = check("https://example.org/x", session=Files(get))
    assert [str(finding) for finding in findings] == [
        "warning: urls[0]: could not look: https://example.org/x/m.py: not online",
        "warning: urls[1]: could not look: https://example.org/x/n.py: its host has failed",
    ]
    assert len(asked) == 2


def test_offline(tmp_path):
    """Off line, what is on the disk is looked at, and nothing else is asked for."""
    text = urls(GOOD, ["n.py", "n.py"], ["x.py", "https://example.org/x.py"])
    write(tmp_path / "x", text | {"deps": [["needed", "1"]]}, m=MODULE)
    findings = check(str(tmp_path / "x"), session=DISK, offline=True)
    assert errors(findings) == ["error: urls[1]: 'n.py': there is no such file"]
    assert "note: 2 not looked up: --offline" in map(str, findings)
    assert not any("could not look" in finding.reason for finding in findings)


def test_offline_and_strict(tmp_path, capsys):
    """What was not looked up, as it was not to be, is told and is no mistake."""
    write(tmp_path / "x", urls(GOOD, deps=[["needed", "1"]]), m=MODULE)
    assert run(tmp_path / "x", "--offline", "--strict") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/x: note: 1 not looked up: --offline",
        f"{tmp_path}/x: good for every client",
    ]


BOTH = "x.py: a file and a directory at once: what is asked for has both"


def test_packages_that_clash():
    """Packages that cannot be installed together are told, as ours refuses them."""
    text = {"urls": [["x.py/m.py", "m.py"]], "deps": [["github:other/repo", "v1"]]}
    (finding,) = found(text)
    needed = f"github:other/repo: {BOTH} (needed by github:org/repo/pkg)"
    assert (finding.reason, finding.clients) == (needed, OURS)


# --- Packages of an index, native code ---


def test_packages_of_an_index(index):
    """Every package of an index that was built is good for every client."""
    places = [*index.glob("package/*/*/*.json")]
    assert len(places) == 28
    for place in places:
        assert check(str(place), session=DISK) == []


@pytest.mark.parametrize(
    ("hash", "data", "words"),
    [
        ("0" * 8, None, "file/00/00000000: there is no such file"),
        (sha256(MODULE)[:8], b"other", "is damaged"),
        (sha256(MODULE)[:8].upper(), MODULE, "in lower case (upstream, mpremote)"),
    ],
)
def test_wrong_hashes_of_an_index(tmp_path, hash, data, words):
    """What is missing or damaged in an index is found."""
    keys = {"v": 1, "version": "1", "hashes": [["m.py", hash]]}
    place = tmp_path / "package" / "6" / "m" / "1.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(keys))
    if data is not None:
        (tmp_path / "file" / hash[:2]).mkdir(parents=True)
        (tmp_path / "file" / hash[:2] / hash).write_bytes(data)
    (error,) = errors(check(str(place), session=DISK))
    assert words in error


def native(arch, sub=3):
    """The head of a .mpy file for an architecture, by its number."""
    return bytes((ord("M"), 6, arch << 2 | sub, 31)) + bytes(8)


BUILDS = [
    ("m-{MPY_ARCH}.mpy", {"m-armv6m.mpy": native(4), "m-xtensawin.mpy": native(10)}, None),
    ("{MPY_ARCH}-{MPY_VERSION}/m.mpy", {"x64-6.3/m.mpy": native(2)}, None),
    ("{MPY_VERSION}/m.mpy", {"6.2/m.mpy": native(0, 0)}, None),
    ("m-{MPY_ARCH}.mpy", {"m.mpy": native(4)}, "there is no build for any architecture"),
    ("m-{MPY_ARCH}.mpy", {"m-x64.mpy": native(4)}, "the build for x64 is for armv6m"),
    ("m-{MPY_ARCH}.mpy", {"m-x64.mpy": b"x64"}, "not bytecode"),
]


@pytest.mark.parametrize("local", [True, False], ids=["local", "web"])
@pytest.mark.parametrize(("source", "files", "words"), BUILDS)
def test_builds_for_architectures(tmp_path, source, files, words, local):
    """A URL for any board is good if it leads to a build for some; two clients do not know it."""
    text = json.dumps(urls(["m.mpy", source])).encode()
    place = "https://example.org/x"
    there = {f"{place}/{path}": data for path, data in files.items()}
    there[f"{place}/package.json"] = text
    if local:
        place = str(write(tmp_path / "x", text))
        for path, data in files.items():
            (tmp_path / "x" / path).parent.mkdir(exist_ok=True)
            (tmp_path / "x" / path).write_bytes(data)
    findings = check(place, session=DISK if local else Files(there.get))
    told = [finding for finding in findings if finding.warning]
    if words:
        assert len(errors(findings)) == 1 and words in errors(findings)[0]
    else:
        assert errors(findings) == []
        (warning,) = told
        assert (warning.entry, warning.clients) == ("urls[0]", FIELD)


def test_which_builds_there_are():
    """The warning about a URL for any board says for which there is a build."""
    place = "https://example.org/x"
    there = {f"{place}/m-x64.mpy": native(2), f"{place}/m-rv32imc.mpy": native(11)}
    there[f"{place}/package.json"] = json.dumps(urls(["m.mpy", "m-{MPY_ARCH}.mpy"])).encode()
    (finding,) = check(place, session=Files(there.get))
    assert finding.reason.endswith("there are builds for x64, rv32imc")


def test_entries_for_some_boards():
    """Entries for different boards go to one destination; two clients can read neither."""
    text = urls(["m.py", "m.py", 2566], ["m.py", "sub/n.py", 6], ["n.py", "m.py"])
    assert [(finding.entry, finding.clients) for finding in found(text)] == [
        ("urls[0]", FIELD),
        ("urls[1]", FIELD),
    ]


def test_the_version_of_bytecode():
    """Which bytecode version prebuilt files should have can be said."""
    text = urls(["m.mpy", "old.mpy"])
    assert errors(found(text, mpy_version="5")) == []
    assert "version 5, firmware takes 6" in errors(found(text))[0]


# --- Other places ---


def test_findings_come_in_the_order_of_the_entries():
    """What is wrong is said in the order in which it is in the document, all of it first."""
    text = deps("needed", ["nowhere", "1"])
    text = {
        "versoin": "1",
        **text,
        "urls": [["../m.py", "m.py"], ["/m.py", "m.py"], ["n.py", "n"]],
    }
    found_there = [finding.entry for finding in found(json.dumps(text))]
    order = ["versoin", "urls[0]", "urls[1]", "urls[2]", "deps[0]", "deps[1]"]
    assert list(dict.fromkeys(found_there)) == order
    text = {key: text[key] for key in ("deps", "urls")}
    found_there = [finding.entry for finding in found(json.dumps(text))]
    assert list(dict.fromkeys(found_there)) == order[4:] + order[1:4]


def test_the_package_json_of_npm():
    """The package.json of another world is told apart."""
    text = {"name": "x", "version": "1.0.0", "scripts": {}, "dependencies": {"left-pad": "1"}}
    (error, warning) = found(text)
    assert "npm" in warning.reason and warning.warning
    assert "nothing to install" in error.reason


def test_a_manifest(tmp_path):
    """A directory with a manifest.py is checked by building it, and what is left out is told."""
    package = tmp_path / "p"
    package.mkdir()
    (package / "manifest.py").write_text('metadata(version="1")\nmodule("m.py")')
    (package / "m.py").write_bytes(MODULE)
    assert check(str(package), session=DISK) == []
    assert check(str(package / "manifest.py"), session=DISK) == []
    (package / "table.json").write_text("")
    assert [str(each) for each in check(str(package), session=DISK)] == [
        "warning: not in the package: table.json"
    ]
    (package / "m.py").write_text("x = = 1")
    (error,) = errors(check(str(package), session=DISK))
    assert "m.py: mpy-cross: " in error


def test_what_a_manifest_needs(tmp_path):
    """What a manifest requires is looked up, as what a package.json needs is."""
    manifest = 'metadata(version="1")\nrequire("needed")\nrequire("loging")\nrequire("other", "9")'
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "manifest.py").write_text(manifest)
    options = {"session": Files(world().get)}
    assert [str(each).split(", no")[0] for each in check(str(tmp_path / "p"), **options)] == [
        "error: require(): 'loging': there is no such package",
        "error: require(): there is no version 9 of other",
    ]
    assert check(str(tmp_path / "p"), files=False, **options) == []


def test_a_directory_of_packages(tmp_path):
    """All packages somewhere in a directory are checked, as they are published together."""
    text = json.dumps({"urls": [["n.py", "n.py"]], "deps": [["m", "latest"], ["loging", "1"]]})
    write(tmp_path / "src" / "more" / "j", text)
    for name, needs in ("m", "none"), ("n", "m"):
        package = write(tmp_path / "src" / name, "")
        (package / "package.json").unlink()
        (package / "manifest.py").write_text(f'metadata(version="1")\nrequire("{needs}")')
    found_there = check(str(tmp_path / "src"), session=Files(world().get))
    assert [str(each).split(", no")[0] for each in found_there] == [
        "error: m require(): 'none': there is no such package",
        "error: j urls[0]: 'n.py': there is no such file",
        "error: j deps[1]: 'loging': there is no such package",
        "error: n require(): 'none': there is no such package",
    ]
    with pytest.raises(PublishError, match="no package: --as is for a single one"):
        check(str(tmp_path / "src"), published="github:org/repo")


def test_what_leads_out_of_a_manifest(tmp_path):
    """What `build` refuses, `check` does, too: files and manifests from outside."""
    (tmp_path / "m.py").write_bytes(MODULE)
    (tmp_path / "more.py").write_text('module("m.py")')
    for number, rule in enumerate(
        ('module("m.py", base_path="..")', 'include("../more.py")', 'module("link.py")')
    ):
        package = tmp_path / f"p{number}"
        package.mkdir()
        (package / "link.py").symlink_to(tmp_path / "m.py")
        (package / "manifest.py").write_text(f'metadata(version="1")\n{rule}')
        with pytest.raises(PublishError, match="leads out of") as refused:
            mip_index.build(package, tmp_path / "site")
        assert errors(check(str(package), session=DISK)) == [f"error: {refused.value}"]
    # It is inside of what is named.
    assert check(str(tmp_path), session=DISK) == []


def test_an_index(tmp_path):
    """Of an index, every package is checked, and packages that share a path with other content."""
    for name, version, number in (("a", "1", 1), ("b", "2", 2), ("c", "1", 1)):
        package = tmp_path / "in" / name
        package.mkdir(parents=True)
        keys = {"version": version, "urls": [["Same.py", "m.py"], [f"{name}.py", "m.py"]]}
        (package / "package.json").write_text(json.dumps(keys))
        (package / "m.py").write_text(f"x = {number}\n")
    mip_index.build(tmp_path / "in", tmp_path / "site")
    reason = "differs from that of a: the package installed last wins"
    assert [str(each) for each in check(str(tmp_path / "site"), session=DISK)] == [
        f"warning: 6/b: Same.mpy {reason}",
        f"warning: py/b: Same.py {reason}",
    ]
    assert len(check(str(tmp_path / "site" / "index.json"), session=DISK)) == 2
    content = sha256(b"x = 2\n")[:8]
    (tmp_path / "site" / "file" / content[:2] / content).write_text("other")
    found_there = errors(check(str(tmp_path / "site"), session=DISK))
    assert len(found_there) == 2 and all("is damaged" in each for each in found_there)
    assert found_there[0].startswith("error: py/b@2 hashes[0]: ")


def test_an_index_that_cannot_be_searched(device, tmp_path):
    """A package with so many versions that a board passes over it is named."""
    (tmp_path / "index.json").write_text(json.dumps({"v": 2, "packages": [MANY_VERSIONS]}))
    (error,) = errors(check(str(tmp_path), session=DISK))
    assert "many: more than 4096 bytes" in error
    searched = device.run(f"import mip; mip.search('many', index={str(tmp_path)!r})")
    assert searched.lines == ["nothing found for many"]


MANY_VERSIONS = {"name": "many", "version": "1", "description": "x" * 4096, "versions": {}}


def test_a_damaged_json_of_an_index(tmp_path):
    """A package whose JSON is not there, or is none, is told."""
    package = tmp_path / "a"
    package.mkdir()
    (package / "package.json").write_text('{"version": "1", "urls": [["a.py", "a.py"]]}')
    (package / "a.py").write_text("")
    mip_index.build(package, tmp_path / "site")
    (tmp_path / "site" / "package" / "py" / "a" / "1.json").write_text("{")
    (tmp_path / "site" / "package" / "6" / "a" / "1.json").unlink()
    texts = errors(check(str(tmp_path / "site"), session=DISK))
    assert [text.split(":")[1] for text in texts] == [" 6/a@1", " py/a@1"]


# --- The schema ---


def test_the_schema():
    """The schema is one, and names no host but that of its own kind."""
    schema = json.loads(SCHEMA.read_text())
    Draft7Validator.check_schema(schema)
    assert re.findall(r"\w+://[^/]+", SCHEMA.read_text()) == ["http://json-schema.org"]
    assert "://" not in schema["$id"]


def test_the_keys_of_the_schema():
    """Editors know the keys that `check` knows, and warn about others."""
    schema = json.loads(SCHEMA.read_text())
    assert sorted(schema["properties"]) == sorted(KNOWN_KEYS)
    (error,) = Draft7Validator(schema).iter_errors(urls(GOOD, requires=[]))
    assert list(error.path) == ["requires"]


@pytest.mark.parametrize("path", [row[0] for row in DESTINATIONS])
def test_destinations_in_the_schema(path):
    """What editors take for a destination is what a device takes."""
    validator = Draft7Validator(json.loads(SCHEMA.read_text()))
    assert validator.is_valid({"urls": [[path, "x"]]})


# A limit in bytes is not one that a schema knows.
@pytest.mark.parametrize(
    "path", params([row[:2] for row in BAD_DESTINATIONS if not row[0].startswith("long")])
)
def test_bad_destinations_in_the_schema(path):
    """What editors refuse for a destination is what a device refuses."""
    validator = Draft7Validator(json.loads(SCHEMA.read_text()))
    assert not validator.is_valid({"urls": [[path, "x"]]})


def test_the_projects_own_package():
    """The project's own package.json is good for every client."""
    assert check(str(ROOT), session=DISK) == []


# --- What authors published ---

# What the notes of the corpus tell, and what is found then: words of the reason, and for whom.
NOTES = {
    "strict JSON invalid": ("only MicroPython's json", MPREMOTE),
    "dep is plain string": ("a text alone", FIELD),
    '"latest" used as git ref': ("for a branch", FIELD),
    "colon in dest": ("swapped?", CLIENTS),
    "fs: dest": ("fs: is one IDE", CLIENTS),
    "url dep https://github.com/": ("means https://raw.githubusercontent.com/", FIELD),
    "lib/ dest": ("lib/lib/", ()),
    "installs top-level boot.py": ("runs boot.py from the root", ()),
    "installs top-level main.py": ("runs main.py from the root", ()),
    "cross-repo": ("installed @TAG", ()),
}
# What they do not tell.
MORE = {
    "rb-amp/rbamp-python": ("1 is the only version", OURS),  # which says 2
    "leezisheng/freakstudio-micropython-libraries": ("nothing to install", OURS),
}


def corpus():
    """The rows of the corpus: repository, path, commit, notes."""
    with open(CORPUS / "INDEX.tsv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{row['repository']}/{row['path']}") for row in corpus()]
)
def test_a_package_that_was_published(row):
    """In a published package.json that is found which is known to be odd, and no error else."""
    path = CORPUS / row["repository"].replace("/", "__") / row["path"]
    published = f"github:{row['repository']}/{row['path']}"
    findings = check(str(path), published=published, files=False)
    expected = [what for note, what in NOTES.items() if note in row["notes"]]
    expected += [MORE[row["repository"]]] if row["repository"] in MORE else []
    for words, clients in expected:
        assert any(
            words in finding.reason and (finding.clients == clients or finding.warning)
            for finding in findings
        ), words
    for finding in findings:
        known = [
            words in finding.reason for words, clients in expected if clients or finding.warning
        ]
        assert finding.warning or any(known), str(finding)


@pytest.mark.parametrize(
    "path", sorted(CORPUS.glob("superseded/**/*.json")), ids=lambda path: path.name
)
def test_a_package_that_was_replaced(path):
    """A package.json that was replaced by its author is read; most were replaced for a reason."""
    data = path.read_bytes()
    findings = check(str(path), session=DISK, files=False)
    try:
        json.loads(data)
    except ValueError:
        assert errors(findings)


# --- The command line ---


def run(*arguments):
    """Run the command; return the exit status."""
    return mip_index.main(["check", *map(str, arguments)])


def test_the_command(tmp_path, capsys):
    """A line for each finding; status 1 for errors, 0 for warnings unless they are errors."""
    good = write(tmp_path / "good", urls(GOOD), m=MODULE)
    odd = write(tmp_path / "odd", urls(["lib/m.py", "m.py"]), m=MODULE)
    bad = write(tmp_path / "bad", urls(["../m.py", "m.py"], ["n.py", "n.py"]), m=MODULE)
    assert run(good) == 0
    assert capsys.readouterr().out == f"{good}: good for every client\n"
    assert run(good, odd) == 0
    assert run("--strict", good) == 0
    assert run("--strict", good, odd) == 1
    capsys.readouterr()
    assert run(bad, odd, good) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{bad}: error: urls[0]: '../m.py' leads out of the target",
        f"{bad}: error: urls[1]: 'n.py': there is no such file",
        f"{odd}: warning: urls[0]: goes to lib/lib/m.py, as all paths are below lib already",
        f"{good}: good for every client",
    ]
    assert run("--no-files", write(tmp_path / "gone", urls(GOOD))) == 0


def test_the_command_without_a_package(tmp_path, capsys):
    """A place without a package.json is said on one line of stderr, with status 1."""
    assert run(tmp_path / "nowhere") == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"mip-index: {tmp_path}/nowhere: no such file\n")


def test_a_package_on_the_web(net, monkeypatch, capsys):
    """A package of the web is checked over the network, and what it needs is looked up there."""
    net.connect(monkeypatch, tls=False)
    net.publish("needed")
    net.put("https://example.org/x/m.py")
    text = {"urls": [["m.py", "m.py"]], "deps": [["needed", "1.0"], ["other", "latest"]]}
    net.put("https://example.org/x/package.json", json.dumps(text))
    assert run("https://example.org/x") == 1
    assert capsys.readouterr().out.splitlines() == [
        "https://example.org/x: error: deps[1]: 'other': there is no such package, no "
        f"{INDEX}/package/6/other/latest.json"
    ]
    text["deps"].pop()
    net.put("https://example.org/x/package.json", json.dumps(text))
    assert run("https://example.org/x") == 0


@pytest.mark.parametrize("arguments", [["check"], ["check", "a", "b", "--as", "github:o/r"]])
def test_wrong_command_lines(arguments, capsys):
    """A wrong command line ends with status 2."""
    with pytest.raises(SystemExit) as error:
        mip_index.main(arguments)
    assert error.value.code == 2
    assert "usage:" in capsys.readouterr().err
