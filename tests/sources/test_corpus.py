"""What authors published is installed, or is refused with a message that names the mistake.

Every package.json of tests/corpus is asked for as a user would, from its repository and at its
commit, and its own bytes are served. Each of its files is a line that tells the URL. So is what
it needs from repositories that the corpus has; a repository that it has not, and a package of
an index, is one file.
"""

import csv
import hashlib
import json
from dataclasses import dataclass
from urllib.parse import urljoin

import pytest
from folders import CORPUS

GITHUB = "https://raw.githubusercontent.com/{0}/{2}/{1}"
GITLAB = "https://gitlab.com/{0}/-/raw/{2}/{1}"
INDEX = "https://micropython.org/pi/v2"
PYDEVICES_INDEX = "https://pydevices.test/pi"

# What the corpus needs of the public index, and what of an index that only its authors know.
PUBLIC = """
    __future__ abc aiohttp aiorepl aioespnow collections-defaultdict copy datetime logging
    lsm6dsox pkg_resources senml ssd1306 tarfile-write time umqtt.robust umqtt.simple unittest
    urequests
"""
PRIVATE = ["pydevices"]

FORGES = {"github": GITHUB, "gitlab": GITLAB}

# What is asked for in other versions than the latest.
PINNED = [
    (INDEX, "senml", "0.1.0"),
    (INDEX, "logging", "0.6.0"),
    (INDEX, "pkg_resources", "0.2.1"),
]

# An index in a repository, and a content for each of its hashes: below a header of bytecode,
# letters that were searched for. 8 digits of a hash are there against damage, no more.
NRF24 = GITHUB.format("jkorte-dev/mpy-dtu", "nrf24", "14c785c97191071837b82159d7278522f0c836dc")
HASHED = {
    "530e91b1": b"M\x05\x00\x1f255a02d9",
    "cef84c9e": b"M\x06\x00\x1fLFEAPBHG",
}

# Bytecode in such a directory is of version 5, all other of the version that the board takes.
VERSION_5 = "/v5/"

# What is refused, and words of the message: which document or file, and the author's mistake.
_TEST6 = "superseded/mcauser__micropython-mip-test6"
_OCTOPUS = "superseded/octopuslab-cz__esp32_micropython_framework"
_GRAFTSENSE = "superseded/FreakStudioCN__GraftSense-Drivers-MicroPython"
REFUSED = {
    # A path of an IDE's dialect, a URL, a path out of the target, a space before a name.
    "emlearn__emlearn-micropython/examples/har_trees/package.json": ["'fs:har_run.py'"],
    "emlearn__emlearn-micropython/examples/mnist_cnn/package.json": ["'fs:mnist_cnn_int8.tmdl'"],
    "emlearn__emlearn-micropython/examples/soundlevel_iir/package.json": ["'fs:soundlevel.py'"],
    "arduino__micropython-pcf85263a/package.json": [
        "'github:arduino/micropython-pcf85263aat/src/pcf85263a.py'",
        "URL",
    ],
    f"{_TEST6}/package@dddf65a4dd.json": ["'../test6f.py'"],
    f"{_OCTOPUS}/examples/package@b7e4d35ffa.json": ["'examples/ button_irq.py'"],
    # No `urls`, `hashes` or `deps`; an entry of `urls` that is a name alone; a "v" of 2.
    "leezisheng__freakstudio-micropython-libraries/serial_servo/package.json": [
        "serial_servo/package.json",
        "nothing to install",
    ],
    f"{_GRAFTSENSE}/sensors/scd41_driver/package@1f58282fcc.json": [
        "scd41_driver/package.json",
        "urls",
    ],
    "rb-amp__rbamp-python/package.json": ["rbamp-python", "newer mip"],
    # A name of PyPI's, and one that the index does not have any more.
    "superseded/brainelectronics__micropython-nextion/package@bceb62e693.json": [
        "micropython-ulogging",
        "perhaps it is ulogging",
    ],
    "superseded/mkomon__uota/package@d050ce6a81.json": ["no package utarfile"],
    # Bytecode for the MicroPython of years ago.
    "Josverl__micropython-stubber/mip/mpy_v5.json": ["createstubs.mpy is bytecode", " 5"],
    "jkorte-dev__mpy-dtu/nrf24/package/5/nrf24/latest.json": ["nrf24.mpy is bytecode", " 5"],
}

# What is asked for otherwise than by its repository and path, and of other indexes than the two.
NAMES = {"jkorte-dev__mpy-dtu/nrf24/package/6/nrf24/latest.json": "nrf24"}
INDEXES = {
    "jkorte-dev__mpy-dtu/nrf24/package/5/nrf24/latest.json": [NRF24],
    "jkorte-dev__mpy-dtu/nrf24/package/6/nrf24/latest.json": [NRF24],
}


