"""The device's own code, mip/__init__.py, as CPython runs it.

What names, URLs, paths and documents mean is said there, and nowhere else.  This module imports
it, gives it what CPython lacks, and has what the rest of the tool uses of it.
"""

import contextlib
import importlib.util
import io
import json
import os
import re
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from . import json_reader

_HERE = Path(__file__).resolve().parent
# Where it is in a wheel, and in a checkout.
_PLACES = (_HERE / "_device.py", _HERE.parent.parent / "mip" / "__init__.py")


def _load() -> Any:
    """Import the device's code; Any, because it has no types."""
    path = next(place for place in _PLACES if place.is_file())
    spec = importlib.util.spec_from_file_location("mip_index._device", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    # Imported by it, and by nothing else here.
    sys.modules["micropython"] = types.ModuleType("micropython")
    vars(sys.modules["micropython"])["const"] = lambda value: value
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["micropython"]
    listed = {"ilistdir": lambda path: [(name,) for name in os.listdir(path)]}
    vars(module).update(
        # CPython frees most of it by itself, and looks through all that its process has.
        gc=types.SimpleNamespace(collect=lambda: None),
        os=types.SimpleNamespace(**vars(os), **listed),
        json=types.SimpleNamespace(loads=json_reader.loads, dumps=json.dumps),
        print=lambda *words: None,
    )
    return module


mip = _load()

InstallError: type[Exception] = mip.InstallError


class PublishError(ValueError):
    """What could not be done, to what and why; the text is one line."""


class BoardError(PublishError):
    """What a package installs depends on the board."""


@contextlib.contextmanager
def refusals(of: object = "") -> Iterator[None]:
    """Make a PublishError of what the device's code says when it refuses something.

    of: what that is a part of, and is named first.
    """
    try:
        yield
    except (InstallError, ValueError) as error:
        raise PublishError(f"{of}: {error}" if of else str(error)) from error


# --- What the rest of the tool uses of it ---

PUBLIC_INDEX: str = mip._INDEX
# {forge: URL}: {0} is ORG/REPO, {1} the path in it, {2} the ref.
FORGES: dict[str, str] = mip._FORGES
# The keys of a package.json whose value is a list of what to install, and the others it reads.
LISTS: tuple[str, ...] = mip._LISTS
KEYS: tuple[str, ...] = (*mip._VALUES, *LISTS)
# The mark of the order of bytes, which a package.json may begin with.
MARK: bytes = mip._MARK
# Bytes of a package.json, and of one of its entries, that it takes at most.
MAX_DOCUMENT: int = mip._DOCUMENT
MAX_ENTRY: int = mip._ENTRY
# The architectures of native code, from 1.
ARCHITECTURES: tuple[str, ...] = tuple(mip._ARCHITECTURES.split()[1:])

DOCUMENT = "package.json"
# Digits of a hash: the public index has 8, which tell damage; 64 withstand an attacker, too.
MIN_HASH_LENGTH = 8
MAX_HASH_LENGTH = 64
# What stands for the running system in a URL.
PLACEHOLDERS = ("{MPY_ARCH}", "{MPY_VERSION}")
# Sub-versions of bytecode that native code can have been built for.
SUB_VERSIONS = range(4)

pinned: Callable[[str | None], str | None] = mip._pinned
# The other form of a module's path: bytecode of source, source of bytecode; None of other files.
twin: Callable[[str], str | None] = mip._twin
is_place: Callable[[str], bool] = mip._is_place
key_of: Callable[[str], str] = mip._key
repository: Callable[[str], str] = mip._repository
join: Callable[[str, str], str] = mip._join


@refusals()
def parse(text: str, version: str | None = None) -> tuple[str, str | None]:
    """Take "name@version" apart; return (name, version), the name in its one spelling.

    version is for a text that has none.  None is returned for a version that is not pinned.
    Raises PublishError when there is no name.
    """
    name, version = mip._parse(text, version)
    return name, _ref(version)


@refusals()
def asked(text: str) -> str:
    """Return the key of a package as one asks for it: a path is that of the working directory.

    Raises PublishError when there is no name, and for a version that has no meaning.
    """
    name, version = mip._pairs(text)[0]
    refuse_version(text, name, version)
    return key_of(name)


def refuse_version(text: str, name: str, version: str | None) -> None:
    """Raise PublishError for a package, as it was asked for, whose version says nothing."""
    if _ref(version) and is_place(name) and not repository(name):
        kind = "URL" if ":" in name else "path"
        raise PublishError(f"{text}: a {kind} has no versions: leave out @{_ref(version)}")


def _ref(version: str | None) -> str | None:
    """Return a version without the hash of the package.json behind it."""
    return mip._unpin(version)[0] or None


def escape(url: str) -> str:
    """Return a URL as it is sent: what is not printable ASCII, and spaces, as %XX."""
    return "".join(mip._split(url))


def is_file(name: str) -> bool:
    """Return whether a name means a single file, and not a package."""
    return twin(name) is not None


def is_local(name: str) -> bool:
    """Return whether a name is a path."""
    return ":" not in name and is_place(name)


def is_full(url: str) -> bool:
    """Return whether a URL is not relative: a colon is in its first part."""
    return ":" in url.split("?")[0].split("/")[0]


def document_of(name: str) -> str:
    """Return the name of the package.json of a package that is not one of an index, or a file."""
    named = name.endswith(".json") or is_file(name)
    return name if named else f"{name.rstrip('/')}/{DOCUMENT}"


@refusals()
def url_of(name: str, ref: str | None) -> str:
    """Return the URL or path of the file `name`; ref: of its repository, if it is in one.

    Raises PublishError for a forge's name that names no file.
    """
    return str(mip._url(name, ref))


@refusals()
def source_url(source: str, document: str, ref: str | None) -> str:
    """Return the URL or path of an entry of `urls` in a document that was read at a ref.

    Raises PublishError for one that names no file.
    """
    return str(mip._source(document, ref, source))


@refusals()
def dependency(entry: Sequence[str], document: str, ref: str | None) -> tuple[str, str | None]:
    """Return (name, version) of an entry of `deps`, texts, in a document read at a ref.

    Raises PublishError when there is no name.
    """
    needs: list[tuple[Any, ...]] = []
    # In the place of a _Store: takes what is asked for, and nothing else.
    taker = types.SimpleNamespace(
        need=lambda *need: needs.append(need),
        put=lambda *values: None,
        plain=lambda *of: None,
    )
    package: list[Any] = [None] * 16
    package[mip._KEYED], package[mip._FOUND], package[mip._VERSION] = "", document, ref
    mip._Store.dep(taker, package, entry[0], (*entry, None)[1])
    name, version, _ = needs[0]
    return name, _ref(version)


def boards(mpy: str) -> Iterator[tuple[str, str]]:
    """Yield (architecture, version) of what native code of a bytecode version may be built for."""
    for arch in ARCHITECTURES:
        for sub in SUB_VERSIONS:
            yield arch, f"{mpy}.{sub}"


def builds(url: str, mpy: str) -> dict[str, tuple[str, str]]:
    """Return {URL: (architecture, version)} of what a URL or path may mean on the boards().

    What it does not depend on is "".
    """
    arch, version = (place in url for place in PLACEHOLDERS)
    found: dict[str, tuple[str, str]] = {}
    for each in boards(mpy):
        filled = url.replace(PLACEHOLDERS[0], each[0]).replace(PLACEHOLDERS[1], each[1])
        found.setdefault(filled, (each[0] * arch, each[1] * version))
    return found


def build_of(data: bytes) -> str | None:
    """Return for what a .mpy file is, as ARCHITECTURE_VERSION; None if it is not native code."""
    tag = data[1] | (data[2] & 63) << 8 if len(data) > 2 and data[:1] == b"M" else 0
    return "_".join(mip._platform(tag)) if tag >> 10 else None


# Why a device refuses a destination, where more can be said than that.
_UNSAFE = (
    (r"^(github|gitlab|codeberg|https?):", "is a URL: are destination and URL swapped?"),
    (r":", "has a colon: fs: is one IDE's word for the root, and FAT takes none"),
    (r"\\", "has a backslash, which FAT takes for a slash"),
    (r"~", "has ~, which is for what is staged, and for FAT's short names"),
    (r'[*?"<>|]', "has a character that FAT refuses"),
    (r"[\0-\x1f\x7f]", "has a control character"),
    (r"(^|/)\.\.(/|$)", "leads out of the target"),
    (r"^[./]*$|/$", "names no file"),
    (r"(?i)(^|/)\.mip(/|$)", "is in mip's own directory"),
    (r"(^|/)\s|\s(/|$)", "begins or ends with a space in one of its parts"),
    (r"\.(/|$)", "ends with a dot in one of its parts, which FAT drops"),
    (r"", "is too long"),
)


def clean_path(path: str) -> str:
    """Return the one spelling of a destination, relative to the target.

    Raises PublishError for one where a package may put no file.
    """
    try:
        # CPython encodes no surrogates; a device has none.
        clean: str = mip._clean(path.encode("utf-8", "replace").decode())
    except ValueError as error:
        reason = next(reason for pattern, reason in _UNSAFE if re.search(pattern, path))
        raise PublishError(f"{path!r} {reason}") from error
    return clean


def directories(paths: Sequence[str]) -> dict[str, int]:
    """Return {directory in lower case: number of the first path in it} of clean paths."""
    found: dict[str, int] = {}
    for number, path in enumerate(paths):
        parts = path.lower().split("/")
        for end in range(1, len(parts)):
            found.setdefault("/".join(parts[:end]), number)
    return found


def clashes(paths: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Yield (number, that of another one, how) for clean paths of which not all can be there.

    how: "twice" (the later one is there), "case" (one file on FAT), "form" (of .py and .mpy only
    the former is imported), or "directory" (a file and a directory at once).
    """
    seen: dict[str, int] = {}
    above = directories(paths)
    for number, path in enumerate(paths):
        low = path.lower()
        module = low.removesuffix(".mpy") + ".py" if low.endswith(".mpy") else low
        other = seen.setdefault(module, number)
        if other != number:
            same = "case" if paths[other].lower() == low else "form"
            yield number, other, "twice" if paths[other] == path else same
        if low in above:
            yield number, above[low], "directory"


def refusal(data: bytes) -> str:
    """Return why a device cannot read a package.json, and where; "" if it can."""
    try:
        for _ in mip._entries(io.BytesIO(data), bytearray(256)):
            pass
        return ""
    except ValueError as error:
        reason = str(error)
    # It says the byte.
    found = re.search(r"from byte (\d+) on", reason)
    if not found:
        return reason
    if data.lstrip()[:1] == b"[":
        return "not an object"
    try:
        json_reader.loads(data.removeprefix(MARK))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return f"line {line}: not UTF-8"
    except json_reader.NotJSON as error:
        text = data.removeprefix(MARK).decode()
        line = text.count("\n", 0, error.place) + 1
        if error.place >= len(text.rstrip()):
            return f"line {line}: ends before the document does"
        column = error.place - text.rfind("\n", 0, error.place)
        rest = text[error.place :].split("\n")[0][:20].rstrip()
        return f"not JSON from line {line}, column {column} on: {rest!r}"
    return reason


# --- Fetching and installing ---


class Fetches(Protocol):
    """A session, as the device takes one; its answers are like those of `requests`."""

    def get(self, url: str) -> Any: ...


def read(session: Fetches, location: str) -> bytes | None:
    """Return the content of a URL or path, None where nothing is.

    What may pass is tried again, as on a device.  Raises PublishError, naming the URL or path.
    """
    store = mip._Store(".")
    store.session = session

    def take(location: str) -> bytes | None:
        stream = store.open(location)
        if not stream:
            return None
        with contextlib.closing(stream):
            data: bytes = getattr(stream, "raw", stream).read()
        return data

    try:
        data: bytes | None = store.attempt(take, location)
    except (OSError, ValueError) as error:
        raise PublishError(f"{location}: {mip._reason(error)}") from error
    return data


@dataclass
class Installed:
    """A package that the device's code has installed.

    name      as it was asked for, in its one spelling
    version   the version or ref it was asked for at, None for the latest
    said      the version that its package.json says
    index     the index that its hashes belong to
    document  the URL or path of its package.json, None for a single file
    files     {path: sha256}
    needs     the keys of the packages that it needs
    """

    name: str
    version: str | None
    said: str | None
    index: str | None
    document: str | None
    files: dict[str, str] = field(default_factory=dict)
    needs: list[str] = field(default_factory=list)


class _Run(mip._Store):  # type: ignore[name-defined,misc]
    """A run of the device's code that keeps what it stages: contents, {sha256: bytes}.

    native: whether it is for a board with an architecture.  plain: whether it leaves out what
    depends on the board; `skipped` has the destinations of that.
    """

    def __init__(self, target: str, native: bool, plain: bool) -> None:
        super().__init__(target, True)
        self.contents: dict[str, bytes] = {}
        self.native = native
        self.leaves_out = plain
        self.skipped: list[str] = []
        self.depends = ""  # what depends on the board

    def open(self, url: str) -> Any:
        if any(place in url for place in PLACEHOLDERS) and not self.native:
            self._depends(url)
        return super().open(url)

    def entry(self, package: list[Any], entry: tuple[Any, ...]) -> Any:
        value = entry[2] if isinstance(entry[2], list) and entry[1] != "deps" else []
        some = any(isinstance(each, int) for each in value[2:3])
        filled = any(place in str(value[1:2]) for place in PLACEHOLDERS)
        if self.leaves_out and (some or filled):
            self.skipped.append(value[0])
            return True
        if some and not self.native:
            self._depends(value[0])
        return super().entry(package, entry)

    def _depends(self, what: str) -> None:
        self.depends = f"{what} depends on the board"
        raise ValueError(self.depends)

    def fetch(self, line: list[Any]) -> Any:
        sha = super().fetch(line)
        if sha:
            self.contents[sha] = Path(self._staged(line[1])).read_bytes()
        return sha

    def check(self, name: str, path: str) -> None:
        """Take bytecode for any board, unless it is for one: what loads it is not this one."""
        if self.native:
            super().check(name, path)


def install(
    packages: Sequence[str],
    indexes: Sequence[str],
    kind: str,
    session: Fetches,
    tag: str | None = None,
    plain: bool = False,
) -> tuple[dict[str, Installed], dict[str, bytes]]:
    """Have the device's code install packages; return them with all they need, and contents.

    kind: the bytecode version of the firmware, or "py" for source.  tag: the architecture and
    version of its native code, as ARCHITECTURE_VERSION.  plain: whether source is taken instead
    of native code, where there is some.
    The packages are a dict by key, in the order of the record; contents {sha256: bytes}.
    Raises PublishError for what a device refuses, BoardError for what depends on the board if
    there is no tag, and if `plain`, no source.
    """
    number = 0 if kind == "py" else int(kind)
    if tag:
        arch, _, version = tag.rpartition("_")
        number |= int(version.partition(".")[2]) << 8 | (ARCHITECTURES.index(arch) + 1) << 10
    with tempfile.TemporaryDirectory() as directory:
        target = f"{directory}/lib"
        mip._mpy = number
        run = _Run(target, bool(tag), plain)
        try:
            with run:
                run.connect(list(indexes), kind != "py", session)
                run.look()
                run.change(mip._pairs(list(packages)), ())
        except InstallError as error:
            if run.depends:
                raise BoardError(run.depends) from error
            text = str(error).replace(f"{target}/: ", "").replace(f"{target}/", "")
            raise PublishError(text) from error
        record = Path(target, ".mip", "record").read_text("utf-8")
    found: dict[str, Installed] = {}
    rows = {row[mip._KEYED]: row for row in run.packages}
    for line in record.splitlines():
        what, name, *rest = json.loads(line)
        if what == "package":
            row = rows[key_of(name)]
            place, version = row[mip._FOUND], row[mip._VERSION]
            document = place and url_of(place, version)
            package = Installed(name, version, row[mip._SAID], row[mip._INDEXED], document)
            found[key_of(name)] = package
        elif what == "file":
            package.files[name] = rest[0]
        elif what == "dep":
            package.needs.append(key_of(name))
    there = {path for package in found.values() for path in package.files}
    for path in map(clean_path, run.skipped):
        if not path.endswith(".mpy") or twin(path) not in there:
            raise BoardError(f"{path} depends on the board")
    return found, run.contents
