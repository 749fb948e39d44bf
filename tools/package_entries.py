"""Checks the entries of a package.json; see package_check.py."""

import functools
import hashlib
import json
import posixpath
import re

from index_build import NEWEST_MPY
from mip_fetch import escape
from mip_source import (
    FORGES,
    LISTS,
    PLACEHOLDERS,
    PublishError,
    clean_path,
    dependency,
    document_of,
    index_document,
    index_file,
    is_file,
    is_full,
    join,
    path_key,
    pinned,
    repository,
    source_url,
    url_of,
)
from package_clients import (
    CLIENTS,
    FIELD,
    FIELD_PREFIXES,
    Finding,
    field_dependency,
    field_url,
    normal,
)

# Bytes of an entry that ours takes at most.
MAX_ENTRY = 4096

# The architectures of native code, from 1; see ".mpy files" in MicroPython's documentation.
ARCHITECTURES = (
    *("x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp"),
    *("xtensa", "xtensawin", "rv32imc", "rv64imc"),
)
SUB_VERSIONS = range(4)

# What is looked for in an index, in this order.
KINDS = (NEWEST_MPY, "py")

# A ref that the repository of a package may be asked for at.
SOME_REF = "TAG"


class Lookup:
    """Reads what a document names; what lies beside a document on the disk, from there.

    get: a function of a URL or path that returns bytes, or None where nothing is.
    local: the path of the document, or None.  base: the name under which clients know it; None
    if that is not known.
    """

    def __init__(self, get, local, base):
        self.get = get
        self._local = local
        self._base = base

    def source(self, source, url):
        """Return the content of an entry's source as it is written; url: what it means."""
        return self.get(self._beside(source) or url)

    def _beside(self, source):
        """Return where on the disk a source is, or None if it is elsewhere."""
        if not self._local:
            return None
        if self._base:
            site, path = _split(join(self._base, source))
            own_site, own_path = _split(self._base)
            if site.lower() != own_site.lower():
                return None
            source = posixpath.relpath(path, posixpath.dirname(own_path))
        elif is_full(source):
            return None
        return posixpath.normpath(posixpath.join(posixpath.dirname(self._local), source))


def _split(name):
    """Return (site, path) of a URL, or of a forge's name, whose site is the repository."""
    if repository(name):
        owner, repo, *path = name.split("/")
        return f"{owner}/{repo}", "/" + "/".join(path)
    site = re.match(r"[^/]*//[^/]*", name)
    return (site[0], name[site.end() :]) if site else ("", name)


