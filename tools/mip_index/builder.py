"""Makes an index from packages as their authors have them: `mip-index build`."""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .clients import Finding
from .compiler import NativeError, compile_module
from .device import ARCHITECTURES, PublishError, build_of, clashes, is_place, pinned, twin
from .page import write_page
from .sources import (
    PACKAGE_FILES,
    File,
    Found,
    Source,
    bytecode_findings,
    find_packages,
    left_out,
)
from .store import NEWEST_MPY, Index, Release, build_time, native_indexes


def build(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | Path,
    hash_length: int | None = None,
    mpy_versions: Sequence[str] | None = None,
    *,
    opt: int | None = None,
    name: str | None = None,
    license: str | None = None,
    url: str | None = None,
    say: Callable[[str], object] | None = None,
    done: Callable[[Index], object] | None = None,
) -> list[tuple[str, str]]:
    """Publish packages into the index in `output`; return a list of (name, version) that are new.

    sources: a directory or a list of them, see find_packages().  hash_length: digits of hashes.
    mpy_versions: the bytecode versions to compile for; source is always published.  url: where
    it will be served.  license: of packages that say none.  Left out, these are as they were.
    opt: mpy-cross's -O for modules of which a manifest says none; None is mpy-cross's own, as in
    the public index.  name: what a single package is called.
    say: a function that is called with a line about what may not be meant, as `check` says it;
    left out, that is printed to stderr.
    done: a function that is called with the Index at the end.

    Native code is published in an index of its own for each architecture, in `output`.
    A package that is published in its version already is left alone, also if a newer mpy-cross
    would compile it to something else.  Raises PublishError for a mistake in a source, and for
    a package that differs from what is published under its version; OSError if the index cannot
    be written.  See Index.publish() for what an interruption leaves.
    """
    say = say or functools.partial(print, file=sys.stderr)
    named = [sources] if isinstance(sources, (str, os.PathLike)) else sources
    updated = build_time()
    where = Path(output).resolve()
    roots = [Path(source).resolve() for source in named]
    if where in roots or any((where / name).is_file() for name in PACKAGE_FILES):
        raise PublishError(f"{output}: packages are there: give the index another --output")
    found = find_packages(named, where, name)
    with Index(output) as index:
        index.choose(hash_length, mpy_versions, url, license)
        packages = [
            read_package(called, found, say, where, index.mpy_versions, opt, index.license)
            for called in sorted(found)
        ]
        # Source first: if it is published, bytecode is only ever added to it.
        kinds = ("py", *index.mpy_versions)
        releases = [package.release(kinds) for package in packages if package.is_for_all()]
        natives: dict[str, list[Release]] = {}
        for package in packages:
            tags = package.natives(index.mpy_versions)
            called = package.source.name
            if not package.is_for_all():
                if not tags:
                    raise PublishError(f"{called}: no architecture has builds of all its files")
                archs = ", ".join(dict.fromkeys(tag.rpartition("_")[0] for tag in tags))
                say(f"{called} is for {archs} only: boards of other architectures do not find it")
            for tag in tags:
                kind = tag.rpartition("_")[2].split(".")[0]
                natives.setdefault(tag, []).append(package.release((kind,), tag))
        new = index.publish(releases, updated, natives)
        write_page(index)
        every = [index, *native_indexes(where).values()]
        for package in packages:
            for needed, version in package.deps:
                if not (is_place(needed) or any(each.has(needed, version) for each in every)):
                    what = f"{needed} {version}".removesuffix(" latest")
                    say(f"{package.source.name} needs {what}, which is not in this index")
        if done:
            done(index)
    return new


def read_package(
    name: str,
    found: dict[str, Found],
    say: Callable[[str], object],
    output: Path | None = None,
    mpy_versions: Sequence[str] = (NEWEST_MPY,),
    opt: int | None = None,
    license: str = "",
) -> "Package":
    """Return the Package `name` of what find_packages() found.

    say: as for build().  output: the index, which is no part of a package.  mpy_versions: of
    bytecode that it has.  opt, license: see Package.
    Raises PublishError for what cannot be published.
    """
    source = found[name].read(name)
    for finding in _findings(source, output, mpy_versions):
        if not finding.warning:
            raise PublishError(f"{source.path}: {finding.entry}: {finding.reason}")
        say(f"{source.path}: {finding}")
    return Package(source, found, opt, license)


def _findings(source: Source, output: Path | None, mpy_versions: Sequence[str]) -> list[Finding]:
    """Return what is wrong with a package, or may not be as its author meant it."""
    found = list(source.findings)
    versions = tuple(map(int, mpy_versions))
    for file in source.files:
        if file.path.endswith(".mpy") and not file.builds:
            found += bytecode_findings(file.path, file.data(), versions)
    taken = [each for file in source.files for each in (file.source, *file.builds.values())]
    return [*found, *left_out(source.path.parent, taken, output)]


