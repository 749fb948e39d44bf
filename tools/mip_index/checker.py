"""Reads packages as every client would, and says what will fail: `mip-index check`.

What is wrong with the text and shape of a package.json is found here, the latter by
package.schema.json; what is wrong with its entries in entries.py.
"""

import functools
import json
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import json_reader
from .builder import build
from .clients import CLIENTS, Finding, unread_keys
from .device import (
    DOCUMENT,
    KEYS,
    MAX_DOCUMENT,
    MAX_ENTRY,
    PLACEHOLDERS,
    PUBLIC_INDEX,
    Fetches,
    PublishError,
    document_of,
    install,
    is_file,
    parse,
    read,
    refuse_document,
    refuse_version,
    repository,
    url_of,
)
from .entries import EntryChecker, Lookup
from .fetch import Session
from .store import NEWEST_MPY, Index, package_path

SCHEMA = Path(__file__).with_name("package.schema.json")

# Where a package.json is assumed to be published if nothing tells: not too near to the root, as
# it may have URLs that lead upwards.
SOME_REPOSITORY = "github:ORG/REPO"
SOME_DIRECTORY = "PATH/PATH/PATH"


def check(
    place: str,
    *,
    published: str | None = None,
    files: bool = True,
    offline: bool = False,
    index: str = PUBLIC_INDEX,
    mpy_version: str = NEWEST_MPY,
    session: Fetches | None = None,
) -> list[Finding]:
    """Return a list of the Findings about a package, in the order of its entries.

    place: a path of a package.json, of its directory or of one with a manifest.py, or of an
    index; a URL, or github:ORG/REPO/PATH@REF and the like.
    published: for a path, the name under which the package will be installed, if it is known.
    files: whether to look if the files and packages that it names are there; offline: only those
    on the disk.
    index: the index of the packages that it needs.  mpy_version: of prebuilt bytecode.
    session: what fetches.
    Raises PublishError when there is no package or it cannot be read.
    """
    session = session or Session()
    local = ref = base = None
    built: list[Finding] = []
    if ":" in place:
        base, ref = _asked(place)
        location = url_of(base, ref)
    else:
        path = Path(place)
        if (path / "index.json").is_file():
            return _check_index(path, mpy_version, session)
        built = _check_manifest(path) if (path / "manifest.py").is_file() else []
        if not (path / DOCUMENT).is_file() and (path / "manifest.py").is_file():
            return built
        location = local = (path / DOCUMENT if path.is_dir() else path).as_posix()
        if published:
            base, ref = _asked(published)
    data = read(session, location)
    if data is None:
        if local:
            _asked(place)  # which tells of a version
        raise PublishError(f"{location}: no such file")
    findings, document = _read(data)
    if document is None:
        return findings
    known = bool(base)
    base = base or f"{_most_named(document)}/{SOME_DIRECTORY}/{DOCUMENT}"
    lookup = Lookup(session, local, base, ref, known, offline) if files else None
    checker = EntryChecker(document, location, base, ref, index, int(mpy_version), lookup)
    # What no client can read is told by its shape.
    unreadable = {each.entry for each in findings if each.clients == CLIENTS and not each.warning}
    findings += [each for each in checker.findings() if each.entry not in unreadable]
    if lookup and not any("ours" in each.clients and not each.warning for each in findings):
        findings += _together(document, base, ref, index, mpy_version, lookup)
    order = list(document)
    return built + sorted(findings, key=lambda each: _place(each.entry, order))


def _asked(text: str) -> tuple[str, str | None]:
    """Return the name of the package.json of a package, as one asks for it, and its ref.

    Raises PublishError when there is no name, for a file, and for a version without meaning.
    """
    name, ref = parse(text)
    refuse_version(text, name, ref)
    if is_file(name):
        raise PublishError(f"{text}: a file, not a package.json")
    return document_of(name), ref


def _place(entry: str, keys: list[str]) -> tuple[int, int]:
    """Return a key that sorts the entries of a document as they are in it, "" first."""
    key, _, number = entry.rstrip("]").partition("[")
    return keys.index(key) if key in keys else -1, int(number) if number else -1


def _together(
    document: dict[str, Any],
    base: str,
    ref: str | None,
    index: str,
    mpy_version: str,
    lookup: Lookup,
) -> list[Finding]:
    """Return the Findings of a device's own code, which installs it with all that it needs."""
    if lookup.failed or any(place in json.dumps(document) for place in PLACEHOLDERS):
        return []
    if any(len(entry) > 2 for key in ("urls", "hashes") for entry in document.get(key, [])):
        return []  # what it installs depends on the board
    if document.get("hashes"):
        return []  # its files have been looked at, and are of its own index
    name = base + (f"@{ref}" if ref else "")
    try:
        install([name], [index], mpy_version, lookup)
    except PublishError as error:
        if lookup.failed or "so there is no package" in str(error):
            return []  # which has been told
        return [Finding("", str(error), ("ours",))]
    return []


