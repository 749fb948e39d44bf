"""What the name of a package means, as on a device: which documents and files it stands for.

The device's own code has to be small, and is in mip/__init__.py; this is for the host, where
packages are mirrored and checked.  Both are held to the tables of tests/test_sources.py.
"""

import posixpath
import re
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urljoin

import mip_json

PUBLIC_INDEX = "https://micropython.org/pi/v2"

# Forges: {0} is ORG/REPO, {1} the path in it, {2} the ref.
FORGES = {
    "github": "https://raw.githubusercontent.com/{0}/{2}/{1}",
    "gitlab": "https://gitlab.com/{0}/-/raw/{2}/{1}",
    "codeberg": "https://codeberg.org/api/v1/repos/{0}/raw/{1}?ref={2}",
}
DEFAULT_REF = "HEAD"

DOCUMENT = "package.json"
# The keys of a package.json that clients read.
KEYS = ("v", "version", "hashes", "urls", "deps")
# The keys whose value is a list of what to install.
LISTS = ("hashes", "urls", "deps")
FORMAT = 1

# Digits of a hash: the public index has 8, which tell damage; 64 withstand an attacker too.
MIN_HASH_LENGTH = 8
MAX_HASH_LENGTH = 64
# Bytes of a file's or directory's name, on littlefs and FAT.
MAX_NAME_LENGTH = 251  # bytes: a file system allows 255, and ~mip is added
# What one run of a device installs at most.
MAX_PACKAGES = 200
# mip's own directory in the target.
OWN_DIRECTORY = ".mip"

# What stands for the running system in a URL, as proposed upstream.
PLACEHOLDERS = ("{MPY_ARCH}", "{MPY_VERSION}")


class PublishError(Exception):
    """What could not be done, to what and why; the text is one line."""


class NotFoundError(PublishError):
    """There is no such package."""


class BoardError(PublishError):
    """What a package installs depends on the board."""


# --- Names and URLs ---


def is_local(name):
    """Return whether a name is a path: it has a slash and no colon."""
    return ":" not in name and "/" in name


def is_file(name):
    """Return whether a name means a single file, and not a package."""
    return name.endswith((".py", ".mpy"))


def pinned(version):
    """Return the version, or None where it means the latest or a forge's default branch."""
    return None if version in (None, "", "latest", "*") else version


def parse(text, version=None):
    """Take "name@version" apart; return (name, version), the name in its one spelling.

    version is for a text that has none.  None is returned for a version that is not pinned.
    Raises PublishError when there is no name.
    """
    page = re.fullmatch(r"https://github\.com/([^/@]+/[^/@]+)/*(@.*)?", text)
    if page:
        text = f"github:{page[1]}{page[2] or ''}"
    # An @ before the last part of a URL or a path belongs to it.
    whole = is_local(text) or "//" in text
    at = text.rfind("@", text.rfind("/")) if whole else text.find("@")
    if at >= 0:
        text, version = text[:at], text[at + 1 :]
    if not is_local(text):
        text = text.rstrip("/").removesuffix(f"/{DOCUMENT}")
    if not text:
        raise PublishError("a package without a name")
    return text, pinned(version)


def document_of(name):
    """Return the name of the package.json of a package that is not one of an index."""
    return name if name.endswith(".json") else f"{name.rstrip('/')}/{DOCUMENT}"


def repository(name):
    """Return the part of a forge's name that tells the repository, in lower case; else ""."""
    name = name.lower()
    return "/".join(name.split("/")[:2]) if name.split(":")[0] in FORGES else ""


def same_repository(a, b):
    """Return whether two names are of the same repository of a forge."""
    return bool(repository(a)) and repository(a) == repository(b)


def is_full(url):
    """Return whether a URL is not relative: a colon is in its first part."""
    return ":" in url.split("?")[0].split("/")[0]


def join(base, url):
    """Return what a URL means, relative or not, in the document `base`, a name or a path.

    Above the root of a site or a repository there is nothing, as RFC 3986 has it.
    """
    if is_full(url):
        return url
    forge, _, path = base.partition(":")
    if forge in FORGES:
        # The repository stands for the site; of another one there is no URL like //HOST/PATH.
        owner, repo, *inside = path.split("/")
        if url.startswith("//"):
            return f"{forge}:{owner}{url}"
        site = f"https://{owner}/"
        joined = urljoin(site + "/".join(inside), url)
        return f"{forge}:{owner}/{repo}/{joined.removeprefix(site)}"
    if "//" in base:
        return urljoin(base, url)
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), url))


