"""Packages as their authors write them: a manifest.py, or a package.json with relative URLs."""

import fnmatch
import os
import re
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import device
from .clients import Finding
from .device import PublishError
from .document import METADATA_KEYS, read_document, unread_keys
from .store import FACTS, NEWEST_MPY, is_name, is_version

# What makes a directory a package; the first goes before the second.
PACKAGE_FILES = ("manifest.py", "package.json")
# What lies beside a package and is not for boards.
NOT_FOR_BOARDS = (
    *(*PACKAGE_FILES, "*.md", "*.rst", "*.toml", "*.cfg", "*.ini", "Makefile"),
    *("LICENSE*", "LICENCE*", "COPYING*", "README*", "CHANGE*", "setup.py", "conftest.py"),
    *("test", "tests", "test_*", "example*", "doc", "docs", "__pycache__", "*.pyc", ".*"),
)
# How many files are named that are left out of a package.
MOST_NAMED = 5
# A version that is meant as a range of them.
RANGES = re.compile(r"[<>=^~!,|]|\d\.[x*]|^[x*](\.|$)")


def real(path: Path) -> Path:
    """Return a path without links; unlike resolve(), also where these lead round in a circle."""
    return Path(os.path.realpath(path))


@dataclass(frozen=True)
class File:
    """A file of a package.

    path     where it goes on the device
    source   where it is now; of native code, the first of its builds
    opt      mpy-cross's -O for it, None where nothing was said
    version  what `__version__` is to be, where a module does not say so itself
    builds   {"ARCHITECTURE_VERSION": where it is} of native code with a build for each
    """

    path: str
    source: Path
    opt: int | None = None
    version: str | None = None
    builds: dict[str, Path] = field(default_factory=dict)

    def data(self, build: str | None = None) -> bytes:
        """Return what is published. build: of those of native code."""
        data = self.builds.get(build or "", self.source).read_bytes()
        if self.version and self.path.endswith(".py"):
            # As micropython-lib's build does it: on Linux, with the line ends of text files.
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            if b"__version__ =" not in data:
                data += f"\n\n__version__ = {self.version!r}\n".encode()
        return data


@dataclass(frozen=True)
class Need:
    """A package that another one needs; `options` are for its manifest."""

    name: str
    version: str
    options: dict[str, Any]


@dataclass
class Source:
    """A package as its author wrote it.

    path   its manifest.py or package.json
    root   the directory that its files may be in
    items  its files and what it needs, in the order in which they were named
    findings  warnings about what its author says of it
    """

    name: str
    path: Path
    root: Path
    metadata: dict[str, Any] = field(default_factory=dict)
    items: list[File | Need] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def files(self) -> list[File]:
        """The files of the package itself."""
        return [item for item in self.items if isinstance(item, File)]

    @property
    def version(self) -> str:
        """The package's version. Raises PublishError if it has none that can be published."""
        version = self.metadata.get("version")
        if version is None:
            raise PublishError(f"{self.path}: the package has no version: give it one")
        if not is_version(version):
            quotes = isinstance(version, (int, float))
            how = f'write "{version}", in quotes' if quotes else 'write a text like "1.0.2"'
            raise PublishError(f"{self.path}: this cannot be a version: {version!r}: {how}")
        return str(version)

    def add(self, path: str, source: Path, opt: int | None = None) -> None:
        """Add a file; path: where it goes on the device, relative, with slashes.

        Raises PublishError for a path that no client may write, and for a file elsewhere.
        """
        with device.refusals(self.path):
            path = device.clean_path(path)
        builds = _builds(source)
        if opt not in (None, 0, 1, 2, 3):
            raise PublishError(f"{self.path}: {path}: opt is 0 to 3, not {opt!r}")
        for each in builds.values() or [source]:
            if not real(each).is_relative_to(real(self.root)):
                raise PublishError(f"{self.path}: {each} leads out of {self.root}: copy it there")
        self.items.append(File(path, next(iter(builds.values()), source), opt, builds=builds))

    def need(self, *texts: str, options: dict[str, Any] | None = None) -> None:
        """Add what a name, or a name and a version, mean; options: for its manifest.

        It is published as all clients can read it: to some, "latest" is a branch of a repository.
        """
        if not all(isinstance(text, str) for text in texts):
            raise PublishError(f"{self.path}: a dependency is named by texts, not by {texts!r}")
        with device.refusals(self.path):
            name, version = device.parse(*texts)
            refuse_need(name, version)
        if device.is_local(name) or not (device.is_place(name) or is_name(name)):
            reason = f"cannot be the name of a dependency: {name!r}: change it"
            raise PublishError(f"{self.path}: {reason}")
        version = version or ("" if device.repository(name) else "latest")
        self.items.append(Need(name, version, options or {}))


