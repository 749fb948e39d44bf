"""An index on disk: what is published, and how more is added to it.

    index.json                       what there is, for searching
    index.html                       the same for people, see page.py
    package/MPY/NAME/VERSION.json    the files of a package: path and hash; never changes
    package/MPY/NAME/latest.json     the same as the highest version
    file/HH/HASH                     the files, under the first digits of their sha256

That is the layout of the public index, version 2.  MPY is a version of MicroPython's bytecode,
or "py" for packages as source.
"""

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .device import MAX_HASH_LENGTH, MIN_HASH_LENGTH, PLACEHOLDERS, PublishError

try:
    import fcntl
except ImportError:  # Windows, where two builds at once are nobody's wish
    fcntl = None  # type: ignore[assignment]

# The bytecode version that the newest mpy-cross writes; MicroPython 1.19 and later load it.
NEWEST_MPY = "6"
# Both become parts of a URL and of a file's name, and "@" separates them.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
# A name that ends like this means a URL or a path, where packages are named.
FILE_SUFFIXES = (".py", ".mpy", ".json")
# A directory in an index with the native code for an architecture.
NATIVE = re.compile(r"\w+_\d+\.\d+")
# What stands for the name of that of a board.
ANY = "_".join(PLACEHOLDERS)
# What index.json says of a package, beside its name and versions.
FACTS = ("author", "description", "license")
# The key of index.json with what was chosen for the index.
CHOSEN = "build"


def is_name(text: str) -> bool:
    """Return whether an index can have a package of that name."""
    return bool(NAME.fullmatch(text)) and not text.endswith(FILE_SUFFIXES)


def is_version(text: object) -> bool:
    """Return whether an index can have a package in that version."""
    return isinstance(text, str) and bool(VERSION.fullmatch(text)) and text != "latest"


@dataclass
class Release:
    """A version of a package that is to be published.

    kinds    what it is published as, in this order: bytecode versions and "py"
    files    a function of a kind that returns {path: bytes}, in the order to publish them in
    lasting  the kinds whose files tell whether it is what was published before
    fixed    paths that tell that in every kind
    facts    a dict; of it, index.json gets FACTS
    path     where its source is, for index.json; left out, its name
    needs    names of the packages whose files it has
    deps     a list of [name, version]
    owners   {path: the package it comes from}, for messages; others are the package's own
    more     other keys of its JSON
    """

    name: str
    version: str
    kinds: tuple[str, ...]
    files: Callable[[str], dict[str, bytes]]
    lasting: tuple[str, ...] = ("py",)
    fixed: set[str] = field(default_factory=set)
    facts: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    needs: list[str] = field(default_factory=list)
    deps: list[list[str]] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)