def url_of(name, ref):
    """Return the URL or path of the file `name`; ref: of its repository, if it is in one.

    Raises PublishError for a forge's name that names no file.
    """
    forge, _, path = name.partition(":")
    if forge not in FORGES:
        return name
    owner, _, rest = path.partition("/")
    repo, _, inside = rest.partition("/")
    if not owner or not repo or not inside:
        raise PublishError(f"{name} names no file")
    return FORGES[forge].format(f"{owner}/{repo}", inside, ref or DEFAULT_REF)


def index_document(index, kind, name, version):
    """Return the URL or path of a package's document in an index."""
    return f"{index}/package/{kind}/{name}/{version or 'latest'}.json"


def index_file(index, hash):
    """Return the URL or path of a content in an index."""
    return f"{index}/file/{hash[:2]}/{hash}"


def source_url(source, document, ref):
    """Return the URL or path of an entry of `urls` in a document that was read at a ref.

    A ref is for its repository alone; an entry can have one of its own.
    Raises PublishError for one that names no file.
    """
    own = ref if same_repository(join(document, source), document) else None
    if repository(source) and "@" in source:
        source, _, own = source.partition("@")
    return url_of(join(document, source), pinned(own))


def dependency(entry, document, ref):
    """Return (name, version) of an entry of `deps`, a list of text, in a document read at a ref.

    Raises PublishError when there is no name.
    """
    name, version = parse(*entry[:2])
    if is_local(name):
        name = join(document, name)
    if len(entry) < 2 and not version and same_repository(name, document):
        version = ref
    return name, version


# --- Paths and hashes ---