def left_out(directory: Path, taken: Iterable[Path], output: Path | None = None) -> list[Finding]:
    """Return the Finding about what lies beside the files of a package and is none of them.

    directory: of the package; taken: its files; output: an index, which may lie there.
    """
    top = real(directory)
    taken = {real(path) for path in taken}
    above = {parent for path in taken for parent in path.parents}
    found = []
    for inside in sorted(above | {top}):
        if inside.is_relative_to(top):
            for path in sorted(inside.iterdir()):
                known = any(fnmatch.fnmatch(path.name, known) for known in NOT_FOR_BOARDS)
                # What else is in a repository is not beside the package.
                known = known or path.is_dir() and inside == top
                known = known or real(path) in taken or not path.exists()  # by a link
                if not (known or path in above or path == output):
                    name = path.relative_to(top).as_posix()
                    found.append(name + "/" * path.is_dir())
    if not found:
        return []
    more = f" and {len(found) - MOST_NAMED} more" if found[MOST_NAMED:] else ""
    named = ", ".join(found[:MOST_NAMED])
    return [Finding("", f"not in the package: {named}{more}", warning=True)]


def refuse_need(name: str, version: str | None) -> None:
    """Raise PublishError for a package that is needed and that no index can have.

    version: that it is needed in.  The refs of a repository are named as one likes.
    """
    if device.is_place(name):
        return
    if RANGES.search(version or ""):
        raise PublishError(f'{version!r}: there are no ranges: name a version, or "latest"')
    if ".." in name or "/" in (version or ""):
        raise PublishError(f"{name!r} is not the name of a package")


def _builds(source: Path) -> dict[str, Path]:
    """Return {build: path} of what there is of a path with {MPY_ARCH} or {MPY_VERSION} in it.

    Raises PublishError for one that is for another board than its path says.
    """
    if not any(place in source.as_posix() for place in device.PLACEHOLDERS):
        return {}
    found: dict[str, Path] = {}
    for place, named in device.builds(source.as_posix(), NEWEST_MPY).items():
        if Path(place).is_file():
            data = Path(place).read_bytes()
            for finding in bytecode_findings("", data, (int(NEWEST_MPY),), *named):
                raise PublishError(f"{place}: {finding.reason}")
            build = device.build_of(data)
            if not build:
                raise PublishError(f"{place}: not native code, so name it without {{}}")
            found[build] = Path(place)
    if not found:
        raise PublishError(f"{source}: there is no build for any architecture")
    return found


def bytecode_findings(
    entry: str, data: bytes, versions: Sequence[int], arch: str = "", version: str = ""
) -> Iterator[Finding]:
    """Yield the Findings about a .mpy file.

    versions: of bytecode, that firmware takes.  arch, version: that its path says, of native
    code with one file for each.
    """
    if data[:1] != b"M" or len(data) < 4:
        yield Finding(entry, "not bytecode, though it is called .mpy")
        return
    if data[1] not in versions:
        taken = " and ".join(map(str, versions))
        yield Finding(entry, f"bytecode of version {data[1]}, firmware takes {taken}")
    own_arch, _, own_version = (device.build_of(data) or "").rpartition("_")
    if not own_arch:
        return
    if not (arch or version):
        reason = f"native code, which only boards with {own_arch} load: name it with {{MPY_ARCH}}"
        yield Finding(entry, reason, warning=True)
    elif arch not in ("", own_arch):
        yield Finding(entry, f"the build for {arch} is for {own_arch}")
    elif version not in ("", own_version):
        yield Finding(entry, f"the build for {version} is for {own_version}")