class Index:
    """An index in a directory, existing or to be made.

    Use it as a context manager to write: another run waits until this one is done, and then sees
    what it has published.
    hash_length, mpy_versions, url, license: what was chosen for it, see choose().
    updated: when it was last changed, in seconds since 1970.
    asked: (name, version) of all that publish() was given, new or not.  changes: lines about what
    it has changed of what was published.
    Raises PublishError if the directory has an index of another kind.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self._lock: int | None = None
        self.asked: list[tuple[str, str]] = []
        self.changes: list[str] = []
        self._load()

    def _load(self) -> None:
        listing = self._read("index.json")
        if listing is None:
            listing = {"v": 2, "packages": []}
        packages: Any = listing.get("packages")
        is_listing = isinstance(packages, list) and all(map(_lists, packages))
        if listing.get("v") != 2 or not is_listing:
            raise PublishError(
                f"{self.directory}/index.json: not an index of version 2: name another directory"
            )
        self.updated: int = listing.get("updated", 0)
        # name -> entry of index.json
        self.entries: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in packages}
        chosen = listing.get(CHOSEN, {})
        self.hash_length: int = chosen.get("hash_length", 0)
        self.mpy_versions: list[str] = chosen.get("mpy", [])
        self.url: str = chosen.get("url", "")
        self.license: str = chosen.get("license", "")

    def __enter__(self) -> "Index":
        while fcntl and self._lock is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.directory, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Who had it may have removed an empty directory.
            there = self.directory.is_dir() and self.directory.stat()
            if there and os.path.samestat(os.fstat(lock), there):
                self._lock = lock
            else:
                os.close(lock)
        try:
            self._load()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock is None:
            return
        try:
            if not any(self.directory.iterdir()):
                self.directory.rmdir()
        finally:
            os.close(self._lock)
            self._lock = None

    def choose(
        self,
        hash_length: int | None,
        mpy_versions: Sequence[str] | None,
        url: str | None = None,
        license: str | None = None,
        default_length: int = MIN_HASH_LENGTH,
    ) -> None:
        """Choose how what is added is published; what is left out stays as it was.

        hash_length: the digits of hashes. mpy_versions: bytecode versions. url: where the index
        will be served.  license: of packages that say none.
        Raises PublishError if hashes would have less than 8 or more than 64.
        """
        self.hash_length = hash_length or self.hash_length or default_length
        self.mpy_versions = list(dict.fromkeys(mpy_versions or self.mpy_versions or [NEWEST_MPY]))
        self.url = (url or self.url).rstrip("/")
        self.license = license or self.license
        if self.url and not re.fullmatch(r'https?://[^\s"\\]+', self.url):
            raise PublishError(
                f"{self.url}: not the URL of an index: it begins with https:// or http://, "
                "and has no space or quote"
            )
        if not MIN_HASH_LENGTH <= self.hash_length <= MAX_HASH_LENGTH:
            raise PublishError(
                f"--hash-length {self.hash_length}: a hash has {MIN_HASH_LENGTH} to "
                f"{MAX_HASH_LENGTH} digits"
            )

    def publish(
        self,
        releases: Sequence[Release],
        updated: int,
        natives: dict[str, list[Release]] | None = None,
    ) -> list[tuple[str, str]]:
        """Add releases; return a list of (name, version) of those that are new.

        updated: the time to write into index.json, in seconds since 1970.  natives: what goes
        into the indexes of architectures in this one, {ARCHITECTURE_VERSION: releases}.

        What is published already is left alone.  Whatever happens on the way, the index stays
        whole: a file is written before those that name it, and everything that can be wrong
        with releases is found before anything is written.  What an interrupted run has
        published but not listed, the next one lists.
        Raises PublishError for a release that differs from what is published under its version;
        OSError if the index cannot be written.
        """
        missing = list(self._missing(releases))
        for _, _, files in missing:
            for data in files.values():
                self._write_content(data)
        for release, kind, files in missing:
            path = package_path(kind, release.name, release.version)
            self._write_json(path, self._package_json(release, files))
        for release in releases:
            self._restore(release)
        new = [(release.name, release.version) for release, _, _ in missing]
        self.asked = [(release.name, release.version) for release in releases]
        entries = {**self._unlisted(), **self.entries}
        for release in releases:
            before = entries.get(release.name, {})
            entry = entries[release.name] = self._finish(release, before)
            changed = [key for key in FACTS if before.get(key, "") != entry[key]]
            if changed and (release.name, release.version) not in new:
                what = f"{release.name} {release.version}"
                self.changes.append(f"{what}: changed in index.json: {', '.join(changed)}")
        self._write_listing(entries, updated)
        for tag, releases_there in (natives or {}).items():
            inside = Index(self.directory / tag)
            url = self.url and f"{self.url}/{tag}"
            inside.choose(self.hash_length, self.mpy_versions, url, self.license)
            new += inside.publish(releases_there, updated)
            self.asked += inside.asked
            self.changes += [f"{tag}/{change}" for change in inside.changes]
        self.asked = list(dict.fromkeys(self.asked))
        return list(dict.fromkeys(new))

    def versions(self, kind: str, name: str) -> list[str]:
        """Return the published versions of a package, the highest last."""
        found = (self.directory / "package" / kind / name).glob("[!.]*.json")
        return sorted((path.stem for path in found if path.stem != "latest"), key=version_key)

    def package(self, kind: str, name: str, version: str) -> dict[str, Any] | None:
        """Return a published package's JSON, or None. version may be "latest"."""
        return self._read(package_path(kind, name, version))

    def content(self, hash: str) -> Path:
        """Return the path of the content with a hash."""
        return self.directory / content_path(hash)

    def pin(self, kind: str, name: str, version: str) -> str:
        """Return the sha256 of a published package's JSON, as it is served."""
        path = self.directory / package_path(kind, name, version)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def has(self, name: str, version: str) -> bool:
        """Return whether a package is published in a version, or at all if that is "latest"."""
        kinds = self.entries[name]["versions"].values() if name in self.entries else ()
        return any(version in (*versions, "latest") for versions in kinds)

    def paths(self, name: str, version: str) -> list[str]:
        """Return the paths of a published package's files: those of source, if it has them."""
        for kind in ("py", *self.entries[name]["versions"]):
            package = self.package(kind, name, version)
            if package:
                return [path for path, _ in package["hashes"]]
        return []

    def pinned_call(self, name: str, version: str, url: str = "") -> str:
        """Return the call that installs a package and nothing else under its name and version."""
        kinds = [kind for kind in self.entries[name]["versions"] if kind != "py"]
        kind = max((kind for kind in kinds if self.package(kind, name, version)), default="py")
        source = ", mpy=False" if kind == "py" and kinds else ""
        what = f"{name}@{version}#sha256={self.pin(kind, name, version)}"
        return f'mip.install("{what}", index="{url or self.url or "URL"}"{source})'

    def _missing(
        self, releases: Sequence[Release]
    ) -> Iterator[tuple[Release, str, dict[str, bytes]]]:
        """Yield (release, kind, files) for each kind in which one is not published.

        Raises PublishError for one that is published with other files.
        """
        for release, kind in [(each, kind) for each in releases for kind in each.kinds]:
            published = self.package(kind, release.name, release.version)
            if published is None:
                yield release, kind, release.files(kind)
            elif kind in release.lasting or release.fixed:
                package = self._package_json(release, release.files(kind))
                changed = _changes(published, package, release, kind in release.lasting)
                if changed:
                    raise PublishError(
                        f"{release.name} {release.version} is published with other content "
                        f"({', '.join(changed)}): give it a new version"
                    )

    def _restore(self, release: Release) -> None:
        """Write the contents of a published release that are gone, if they are still known."""
        for kind in release.kinds:
            package = self.package(kind, release.name, release.version) or {}
            gone = [
                hash for _, hash in package.get("hashes", []) if not self.content(hash).is_file()
            ]
            for data in release.files(kind).values() if gone else ():
                digest = hashlib.sha256(data).hexdigest()
                for hash in filter(digest.startswith, gone):
                    self.write(content_path(hash), data)
                    self.changes.append(f"{content_path(hash)} was gone, and is there again")

    def _package_json(self, release: Release, files: dict[str, bytes]) -> dict[str, Any]:
        """Return what is published of a release: its JSON. files: path -> bytes."""
        # Keys in the order of micropython-lib's build.py, so that its bytes are the same.
        hashes = [[path, self._hash(data)] for path, data in files.items()]
        result: dict[str, Any] = {"v": 1, "hashes": hashes, "version": release.version}
        if release.deps:
            result["deps"] = release.deps
        return {**result, **release.more}

    def _unlisted(self) -> dict[str, dict[str, Any]]:
        """Return entries for packages that an interrupted run has published but not listed."""
        found: dict[str, dict[str, Any]] = {}
        for path in sorted(self.directory.glob("package/*/*/")):
            versions = self.versions(path.parent.name, path.name)
            if versions and path.name not in self.entries:
                entry = found.setdefault(path.name, {"name": path.name, "versions": {}})
                entry["versions"][path.parent.name] = versions
                entry["version"] = max(entry.get("version", ""), versions[-1], key=version_key)
                entry.update(dict.fromkeys(FACTS, ""), path=path.name)
        return found

    def _finish(self, release: Release, entry: dict[str, Any]) -> dict[str, Any]:
        """Move the `latest` of a release's package; return its entry for index.json."""
        name = release.name
        versions = {kind: self.versions(kind, name) for kind in release.kinds}
        for kind in release.kinds:
            latest = self.package(kind, name, versions[kind][-1])
            self._write_json(package_path(kind, name, "latest"), latest)
        latest_version = max((list[-1] for list in versions.values()), key=version_key)
        entry = dict(entry)
        if latest_version == release.version or not entry:
            entry |= {"name": name, "version": latest_version}
            for key in FACTS:
                value = release.facts.get(key)
                entry[key] = value if isinstance(value, str) else ""
            entry["path"] = release.path or name
            entry.pop("needs", None)
            if release.needs:
                entry["needs"] = release.needs
        entry["versions"] = dict(sorted({**entry.get("versions", {}), **versions}.items()))
        return entry

    def _write_listing(self, entries: dict[str, dict[str, Any]], updated: int) -> None:
        """Write index.json with these entries, if it is not what it was."""
        chosen = {
            "hash_length": self.hash_length,
            "mpy": self.mpy_versions,
            "url": self.url,
            "license": self.license,
        }
        chosen = {key: value for key, value in chosen.items() if value}
        listing = {
            "v": 2,
            "updated": updated,
            CHOSEN: chosen,
            "packages": [entries[name] for name in sorted(entries)],
        }
        there = self._read("index.json")
        if there and {**there, "updated": updated} == listing:
            return
        self._write_json("index.json", listing)
        self._load()

    def _hash(self, data: bytes) -> str:
        """Return what `data` is called in this index."""
        return hashlib.sha256(data).hexdigest()[: self.hash_length]

    def _write_content(self, data: bytes) -> None:
        """Write a file's content under its hash.

        Raises PublishError if another content has that hash.
        """
        path = self.content(self._hash(data))
        if path.is_file() and path.read_bytes() != data:
            raise PublishError(f"{path} has other content: use a larger --hash-length")
        self.write(content_path(self._hash(data)), data)

    def _write_json(self, path: str, value: object) -> None:
        """Write a value as JSON, as small as it can be: boards read it."""
        self.write(path, json.dumps(value, separators=(",", ":")).encode() + b"\n")

    def write(self, name: str, data: bytes) -> None:
        """Write `data` to a file of the index; whole or, if interrupted, not at all."""
        path = self.directory / name
        if path.is_file() and path.read_bytes() == data:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except BaseException as error:
            if isinstance(error, OSError):
                error.filename = str(path)  # of a full disk none is told
            with contextlib.suppress(OSError):  # it may not be there
                temporary.unlink()
            raise

    def _read(self, name: str) -> dict[str, Any] | None:
        """Return the JSON value of a file of the index, or None if there is no such file."""
        path = self.directory / name
        if not path.is_file():
            return None
        try:
            value = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise PublishError(f"{path}: not JSON, so not of an index: {error}") from error
        if not isinstance(value, dict):
            raise PublishError(f"{path}: not an object, so not of an index")
        return value


