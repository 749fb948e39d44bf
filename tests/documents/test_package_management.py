"""Every call and every command of MicroPython's document "Package management", as it says it.

The document is not a part of this repository, its lines are: ROWS has them in its order.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from folders import ROOT
from internet import INDEX, Internet, sha256, tree

DOCUMENT = ROOT.parent / "shared" / "spec" / "package-management.txt"

GITHUB = "https://raw.githubusercontent.com/org"
GITLAB = "https://gitlab.com/org"
WEB = "http://example.com/x"
OWN_INDEX = "https://host/pi"

LATEST = {"pkgname.mpy": "pkgname 2.0", "needed.mpy": "needed 1.0"}
SOURCE = {"pkgname.py": "pkgname 2.0", "needed.py": "needed 1.0"}


@dataclass(frozen=True)
class Row:
    """A line of the document.

    line: as it stands there. name: the name of the test.
    files: what the board has after it, {path: origin of the module} (see publish.content).
    directory: where the board has it.
    after: lines of the document that come before it in the same session.
    """

    line: str
    name: str
    files: dict
    directory: str = "lib"
    after: str = ""


# Section by section. `[email\xa0protected]` is what a web page made of pkgname@x.y, taking it for
# a mail address; \xa0 is the space in it.
#
# The commands of mpremote are run as `micropython -m mip` with the same words: it is the same
# functionality, as the document says, and here it is the board that has it. That the real
# mpremote installs what we publish is another test's business. /flash, which a host does not
# have, is a RAM disk.
ROWS = {
    "Installing packages with mip": (
        Row(">>> import mip", "import", {}),
        Row(
            '>>> mip.install("pkgname")  '
            '# Installs the latest version of "pkgname" (and dependencies)',
            "index",
            LATEST,
        ),
        Row(
            '>>> mip.install("pkgname", version="x.y")  # Installs version x.y of "pkgname"',
            "index-version",
            {"pkgname.mpy": "pkgname x.y"},
        ),
        Row(
            '>>> mip.install("pkgname", mpy=False)  '
            "# Installs the source version (i.e. .py rather than .mpy files)",
            "index-source",
            SOURCE,
        ),
        Row(
            '>>> mip.install("pkgname", target="third-party")',
            "target",
            LATEST,
            "third-party",
        ),
        Row(
            '>>> sys.path.append("third-party")',
            "target-import",
            LATEST,
            "third-party",
            after='mip.install("pkgname", target="third-party")',
        ),
        Row(
            '>>> mip.install("http://example.com/x/y/foo.py")',
            "file-py",
            {"foo.py": f"{WEB}/y/foo.py"},
        ),
        Row(
            '>>> mip.install("http://example.com/x/y/foo.mpy")',
            "file-mpy",
            {"foo.mpy": f"{WEB}/y/foo.mpy"},
        ),
        Row(
            '>>> mip.install("github:org/repo/path/foo.py")  # Uses default branch',
            "github-file",
            {"foo.py": f"{GITHUB}/repo/HEAD/path/foo.py"},
        ),
        Row(
            '>>> mip.install("github:org/repo/path/foo.py", version="branch-or-tag")  '
            "# Optionally specify the branch or tag",
            "github-file-ref",
            {"foo.py": f"{GITHUB}/repo/branch-or-tag/path/foo.py"},
        ),
        Row(
            '>>> mip.install("gitlab:org/repo/path/foo.py")  # Uses default branch',
            "gitlab-file",
            {"foo.py": f"{GITLAB}/repo/-/raw/HEAD/path/foo.py"},
        ),
        Row(
            '>>> mip.install("gitlab:org/repo/path/foo.py", version="branch-or-tag")  '
            "# Optionally specify the branch or tag",
            "gitlab-file-ref",
            {"foo.py": f"{GITLAB}/repo/-/raw/branch-or-tag/path/foo.py"},
        ),
        Row(
            '>>> mip.install("http://example.com/x/package.json")',
            "package-json",
            {"inside.py": f"{WEB}/inside.py"},
        ),
        Row(
            '>>> mip.install("github:org/user/path/package.json")',
            "github-package-json",
            {"inside.py": f"{GITHUB}/user/HEAD/path/inside.py"},
        ),
        Row(
            '>>> mip.install("gitlab:org/user/path/package.json")',
            "gitlab-package-json",
            {"inside.py": f"{GITLAB}/user/-/raw/HEAD/path/inside.py"},
        ),
        Row(
            '>>> mip.install("http://example.com/x/")',
            "implied-package-json",
            {"inside.py": f"{WEB}/inside.py"},
        ),
        Row(
            '>>> mip.install("github:org/repo")  # Uses default branch of that repo',
            "github-repo",
            {"inside.py": f"{GITHUB}/repo/HEAD/inside.py"},
        ),
        Row(
            '>>> mip.install("github:org/repo", version="branch-or-tag")',
            "github-repo-ref",
            {"inside.py": f"{GITHUB}/repo/branch-or-tag/inside.py"},
        ),
        Row(
            '>>> mip.install("gitlab:org/repo")  # Uses default branch of that repo',
            "gitlab-repo",
            {"inside.py": f"{GITLAB}/repo/-/raw/HEAD/inside.py"},
        ),
        Row(
            '>>> mip.install("gitlab:org/repo", version="branch-or-tag")',
            "gitlab-repo-ref",
            {"inside.py": f"{GITLAB}/repo/-/raw/branch-or-tag/inside.py"},
        ),
    ),
    "Using mip on the Unix port": (
        Row(
            "$ ./micropython -m mip install pkgname-or-url",
            "command",
            {"pkgname-or-url.mpy": "pkgname-or-url 2.0"},
        ),
        Row(
            "$ ./micropython -m mip install pkgname-or-url@version",
            "command-version",
            {"pkgname-or-url.mpy": "pkgname-or-url version"},
        ),
        Row(
            "$ ./micropython -m mip install --target=third-party pkgname",
            "command-target",
            LATEST,
            "third-party",
        ),
        Row(
            "$ ./micropython -m mip install --no-mpy pkgname",
            "command-source",
            SOURCE,
        ),
        Row(
            "$ ./micropython -m mip install --index https://host/pi pkgname",
            "command-index",
            {"pkgname.mpy": "pkgname host"},
        ),
    ),
    "Installing packages with mpremote": (
        Row(
            "$ mpremote mip install pkgname",
            "mpremote",
            LATEST,
        ),
        Row(
            "$ mpremote mip install [email\xa0protected]",
            "mpremote-version",
            {"pkgname.mpy": "pkgname x.y"},
        ),
        Row(
            "$ mpremote mip install http://example.com/x/y/foo.py",
            "mpremote-file",
            {"foo.py": f"{WEB}/y/foo.py"},
        ),
        Row(
            "$ mpremote mip install github:org/repo",
            "mpremote-github",
            {"inside.py": f"{GITHUB}/repo/HEAD/inside.py"},
        ),
        Row(
            "$ mpremote mip install github:org/repo@branch-or-tag",
            "mpremote-github-ref",
            {"inside.py": f"{GITHUB}/repo/branch-or-tag/inside.py"},
        ),
        Row(
            "$ mpremote mip install gitlab:org/repo",
            "mpremote-gitlab",
            {"inside.py": f"{GITLAB}/repo/-/raw/HEAD/inside.py"},
        ),
        Row(
            "$ mpremote mip install gitlab:org/repo@branch-or-tag",
            "mpremote-gitlab-ref",
            {"inside.py": f"{GITLAB}/repo/-/raw/branch-or-tag/inside.py"},
        ),
        Row(
            "$ mpremote mip install --target=/flash/third-party pkgname",
            "mpremote-target",
            LATEST,
            "/flash/third-party",
        ),
        Row(
            "$ mpremote mip install --no-mpy pkgname",
            "mpremote-source",
            SOURCE,
        ),
        Row(
            "$ mpremote mip install --index https://host/pi pkgname",
            "mpremote-index",
            {"pkgname.mpy": "pkgname host"},
        ),
    ),
}

OBFUSCATED = "[email\xa0protected]"
AS_WRITTEN = "pkgname@x.y"

# What the text around the lines says of them.
TEXT = (
    Row(
        'mip.install("http://example.com/x/y/foo.py", target="third-party")',
        "a file with a target",
        {"foo.py": f"{WEB}/y/foo.py"},
        "third-party",
    ),
    Row(
        'mip.install("http://example.com/x/y/foo.py", version="x.y", mpy=False)',
        "a file ignores mpy and version",
        {"foo.py": f"{WEB}/y/foo.py"},
    ),
    Row(
        'mip.install("http://example.com/x/y/foo.mpy", mpy=False)',
        "a compiled file ignores mpy",
        {"foo.mpy": f"{WEB}/y/foo.mpy"},
    ),
    Row(
        'mip.install("github:org/repo/path/foo.py", target="third-party", mpy=False)',
        "a file of a repository with a target",
        {"foo.py": f"{GITHUB}/repo/HEAD/path/foo.py"},
        "third-party",
    ),
)

# The section "Writing & publishing packages" shows this package.json.
MLX90640 = """\
{
  "urls": [
    ["mlx90640/__init__.py", "github:org/micropython-mlx90640/mlx90640/__init__.py"],
    ["mlx90640/utils.py", "github:org/micropython-mlx90640/mlx90640/utils.py"]
  ],
  "deps": [
    ["collections-defaultdict", "latest"],
    ["os-path", "latest"],
    ["github:org/micropython-additions", "main"],
    ["gitlab:org/micropython-otheradditions", "main"]
  ],
  "version": "0.2"
}
"""

# A board's own main program runs this: the words of a command line, on a RAM disk at /flash.
ON_FLASH = """
import os, ramdisk, sys
ramdisk.mount("lfs2", path="/flash")
try:
    import mip.__main__