@dataclass(frozen=True)
class Found:
    """A directory with a package, and the one that was named, in which it was found."""

    directory: Path
    root: Path

    def read(self, name: str, options: dict[str, Any] | None = None) -> Source:
        """Read the package, as `name`; return a Source.

        A manifest.py goes before a package.json, which may be there for who installs from the
        repository.  options: values for the manifest's `options`.  A manifest may share the
        files of its neighbours in `root`; a package.json has those in its own directory.
        Raises PublishError for a mistake in either, for a directory where a file is named, and
        for files that are not there, naming all.
        """
        path = self.directory / "manifest.py"
        if path.is_file():
            source = Manifest(Source(name, path, self.root), options or {}).source
        else:
            path = self.directory / "package.json"
            source = _read_package_json(Source(name, path, self.directory))
        for file in source.files:
            if file.source.is_dir():
                raise PublishError(f"{path}: {file.source} is a directory: name its files")
        missing = [str(file.source) for file in source.files if not file.source.is_file()]
        if missing:
            raise PublishError(f"{path}: no such file: {', '.join(missing)}")
        return source


def find_packages(
    sources: Sequence[str | os.PathLike[str]], output: Path | None = None, name: str | None = None
) -> dict[str, Found]:
    """Return a dict of name -> Found of all packages in `sources`, a list of directories.

    A directory with a manifest.py or a package.json is a package and has its name; any other
    directory stands for the packages somewhere in it, but not in `output`.
    name: what a single package is called.
    Raises PublishError for one in which there is none, and for two packages of the same name,
    in whichever case.
    """
    packages: dict[str, Found] = {}
    before: dict[str, Path] = {}
    for source in sources:
        found = [
            Path(directory)
            for directory, inside, files in os.walk(source)
            if _is_package(directory, inside, files, output)
        ]
        if not found and not Path(source).is_dir():
            what = "a file: name its directory" if Path(source).exists() else "no such directory"
            raise PublishError(f"{source}: {what}")
        if not found:
            raise PublishError(f"{source}: no manifest.py or package.json in it: write one")
        for directory in found:
            called = name or directory.resolve().name
            if not is_name(called):
                raise PublishError(
                    f"{directory}: this cannot be a package's name: {called!r}: give a --name"
                )
            other = before.setdefault(called.lower(), directory)
            if other.resolve() != directory.resolve():
                if name:
                    raise PublishError(f"{other}, {directory}: one name for two: name one SOURCE")
                raise PublishError(f"{directory}: {called} is also in {other}: rename one")
            packages.setdefault(called, Found(directory, Path(source)))
    return packages


def _is_package(directory: str, inside: list[str], files: list[str], output: Path | None) -> bool:
    """Say whether a directory is a package, from its lists of directories and files.

    Also has os.walk leave out what cannot hold a package: a package, hidden directories, output.
    """
    is_package = any(name in files for name in PACKAGE_FILES)
    inside[:] = sorted(
        name
        for name in inside
        if not is_package
        and name[0] != "."
        and real(Path(directory, name)) != output
        # In an index nothing is a source.
        and not all(Path(directory, name, each).exists() for each in ("index.json", "package"))
    )
    return is_package