class Package:
    """A package with the files of all packages that it needs: what is published.

    packages: what find_packages() returns.  One that is not in it, or in another version than it
    is needed in, is left as a dependency.
    opt: -O where a manifest says none.  license: that of a package that says none.
    Raises PublishError if a source is wrong, if two files cannot both be there, or a package is
    needed in two versions.
    """

    def __init__(
        self, source: Source, packages: dict[str, Found], opt: int | None = None, license: str = ""
    ) -> None:
        self.source = source
        self.opt = opt
        self.license = str(source.metadata.get("license") or license)
        self.files: dict[str, File] = {}
        self.owners: dict[str, str] = {}  # {path: the package that it comes from}
        self.inside = {source.name: None}  # the packages whose files it has
        self.deps: list[list[str]] = []  # [name, version] of the others
        self._add(source, packages)
        self._refuse_conflicts()
        if not self.files and not self.deps:
            raise PublishError(f"{source.path}: the package has no files: name some")

    def _add(self, source: Source, packages: dict[str, Found]) -> None:
        """Add the files of a package, and of those that it needs."""
        for item in source.items:
            if isinstance(item, File):
                other = self.files.setdefault(item.path, item)
                owner = self.owners.setdefault(item.path, source.name)
                if other != item and other.data() != item.data():
                    both = f"{item.path} of {owner} and of {source.name} are different: rename one"
                    twice = f"lists {item.path} twice: name one file for it"
                    why = twice if owner == source.name else both
                    raise PublishError(f"{self.source.path}: {why}")
                continue
            there = packages.get(item.name)
            needed = there and there.read(item.name, item.options)
            if not needed or item.version not in ("latest", needed.version):
                if [item.name, item.version] not in self.deps:
                    self.deps.append([item.name, item.version])
            elif item.name not in self.inside:
                self.inside[item.name] = None
                self._add(needed, packages)

    def _refuse_conflicts(self) -> None:
        """Raise PublishError for what no device installs together."""
        where = self.source.path
        versions: dict[str, str] = {}
        for name, version in self.deps:
            other = versions.setdefault(name, version) if pinned(version) else version
            other = "its own version" if name in self.inside else other
            if other != version:
                raise PublishError(f"{where}: needs {name} in {other}, and in {version}: name one")
        paths = list(self.files)
        for number, other_number, how in clashes(paths):
            one, two = paths[number], paths[other_number]
            # Both forms of a module would be published as one file, unless one of them is native.
            if how != "form" or not (self.files[one].builds or self.files[two].builds):
                raise PublishError(f"{where}: {one} clashes with {two}: rename one")

    def is_for_all(self) -> bool:
        """Return whether there is another form of all that is native code."""
        return all(twin(path) in self.files for path, file in self.files.items() if file.builds)

    def release(self, kinds: tuple[str, ...], tag: str | None = None) -> Release:
        """Return what is published as these kinds.

        tag: the architecture and version of native code, one of natives().
        """
        path = os.path.relpath(self.source.path.parent)
        return Release(
            name=self.source.name,
            version=self.source.version,
            kinds=kinds,
            lasting=("py",) if "py" in kinds else (),
            fixed={path for path, file in self.files.items() if tag in file.builds},
            files=functools.partial(self.contents, tag=tag),
            facts={**self.source.metadata, "license": self.license},
            path=self.source.name if path.startswith(".") else Path(path).as_posix(),
            needs=[name for name in self.inside if name != self.source.name],
            deps=self.deps,
            owners=self.owners,
        )

    def natives(self, mpy_versions: Sequence[str]) -> list[str]:
        """Return the architectures and versions for which all of its native code can be had."""
        builds = {build for file in self.files.values() for build in file.builds}
        every: list[set[str]] = []
        for file in self.files.values():
            if file.builds and twin(file.path) not in self.files:
                every.append(set(file.builds))
            elif file.path.endswith(".py"):
                found = {build for mpy in mpy_versions for build in self._targets(file, mpy)}
                every += [found] if found else []
        wanted = set.union(builds, *every)
        return sorted(wanted.intersection(*every))

    def _targets(self, file: File, mpy: str) -> Iterator[str]:
        """Yield what a module with native code can be compiled for."""
        with contextlib.suppress(NativeError):
            self._compiled(file, mpy)
            return  # it has none
        for arch in ARCHITECTURES:
            # What is for another processor, as assembler is, fails.
            with contextlib.suppress(NativeError):
                yield build_of(self._compiled(file, mpy, arch)) or ""

    def contents(self, kind: str, tag: str | None = None) -> dict[str, bytes]:
        """Return {path: bytes} of its files, compiled unless `kind` is "py".

        Native code is published as source where there is no build for the board.
        Raises PublishError if a module does not compile.
        """
        result = {}
        for path, file in self.files.items():
            is_source = path.endswith(".py") and not file.builds
            other = self.files.get(twin(path) or "") if is_source else None
            if other and tag in other.builds or file.builds and tag not in file.builds:
                continue
            data = self._bytecode(file, kind, tag) if is_source and kind != "py" else None
            if data is None:
                result[path] = file.data(tag)
            else:
                result[f"{path[:-3]}.mpy"] = data
        return result

    def _bytecode(self, file: File, kind: str, tag: str | None) -> bytes | None:
        """Return a module compiled, None if it has native code and there is no tag."""
        try:
            return self._compiled(file, kind)
        except NativeError:
            return self._compiled(file, kind, tag.rpartition("_")[0]) if tag else None

    def _compiled(self, file: File, mpy: str, arch: str | None = None) -> bytes:
        """Compile a module. Raises NativeError, and PublishError naming the file."""
        opt = self.opt if file.opt is None else file.opt
        try:
            return compile_module(file.data(), file.path, opt, mpy, arch)
        except NativeError:
            raise
        except PublishError as error:
            raise PublishError(f"{file.source}: {error}") from error
