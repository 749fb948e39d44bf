"""Reads packages as every client would, and says what will fail: `mip-index check`.

What is wrong with the text and shape of a package.json is found in document.py, what is wrong with
its entries in entries.py.
"""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import device
from .builder import read_package
from .clients import CLIENTS, Finding
from .device import Fetches, PublishError
from .document import read_document
from .entries import EntryChecker, Lookup
from .fetch import Session
from .sources import PACKAGE_FILES, Found, find_packages, left_out
from .store import NEWEST_MPY, Index, native_indexes, package_path

# Where a package.json is assumed to be published if nothing tells: not too near to the root, as
# it may have URLs that lead upwards.
SOME_REPOSITORY = "github:ORG/REPO"
SOME_DIRECTORY = "PATH/PATH/PATH"
# What is asked for instead of the URL of one.
AN_INDEX = "an index: name its directory on the disk, or the URL of one of its packages"


def check(
    place: str,
    *,
    published: str | None = None,
    files: bool = True,
    offline: bool = False,
    index: str = device.PUBLIC_INDEX,
    mpy_version: str = NEWEST_MPY,
    session: Fetches | None = None,
    neighbours: dict[str, Found] | None = None,
) -> list[Finding]:
    """Return a list of the Findings about a package, in the order of its entries.

    place: a path of a package.json, of its directory or of one with a manifest.py, of an index,
    or of a directory with packages in it; a URL, or github:ORG/REPO/PATH@REF and the like.
    published: for a path, the name under which the package will be installed, if it is known.
    files: whether to look if the files and packages that it names are there; offline: only those
    on the disk.
    index: the index of the packages that it needs.  mpy_version: of prebuilt bytecode.
    session: what fetches.  neighbours: packages that are published with it, so that they need
    not be looked up, as find_packages() returns them.
    Raises PublishError when there is no package or it cannot be read.
    """
    session = session or Session()
    local = ref = base = None
    built: list[Finding] = []
    if ":" in place:
        base, ref = _asked(place)
        location = device.url_of(base, ref)
        if location.endswith("/index.json"):
            raise PublishError(f"{place}: {AN_INDEX}")
    else:
        path = Path(place)
        if path.name in ("manifest.py", "index.json"):
            path = path.parent
        if device.is_file(place) and path.is_file():
            raise PublishError(f"{place}: a file, not a package.json")
        if (path / "index.json").is_file():
            findings = _check_index(path, mpy_version, session)
            for tag, native in native_indexes(path).items():
                inside = _check_index(native.directory, mpy_version, session)
                findings += [replace(each, entry=f"{tag}/{each.entry}") for each in inside]
            return findings
        if path.is_dir() and not any((path / name).is_file() for name in PACKAGE_FILES):
            if published:
                raise PublishError(f"{place}: no package: --as is for a single one")
            found = find_packages([path])
            findings = []
            for name, each in found.items():
                inside = check(
                    str(each.directory),
                    files=files,
                    offline=offline,
                    index=index,
                    mpy_version=mpy_version,
                    session=session,
                    neighbours=found,
                )
                findings += [replace(one, entry=f"{name} {one.entry}".rstrip()) for one in inside]
            return findings
        if (path / "manifest.py").is_file():
            built, deps = _check_manifest(path, neighbours or {})
            manifest = f"{SOME_REPOSITORY}/{SOME_DIRECTORY}/manifest.py"
            lookup = Lookup(session, None, manifest, None, False, offline) if files else None
            needs = EntryChecker(
                {"deps": deps}, manifest, manifest, None, index, mpy_version, lookup, neighbours
            )
            built += [replace(each, entry="require()") for each in needs.findings()]
            if not (path / device.DOCUMENT).is_file():
                return built
        location = local = (path / device.DOCUMENT if path.is_dir() else path).as_posix()
        if published:
            base, ref = _asked(published)
            if device.is_local(base):
                raise PublishError(f"{published}: --as takes github:ORG/REPO")
    data = device.read(session, location)
    if data is None:
        if local:
            _asked(place)  # which tells of a version
        if not local and device.read(session, f"{location.rpartition('/')[0]}/index.json"):
            raise PublishError(f"{place}: {AN_INDEX}")
        raise PublishError(f"{location}: no such file")
    findings, document = read_document(data)
    if document is None:
        return findings
    known = bool(base)
    base = base or f"{_most_named(document)}/{SOME_DIRECTORY}/{device.DOCUMENT}"
    lookup = Lookup(session, local, base, ref, known, offline) if files else None
    checker = EntryChecker(document, location, base, ref, index, mpy_version, lookup, neighbours)
    # What no client can read is told by its shape.
    unreadable = {each.entry for each in findings if each.clients == CLIENTS and not each.warning}
    findings += [each for each in checker.findings() if each.entry not in unreadable]
    if not any("ours" in each.clients and not each.warning for each in findings):
        findings += checker.together()
    if lookup and local and Path(local).name == device.DOCUMENT:
        # What a manifest.py beside it leaves out has been told.
        beside = not Path(local).with_name("manifest.py").is_file()
        findings += left_out(Path(local).parent, lookup.taken) if beside else []
    order = list(document)
    return built + sorted(findings, key=lambda each: _place(each.entry, order))


