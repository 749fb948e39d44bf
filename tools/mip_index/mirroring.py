"""Publishes what others published, pinned, as an index of one's own: `mip-index mirror`."""

import contextlib
import functools
import posixpath
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import device, json_reader
from .device import BoardError, Fetches, Installed, PublishError
from .fetch import Session
from .page import write_page
from .store import FACTS, Index, Release, build_time, is_name, is_version

# {form: {key: package}}
Found = dict[str, dict[str, Installed]]
# device.install() of what is asked for: of a form and a tag.
Install = Callable[..., tuple[dict[str, Installed], dict[str, bytes]]]

# The key of a package's JSON that says of which packages it has the files: [name, version].
FROM = "from"


def mirror(
    packages: Sequence[str],
    output: str | Path,
    *,
    indexes: Sequence[str] = (device.PUBLIC_INDEX,),
    hash_length: int | None = None,
    mpy_versions: Sequence[str] = (),
    name: str | None = None,
    version: str | None = None,
    url: str | None = None,
    session: Fetches | None = None,
    say: Callable[[str], object] = print,
    done: Callable[[Index], object] | None = None,
) -> list[tuple[str, str]]:
    """Publish packages, with all that they need, in the index in `output`.

    packages: a list of names as a device takes them.  indexes: where names are looked up.
    hash_length, mpy_versions, url: as for build(), but a new index has all 64 digits, which are
    proof of what is installed.
    name, version: what the package is called in the index, where it is a single one.
    session: what fetches.  say: a function that is called with a line about what was left out.
    done: as for build().

    The packages are installed into an empty directory, by the device's own code, in one call.
    Each is published with the files of all that it needs, so that what is installed from there
    depends on nothing else.  Returns a list of (name, version) that are new.
    Raises PublishError for what a device would refuse, and for a package that differs from what
    is published under its version; OSError if the index cannot be written.
    """
    updated = build_time()
    session = session or Session()
    packages = list(packages)
    keys = [device.asked(text) for text in packages]
    for key in keys:
        has_manifest = device.is_local(key) and Path(key, "manifest.py").is_file()
        if has_manifest and not Path(key, device.DOCUMENT).exists():
            raise PublishError(
                f"{key}: has a manifest.py: build it, and mirror it from that index"
            )
    with Index(output) as index:
        index.choose(hash_length, mpy_versions, url, default_length=device.MAX_HASH_LENGTH)

        def releases(found: Found, contents: dict[str, bytes]) -> list[Release]:
            made: dict[str, tuple[str, Release]] = {}
            for key in keys:
                release = _release(key, found, contents, session, name, version)
                other = made.setdefault(release.name, (key, release))[0]
                if other != key:
                    raise PublishError(f"{other} and {key} are both {release.name}: give a --name")
            return [release for _, release in made.values()]

        install = functools.partial(device.install, packages, indexes, session=session)
        try:
            found = {"": _install(install, index.mpy_versions, say)}
        except BoardError as error:
            found = _install_natives(install, index.mpy_versions)
            with contextlib.suppress(BoardError):  # where there is no source of it
                plain = functools.partial(install, plain=True)
                found[""] = _install(plain, index.mpy_versions, say)
            if not found:
                raise PublishError(f"{error}, and there is nothing for any") from error
        # Found out for all of them before anything is written.
        every = {tag: releases(*each) for tag, each in found.items()}
        new = index.publish(every.pop("", []), updated, every)
        write_page(index)
        if done:
            done(index)
    return new


def _install_natives(
    install: Install, mpy_versions: Sequence[str]
) -> dict[str, tuple[Found, dict[str, bytes]]]:
    """Install as on a board of each architecture; return what has native code for it, by tag."""
    found = {}
    for kind in mpy_versions:
        for arch, version in device.boards(kind):
            tag = f"{arch}_{version}"
            # What is not for it fails.
            with contextlib.suppress(PublishError):
                packages, contents = install(kind, tag=tag)
                if any(device.build_of(data) for data in contents.values()):
                    found[tag] = {kind: packages}, contents
    return found