def _lists(entry: object) -> bool:
    """Return whether something in index.json is the entry of a package."""
    match entry:
        case {"name": str(), "version": str(), "versions": dict()}:
            return True
    return False


def _changes(old: dict[str, Any], new: dict[str, Any], release: Release, every: bool) -> list[str]:
    """Return what differs between two JSONs of a release: a list of words for people.

    every: whether all files are compared, or the fixed ones.
    """
    old_files, new_files = (
        {path: hash for path, hash in each["hashes"] if every or path in release.fixed}
        for each in (old, new)
    )

    def same(path: str) -> bool:
        # The index may have been built with hashes of another length.
        hashes = old_files.get(path, "-"), new_files.get(path, "-")
        return bool(hashes[0].startswith(hashes[1]) or hashes[1].startswith(hashes[0]))

    changed = [
        f"{path} of {release.owners.get(path, release.name)}"
        for path in sorted(new_files)
        if not same(path)
    ]
    changed += [f"{path} is missing" for path in sorted(old_files) if path not in new_files]
    if old.get("deps", []) != new.get("deps", []):
        changed.append("deps")
    return changed


def native_indexes(directory: str | Path) -> dict[str, Index]:
    """Return {"ARCHITECTURE_VERSION": Index} of those in an index, which have native code."""
    return {
        path.parent.name: Index(path.parent)
        for path in sorted(Path(directory).glob("*/index.json"))
        if NATIVE.fullmatch(path.parent.name)
    }