class EntryChecker:
    """Checks the entries of a document, one kind after the other.

    document: a dict.  location: the URL or path that it was read from; base: the name under
    which clients know it, and ref: at which they ask for it, or None.
    index: of the packages that it needs.  mpy_version: that bytecode should have, a number.
    lookup: a Lookup, or None to look nothing up.
    """

    def __init__(self, document, location, base, ref, index, mpy_version, lookup):
        self._document = document
        self._location = location
        self._base = base
        self._ref = ref
        self._index = index
        self._mpy_version = mpy_version
        self._lookup = lookup
        self._found = []
        self._paths = []  # (entry, path, source) of all files

    def findings(self):
        """Return all Findings."""
        for key in LISTS:
            for number, value in self._entries(key):
                entry = f"{key}[{number}]"
                if len(json.dumps(value, ensure_ascii=False).encode()) > MAX_ENTRY:
                    self._error(entry, f"more than {MAX_ENTRY} bytes", ("ours",))
                try:
                    getattr(self, f"_check_{key}")(entry, *value)
                except PublishError as error:
                    self._error(entry, str(error))
        self._check_clashes()
        self._check_hidden()
        self._check_place_of_hashes()
        self._check_versions()
        return self._found

    def _entries(self, key):
        """Yield (number, [text, text]) for what can be read of the entries of a key."""
        entries = self._document.get(key)
        for number, entry in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(entry, str):
                entry = [entry]
            texts = isinstance(entry, list) and all(isinstance(each, str) for each in entry[:2])
            if texts and len(entry) >= (1 if key == "deps" else 2):
                yield number, entry[:2]

    def _is_for_some(self, entry):
        """Return whether an entry is for some boards: one of several for the same destination."""
        key, number = entry.rstrip("]").split("[")
        third = self._document[key][int(number)][2:3]
        return bool(third) and isinstance(third[0], int)

    def _error(self, entry, reason, clients=CLIENTS):
        self._found.append(Finding(entry, reason, clients))

    def _warn(self, entry, reason, clients=CLIENTS):
        self._found.append(Finding(entry, reason, clients, warning=True))

    # --- Destinations ---

    def _check_destination(self, entry, written, source):
        """Check where a file goes; keep it for those checks that compare files."""
        if written.startswith(FIELD_PREFIXES):
            self._error(entry, f"{written!r} is a URL: are destination and URL swapped?")
            return
        try:
            path = clean_path(written)
        except PublishError as error:
            own = re.search(r'(^|/)\.mip(/|$)|[*?"<>|~]', written.lower())
            self._error(entry, str(error), ("ours",) if own else CLIENTS)
            return
        if not self._is_for_some(entry):
            self._paths.append((entry, path, source))
        if written.startswith("/"):
            self._warn(entry, f"{written!r} goes below lib as {path}, not to the root")
        elif written != path:
            self._warn(entry, f"{written!r} is installed as {path}: write that")
        if path.lower().startswith("lib/"):
            self._warn(entry, f"goes to lib/{path}, as all paths are below lib already")
        if path in ("boot.py", "main.py"):
            self._warn(entry, f"MicroPython runs {path} from the root only, this goes below lib")

    def _check_clashes(self):
        """Compare all destinations: what cannot both be there."""
        seen, directories = {}, {}
        for entry, path, source in self._paths:
            key = path_key(path)
            other_entry, other, other_source = seen.setdefault(key, (entry, path, source))
            if other_entry == entry:
                continue
            if other == path and other_source == source:
                self._warn(entry, f"{path} is there twice, see {other_entry}")
            elif other == path:
                self._warn(entry, f"{path} from two places, see {other_entry}")
            elif other.lower() == path.lower():
                self._error(entry, f"{path} and {other} are one file on FAT, see {other_entry}")
            else:
                reason = f"of {path} and {other} only the .py is imported, see {other_entry}"
                self._warn(entry, reason)
        for entry, path, _ in self._paths:
            parts = path.split("/")[:-1]
            for end in range(1, len(parts) + 1):
                directories.setdefault("/".join(parts[:end]).lower(), (entry, path))
        for entry, path, _ in self._paths:
            if path.lower() in directories:
                other_entry, other = directories[path.lower()]
                self._error(entry, f"{path} is also a directory, of {other}, see {other_entry}")
        self._directories = directories

    def _check_hidden(self):
        """Find modules that are hidden by a package of the same name."""
        for entry, path, _ in self._paths:
            stem = re.sub(r"\.m?py$", "", path)
            if stem != path and stem.lower() in self._directories:
                _, other = self._directories[stem.lower()]
                self._warn(entry, f"import takes the directory of {other}, not {path}")

    # --- Files ---

    def _check_urls(self, entry, written, source):
        self._check_destination(entry, written, source)
        if not source:
            return  # its shape has been told
        full = join(self._base, source)
        forge = full.split(":")[0]
        if is_full(source) and forge not in FORGES and forge not in ("http", "https"):
            self._error(entry, f"{source!r}: no client knows this kind of URL")
            return
        url = source_url(source, self._base, self._ref)
        self._check_field_url(entry, source, url)
        if any(place in url for place in PLACEHOLDERS):
            self._check_builds(entry, source, url)
        else:
            self._check_file(entry, written, source, url)

    def _check_field_url(self, entry, source, url):
        """Compare what upstream and mpremote fetch with what is meant."""
        theirs = field_url(self._base, source, self._ref)
        if normal(theirs) != normal(url):
            reason = f"{source!r} means {url}, they fetch {theirs}"
            if repository(source) and "@" in source:
                reason += ": they know no @ in URLs"
            self._error(entry, reason, FIELD)
        elif escape(theirs) != theirs:
            ascii = theirs.isascii()
            reason = f"{source!r}: they send {'spaces' if ascii else 'letters'} as they are"
            self._error(entry, reason, FIELD if ascii else ("mpremote",))
        elif repository(self._base) and not self._ref:
            meant = source_url(source, self._base, SOME_REF)
            theirs = field_url(self._base, source, SOME_REF)
            if normal(theirs) != normal(meant):
                self._warn(entry, f"installed @{SOME_REF}, they fetch {theirs}", FIELD)
        if re.search(r"(^|/)\.\.?(/|$)", source):
            self._warn(
                entry, f"{source!r}: they send the dots, not every server takes them", FIELD
            )

    def _check_file(self, entry, written, source, url):
        """Look if a file is there and, if it is bytecode, whether it can be loaded."""
        data = self._read(entry, source, url)
        if data is not None and written.endswith(".mpy"):
            self._check_bytecode(entry, data)

    def _read(self, entry, source, url):
        """Return the content of a file or None; what is missing is an error."""
        if not self._lookup:
            return None
        data = self._lookup.source(source, url)
        if data is None:
            self._error(entry, f"{source!r}: there is no such file")
        return data

    def _check_bytecode(self, entry, data, arch=None):
        """Check the head of a .mpy file. arch: the number of the architecture it should be for."""
        if data[:1] != b"M" or len(data) < 4:
            self._error(entry, "not bytecode, though it is called .mpy")
            return
        if data[1] != self._mpy_version:
            version = f"version {data[1]}, firmware takes {self._mpy_version}"
            self._error(entry, f"bytecode of {version}")
        number = data[2] >> 2 & 15
        name = ARCHITECTURES[number - 1] if 0 < number <= len(ARCHITECTURES) else number
        if arch and arch != number:
            self._error(entry, f"the build for {ARCHITECTURES[arch - 1]} is for {name}")
        elif number and not arch:
            self._warn(entry, f"native code, which only boards with {name} load")

    def _check_builds(self, entry, source, url):
        """Check a URL that stands for one file for each architecture."""
        reason = f"{source!r}: they know no {' or '.join(PLACEHOLDERS)}"
        if not self._lookup:
            self._warn(entry, reason, FIELD)
            return
        there = {}
        for number, arch in enumerate(ARCHITECTURES, 1):
            for sub in SUB_VERSIONS:
                build = functools.partial(_build, arch=arch, version=f"{self._mpy_version}.{sub}")
                data = self._lookup.source(build(source), build(url))
                if data is not None:
                    there[arch] = None
                    self._check_bytecode(entry, data, number if PLACEHOLDERS[0] in url else None)
                if PLACEHOLDERS[1] not in url:
                    break
        if not there:
            self._error(entry, f"{source!r}: there is no build for any architecture")
        else:
            self._warn(entry, f"{reason}; there are builds for {', '.join(there)}", FIELD)

    # --- Files of an index ---

    def _check_hashes(self, entry, written, hash):
        self._check_destination(entry, written, hash)
        root = self._root()
        if not root or not self._lookup or not re.fullmatch("[0-9a-f]{8,64}", hash):
            return
        data = self._lookup.get(index_file(root, hash))
        if data is None:
            self._error(entry, f"{index_file(root, hash)}: there is no such file")
        elif not hashlib.sha256(data).hexdigest().startswith(hash):
            self._error(entry, f"{index_file(root, hash)} is damaged: it has another hash")
        elif written.endswith(".mpy"):
            self._check_bytecode(entry, data)

    def _check_place_of_hashes(self):
        if self._document.get("hashes") and not self._root():
            self._error("hashes", "files of an index, and this is in none: use urls")

    def _root(self):
        """Return the index that the document is in, a URL or path, or None."""
        found = re.fullmatch(r"(.*)/package/[^/]+/[^/]+/[^/]+\.json", self._location)
        return found and found[1]

    # --- Dependencies ---

    def _check_deps(self, entry, *texts):
        name, version = dependency(texts, self._base, self._ref)
        if ":" not in name and "/" not in name:
            if ".." in name or "/" in (version or ""):
                raise PublishError(f"{name!r} is not the name of a package")
            urls = [index_document(self._index, kind, name, version) for kind in KINDS]
        else:
            forge = name.split(":")[0]
            if forge not in FORGES and forge not in ("http", "https"):
                raise PublishError(f"{name!r}: no client knows this kind of URL")
            urls = [url_of(name if is_file(name) else document_of(name), version)]
        if len(texts) == 2:
            self._check_field_dependency(entry, *texts, urls[0])
        if urls[0] == url_of(self._base, self._ref):
            self._error(entry, f"{texts[0]!r} is the package itself: they never end", FIELD)
        elif self._lookup and not self._has(texts[0], urls):
            self._error(entry, f"{texts[0]!r}: there is no such package, no {urls[0]}")

    def _check_field_dependency(self, entry, written, version, url):
        """Compare what upstream and mpremote fetch with what is meant."""
        theirs = field_dependency(written, version, self._index)
        if normal(theirs) != normal(url):
            reason = f"{written!r} means {url}, they fetch {theirs}"
            if repository(written) and not pinned(version):
                reason += f": {version!r} is a branch to them"
            self._error(entry, reason, FIELD)

    def _has(self, written, urls):
        """Return whether a package that is needed is there."""
        if len(urls) > 1:
            return any(self._lookup.get(url) is not None for url in urls)
        source = written if is_file(written) else document_of(written)
        return self._lookup.source(source, urls[0]) is not None

    def _check_versions(self):
        """Find packages that are needed in two versions."""
        seen = {}
        for number, texts in self._entries("deps"):
            try:
                name, version = dependency(texts, self._base, self._ref)
            except PublishError:
                continue  # which has been told
            other, other_version = seen.setdefault(name.lower(), (number, version))
            if version != other_version and version and other_version:
                reason = f"{name} is needed in two versions, see deps[{other}]"
                self._error(f"deps[{number}]", reason, ("ours",))


def _build(text, arch, version):
    """Return a URL for an architecture and a version of .mpy files."""
    return text.replace(PLACEHOLDERS[0], arch).replace(PLACEHOLDERS[1], version)
