"""Checks the entries of a package.json; see checker.py."""

import hashlib
import json
import os
import posixpath
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import device
from .clients import CLIENTS, FIELD, Finding, field_dependency, field_url, normal
from .device import Fetches, PublishError
from .fetch import Answer
from .sources import bytecode_findings, real, refuse_need
from .store import NATIVE, NEWEST_MPY, content_path, package_path

# What is looked for in an index, in this order.
KINDS = (NEWEST_MPY, "py")

# A ref that the repository of a package may be asked for at.
SOME_REF = "TAG"

# Who reads alike, in messages.
THEY = " and ".join(FIELD)

# What a URL may begin with.
SCHEMES = (*device.FORGES, "http", "https")
# Pages that show a file, with which it is confused: the first label of the host is the forge.
PAGES = re.compile(
    r"https?://((github)\.com/[^/]+/[^/]+/(blob|tree)|(gitlab)\.com/.*/-/(blob|tree)"
    r"|(codeberg)\.org/[^/]+/[^/]+/src)/"
)
# What looks like a secret in a URL.
SECRETS = re.compile(
    r"//[^/@]*:[^/@]*@|[?&][^=&]*(token|secret|password|key|sig)[^=&]*=|gh[a-z]_\w{16}|glpat-\w{8}",
    re.IGNORECASE,
)


class Unseen(PublishError):
    """Something was not looked up, as that was not wanted."""


@dataclass
class Lookup:
    """Reads what a document names; what lies beside a document on the disk, from there.

    It is a session, too.  failed: whether something could not be read.  taken: paths of the files
    on the disk that were read.

    local: the path of the document, or None.  base: the name under which clients know it, and
    ref at which they ask for it; known: whether that is more than a guess.  offline: whether
    only the disk is read.
    """

    session: Fetches
    local: str | None
    base: str
    ref: str | None
    known: bool
    offline: bool
    failed: bool = False

    def __post_init__(self) -> None:
        self._silent: set[str] = set()
        self.taken: list[Path] = []
        forge, _, path = self.base.partition(":")
        if forge in device.FORGES:
            owner, repo, *inside = path.split("/")
            self._inside = "/".join(inside)
            pattern = device.url_of(f"{forge}:{owner}/{repo}/\0", self.ref)
        else:
            pattern = "/".join(self.base.split("/")[:3]) + "/\0"
            self._inside = self.base[len(pattern) - 1 :]
        self._pattern = re.compile(re.escape(pattern).replace(re.escape("\0"), "(.*)"), re.I)
        # Of a guess, what is near to the document is on the disk.
        self._near = "" if self.known else self._inside.split("/")[0] + "/"

    def place(self, url: str) -> str:
        """Return the path of what lies beside the document on the disk; other URLs as they are."""
        found = self._pattern.fullmatch(url) if self.local else None
        if found and found[1].startswith(self._near):
            beside = posixpath.relpath(found[1], posixpath.dirname(self._inside) or ".")
            url = posixpath.normpath(posixpath.join(posixpath.dirname(self.local or ""), beside))
        return url

    def leads_out(self, url: str) -> bool:
        """Return whether a URL is a link beside the document that leads out of its directory."""
        top, path = map(os.path.abspath, (posixpath.dirname(self.local or ""), self.place(url)))
        inside = self.local and Path(path).is_relative_to(top)
        return bool(inside and not real(Path(path)).is_relative_to(real(Path(top))))

    def read(self, url: str) -> bytes | None:
        """Return the content of a URL or path, None where nothing is.

        Raises PublishError for what cannot be read, Unseen for what is not to be.
        """
        url = self.place(url)
        host = urlsplit(url).netloc if "://" in url else ""
        if host and (self.offline or host in self._silent):
            self.failed = True
            if self.offline:
                raise Unseen(f"{url}: --offline")
            raise PublishError(f"{url}: its host has failed")
        if not host and not os.path.isfile(url):
            return None  # nor is a directory a file, or a link that leads round in a circle
        if not host:
            self.taken.append(Path(url))
        try:
            return device.read(self.session, url)
        except PublishError:
            self.failed = True
            self._silent.add(host)
            raise

    def get(self, url: str) -> Answer:
        """Answer as a session does."""
        data = self.read(url)
        return Answer(404) if data is None else Answer(200, data)