def package_path(kind: str, name: str, version: str | None) -> str:
    """Return where an index has the JSON of a package."""
    return f"package/{kind}/{name}/{version or 'latest'}.json"


def content_path(hash: str) -> str:
    """Return where an index has the content with a hash."""
    return f"file/{hash[:2]}/{hash}"


def version_key(version: str) -> list[tuple[Any, ...]]:
    """Return a key that sorts versions: 0.9 before 0.10, 1.0-rc1 before 1.0 before 1.0.1."""
    # A tag may have a v before the number. Versions that are worth the same go by their texts.
    parts = re.findall(r"\d+|[A-Za-z]+", re.sub(r"^v(?=\d)", "", version))
    numbers = [(2, int(part)) if part.isdigit() else (0, part) for part in parts]
    return [*numbers, (1,), (version,)]


def build_time() -> int:
    """Return the time to write into an index: SOURCE_DATE_EPOCH from the environment, or now.

    In seconds since 1970; see the specification of SOURCE_DATE_EPOCH by reproducible-builds.org.
    Raises PublishError if SOURCE_DATE_EPOCH is no number.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH") or str(int(time.time()))
    try:
        time.gmtime(int(given))
    except (ValueError, OverflowError, OSError) as error:
        text = f"SOURCE_DATE_EPOCH is no number of seconds since 1970: {given}"
        raise PublishError(text) from error
    return int(given)