class Options:
    """What a manifest knows as `options`: values from who includes or requires it.

    One that was neither given nor has a default is None.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
        self._defaults: dict[str, Any] = {}

    def defaults(self, **defaults: Any) -> None:
        """Say what options are worth if they are not given."""
        self._defaults.update(defaults)

    __call__ = defaults

    def __getattr__(self, name: str) -> Any:
        return self._given.get(name, self._defaults.get(name))


class Manifest:
    """Runs a manifest.py; `source` is then the package that it describes.

    The methods without underscore are the functions that a manifest can call, with the
    parameters they have in MicroPython's documentation ("MicroPython manifest files").  Paths
    are relative to the manifest that names them.
    """

    def __init__(self, source: Source, options: dict[str, Any]) -> None:
        """Run the manifest of a Source. Raises PublishError for whatever goes wrong in it."""
        self.source = source
        self._directory = source.path.parent
        self._done: set[Path] = set()
        self._run(source.path, options)
        source.findings = unread_keys(source.metadata, METADATA_KEYS) + [
            Finding(key, "not a text, so it is left out", warning=True)
            for key in FACTS
            if not isinstance(source.metadata.get(key) or "", str)
        ]
        version = source.metadata.get("version")
        source.items = [
            replace(item, version=version) if isinstance(item, File) else item
            for item in source.items
        ]

    def metadata(self, **metadata: Any) -> None:
        """Take the package's version, description, license and author, and other facts."""
        self.source.metadata.update(metadata)

    def package(
        self,
        package_path: str,
        files: Sequence[str] | None = None,
        base_path: str = ".",
        opt: int | None = None,
    ) -> None:
        """Add a directory of modules: all .py files in it, or only `files`, of any kind."""
        base = self._directory / base_path
        directory = base / package_path
        if files is None:
            found = list(self._modules(directory, set()))
            if not found:
                raise PublishError(f"{self.source.path}: no .py file in {directory}: name files")
        else:
            found = [directory / name for name in files]
        for path in found:
            self.source.add(path.relative_to(base).as_posix(), path, opt)

    def module(self, module_path: str, base_path: str = ".", opt: int | None = None) -> None:
        """Add a single module."""
        self.source.add(module_path, self._directory / base_path / module_path, opt)

    def require(
        self,
        name: str,
        version: str | None = None,
        pypi: str | None = None,
        library: str | None = None,
        **options: Any,
    ) -> None:
        """Say that the package needs another; pypi and library have no meaning here."""
        self.source.need(name, *([version] if version else []), options=options)

    def include(self, manifest_path: str | Sequence[str], **options: Any) -> None:
        """Run other manifests, as a part of this one: a path, or a list of paths."""
        paths = [manifest_path] if isinstance(manifest_path, str) else manifest_path
        for name in paths:
            path = self._directory / name
            self._run(path / "manifest.py" if path.is_dir() else path, options)

    def add_library(self, library: str, library_path: str, prepend: bool = False) -> None:
        """Do nothing: what is required is looked for among the sources."""

    def c_module(self, module_path: str) -> None:
        """Do nothing: C modules are for firmware."""

    def _modules(self, directory: Path, seen: set[Path]) -> Iterator[Path]:
        """Yield the .py files in a directory, then those in the directories in it, sorted."""
        if real(directory) in seen:
            return  # a link that leads round in a circle
        seen.add(real(directory))
        inside = sorted(directory.iterdir()) if directory.is_dir() else []
        yield from (path for path in inside if path.suffix == ".py" and path.is_file())
        for path in inside:
            if path.is_dir():
                yield from self._modules(path, seen)

    def _run(self, path: Path, options: dict[str, Any]) -> None:
        """Run the manifest at `path`, unless it has been run."""
        if real(path) in self._done:
            return
        self._done.add(real(path))
        if not path.is_file():
            raise PublishError(f"{self.source.path}: no manifest to include: {path}")
        names = ("metadata", "package", "module", "require", "include", "add_library", "c_module")
        functions = {name: getattr(self, name) for name in names}
        outer, self._directory = self._directory, path.parent
        try:
            code = compile(path.read_text("utf-8-sig"), str(path), "exec")
            exec(code, {**functions, "options": Options(options)})
        except PublishError:
            raise
        except (Exception, SystemExit) as error:
            # A manifest is a program: anything can go wrong in it.
            frames = traceback.extract_tb(error.__traceback__)
            lines = [f"line {frame.lineno}: " for frame in frames if frame.filename == str(path)]
            where = lines[-1] if lines else ""
            raise PublishError(f"{path}: {where}{type(error).__name__}: {error}") from error
        finally:
            self._directory = outer


def _read_package_json(source: Source) -> Source:
    """Fill a Source from its package.json.

    Its `urls` have to be relative: an index serves files that it has.  Raises PublishError for a
    mistake in it.
    """
    path = source.path
    findings, package = read_document(path.read_bytes())
    for each in findings:
        # Of `deps` all can be read here, whatever other clients make of it.
        here = package is None or "ours" in each.clients or each.entry.startswith("urls")
        if here and not each.warning:
            raise PublishError(f"{path}: {str(each).removeprefix('error: ')}")
    assert package is not None
    source.metadata = package
    source.findings = [each for each in findings if each.warning]
    for destination, url in package.get("urls", []):
        if device.is_full(url) or url.startswith("/"):
            raise PublishError(
                f"{path}: not a relative URL, so it cannot be published: {url}: copy the file"
            )
        source.add(destination, path.parent / url)
    for entry in package.get("deps", []):
        source.need(*(entry[:2] if isinstance(entry, list) else [entry]))
    if package.get("hashes"):
        raise PublishError(f"{path}: has `hashes`; they are files of another index: mirror it")
    return source
