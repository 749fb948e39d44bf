"""Publishes what others published, pinned, as an index of one's own: `mip_index.py mirror`."""

import functools
import hashlib
import posixpath
from pathlib import Path
from urllib.parse import urlsplit

from index_build import NEWEST_MPY
from index_store import FACTS, Index, Release, build_time, is_name, is_version
from mip_fetch import Fetcher
from mip_source import (
    MAX_HASH_LENGTH,
    PUBLIC_INDEX,
    NotFoundError,
    PublishError,
    Resolver,
    index_file,
    is_local,
    parse,
)

# The key of a package's JSON that says of which packages it has the files: [name, version].
FROM = "from"


def mirror(
    packages,
    output,
    *,
    indexes=(PUBLIC_INDEX,),
    hash_length=MAX_HASH_LENGTH,
    mpy_versions=(NEWEST_MPY,),
    name=None,
    version=None,
    fetch=None,
    say=print,
):
    """Publish packages, with all that they need, in the index in `output`.

    packages: a list of names as a device takes them.  indexes: where names are looked up.
    hash_length: digits of hashes; all 64 are proof of what is installed.
    mpy_versions: the bytecode versions to mirror, strings; source is mirrored, too.
    name, version: what the package is called in the index, where it is a single one.
    fetch: a function of a URL or path that returns bytes, or None where nothing is.
    say: a function that is called with a line about what was left out.

    The packages are resolved together, as one call on a device would.  Each is published with
    the files of all that it needs, so that what is installed from there depends on nothing else.
    Returns a list of (name, version) that are new.  Raises PublishError for what a device would
    refuse, for files that are not there or not what their index says, and for a package that
    differs from what is published under its version; OSError if the index cannot be written.
    """
    updated = build_time()
    index = Index(output, hash_length)
    # What is asked for twice is the same both times.
    fetch = functools.cache(fetch or Fetcher())
    asked = [parse(text) for text in packages]
    found = _resolve(asked, fetch, indexes, mpy_versions, say)
    contents = {kind: _contents(packages.values(), fetch) for kind, packages in found.items()}
    releases = {}
    for text, _ in asked:
        release = _release(text.lower(), found, contents, name, version)
        other = releases.setdefault(release.name, (text, release))[0]
        if other.lower() != text.lower():
            raise PublishError(f"{other} and {text} are both {release.name}: give a --name")
    return index.publish([release for _, release in releases.values()], updated)


def _resolve(asked, fetch, indexes, mpy_versions, say):
    """Return {kind: {key: Package}} for each kind in which all of `asked` is to be had."""
    found = {}
    for kind in dict.fromkeys(mpy_versions):
        found[kind] = Resolver(fetch, indexes, (kind, "py")).resolve(asked)
    try:
        found["py"] = Resolver(fetch, indexes, ("py",)).resolve(asked)
    except NotFoundError as error:
        if not found:
            raise
        say(f"No source, only bytecode: {error}")
    return found


def _contents(packages, fetch):
    """Return {path: bytes} of all files of packages.

    Raises PublishError naming all files that are missing, or one that is not what it should be.
    """
    contents, missing = {}, []
    for package in packages:
        for path, hash, url in package.files:
            location = url or index_file(package.index, hash)
            data = contents[path] = fetch(location)
            if data is None:
                missing.append(location)
            elif hash and not hashlib.sha256(data).hexdigest().startswith(hash):
                raise PublishError(f"{location}: the content is not what the index says")
    if missing:
        raise PublishError(f"not found: {' '.join(missing)}")
    return contents


def _release(key, found, contents, name, version):
    """Return the Release of an asked package. key: its name in lower case."""
    kinds = tuple(found)
    needed = {kind: _needed(key, found[kind]) for kind in kinds}
    first = needed[kinds[0]]
    package = first[0]

    def files(kind):
        return {path: contents[kind][path] for each in needed[kind] for path, *_ in each.files}

    return Release(
        name=name or _name(package),
        version=version or _version(package),
        kinds=kinds,
        files=files,
        lasting=kinds,
        facts={key: package.keys.get(key) for key in FACTS},
        owners={path: each.name for each in reversed(first) for path, *_ in each.files},
        more={FROM: [[each.name, each.version or _own_version(each)] for each in first]},
    )


def _needed(key, packages):
    """Return a list of the Package `key` and all that it needs, each once."""
    keys = [key]
    for each in keys:  # which grows meanwhile
        needs = [name.lower() for name, _ in packages[each].needs]
        keys += [need for need in dict.fromkeys(needs) if need not in keys]
    return [packages[each] for each in keys]


def _name(package):
    """Return what a package is called in an index.

    That is its name in an index, the `name` that its package.json says, or the last part of its
    URL or path.  Raises PublishError when that cannot be a name.
    """
    name = package.name
    if ":" not in name and "/" not in name:
        return name
    own = package.keys.get("name")
    if isinstance(own, str) and is_name(own):
        return own
    path = str(Path(name).resolve()) if is_local(name) else name
    if "//" in path:
        path = urlsplit(path).path
    last = posixpath.basename(path.removesuffix("/package.json"))
    last = last if is_name(last) else posixpath.splitext(last)[0]
    if not is_name(last):
        raise PublishError(f"{name}: no name for an index in it: give a --name")
    return last


def _version(package):
    """Return the version of a package in an index.

    That is the version that was asked of an index, the one that the package.json says, or the
    ref of the repository.  Raises PublishError when there is none that an index can have.
    """
    own = package.keys.get("version")
    own = own if isinstance(own, str) else str(own or "")
    asked = package.version
    in_index = ":" not in package.name and "/" not in package.name
    for version in (asked, own) if in_index else (own, asked):
        if version and is_version(version):
            return version
    raise PublishError(f"{package.name}: no version for an index: give a --version")


def _own_version(package):
    """Return the version that a package.json says, or "latest" where it says none."""
    return str(package.keys.get("version") or "latest")