except SystemExit as e:
    print("exit status", e.args and e.args[0] or 0)

def walk(directory):
    for name, kind, *_ in os.ilistdir(directory):
        path = directory + "/" + name
        if kind == 0x4000:
            if name != ".mip":
                walk(path)
        else:
            with open(path, "rb") as file:
                print("found", path, file.read().hex())

walk("/flash")
"""


def rows(prefix):
    """The rows whose line starts with `prefix`, as parameters of a test."""
    all_rows = [row for section in ROWS.values() for row in section]
    return [pytest.param(row, id=row.name) for row in all_rows if row.line.startswith(prefix)]


@pytest.fixture
def net(tmp_path, device, servers):
    """An internet on which there is all that the document names; the board is connected."""
    net = Internet(tmp_path / "internet", *servers)
    device.hosts = net.hosts
    device.cafile = net.cafile
    net.publish("needed")
    net.publish("pkgname", "x.y", latest=False)
    net.publish("pkgname", "2.0", deps=[["needed", "latest"]])
    net.publish("pkgname", "host", index=OWN_INDEX)
    net.publish("pkgname-or-url", "version", latest=False)
    net.publish("pkgname-or-url", "2.0")
    directories = [WEB]
    for ref in "HEAD", "branch-or-tag":
        for repository in f"{GITHUB}/repo/{ref}", f"{GITLAB}/repo/-/raw/{ref}":
            net.put(f"{repository}/path/foo.py")
            directories.append(repository)
    directories += [f"{GITHUB}/user/HEAD/path", f"{GITLAB}/user/-/raw/HEAD/path"]
    for directory in directories:
        net.put(f"{directory}/package.json", '{"urls": [["inside.py", "inside.py"]]}')
        net.put(f"{directory}/inside.py")
    net.put(f"{WEB}/y/foo.py")
    net.put(f"{WEB}/y/foo.mpy")
    return net


def check(device, row):
    """Assert that the board has the files of a row, recorded, and nothing else."""
    files = {f"{row.directory}/{path}": data for path, data in tree(row.files).items()}
    found = device.tree(device.work)
    if row.files:
        del found[f"{row.directory}/.mip/record"]
    assert found == files
    record = device.record(device.work / row.directory) or []
    recorded = {f"{row.directory}/{line[1]}": line[2] for line in record if line[0] == "file"}
    assert recorded == {path: sha256(data) for path, data in files.items()}


def test_all_lines_of_the_document_are_rows():
    """Every line of the document that is a call or a command is a row, in its section."""
    if not DOCUMENT.exists():
        pytest.skip("the document is not in this repository, and not next to it")
    section = None
    found = {}
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line in ROWS:
            section = line
        elif re.match(r">>> |\$ ", line):
            found.setdefault(section, []).append(line)
    assert found == {section: [row.line for row in ROWS[section]] for section in ROWS}
    assert MLX90640 in DOCUMENT.read_text(encoding="utf-8")


def test_every_row_is_run():
    """Every row belongs to exactly one of the tests below."""
    run = [row.values[0] for prefix in (">>> ", "$ ") for row in rows(prefix)]
    assert run == [row for section in ROWS.values() for row in section]


@pytest.mark.parametrize("row", rows(">>> "))
def test_at_the_repl(device, net, row):
    """A call of the document does what the document says, and what it installs can be used."""
    call = row.line.removeprefix(">>> ")
    code = f"import mip, sys\n{row.after}\n{call}\n"
    if row.directory != "lib":
        code += f"sys.path[:] = [p for p in sys.path if p != {row.directory!r}]\n"
        code += 'sys.path.append("third-party")\n'
    for path in row.files:
        code += f"import {Path(path).stem} as module\nprint('origin', module.origin)\n"
    result = device.run(code, check=True)
    origins = [line[7:] for line in result.lines if line.startswith("origin ")]
    assert origins == list(row.files.values())
    check(device, row)


@pytest.mark.parametrize("row", rows("$ "))
def test_on_the_command_line(device, net, row):
    """A command of the document does what the document says, and exits with status 0."""
    words = row.line.replace(OBFUSCATED, AS_WRITTEN).split(" mip ", 1)[1].split()
    if row.directory[0] != "/":
        result = device.mip(*words)
        assert result.status == 0, str(result)
        assert result.err == ""
        assert result.lines[-1] == "Done"
        check(device, row)
        return
    result = device.run(ON_FLASH, *words, check=True)
    assert [line for line in result.lines if line.startswith("exit")] == ["exit status 0"]
    found = [line.split()[1:] for line in result.lines if line.startswith("found")]
    files = {f"{row.directory}/{path}": data for path, data in tree(row.files).items()}
    assert {path: bytes.fromhex(data) for path, data in found} == files
    assert device.tree(device.work) == {}


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in TEXT])
def test_what_the_text_says(device, net, row):
    """What the document says in words is so."""
    device.run(f"import mip\n{row.line}\n", check=True)
    check(device, row)


def test_the_package_json_of_the_document(device, net):
    """The document's package.json installs its files and those of its four dependencies."""
    home = f"{GITHUB}/micropython-mlx90640/HEAD"
    additions = f"{GITHUB}/micropython-additions/main"
    others = f"{GITLAB}/micropython-otheradditions/-/raw/main"
    net.put(f"{home}/package.json", MLX90640)
    for name in "__init__", "utils":
        net.put(f"{home}/mlx90640/{name}.py")
    net.publish("collections-defaultdict", "0.3", ["collections/defaultdict"])
    net.publish("os-path", "0.2", ["os/path"])
    for repository, module in (additions, "additions"), (others, "others"):
        net.put(f"{repository}/package.json", f'{{"urls": [["{module}.py", "{module}.py"]]}}')
        net.put(f"{repository}/{module}.py")
    device.mip("install", "github:org/micropython-mlx90640", check=True)
    assert device.tree() == tree(
        {
            "mlx90640/__init__.py": f"{home}/mlx90640/__init__.py",
            "mlx90640/utils.py": f"{home}/mlx90640/utils.py",
            "collections/defaultdict.mpy": "collections-defaultdict 0.3",
            "os/path.mpy": "os-path 0.2",
            "additions.py": f"{additions}/additions.py",
            "others.py": f"{others}/others.py",
        }
    )
    assert {line[1] for line in device.record() if line[0] == "package"} == {
        "github:org/micropython-mlx90640",
        "collections-defaultdict",
        "os-path",
        "github:org/micropython-additions",
        "gitlab:org/micropython-otheradditions",
    }


