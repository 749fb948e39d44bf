"""Reads the text of a package.json, and says what is wrong with that and with its shape.

The shape is what package.schema.json says of it.
"""

import difflib
import functools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from . import json_reader
from .clients import CLIENTS, Finding
from .device import KEYS, LISTS, MARK, MAX_DOCUMENT, refusal
from .store import FACTS

SCHEMA = Path(__file__).with_name("package.schema.json")

# Keys that a client, an editor or this tool reads, and those of micropython-lib's metadata().
KNOWN_KEYS = (*KEYS, *FACTS, "name", "from", "$schema")
METADATA_KEYS = (*KNOWN_KEYS, "pypi", "pypi_publish", "stdlib")
# Keys of the package.json of npm.
NPM_KEYS = {"dependencies", "devDependencies", "scripts", "main", "engines"}


def read_document(data: bytes) -> tuple[list[Finding], dict[str, Any] | None]:
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
    except RecursionError:
        return [Finding("", "brackets are nested too deeply")], None
    except ValueError as error:
        strict = error
    try:
        document = json_reader.loads(data.removeprefix(MARK))
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        reason = "half a character: \\uD800 to \\uDFFF come in pairs"
        return [Finding("", reason, ("mpremote",))], None
    except ValueError as error:
        clients = CLIENTS if strict else ("ours", "upstream")
        return [Finding("", refusal(data) or str(error), clients)], None
    if data.startswith(MARK):
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


@functools.cache
def _schema() -> Any:
    """Return the validator of the schema."""
    import jsonschema  # only `check` needs it, and `build` for a package.json

    schema = json.loads(SCHEMA.read_text("utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def _shape(document: object) -> list[Finding]:
    """Return the Findings of the JSON schema: entries of the wrong shape, one for each."""
    findings: dict[str, Finding] = {}
    for error in _schema().iter_errors(document):
        path = list(error.absolute_path)
        destination = len(path) == 3 and path[0] in ("urls", "hashes") and path[2] == 0
        if destination and isinstance(error.instance, str) or path and path[0] not in KNOWN_KEYS:
            continue  # clean_path() and unread_keys() tell more of it
        entry = "".join(f"[{part}]" if isinstance(part, int) else part for part in path[:2])
        clients = tuple(error.schema.get("clients", CLIENTS))
        warning = error.schema.get("warning", False)
        reason = error.schema["errorMessage"]
        if entry == "version" and isinstance(error.instance, (int, float)):
            reason = f'write "{error.instance}", in quotes'
        findings.setdefault(entry, Finding(entry, reason, clients, warning))
    return list(findings.values())


def unread_keys(document: Iterable[str], known: Sequence[str] = KNOWN_KEYS) -> list[Finding]:
    """Return the Findings about keys of a package.json, or of metadata(), that nothing reads."""
    keys = list(document)
    if NPM_KEYS.intersection(keys) and not set(LISTS).intersection(keys):
        reason = "this is npm's package.json: another directory is needed"
        return [Finding("", reason, warning=True)]
    findings = []
    for key in keys:
        if key not in known:
            near = [
                f": {each}?" for each in difflib.get_close_matches(key.lower(), known, 1, 0.85)
            ]
            findings.append(Finding(key, f"no client reads it{''.join(near)}", warning=True))
    return findings