@dataclass
class EntryChecker:
    """Checks the entries of a document, one kind after the other.

    location: the URL or path that it was read from; base: the name under which clients know it,
    and ref: at which they ask for it, or None.
    index: of the packages that it needs.  mpy_version: that bytecode should have.
    lookup: a Lookup, or None to look nothing up.  neighbours: names of packages that are there.
    """

    document: dict[str, Any]
    location: str
    base: str
    ref: str | None
    index: str
    mpy_version: str
    lookup: Lookup | None
    neighbours: Collection[str] | None = None

    def __post_init__(self) -> None:
        self._found: list[Finding] = []
        self._unseen: set[str] = set()  # entries
        self._paths: list[tuple[str, str, str]] = []  # (entry, path, source) of all files
        self._needs: list[tuple[str, str, str | None]] = []  # (entry, name, version) of all deps

    def findings(self) -> list[Finding]:
        """Return all Findings of those entries that have a shape that can be read."""
        for key in device.LISTS:
            entries = self.document.get(key)
            for number, value in enumerate(entries if isinstance(entries, list) else []):
                value = [value] if isinstance(value, str) else value
                if not isinstance(value, list) or len(value) < (1 if key == "deps" else 2):
                    continue
                if not all(isinstance(each, str) for each in value[:2]):
                    continue
                entry = f"{key}[{number}]"
                if len(json.dumps(value[:2], ensure_ascii=False).encode()) > device.MAX_ENTRY:
                    self._error(entry, f"more than {device.MAX_ENTRY} bytes", ("ours",))
                try:
                    getattr(self, f"_check_{key}")(entry, *value)
                except PublishError as error:
                    self._error(entry, str(error))
        self._check_clashes()
        self._check_hidden()
        if self.document.get("hashes") and not self._root():
            self._error("hashes", "files of an index, and this is in none: use urls")
        self._check_versions()
        if self._unseen:
            reason = f"{len(self._unseen)} not looked up: --offline"
            self._found.append(Finding("", reason, warning=True, note=True))
        return self._found

    def together(self) -> list[Finding]:
        """Return the Findings of a device's own code, which installs it with all that it needs."""
        if not self.lookup or self.lookup.failed:
            return []
        if any(place in json.dumps(self.document) for place in device.PLACEHOLDERS):
            return []
        if any(len(each) > 2 for key in ("urls", "hashes") for each in self.document.get(key, [])):
            return []  # what it installs depends on the board
        if self.document.get("hashes"):
            return []  # its files have been looked at, and are of its own index
        name = self.base + (f"@{self.ref}" if self.ref else "")
        try:
            device.install([name], [self.index], self.mpy_version, self.lookup)
        except PublishError as error:
            if not self.lookup.failed and "so there is no package" not in str(error):
                return [Finding("", str(error), ("ours",))]
        return []  # or it has been told

    def _error(self, entry: str, reason: str, clients: tuple[str, ...] = CLIENTS) -> None:
        self._found.append(Finding(entry, reason, clients))

    def _warn(self, entry: str, reason: str, clients: tuple[str, ...] = CLIENTS) -> None:
        self._found.append(Finding(entry, reason, clients, warning=True))

    def _look(self, entry: str, url: str) -> tuple[bool, bytes | None]:
        """Return whether a URL could be looked up, and what is there, if anything."""
        if not self.lookup:
            return False, None
        try:
            return True, self.lookup.read(url)
        except Unseen:
            self._unseen.add(entry)
            return False, None
        except PublishError as error:
            self._warn(entry, f"could not look: {error}")
            return False, None

    # --- Destinations ---

    def _check_destination(self, entry: str, written: str, source: str, *third: object) -> None:
        """Check where a file goes; keep it for those checks that compare files.

        third: a number where an entry is for some boards, one of several for a destination.
        """
        try:
            path = device.clean_path(written)
        except PublishError as error:
            own = re.search(r'(^|/)\.mip(/|$)|[*?"<>|~]|\.$', written.lower())
            own = None if re.search(r"(^|/)\.\.(/|$)|^\.?$", written) else own
            self._error(entry, str(error), ("ours",) if own else CLIENTS)
            return
        if not third or not isinstance(third[0], int):
            self._paths.append((entry, path, source))
        if written.startswith("/"):
            self._warn(entry, f"{written!r} goes below lib as {path}, not to the root")
        elif written != path:
            self._warn(entry, f"{written!r} is installed as {path}: write that")
        if path.lower().startswith("lib/"):
            self._warn(entry, f"goes to lib/{path}, as all paths are below lib already")
        if path in ("boot.py", "main.py"):
            self._warn(entry, f"MicroPython runs {path} from the root only, this goes below lib")

    def _check_clashes(self) -> None:
        """Compare all destinations: what cannot both be there."""
        for number, other_number, how in device.clashes([path for _, path, _ in self._paths]):
            entry, path, source = self._paths[number]
            other_entry, other, other_source = self._paths[other_number]
            see = f"see {other_entry}"
            if how == "twice" and other_source == source:
                self._warn(entry, f"{path} is there twice, {see}")
            elif how == "twice":
                self._warn(entry, f"{path} from two places, {see}")
            elif how == "case":
                self._error(entry, f"{path} and {other} are one file on FAT, {see}")
            elif how == "form":
                self._warn(entry, f"of {path} and {other} only the .py is imported, {see}")
            else:
                self._error(entry, f"{path} is also a directory, of {other}, {see}")

    def _check_hidden(self) -> None:
        """Find modules that are hidden by a package of the same name."""
        above = device.directories([path for _, path, _ in self._paths])
        for entry, path, _ in self._paths:
            stem = re.sub(r"\.m?py$", "", path)
            if stem != path and stem.lower() in above:
                other = self._paths[above[stem.lower()]][1]
                self._warn(entry, f"import takes the directory of {other}, not {path}")

    # --- Files ---

    def _check_urls(self, entry: str, written: str, source: str, *third: object) -> None:
        self._check_destination(entry, written, source, *third)
        if not source:
            return  # its shape has been told
        full = device.join(self.base, source)
        if device.is_full(source) and full.split(":")[0] not in SCHEMES:
            raise PublishError(f"{source!r}: no client knows this kind of URL")
        page = PAGES.match(full)
        if page:
            forge = page[1].partition(".")[0]
            reason = f"is a page that shows the file: name it {forge}:ORG/REPO/PATH"
            raise PublishError(f"{source!r} {reason}")
        if SECRETS.search(full):
            self._warn(entry, "there is a secret in the URL, which everybody can read")
        url = device.source_url(source, self.base, self.ref)
        self._check_field_url(entry, source, url)
        if any(place in url for place in device.PLACEHOLDERS):
            self._check_builds(entry, source, url)
        else:
            self._check_file(entry, written, repr(source), url)

    def _check_field_url(self, entry: str, source: str, url: str) -> None:
        """Compare what upstream and mpremote fetch with what is meant."""
        theirs = field_url(self.base, source, self.ref)
        if normal(theirs) != normal(url):
            ref = device.repository(source) and "@" in source
            why = "know no @ in URLs, and " if ref else ""
            self._error(entry, f"{THEY} {why}fetch {theirs}: {source!r} means {url}", FIELD)
        elif not (theirs.isascii() and theirs.isprintable()) or " " in theirs:
            ascii = theirs.isascii()
            who = f"{THEY} send spaces" if ascii else "mpremote sends letters"
            reason = f"{who} as they are: {source!r}"
            self._error(entry, reason, FIELD if ascii else ("mpremote",))
        elif device.repository(self.base) and not self.ref:
            meant = device.source_url(source, self.base, SOME_REF)
            theirs = field_url(self.base, source, SOME_REF)
            if normal(theirs) != normal(meant):
                self._warn(entry, f"{THEY} fetch {theirs}, installed @{SOME_REF}", FIELD)
        if re.search(r"(^|/)\.\.?(/|$)", source):
            reason = f"{THEY} send the dots, which not every server takes: {source!r}"
            self._warn(entry, reason, FIELD)

    def _check_file(
        self, entry: str, written: str, name: str, url: str, hash: str = "", *tag: str
    ) -> None:
        """Look if a file is there and whole and, if it is bytecode, whether it can be loaded.

        name: that it has in messages.  hash: of its content, "" if it is not known.  tag: the
        architecture and the version of an index of native code.
        """
        looked, data = self._look(entry, url)
        if looked and data is None:
            directory = self.lookup and os.path.isdir(self.lookup.place(url))
            what = "is a directory: name its files" if directory else "there is no such file"
            self._error(entry, f"{name}: {what}")
        elif data is not None and not hashlib.sha256(data).hexdigest().startswith(hash):
            self._error(entry, f"{name} is damaged: it has another hash")
        elif data is not None and self.lookup and self.lookup.leads_out(url):
            self._error(entry, f"{name} leads out of the package's directory: copy it there")
        elif data is not None and written.endswith(".mpy"):
            self._found += bytecode_findings(entry, data, (int(self.mpy_version),), *tag)

    def _check_builds(self, entry: str, source: str, url: str) -> None:
        """Check a URL that stands for one file for each architecture."""
        reason = f"{THEY} know no {' or '.join(device.PLACEHOLDERS)}: {source!r}"
        if not self.lookup:
            self._warn(entry, reason, FIELD)
            return
        there: dict[str, None] = {}
        for place, named in device.builds(url, self.mpy_version).items():
            _, data = self._look(entry, place)
            if data is not None:
                there[named[0] or named[1]] = None
                self._found += bytecode_findings(entry, data, (int(self.mpy_version),), *named)
        if not there and not self.lookup.failed:
            self._error(entry, f"{source!r}: there is no build for any architecture")
        else:
            self._warn(entry, f"{reason}; there are builds for {', '.join(there)}", FIELD)

    # --- Files of an index ---

    def _check_hashes(self, entry: str, written: str, hash: str, *third: object) -> None:
        self._check_destination(entry, written, hash, *third)
        root = self._root()
        if root and re.fullmatch("[0-9a-f]{8,64}", hash):
            place = f"{root}/{content_path(hash)}"
            native = NATIVE.fullmatch(root.rpartition("/")[2])
            tag = native[0].rsplit("_", 1) if native else []
            self._check_file(entry, written, place, place, hash, *tag)

    def _root(self) -> str | None:
        """Return the index that the document is in, a URL or path, or None."""
        found = re.fullmatch(r"(.*)/package/[^/]+/[^/]+/[^/]+\.json", self.location)
        return found[1] if found else None

    # --- Dependencies ---

    def _check_deps(self, entry: str, *texts: str) -> None:
        name, version = device.dependency(texts, self.base, self.ref)
        self._needs.append((entry, name, version))
        refuse_need(name, version)
        if not device.is_place(name):
            urls = [f"{self.index}/{package_path(kind, name, version)}" for kind in KINDS]
            self._check_shadows(entry, name)
        else:
            if name.split(":")[0] not in SCHEMES:
                raise PublishError(f"{name!r}: no client knows this kind of URL")
            urls = [device.url_of(device.document_of(name), version)]
        if len(texts) > 1:
            self._check_field_dependency(entry, texts[0], texts[1], urls[0])
        if urls[0] == device.url_of(self.base, self.ref):
            self._error(entry, f"{THEY} never end: {texts[0]!r} is the package itself", FIELD)
            return
        if name in (self.neighbours or ()):
            return
        for url in urls:
            looked, data = self._look(entry, url)
            if not looked or data is not None:
                return
        if version and not device.is_place(name):
            _, data = self._look(entry, f"{self.index}/{package_path(KINDS[0], name, None)}")
            if data is not None:
                self._error(entry, f"there is no version {version} of {name}")
                return
        self._error(entry, f"{texts[0]!r}: there is no such package, no {urls[0]}")

    def _check_shadows(self, entry: str, name: str) -> None:
        """Find a file of the package where one that it needs has its own."""
        for other_entry, path, _ in self._paths:
            if re.sub(r"\.m?py$", "", path.split("/")[0]).lower() == name.lower():
                reason = f"{name} and {path} are in one place, see {other_entry}"
                self._warn(entry, f"{reason}: one hides the other")
                return

    def _check_field_dependency(self, entry: str, written: str, version: str, url: str) -> None:
        """Compare what upstream and mpremote fetch with what is meant."""
        theirs = field_dependency(written, version, self.index)
        if normal(theirs) != normal(url):
            branch = device.repository(written) and not device.pinned(version)
            why = f"take {version!r} for a branch, and " if branch else ""
            self._error(entry, f"{THEY} {why}fetch {theirs}: {written!r} means {url}", FIELD)

    def _check_versions(self) -> None:
        """Find packages that are needed in two versions."""
        seen: dict[str, tuple[str, str | None]] = {}
        for entry, name, version in self._needs:
            other, other_version = seen.setdefault(device.key_of(name), (entry, version))
            if version != other_version and version and other_version:
                self._error(entry, f"{name} is needed in two versions, see {other}", ("ours",))