@pytest.fixture
def nine_each(net):
    """The names of three packages of the index with nine files each."""
    names = ["one", "two", "three"]
    for name in names:
        net.publish(name, files=[f"{name}/m{n}" for n in range(9)])
    return names


def test_one_connection(device, net, nine_each):
    """27 files of three packages are fetched over one TLS connection."""
    device.mip("install", *nine_each, check=True)
    assert len(device.tree()) == 27
    assert len(net.secure.requests) == 3 + 27
    assert net.secure.connections == 1


def test_upstream_makes_a_connection_for_every_request(device, net, nine_each):
    """Upstream's mip fetches the same 27 files over one connection each, which we count."""
    device.upstream().mip("install", *nine_each, check=True)
    assert len(device.tree()) == 27
    assert len(net.secure.requests) == 3 + 27
    assert net.secure.connections == 3 + 27


def paths(directory):
    """All there is in a directory, files and directories."""
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


@pytest.mark.parametrize("options", [[], ["--index", OWN_INDEX]], ids=["public", "own"])
def test_a_package_that_does_not_exist(device, net, options):
    """The command exits 1, names package and index in one line on stderr, and leaves nothing."""
    result = device.mip("install", *options, "no-such-package")
    assert result.status == 1
    assert len(result.err.splitlines()) == 1
    assert "no-such-package" in result.err
    assert (OWN_INDEX if options else INDEX) in result.err
    assert "Traceback" not in result.out
    assert paths(device.work) in ([], ["lib"])


@pytest.mark.parametrize("before", [None, "pkgname-or-url"], ids=["empty", "with-a-package"])
def test_a_dependency_that_does_not_exist(device, net, before):
    """Where a dependency does not exist nothing is fetched, and the board is as it was."""
    net.publish("hopeful", deps=[["needed", "latest"], ["no-such-package", "latest"]])
    if before:
        device.mip("install", before, check=True)
    tree_before = device.tree(device.work, everything=True)
    paths_before = paths(device.work)
    net.reset()
    result = device.mip("install", "hopeful")
    assert result.status == 1
    assert len(result.err.splitlines()) == 1
    assert "no-such-package" in result.err
    assert INDEX in result.err
    assert net.files == []
    assert device.tree(device.work, everything=True) == tree_before
    assert set(paths(device.work)) - set(paths_before) <= {"lib"}
