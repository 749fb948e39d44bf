"""An index on disk: what is published, and how more is added to it.

    index.json                       what there is, for searching
    package/MPY/NAME/VERSION.json    the files of a package: path and hash; never changes
    package/MPY/NAME/latest.json     the same as the highest version
    file/HH/HASH                     the files, under the first digits of their sha256

That is the layout of the public index, version 2.  MPY is a version of MicroPython's bytecode,
or "py" for packages as source.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mip_source import (
    MAX_HASH_LENGTH,
    MIN_HASH_LENGTH,
    PublishError,
    index_document,
    index_file,
)

# Both become parts of a URL and of a file's name, and "@" separates them.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
# A name that ends like this means a URL or a path, where packages are named.
FILE_SUFFIXES = (".py", ".mpy", ".json")
# What index.json says of a package, beside its name and versions.
FACTS = ("author", "description", "license")


def is_name(text):
    """Return whether an index can have a package of that name."""
    return bool(NAME.fullmatch(text)) and not text.endswith(FILE_SUFFIXES)


def is_version(text):
    """Return whether an index can have a package in that version."""
    return isinstance(text, str) and bool(VERSION.fullmatch(text)) and text != "latest"


@dataclass
class Release:
    """A version of a package that is to be published.

    kinds    what it is published as, in this order: bytecode versions and "py"
    files    a function of a kind that returns {path: bytes}
    lasting  the kinds whose files tell whether it is what was published before
    facts    a dict; of it, index.json gets FACTS
    deps     a list of [name, version]
    owners   {path: the package it comes from}, for messages; others are the package's own
    more     other keys of its JSON
    """

    name: str
    version: str
    kinds: tuple
    files: Callable
    lasting: tuple = ("py",)
    facts: dict = field(default_factory=dict)
    deps: list = field(default_factory=list)
    owners: dict = field(default_factory=dict)
    more: dict = field(default_factory=dict)


class Index:
    """An index in a directory, existing or to be made.

    hash_length: the digits of hashes of what is added.
    Raises PublishError if that is not 8 to 64, or the directory has an index of another kind.
    """

    def __init__(self, directory, hash_length=MIN_HASH_LENGTH):
        if not MIN_HASH_LENGTH <= hash_length <= MAX_HASH_LENGTH:
            raise PublishError(f"a hash has {MIN_HASH_LENGTH} to {MAX_HASH_LENGTH} digits")
        self.directory = Path(directory)
        self.hash_length = hash_length
        listing = self._read("index.json") or {"v": 2, "packages": []}
        if listing.get("v") != 2:
            raise PublishError(f"{self.directory}/index.json: not an index of version 2")
        # name -> entry of index.json
        self.entries = {entry["name"]: entry for entry in listing["packages"]}

    def publish(self, releases, updated):
        """Add releases; return a list of (name, version) of those that are new.

        updated: the time to write into index.json, in seconds since 1970.

        What is published already is left alone.  Whatever happens on the way, the index stays
        whole: a file is written before those that name it, and everything that can be wrong
        with releases is found before anything is written.  What an interrupted run has
        published but not listed, the next one lists.
        Raises PublishError for a release that differs from what is published under its version;
        OSError if the index cannot be written.
        """
        missing = [
            (release, kind, files)
            for release in releases
            for kind, files in self._missing(release)
        ]
        for _, _, files in missing:
            for data in files.values():
                self._write_content(data)
        for release, kind, files in missing:
            path = package_path(kind, release.name, release.version)
            self._write_json(path, self._package_json(release, files))
        entries = [self._finish(release) for release in releases]
        self._write_listing(entries, updated)
        new = dict.fromkeys((release.name, release.version) for release, _, _ in missing)
        return list(new)

    def versions(self, kind, name):
        """Return the published versions of a package, as a list, the highest last."""
        found = (self.directory / "package" / kind / name).glob("[!.]*.json")
        return sorted((path.stem for path in found if path.stem != "latest"), key=version_key)

    def package(self, kind, name, version):
        """Return a published package's JSON as a dict, or None. version may be "latest"."""
        return self._read(package_path(kind, name, version))

    def _missing(self, release):
        """Yield (kind, files) for each kind in which a release is not published.

        Raises PublishError if it is published with other files.
        """
        for kind in release.kinds:
            published = self.package(kind, release.name, release.version)
            if published is None:
                yield kind, release.files(kind)
            elif kind in release.lasting:
                package = self._package_json(release, release.files(kind))
                changed = _changes(published, package, release)
                if changed:
                    raise PublishError(
                        f"{release.name} {release.version} is published with other content "
                        f"({', '.join(changed)}): give it a new version"
                    )

    def _package_json(self, release, files):
        """Return what is published of a release: its JSON as a dict. files: path -> bytes."""
        hashes = [[path, self._hash(files[path])] for path in sorted(files)]
        result = {"v": 1, "version": release.version, "hashes": hashes}
        if release.deps:
            result["deps"] = release.deps
        return {**result, **release.more}

    def _finish(self, release):
        """Move the `latest` of a release's package; return its entry for index.json."""
        name = release.name
        versions = {kind: self.versions(kind, name) for kind in release.kinds}
        for kind in release.kinds:
            latest = self.package(kind, name, versions[kind][-1])
            self._write_json(package_path(kind, name, "latest"), latest)
        entry = dict(self.entries.get(name, {}))
        latest = max((list[-1] for list in versions.values()), key=version_key)
        if latest == release.version or not entry:
            entry["name"] = name
            entry["version"] = latest
            for key in FACTS:
                value = release.facts.get(key)
                entry[key] = value if isinstance(value, str) else ""
            entry["path"] = name
        entry["versions"] = dict(sorted({**entry.get("versions", {}), **versions}.items()))
        return entry

    def _write_listing(self, entries, updated):
        """Write index.json with `entries` for the packages they name, and those it had."""
        entries = {**self.entries, **{entry["name"]: entry for entry in entries}}
        if entries == self.entries and (self.directory / "index.json").is_file():
            return
        packages = [entries[name] for name in sorted(entries)]
        self._write_json("index.json", {"v": 2, "updated": updated, "packages": packages})
        self.entries = entries

    def _hash(self, data):
        """Return what `data`, bytes, is called in this index."""
        return hashlib.sha256(data).hexdigest()[: self.hash_length]

    def _write_content(self, data):
        """Write a file's content, bytes, under its hash.

        Raises PublishError if another content has that hash.
        """
        path = content_path(self._hash(data))
        if (self.directory / path).is_file() and (self.directory / path).read_bytes() != data:
            raise PublishError(f"{path} has other content: use a larger --hash-length")
        self._write(path, data)

    def _write_json(self, path, value):
        """Write a value as JSON, as small as it can be: boards read it."""
        self._write(path, json.dumps(value, separators=(",", ":")).encode() + b"\n")

    def _write(self, path, data):
        """Write `data`, bytes, to `path` in the index; whole or, if interrupted, not at all."""
        path = self.directory / path
        if path.is_file() and path.read_bytes() == data:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _read(self, path):
        """Return the JSON value at `path` in the index, or None if there is no such file."""
        path = self.directory / path
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_bytes())
        except ValueError as error:
            raise PublishError(f"{path}: {error}") from error