def _check_manifest(directory: Path) -> list[Finding]:
    """Return the Findings about a package with a manifest.py: those of building it."""
    findings = []
    with tempfile.TemporaryDirectory() as output:
        left: list[str] = []
        try:
            build(directory, output, say=left.append)
        except PublishError as error:
            # A manifest may share the files of its neighbours, if these are built, too.
            findings.append(Finding("", str(error), warning="leads out of" in str(error)))
    prefix = f"{directory / 'manifest.py'}: warning: "
    return findings + [Finding("", text.removeprefix(prefix), warning=True) for text in left]


def _check_index(directory: Path, mpy_version: str, session: Fetches) -> list[Finding]:
    """Return the Findings about an index: of each package, and of those that share a path."""
    index = Index(directory)
    findings = [
        Finding(
            name, f"more than {MAX_ENTRY} bytes in index.json: search() passes over it", ("ours",)
        )
        for name, entry in sorted(index.entries.items())
        if len(json.dumps(entry, separators=(",", ":"))) > MAX_ENTRY
    ]
    for kind in sorted({kind for each in index.entries.values() for kind in each["versions"]}):
        shared: dict[str, tuple[str, str]] = {}
        for name, entry in sorted(index.entries.items()):
            for version in entry["versions"].get(kind, []):
                place = f"{directory.as_posix()}/{package_path(kind, name, version)}"
                used = kind if kind.isdecimal() else mpy_version
                try:
                    found = check(
                        place, index=directory.as_posix(), mpy_version=used, session=session
                    )
                except PublishError as error:
                    found = [Finding("", str(error))]
                where = f"{kind}/{name}@{version} "
                findings += [
                    replace(each, entry=f"{where}{each.entry}".rstrip()) for each in found
                ]
            if any(each.entry.startswith(f"{kind}/{name}@") for each in findings):
                continue  # what cannot be read is not compared
            latest = index.package(kind, name, "latest") or {}
            for path, hash in latest.get("hashes", []):
                other, other_hash = shared.setdefault(path.lower(), (name, hash))
                if not (hash.startswith(other_hash) or other_hash.startswith(hash)):
                    reason = f"{path} is not that of {other}: the one installed last is there"
                    findings.append(Finding(f"{kind}/{name}", reason, warning=True))
    return findings


def _read(data: bytes) -> tuple[list[Finding], dict[str, Any] | None]:
    """Return (findings, document): what is wrong with the text, and its value if it has one."""
    findings = []
    duplicates: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        counted = Counter(key for key, _ in items)
        duplicates[:] = [key for key in counted if counted[key] > 1]  # the last call is the outer
        return dict(items)

    strict = None
    try:
        json.loads(data, object_pairs_hook=pairs)
    except ValueError as error:
        strict = error
    mark = b"\xef\xbb\xbf"
    try:
        document = json_reader.loads(data.removeprefix(mark))
    except ValueError as error:
        clients = CLIENTS if strict else ("ours", "upstream")
        return [Finding("", _refusal(data) or str(error), clients)], None
    if data.startswith(mark):
        findings.append(Finding("", "begins with a byte order mark", ("upstream",)))
    if strict:
        reason = f"only MicroPython's json reads it: {strict}"
        findings.append(Finding("", reason, ("mpremote",)))
    for key in sorted(set(duplicates) & set(KEYS)):
        reason = f"{key!r} is there twice: ours takes both, the others the last"
        findings.append(Finding("", reason))
    if len(data) > MAX_DOCUMENT:
        findings.append(Finding("", f"more than {MAX_DOCUMENT} bytes", ("ours",)))
    if not isinstance(document, dict):
        return findings + _shape(document), None
    return findings + _shape(document) + unread_keys(document), document


def _refusal(data: bytes) -> str:
    """Return why a device cannot read a document, "" if it can."""
    try:
        refuse_document(data)
    except PublishError as error:
        return str(error)
    return ""


@functools.cache
def _schema() -> Any:
    """Return the validator of the schema. Raises PublishError without jsonschema."""
    # Only `check` needs it.
    try:
        import jsonschema
    except ImportError as error:
        raise PublishError("jsonschema is not installed: pip install jsonschema") from error
    schema = json.loads(SCHEMA.read_text("utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def _shape(document: object) -> list[Finding]:
    """Return the Findings of the JSON schema: entries of the wrong shape, one for each."""
    findings: dict[str, Finding] = {}
    for error in _schema().iter_errors(document):
        path = list(error.absolute_path)
        destination = len(path) == 3 and path[0] in ("urls", "hashes") and path[2] == 0
        if destination and isinstance(error.instance, str):
            continue  # clean_path() tells more of it
        entry = "".join(f"[{part}]" if isinstance(part, int) else part for part in path[:2])
        clients = tuple(error.schema.get("clients", CLIENTS))
        warning = error.schema.get("warning", False)
        reason = error.schema["errorMessage"]
        findings.setdefault(entry, Finding(entry, reason, clients, warning))
    return list(findings.values())


def _most_named(document: dict[str, Any]) -> str:
    """Return the repository that most of a document's URLs are in, or one that is none."""
    urls = document.get("urls")
    names = [
        repository(entry[1])
        for entry in (urls if isinstance(urls, list) else [])
        if isinstance(entry, list) and len(entry) > 1 and isinstance(entry[1], str)
    ]
    named = Counter(name for name in names if name.count("/") == 1)
    return max(named, key=lambda name: named[name]) if named else SOME_REPOSITORY