def _asked(text: str) -> tuple[str, str | None]:
    """Return the name of the package.json of a package, as one asks for it, and its ref.

    Raises PublishError when there is no name, for a file, and for a version without meaning.
    """
    name, ref = device.parse(text)
    device.refuse_version(text, name, ref)
    if device.is_file(name):
        raise PublishError(f"{text}: a file, not a package.json")
    return device.document_of(name), ref


def _place(entry: str, keys: list[str]) -> tuple[int, int]:
    """Return a key that sorts the entries of a document as they are in it, "" first."""
    key, _, number = entry.rstrip("]").partition("[")
    return keys.index(key) if key in keys else -1, int(number) if number else -1


def _check_manifest(
    directory: Path, neighbours: dict[str, Found]
) -> tuple[list[Finding], list[list[str]]]:
    """Return the Findings about a package with a manifest.py, those of building it; and its deps.

    neighbours: as for check().
    """
    findings = []
    left: list[str] = []
    deps: list[list[str]] = []
    try:
        found = neighbours or find_packages([directory])
        package = read_package(directory.resolve().name, found, left.append)
        release = package.release(("py", NEWEST_MPY))
        deps = release.deps
        for kind in release.kinds:
            release.files(kind)
    except PublishError as error:
        findings.append(Finding("", str(error)))
    prefix = f"{directory / 'manifest.py'}: warning: "
    findings += [Finding("", text.removeprefix(prefix), warning=True) for text in left]
    return findings, deps


def _check_index(directory: Path, mpy_version: str, session: Fetches) -> list[Finding]:
    """Return the Findings about an index: of each package, and of those that share a path."""
    index, here = Index(directory), directory.as_posix()
    long = f"more than {device.MAX_ENTRY} bytes in index.json: search() passes over it"
    findings = [
        Finding(name, long, ("ours",))
        for name, entry in sorted(index.entries.items())
        if len(json.dumps(entry, separators=(",", ":"))) > device.MAX_ENTRY
    ]
    for kind in sorted({kind for each in index.entries.values() for kind in each["versions"]}):
        used = kind if kind.isdecimal() else mpy_version
        shared: dict[str, tuple[str, str]] = {}
        for name, entry in sorted(index.entries.items()):
            for version in entry["versions"].get(kind, []):
                place = f"{here}/{package_path(kind, name, version)}"
                try:
                    found = check(place, index=here, mpy_version=used, session=session)
                except PublishError as error:
                    found = [Finding("", str(error))]
                at = f"{kind}/{name}@{version}"
                findings += [replace(each, entry=f"{at} {each.entry}".rstrip()) for each in found]
            if any(each.entry.startswith(f"{kind}/{name}@") for each in findings):
                continue  # what cannot be read is not compared
            latest = index.package(kind, name, "latest") or {}
            for path, hash in latest.get("hashes", []):
                other, other_hash = shared.setdefault(path.lower(), (name, hash))
                if not (hash.startswith(other_hash) or other_hash.startswith(hash)):
                    reason = f"differs from that of {other}: the package installed last wins"
                    findings.append(Finding(f"{kind}/{name}", f"{path} {reason}", warning=True))
    return findings


def _most_named(document: dict[str, Any]) -> str:
    """Return the repository that most of a document's URLs are in, or one that is none."""
    urls = document.get("urls")
    names = [
        device.repository(entry[1])
        for entry in (urls if isinstance(urls, list) else [])
        if isinstance(entry, list) and len(entry) > 1 and isinstance(entry[1], str)
    ]
    named = Counter(name for name in names if name.count("/") == 1)
    return named.most_common(1)[0][0] if named else SOME_REPOSITORY