def _changes(old, new, release):
    """Return what differs between two JSONs of a release: a list of words for people."""
    old_files, new_files = dict(old["hashes"]), dict(new["hashes"])

    def same(path):
        # The index may have been built with hashes of another length.
        hashes = old_files.get(path, "-"), new_files.get(path, "-")
        return hashes[0].startswith(hashes[1]) or hashes[1].startswith(hashes[0])

    changed = [
        f"{path} of {release.owners.get(path, release.name)}"
        for path in sorted(new_files)
        if not same(path)
    ]
    changed += [f"{path} is missing" for path in sorted(old_files) if path not in new_files]
    if old.get("deps", []) != new.get("deps", []):
        changed.append("deps")
    return changed


def package_path(kind, name, version):
    """Return where an index has the JSON of a package."""
    return index_document(".", kind, name, version).removeprefix("./")


def content_path(hash):
    """Return where an index has the content with a hash."""
    return index_file(".", hash).removeprefix("./")


def version_key(version):
    """Return a key that sorts versions: 0.9 before 0.10, 1.0-rc1 before 1.0 before 1.0.1."""
    parts = re.findall(r"\d+|[A-Za-z]+", version)
    return [(2, int(part)) if part.isdigit() else (0, part) for part in parts] + [(1,)]


def build_time():
    """Return the time to write into an index: SOURCE_DATE_EPOCH from the environment, or now.

    In seconds since 1970; see the specification of SOURCE_DATE_EPOCH by reproducible-builds.org.
    Raises PublishError if SOURCE_DATE_EPOCH is no number.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH") or str(int(time.time()))
    if not given.isdecimal():
        raise PublishError(f"SOURCE_DATE_EPOCH is no number of seconds: {given}")
    return int(given)