@dataclass(frozen=True)
class Package:
    """One package.json of the corpus.

    file: where it is in the corpus. repository, path, ref: where it was published.
    notes: what INDEX.tsv says of it.
    """

    file: str
    repository: str
    path: str
    ref: str
    notes: str = ""

    @property
    def url(self):
        return GITHUB.format(self.repository, self.path, self.ref)

    @property
    def name(self):
        """What a user asks for."""
        return f"github:{self.repository}/{self.path}@{self.ref}"


def published():
    """Yields the packages of the corpus, those that were replaced later at the end."""
    with open(CORPUS / "INDEX.tsv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            directory = row["repository"].replace("/", "__", 1)
            file = f"{directory}/{row['path']}"
            yield Package(file, row["repository"], row["path"], row["commit"], row["notes"])
    for file in sorted((CORPUS / "superseded").rglob("*.json")):
        directory, *parts, last = file.relative_to(CORPUS / "superseded").parts
        stem, ref = file.stem.split("@")
        path = "/".join([*parts, f"{stem}.json"])
        name = file.relative_to(CORPUS).as_posix()
        yield Package(name, directory.replace("__", "/", 1), path, ref)


PACKAGES = {package.file: package for package in published()}


def test_the_corpus_is_as_it_was_found():
    """The files are there, and those that are named after their git blob still have its bytes."""
    files = {file.relative_to(CORPUS).as_posix() for file in CORPUS.rglob("*.json")}
    assert files == set(PACKAGES)
    assert len(files) == 107 + 45
    for package in PACKAGES.values():
        if package.file.startswith("superseded/"):
            data = (CORPUS / package.file).read_bytes()
            blob = hashlib.sha1(b"blob %d\0%b" % (len(data), data)).hexdigest()
            assert blob.startswith(package.ref), package.file


# ---- what is served, and what has to become of it --------------------------------------


def body(url, edition):
    """The content of a file: a line that tells its URL; below a header where it is bytecode."""
    version = 5 if VERSION_5 in url else 6
    header = b"M%c\x00\x1f" % version if url.endswith(".mpy") else b""
    return header + f"# {url}, edition {edition}\n".encode()


def clean(path):
    """A destination without needless parts."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


class Internet:
    """Serves the corpus, and works out without mip what has to be installed of it.

    pages: {URL: bytes}; a file that is not among them is body(URL).
    files: {name in the corpus: {path: URL of its content}}, but for what is refused.
    own: the same, without what the package needs of others.
    """

    def __init__(self, documents):
        self.pages = {}
        self._documents = {}
        for package in PACKAGES.values():
            self.pages[package.url] = (CORPUS / package.file).read_bytes()
            self._documents[package.url] = documents[package.file]
        for digits, data in HASHED.items():
            self.pages[f"{NRF24}/file/{digits[:2]}/{digits}"] = data
        for index, names in (INDEX, PUBLIC.split()), (PYDEVICES_INDEX, PRIVATE):
            for name in names:
                self._put_indexed(index, name, "latest")
        for index, name, version in PINNED:
            self._put_indexed(index, name, version)
        self.files, self.own = {}, {}
        for package in PACKAGES.values():
            if package.file not in REFUSED:
                start = (package.url, package.repository, package.ref)
                self.own[package.file] = self._own_files(*start)
                self.files[package.file] = self._all_files(start)

    def content(self, url, edition):
        """The bytes of the file at `url`."""
        return self.pages.get(url) or body(url, edition)

    def _put(self, url, document):
        self.pages[url] = json.dumps(document).encode()
        self._documents[url] = document

    def _put_indexed(self, index, name, version):
        content = b"M\x06\x00\x1f# " + f"{name} {version}\n".encode()
        digits = hashlib.sha256(content).hexdigest()[:8]
        path = name.replace(".", "/") + ".mpy"
        self.pages[f"{index}/file/{digits[:2]}/{digits}"] = content
        self._put(f"{index}/package/6/{name}/{version}.json", {"hashes": [[path, digits]]})

    def _all_files(self, start):
        files, todo = {}, [start]
        for where in todo:  # which grows
            files |= self._own_files(*where)
            for dep in self._documents[where[0]].get("deps") or ():
                needed = self._needed(*([dep, "latest"] if isinstance(dep, str) else dep))
                if needed[0].endswith(".mpy"):
                    files[needed[0].rsplit("/")[-1]] = needed[0]
                elif needed not in todo:
                    todo.append(needed)
        return files

    def _own_files(self, url, repository, ref):
        document = self._documents[url]
        index = NRF24 if url.startswith(NRF24) else url.split("/package/")[0]
        files = {
            clean(path): f"{index}/file/{digits[:2]}/{digits}"
            for path, digits in document.get("hashes", [])
        }
        for path, source in document.get("urls", []):
            files[clean(path)] = self._source(source, url, repository, ref)
        return files

    def _source(self, source, url, repository, ref):
        # Where a file of the document at `url` is.
        forge, _, rest = source.partition(":")
        if forge not in FORGES:
            return urljoin(url, source)
        rest, _, own_ref = rest.partition("@")
        owner, name, path = rest.split("/", 2)
        same = f"{owner}/{name}".casefold() == repository.casefold()
        ref = own_ref or (ref if same else "HEAD")
        return FORGES[forge].format(f"{owner}/{name}", path, ref)

    def _needed(self, name, version):
        # What an entry of `deps` leads to: its URL, repository and ref. Publishes it.
        ref = "HEAD" if version == "latest" else version
        for start in "github:", "https://github.com/", "gitlab:":
            if name.startswith(start):
                owner, repository, *path = name.removeprefix(start).strip("/").split("/")
                repository = f"{owner}/{repository}"
                template = GITLAB if start == "gitlab:" else GITHUB
                break
        else:
            if name.startswith("https:"):
                url = urljoin(name, "package.json")
                self._put(url, {"urls": [["needed.py", "needed.py"]]})
                return url, "", ""
            index = PYDEVICES_INDEX if name in PRIVATE else INDEX
            return f"{index}/package/6/{name}/{version}.json", "", ""
        if not path or not path[-1].endswith(".mpy"):
            path.append("package.json")
        path = "/".join(path)
        url = template.format(repository, path, ref)
        if path.endswith(".json"):
            for package in PACKAGES.values():
                if (package.repository.casefold(), package.path) == (repository.casefold(), path):
                    self.pages[url] = self.pages[package.url]
                    self._documents[url] = self._documents[package.url]
                    break
            else:
                module = f"{repository}/{path}".replace("package.json", "module.py")
                self._put(url, {"urls": [[module, "module.py"]]})
        return url, repository, ref


# ---- the board -------------------------------------------------------------------------

PARSE = """
import json, sys
for path in sys.argv[1:]:
    try:
        with open(path, "rb") as file:
            print(json.dumps(json.load(file)))
    except ValueError:
        print("null")
"""

# The argument is a file with, as JSON: {URL: the path of its content}, and a list of what is
# installed, each on an empty disk: [name, indexes, runs]. A run is [edition of all content that
# has no page, URLs at which there is nothing]. Prints how each run ended: [outcome, text of the
# error, answers that are open, {path: content in hex}].
REPLAY = """
import io, json, mip, os, sys, vfs
import faults, ramdisk
from binascii import hexlify

mip.print = lambda *words: None
with open(sys.argv[1]) as file:
    pages, wanted = json.load(file)


def body(url):
    header = b""
    if url.endswith(".mpy"):
        header = bytes([77, 5 if "VERSION_5" in url else sys.implementation._mpy & 255, 0, 31])
    return header + ("# %s, edition %d\\n" % (url, edition)).encode()


class Answer:
    opened = 0

    def __init__(self, url, there):
        Answer.opened += 1
        self.status_code = 200 if there else 404
        self.raw = open(pages[url], "rb") if url in pages else io.BytesIO(body(url))

    def close(self):
        Answer.opened -= 1
        self.raw.close()


class Session:
    def __init__(self, indexes, nothing):
        self.indexes = indexes
        self.nothing = nothing

    def get(self, url):
        # An index has the pages that it has; anything else is there.
        indexed = any([url.startswith(index) for index in self.indexes])
        there = url in pages or not indexed
        return Answer(url, there and url not in self.nothing)


for name, indexes, runs in wanted:
    ramdisk.mount("lfs2", 2000)
    for edition, nothing in runs:
        outcome, text = "installed", ""
        session = Session(indexes, nothing)
        try:
            # What is pinned and in place is not asked for again, but by upgrade().
            if ".mip/record" in str(faults.walk("/ram")):
                mip.upgrade(index=indexes, target="/ram/lib", session=session)
            else:
                mip.install(name, index=indexes, target="/ram/lib", session=session)
        except mip.InstallError as error:
            outcome, text = "refused", str(error)
        except Exception as error:
            outcome, text = "another exception", repr(error)
        tree = faults.walk("/ram")
        files = {path: hexlify(tree[path]).decode() for path in tree if tree[path] is not None}
        print(json.dumps([outcome, text, Answer.opened, files]))
    vfs.umount("/ram")
""".replace("VERSION_5", VERSION_5)


class Ending:
    """How an installation ended.

    outcome: "installed", "refused", or what none may end with. text: of the error. opened: how
    many answers are open. files: what is on the disk, {path in the target: content}; record:
    the content of mip's record, None where there is none.
    """

    def __init__(self, outcome, text, opened, files):
        self.outcome, self.text, self.opened = outcome, text, opened
        self.files = {
            path.removeprefix("lib/"): bytes.fromhex(data) for path, data in files.items()
        }
        self.record = self.files.pop(".mip/record", None)


class Replay:
    """Installs packages of the corpus, each on a board of its own.

    internet: what they are installed from.
    """

    def __init__(self, device, directory):
        self.device = device
        self.directory = directory
        files = [str(CORPUS / file) for file in PACKAGES]
        lines = device.run(PARSE, *files, check=True).lines
        documents = {file: json.loads(line) for file, line in zip(PACKAGES, lines, strict=True)}
        self.internet = Internet(documents)
        self._pages = {}
        for number, (url, data) in enumerate(self.internet.pages.items()):
            page = directory / f"page{number}"
            page.write_bytes(data)
            self._pages[url] = str(page)

    def run(self, wanted, indexes=(INDEX, PYDEVICES_INDEX)):
        """Install packages; returns {file: a list with the Ending of each run}.

        wanted: {file in the corpus: runs, one after the other}. A run is the edition of what is
        served, and a list of URLs at which there is nothing.
        """
        cases = [
            [NAMES.get(file, PACKAGES[file].name), INDEXES.get(file, indexes), runs]
            for file, runs in wanted.items()
        ]
        data = self.directory / "replay.json"
        data.write_text(json.dumps([self._pages, cases]))
        lines = iter(self.device.run(REPLAY, data, heap="16m", check=True).lines)
        return {
            file: [Ending(*json.loads(next(lines))) for _ in runs] for file, runs in wanted.items()
        }

    def is_installed(self, file, edition, ending):
        """Whether a package was installed, with its files and no other."""
        files = {
            path: self.internet.content(url, edition)
            for path, url in self.internet.files[file].items()
        }
        return ending.outcome == "installed" and ending.files == files and ending.record


@pytest.fixture
def replay(device, tmp_path):
    return Replay(device, tmp_path)


def test_each_is_installed_or_refused_by_its_mistake(replay, figures):
    """What is right is installed as it says; for what is wrong, the message has the mistake."""
    problems = {}
    for file, (ending,) in replay.run({file: [(1, [])] for file in PACKAGES}).items():
        if file in REFUSED:
            right = (ending.outcome, ending.files, ending.record) == ("refused", {}, None)
            right = right and all(word in ending.text for word in REFUSED[file])
        else:
            right = replay.is_installed(file, 1, ending)
        if not right or ending.opened:
            problems[file] = vars(ending)
    figures("corpus: packages installed", len(PACKAGES) - len(REFUSED))
    figures("corpus: packages refused", len(REFUSED))
    assert problems == {}


def test_files_that_are_not_there_are_named_at_once(replay):
    """Where URLs lead to nothing the message has all of them, and the old version stays.

    Every second file of the packages that upstream's mip installs in part only is missing; but
    what is in place, by its hash, is not asked for.
    """
    files = [
        file
        for file, package in PACKAGES.items()
        if "PARTIAL" in package.notes and file not in REFUSED and file not in INDEXES
    ]
    assert len(files) == 9
    nothing = {file: sorted(set(replay.internet.own[file].values()))[::2] for file in files}
    endings = replay.run({file: [(1, []), (2, nothing[file]), (2, [])] for file in files})
    for file, (first, second, third) in endings.items():
        assert replay.is_installed(file, 1, first), (file, first.text)
        assert (second.outcome, second.opened) == ("refused", 0), file
        assert [url for url in nothing[file] if url not in second.text] == []
        assert (second.files, second.record) == (first.files, first.record), file
        assert replay.is_installed(file, 2, third), (file, third.text)


def test_what_only_another_index_has(replay):
    """A dependency that is in none of the indexes is named, with the index."""
    files = [file for file in PACKAGES if file.startswith("PyDevices__micropython-hardware/")]
    assert len(files) == 3
    endings = replay.run({file: [(1, [])] for file in files}, indexes=[INDEX])
    for (ending,) in endings.values():
        assert (ending.outcome, ending.opened, ending.files) == ("refused", 0, {})
        assert INDEX in ending.text and "no package pydevices" in ending.text