def _install(
    install: Install, mpy_versions: Sequence[str], say: Callable[[str], object]
) -> tuple[Found, dict[str, bytes]]:
    """Install in each form that there is; return {form: {key: Installed}}, {sha256: bytes}."""
    found: Found = {}
    contents: dict[str, bytes] = {}
    for kind in (*mpy_versions, "py"):
        try:
            found[kind], more = install(kind)
        except PublishError as error:
            if kind != "py" or not found or "so there is no package" not in str(error):
                raise
            say(f"No source, only bytecode: {error}")
        else:
            contents |= more
    return found, contents


def _release(
    key: str,
    found: Found,
    contents: dict[str, bytes],
    session: Fetches,
    name: str | None,
    version: str | None,
) -> Release:
    """Return the Release of an asked package."""
    kinds = tuple(found)
    needed = {kind: _needed(key, found[kind]) for kind in kinds}
    first = needed[kinds[0]]
    said = _facts(session, first[0])
    origins = [[_public(each.name), each.version or each.said or "latest"] for each in first]

    def files(kind: str) -> dict[str, bytes]:
        files = {path: sha for each in needed[kind] for path, sha in each.files.items()}
        for path in [path for path in files if path.endswith(".mpy")]:
            if device.build_of(contents[files[path]]):
                files.pop(str(device.twin(path)), None)  # import would take the source
        return {path: contents[files[path]] for path in sorted(files)}

    return Release(
        name=name or _name(first[0], said),
        version=version or _version(first[0]),
        kinds=kinds,
        files=files,
        lasting=kinds,
        facts=said,
        owners={path: each.name for each in reversed(first) for path in each.files},
        needs=[each.name for each in first[1:]],
        more={FROM: origins},
    )


def _needed(key: str, packages: dict[str, Installed]) -> list[Installed]:
    """Return a list of the package `key` and all that it needs, each once."""
    keys = [key]
    for each in keys:  # which grows meanwhile
        keys += [need for need in dict.fromkeys(packages[each].needs) if need not in keys]
    return [packages[each] for each in keys]


def _facts(session: Fetches, package: Installed) -> dict[str, Any]:
    """Return what the authors say of a package: its package.json, and the index that has it."""
    facts: dict[str, Any] = {}
    if package.document:
        facts |= _json(session, package.document)
    if package.index and not device.is_place(package.name):
        for entry in _json(session, f"{package.index}/index.json").get("packages", []):
            if entry.get("name", "").lower() == package.name.lower():
                facts |= {key: entry[key] for key in FACTS if entry.get(key)}
    return facts


def _json(session: Fetches, location: str) -> dict[str, Any]:
    """Return the object at a URL or path; an empty one if there is none."""
    try:
        value = json_reader.loads(device.read(session, location) or b"{}")
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {}


def _public(name: str) -> str:
    """Return a name as it may be published: of a path on this machine, only the last part."""
    return posixpath.basename(_place(name)) if device.is_local(name) else name


def _place(name: str) -> str:
    """Return the URL or path of a package without the name of its package.json."""
    path = Path(name).resolve().as_posix() if device.is_local(name) else name
    path = urlsplit(path).path if "//" in path else path
    return path.removesuffix(f"/{device.DOCUMENT}")


def _name(package: Installed, facts: dict[str, Any]) -> str:
    """Return what a package is called in an index.

    That is its name in an index, the `name` that its package.json says, or the last part of its
    URL or path.  Raises PublishError when that cannot be a name.
    """
    if not device.is_place(package.name):
        return package.name
    own = facts.get("name")
    if isinstance(own, str) and is_name(own):
        return own
    last = posixpath.basename(_place(package.name))
    last = last if is_name(last) else posixpath.splitext(last)[0]
    if not is_name(last):
        raise PublishError(f"{package.name}: no name for an index in it: give a --name")
    return last


def _version(package: Installed) -> str:
    """Return the version of a package in an index.

    That is the version that was asked of an index, the one that the package.json says, or the
    ref of the repository.  Raises PublishError when there is none that an index can have.
    """
    own, asked = package.said, device.pinned(package.version)
    for version in (own, asked) if device.is_place(package.name) else (asked, own):
        if version and is_version(version):
            return version
    raise PublishError(f"{package.name}: no version for an index: give a --version")