def clean_path(path):
    """Return the one spelling of a destination, relative to the target.

    Raises PublishError for one where a package may put no file: outside of the target, in
    mip's own directory, or where FAT can have none.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    problem = (
        "has a colon: it is a URL, or fs: as one IDE has it, and FAT takes none"
        if ":" in path
        else "has a backslash, which FAT takes for a slash"
        if "\\" in path
        else "has a character that FAT refuses, or ~, which is for what is staged"
        if re.search(r'[*?"<>|~]', path)
        else "has a control character"
        if re.search(r"[\0-\x1f\x7f]", path)
        else "leads out of the target"
        if ".." in parts
        else "names no file"
        if not parts or path.endswith("/")
        else "is in mip's own directory"
        if any(part.lower() == OWN_DIRECTORY for part in parts)
        else "begins or ends with a space in one of its parts"
        if any(part != part.strip() for part in parts)
        else "is too long"
        if any(len(part.encode("utf-8", "surrogatepass")) > MAX_NAME_LENGTH for part in parts)
        else None
    )
    if problem:
        raise PublishError(f"{path!r} {problem}")
    return "/".join(parts)


def path_key(path):
    """Return what two paths have in common that cannot both be there.

    FAT folds letter case, and of the two forms of a module, .py and .mpy, only one is loaded.
    """
    path = path.lower()
    return path[:-4] + ".py" if path.endswith(".mpy") else path


def clean_hash(hash):
    """Return a hash of an index in lower case. Raises PublishError when it is none."""
    if not re.fullmatch(f"[0-9a-fA-F]{{{MIN_HASH_LENGTH},{MAX_HASH_LENGTH}}}", hash):
        raise PublishError(
            f"{hash!r} is no hash: {MIN_HASH_LENGTH} to {MAX_HASH_LENGTH} hexadecimal digits"
        )
    return hash.lower()


def refuse_clashes(paths):
    """Raise PublishError when two clean paths cannot both be there, on FAT at least.

    One is that of a file and of a directory, or they differ in letter case alone. One path twice
    is none: the later file is there.
    """
    taken, directories = {}, {}
    for path in paths:
        key = path.lower()
        if taken.setdefault(key, path) != path:
            raise PublishError(f"{path} clashes with {taken[key]}")
        parts = key.split("/")
        for end in range(1, len(parts)):
            directories.setdefault("/".join(parts[:end]), path)
    for key, path in taken.items():
        if key in directories:
            raise PublishError(f"{path} clashes with {directories[key]}")


# --- Packages ---


@dataclass
class Package:
    """A package that was found: what its document says.

    name      as it was asked for, in its one spelling
    version   the version or ref it was asked for at, None for the latest
    asker     the name of the package that asked for that version, None for the user
    document  the URL or path of its package.json, None for a single file
    index     the index that its hashes belong to
    keys      the document: a dict
    files     a list of (path, hash, url): the path clean, and either hash or url None
    needs     a list of (name, version) of the packages that it needs
    """

    name: str
    version: str | None
    asker: str | None
    document: str | None = None
    index: str | None = None
    keys: dict = field(default_factory=dict)
    files: list = field(default_factory=list)
    needs: list = field(default_factory=list)


class Resolver:
    """Finds out what is needed for what is asked for, as a device does.

    fetch: a function of a URL or path that returns bytes, or None where nothing is.
    indexes: where the packages of an index are looked up, URLs or paths, in this order.
    kinds: which of their forms to take, in this order: bytecode versions, "py".
    """

    def __init__(self, fetch, indexes=(PUBLIC_INDEX,), kinds=("6", "py")):
        self._fetch = fetch
        self._indexes = [index.rstrip("/") for index in indexes]
        self._kinds = kinds

    def resolve(self, asked):
        """Return the packages for `asked`, a list of (name, version), with all they need.

        As a dict in the order in which they are found, by name in lower case.  A pinned version
        wins over the latest; two of one package are refused.  Raises NotFoundError, and
        PublishError for a document or a combination that a device refuses.
        """
        pins = {}
        while True:
            packages = {}
            pin = self._walk(asked, pins, packages)
            if not pin:
                files = [file for package in packages.values() for file in package.files]
                refuse_clashes(path for path, *_ in files)
                return packages
            # A version was asked for after the latest had been taken: begin anew.
            pins.update(pin)

    def _walk(self, asked, pins, packages):
        """Fill `packages`; return {key: (version, asker)} if a pin came too late, else {}."""
        queue = deque((None, name, version) for name, version in asked)
        while queue:
            asker, name, version = queue.popleft()
            key = name.lower()
            taken = packages.get(key)
            if taken:
                first, first_asker = taken.version, taken.asker
            else:
                first, first_asker = pins.get(key, (version, asker))
            if version and version != first:
                if not first:
                    return {key: (version, asker)}
                raise PublishError(
                    f"{name}: {first_asker or 'the user'} asks for version {first}, "
                    f"{asker or 'the user'} for version {version}"
                )
            if not taken:
                if len(packages) == MAX_PACKAGES:
                    raise PublishError(f"{name}: more than {MAX_PACKAGES} packages")
                package = packages[key] = self._find(Package(name, first, first_asker))
                queue.extend((name, *need) for need in package.needs)
        return {}

    def _find(self, package):
        """Return the package with what its document says, from the first place that has it."""
        name = package.name
        if is_file(name):
            path = clean_path(posixpath.basename(name))
            package.files = [(path, None, url_of(name, package.version))]
            return package
        if ":" in name or "/" in name:
            places = [(self._indexes[0], document_of(name))]
        else:
            if ".." in name or "/" in (package.version or ""):
                raise PublishError(f"{name}: not the name of a package")
            places = [
                (index, index_document(index, kind, name, package.version))
                for index in self._indexes
                for kind in self._kinds
            ]
        for package.index, base in places:
            package.document = url_of(base, package.version)
            data = self._fetch(package.document)
            if data is not None:
                _read(package, base, data)
                return package
        raise NotFoundError(f"{package.document}: not found, so there is no package {name}")


def _read(package, base, data):
    """Take what a document says into a Package. base: the name of the document."""
    try:
        duplicates = []
        package.keys = mip_json.loads(data, duplicates)
        if not isinstance(package.keys, dict):
            raise PublishError("not an object")
        if set(duplicates) & set(KEYS):
            # A device reads both, as they come; other clients the last.
            raise PublishError("has a key twice")
        if package.keys.get("v", FORMAT) != FORMAT:
            raise PublishError("a newer mip is needed")
        for key in LISTS:
            entries = package.keys.get(key, [])
            if not isinstance(entries, list):
                raise PublishError(f"bad {key}")
            for entry in entries:
                _read_entry(package, base, key, [entry] if isinstance(entry, str) else entry)
    except PublishError as error:
        raise type(error)(f"{package.document}: {error}") from error
    except ValueError as error:
        raise PublishError(f"{package.document}: {error}") from error
    if not any(package.keys.get(key) for key in LISTS):
        raise PublishError(f"{package.document}: nothing to install")


def _read_entry(package, base, key, entry):
    """Take an entry of a document into a Package."""
    least = 1 if key == "deps" else 2
    if (
        not isinstance(entry, list)
        or len(entry) < least
        or not all(isinstance(text, str) for text in entry[:2])
    ):
        raise PublishError(f"bad {key}")
    if key == "deps":
        need = dependency(entry, base, package.version)
        package.needs.append(need)
        return
    path, source = clean_path(entry[0]), entry[1]
    if key == "hashes":
        file = path, clean_hash(source), None
    else:
        file = path, None, source_url(source, base, package.version)
    if any(place in source for place in PLACEHOLDERS) or any(
        isinstance(value, int) for value in entry[2:3]
    ):
        raise BoardError(f"{path} depends on the board: {source}")
    package.files.append(file)
