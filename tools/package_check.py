"""Reads a package.json as every client would, and says what will fail: `mip_index.py check`.

What is wrong with its text and shape is found here, the latter by package.schema.json; what is
wrong with its entries in package_entries.py.
"""

import functools
import json
import posixpath
from collections import Counter
from pathlib import Path

import mip_json
from index_build import NEWEST_MPY
from mip_fetch import Fetcher
from mip_source import (
    DOCUMENT,
    KEYS,
    PUBLIC_INDEX,
    BoardError,
    NotFoundError,
    PublishError,
    Resolver,
    document_of,
    is_file,
    parse,
    repository,
    url_of,
)
from package_clients import CLIENTS, Finding
from package_entries import KINDS, EntryChecker, Lookup

SCHEMA = Path(__file__).with_name("package.schema.json")

# Bytes of a document that ours takes at most.
MAX_DOCUMENT = 1 << 20

# Where a package.json is assumed to be published if nothing tells: not too near to the root, as
# it may have URLs that lead upwards.
SOME_REPOSITORY = "github:ORG/REPO"
SOME_DIRECTORY = "PATH/PATH/PATH"


def check(
    place,
    *,
    published=None,
    files=True,
    index=PUBLIC_INDEX,
    mpy_version=NEWEST_MPY,
    fetch=None,
):
    """Return a list of the Findings about a package.json.

    place: a path of it or of its directory, a URL, or github:ORG/REPO/PATH@REF and the like.
    published: for a path, the name under which the package will be installed, if it is known.
    files: whether to look if the files and packages that it names are there.
    index: the index of the packages that it needs.  mpy_version: of prebuilt bytecode, a string.
    fetch: a function of a URL or path that returns bytes, or None where nothing is.
    Raises PublishError when there is no package.json or it cannot be read.
    """
    fetch = functools.cache(fetch or Fetcher())
    local = ref = base = None
    if ":" in place:
        name, ref = parse(place)
        if is_file(name):
            raise PublishError(f"{place}: a file, not a package.json")
        base = document_of(name)
        location = url_of(base, ref)
    else:
        path = Path(place)
        location = local = (path / DOCUMENT if path.is_dir() else path).as_posix()
        if published:
            name, ref = parse(published)
            base = document_of(name)
    data = fetch(location)
    if data is None:
        raise PublishError(f"{location}: no such file")
    findings, document = _read(data)
    if document is None:
        return findings
    lookup = Lookup(fetch, local, base) if files else None
    base = base or f"{_most_named(document)}/{SOME_DIRECTORY}/{DOCUMENT}"
    checker = EntryChecker(document, location, base, ref, index, int(mpy_version), lookup)
    # What no client can read is told by its shape.
    unreadable = {each.entry for each in findings if each.clients == CLIENTS and not each.warning}
    findings += [each for each in checker.findings() if each.entry not in unreadable]
    if files and not any("ours" in each.clients and not each.warning for each in findings):
        findings += _resolve(posixpath.join(".", local) if local else name, ref, index, fetch)
    return findings


def _resolve(name, ref, index, fetch):
    """Return the Findings about a package together with all that it needs."""
    try:
        Resolver(fetch, [index], KINDS).resolve([(name, ref)])
    except (BoardError, NotFoundError):
        return []  # which has been told, or is told of the package that needs it
    except PublishError as error:
        return [Finding("", str(error), ("ours",))]
    return []


def _read(data):
    """Return (findings, document): what is wrong with the text, and its value if it has one."""
    findings = []
    duplicates = []
    strict = _strict(data)
    try:
        document = mip_json.loads(data, duplicates)
    except ValueError as error:
        # One that begins with a byte order mark is read by mpremote.
        return [Finding("", str(error), CLIENTS if strict else ("ours", "upstream"))], None
    if strict:
        reason = f"only MicroPython's json reads it: {strict}"
        findings.append(Finding("", reason, ("mpremote",)))
    for key in sorted(set(duplicates) & set(KEYS)):
        reason = f"{key!r} is there twice: ours takes both, the others the last"
        findings.append(Finding("", reason))
    if len(data) > MAX_DOCUMENT:
        findings.append(Finding("", f"more than {MAX_DOCUMENT} bytes", ("ours",)))
    shape = _shape(document)
    return findings + shape, document if isinstance(document, dict) else None


def _strict(data):
    """Return what is wrong with a text as JSON, or None."""
    try:
        json.loads(data)
    except ValueError as error:
        return error


@functools.cache
def _schema():
    """Return the validator of the schema. Raises PublishError without jsonschema."""
    # Only `check` needs it.
    try:
        import jsonschema
    except ImportError as error:
        raise PublishError("jsonschema is not installed: pip install jsonschema") from error
    schema = json.loads(SCHEMA.read_text("utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def _shape(document):
    """Return the Findings of the JSON schema: entries of the wrong shape, one for each."""
    findings = {}
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


def _most_named(document):
    """Return the repository that most of a document's URLs are in, or one that is none."""
    urls = document.get("urls")
    names = [
        repository(entry[1])
        for entry in (urls if isinstance(urls, list) else [])
        if isinstance(entry, list) and len(entry) > 1 and isinstance(entry[1], str)
    ]
    named = Counter(name for name in names if name.count("/") == 1)
    return max(named, key=named.get) if named else SOME_REPOSITORY
