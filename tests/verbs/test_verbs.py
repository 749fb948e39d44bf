"""The verbs besides install: uninstall, upgrade, verify, recover, list; and who owns a file."""

import json
import os
import re
import sys
from pathlib import Path

import left_out
import pytest
from device import error
from internet import INDEX as PUBLIC
from internet import Internet, content, sha256, tree
from scripted_server import Reply

WEB = "http://example.com"
INDEX = f"{WEB}/pi"
GITHUB = "https://raw.githubusercontent.com"
REPO = "github:org/repo"

# Calls a verb, and prints what it returns as the last line.
CALL = """
import json, mip, sys
verb, arguments, options = json.loads(sys.argv[1])
print(json.dumps(getattr(mip, verb)(*arguments, **options)))
"""


def params(rows):
    """The rows of a table as parameters of a test: the first value of each is its id."""
    return [pytest.param(*row[1:], id=row[0]) for row in rows]


def call(device, verb, *arguments, check=True, **options):
    """Call a verb of mip on the board, install() and upgrade() with our index."""
    if verb in ("install", "upgrade"):
        options.setdefault("index", INDEX)
    return device.run(CALL, json.dumps([verb, arguments, options]), check=check)


def refused(device, verb, *arguments, **options):
    """Assert that a verb raises InstallError and touches nothing; return its text."""
    before = touched(device.work), everything(device.work)
    text = error(call(device, verb, *arguments, check=False, **options))
    assert (touched(device.work), everything(device.work)) == before
    return text


def returned(result):
    """What a verb returned."""
    return json.loads(result.lines[-1])


def everything(directory):
    """All there is in a directory: {path: content}, a directory has None."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(Path(directory).rglob("*"))
    }


def touched(directory):
    """What tells whether a file was written or replaced: {path: (inode, time of its change)}."""
    return {
        path.relative_to(directory).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in Path(directory).rglob("*")
        if path.is_file()
    }


def with_directories(files):
    """{path: content}, and the directories of the paths, as everything() returns it."""
    parents = {parent.as_posix(): None for path in files for parent in Path(path).parents}
    parents.pop(".", None)
    return {**parents, **files}


def modules(*paths):
    """{path: content} of modules that tell their path."""
    return {path: content(path, path) for path in paths}


def packages(device):
    """{name: (version, asked)} of the packages in the record."""
    record = device.record()
    return {line[1]: tuple(line[2:4]) for line in record if line[0] == "package"}


def owned(device):
    """{name: the set of its files} of the packages in the record."""
    owned = {}
    for kind, name, *_ in device.record()[1:]:
        if kind == "package":
            files = owned[name] = set()
        elif kind == "file":
            files.add(name)
    return owned


def check_true(device):
    """Every file of the record is there with its hash, and .mip has nothing but the record.

    That is so as long as no two packages have a path with different content.
    """
    for kind, name, *rest in device.record()[1:]:
        if kind == "file":
            assert sha256((device.lib / name).read_bytes()) == rest[0], name
    assert os.listdir(device.lib / ".mip") == ["record"]


def check_as_fresh(device, *names):
    """The board has what installing these packages on an empty one puts there."""
    call(device, "install", names, target="fresh")
    fresh = everything(device.work / "fresh")
    here = everything(device.lib)
    assert fresh.pop(".mip/record") and here.pop(".mip/record")
    assert here == fresh
    check_true(device)


def put_by_hand(device, path, data):
    """Write a file below lib."""
    file = device.lib / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


class Net(Internet):
    """An internet whose index is ours, a plain and so a quick one."""

    def publish(self, name, version="1.0", **options):
        """Publish a package in our index."""
        super().publish(name, version, **{"index": INDEX, **options})

    def break_file(self, data, reply):
        """Have the index answer like this for the file of these bytes."""
        digits = sha256(data)[:8]
        self.plain.routes[f"/pi/file/{digits[:2]}/{digits}"] = reply


@pytest.fixture
def net(tmp_path, device, servers):
    """An internet without content; the board is connected."""
    net = Net(tmp_path / "internet", *servers)
    device.hosts = dict(net.hosts)
    device.cafile = net.cafile
    return net


# --- Uninstalling ---

# Packages that share a file and a directory.
SHARING = {
    "a": ["a/own.py", "a/deep/er/own.py", "common/shared.py"],
    "b": ["b.py", "common/shared.py"],
    "c": ["a/of_c.py", "common/shared.py"],
}

UNINSTALLED = [
    ("first", ["a"]),
    ("second", ["b"]),
    ("third", ["c"]),
    ("a, b", ["a", "b"]),
    ("b, c", ["b", "c"]),
    ("c, a", ["c", "a"]),
    ("a and c at once", [["a", "c"]]),
    ("all", ["c", "b", "a"]),
    ("all at once", [["b", "a", "c"]]),
]


@pytest.mark.parametrize("names", params(UNINSTALLED))
def test_uninstall(device, net, names):
    """What only the package had goes, with directories left empty; a shared file stays."""
    for name, paths in SHARING.items():
        net.publish(name, files=modules(*paths))
    call(device, "install", list(SHARING))
    net.reset()
    left = dict(SHARING)
    for name in names:
        call(device, "uninstall", name)
        for one in [name] if isinstance(name, str) else name:
            del left[one]
        here = everything(device.lib)
        assert here.pop(".mip/record") and here.pop(".mip", "") is None
        assert here == with_directories(
            modules(*{path for files in left.values() for path in files})
        )
        assert owned(device) == {name: set(files) for name, files in left.items()}
        check_true(device)
    assert net.requests == []


# What is installed, what is then to be uninstalled, and who needs it.
NEEDED = [
    ("dependency", ["asks"], "needed", "asks"),
    ("as listed", ["asks"], "needed@1.0", "asks"),
    ("dependency with a version", ["pins"], "needed", "pins"),
    ("asked for as well", ["needed", "asks"], "needed", "asks"),
    ("in the middle of a chain", ["top"], "asks", "top"),
    ("at the end of a chain", ["top"], "needed", "asks"),
    ("one of two that need it", ["asks", "pins"], ["needed", "pins"], "asks"),
    ("cycle", ["round"], "robin", "round"),
    ("repository", ["of-repo"], REPO, "of-repo"),
    ("repository with a ref", ["of-ref"], f"{REPO}@v1", "of-ref"),
    ("repository in other letters", [REPO, "of-Repo"], "github:Org/Repo", "of-Repo"),
    ("page of a repository", ["of-repo"], "https://github.com/org/repo", "of-repo"),
    ("URL", ["of-url"], f"{WEB}/needed", "of-url"),
    ("URL of its document", ["of-url"], f"{WEB}/needed/package.json", "of-url"),
]


@pytest.fixture
def needing(net):
    """Publishes the packages of NEEDED."""
    net.publish("needed")
    net.publish("asks", deps=["needed"])
    net.publish("pins", deps=[["needed", "1.0"]])
    net.publish("top", deps=[["asks", "latest"]])
    net.publish("round", deps=["robin"])
    net.publish("robin", deps=["round"])
    net.publish("of-repo", deps=[REPO])
    net.publish("of-Repo", deps=["github:Org/Repo"])
    net.publish("of-ref", deps=[[REPO, "v1"]])
    net.publish("of-url", deps=[f"{WEB}/needed/package.json"])
    for repository, ref in ("org/repo", "HEAD"), ("org/repo", "v1"), ("Org/Repo", "HEAD"):
        net.put(f"{GITHUB}/{repository}/{ref}/package.json", '{"urls": [["r.py", "r.py"]]}')
        net.put(f"{GITHUB}/{repository}/{ref}/r.py")
    net.put(f"{WEB}/needed/package.json", '{"urls": [["w.py", "w.py"]]}')
    net.put(f"{WEB}/needed/w.py")


@pytest.mark.parametrize(("names", "gone", "asker"), params(NEEDED))
def test_uninstall_what_is_needed(device, net, needing, names, gone, asker):
    """What another installed package needs stays, and the refusal names that package."""
    call(device, "install", names)
    text = refused(device, "uninstall", gone)
    assert re.search(rf"\b{asker}\b", text), text


TOGETHER = [
    ("who needs it first", ["asks"], ["asks", "needed"]),
    ("what is needed first", ["asks"], ["needed", "asks"]),
    ("as listed", ["asks"], ["needed@1.0", "asks@1.0"]),
    ("chain", ["top"], ["needed", "top", "asks"]),
    ("cycle", ["round"], ["robin", "round"]),
    ("all that need it", ["asks", "pins"], ["pins", "needed", "asks"]),
]


def test_a_repository_in_other_letters(device, net, needing):
    """A repository whose name has other letters is another one, and goes by its own name."""
    call(device, "install", [REPO, "of-Repo"])
    assert packages(device).keys() == {REPO, "of-Repo", "github:Org/Repo"}
    call(device, "uninstall", REPO)
    assert packages(device).keys() == {"of-Repo", "github:Org/Repo"}
    refused(device, "uninstall", REPO)
    call(device, "uninstall", ["github:Org/Repo", "of-Repo"])
    assert device.tree() == {}


@pytest.mark.parametrize(("names", "gone"), params(TOGETHER))
def test_uninstall_together(device, net, needing, names, gone):
    """A package goes together with those that need it, in whichever order they are named."""
    call(device, "install", names)
    call(device, "uninstall", gone)
    assert everything(device.lib) == {".mip": None, ".mip/record": b'["mip", 1]\n'}


def test_what_was_needed_may_go_when_who_needed_it_went(device, net, needing):
    """A package goes once the last one that needed it went, and not before."""
    call(device, "install", ["asks", "pins"])
    call(device, "uninstall", "asks")
    assert "pins" in refused(device, "uninstall", "needed")
    call(device, "uninstall", "pins")
    call(device, "uninstall", "needed")
    assert packages(device) == {}


ABSENT = ["ghost", "ghost@1.0", "github:org/ghost", f"{WEB}/ghost", "./ghost", "own.py", "pi"]


@pytest.mark.parametrize("name", ABSENT)
@pytest.mark.parametrize("installed", [False, True], ids=["empty board", "other package"])
def test_uninstall_what_is_not_installed(device, net, installed, name):
    """A package that is not installed is an InstallError with its name; nothing changes."""
    net.publish("pippin", files=modules("own.py"))
    if installed:
        call(device, "install", "pippin")
    assert name.split("@")[0].strip("./") in refused(device, "uninstall", name)


# Packages of one call, and the one because of which none goes.
NOT_ALL = [
    ("not installed, last", ["x", "ghost"], "ghost"),
    ("not installed, first", ["ghost", "x"], "ghost"),
    ("needed, last", ["x", "y", "needed"], "needed"),
    ("needed, first", ["needed", "x"], "needed"),
]


@pytest.mark.parametrize(("names", "bad"), params(NOT_ALL))
def test_uninstall_of_several_is_one_transaction(device, net, needing, names, bad):
    """Where one package of a list cannot go none goes."""
    net.publish("x")
    net.publish("y")
    call(device, "install", ["x", "y", "asks"])
    assert bad in refused(device, "uninstall", names)


def test_uninstall_takes_what_list_prints(device, net, needing):
    """Each line of list() is a name that uninstall() takes for that package."""
    net.publish("pinned", "2.0")
    net.put(f"{WEB}/single.py")
    net.put(f"{WEB}/a@b/m.mpy")
    (device.work / "app").mkdir()
    (device.work / "app" / "m.py").write_bytes(b"m = 1\n")
    (device.work / "app" / "package.json").write_text('{"urls": [["local.py", "m.py"]]}')
    names = ["needed", "pinned@2.0", f"{REPO}@v1", f"{WEB}/needed", "./app"]
    call(device, "install", [*names, f"{WEB}/single.py", f"{WEB}/a@b/m.mpy"])
    printed = call(device, "list").lines[:-1]
    assert len(printed) == 7
    while printed:
        before = device.tree()
        call(device, "uninstall", printed.pop(2 % len(printed)))
        assert len(before) - len(device.tree()) == 1
        assert call(device, "list").lines[:-1] == printed
    assert device.tree() == {}


def test_uninstall_in_another_target(device, net):
    """uninstall() has a target of its own, and leaves that of others alone."""
    net.publish("x")
    call(device, "install", "x")
    call(device, "install", "x", target="other")
    call(device, "uninstall", "x", target="other")
    assert device.tree(device.work / "other") == {}
    assert device.tree() == tree({"x.mpy": "x 1.0"})


def test_files_that_mip_did_not_install_stay(device, net):
    """What else is in the directories of a package stays there after it went."""
    net.publish("a", files=modules("a/own.py", "a/deep/er/own.py", "a/other/own.py"))
    call(device, "install", "a")
    put_by_hand(device, "a/mine.txt", b"mine")
    put_by_hand(device, "a/deep/own.py.bak", b"bak")
    put_by_hand(device, "main.py", b"main = 1\n")
    (device.lib / "a" / "data").mkdir()
    call(device, "uninstall", "a")
    here = everything(device.lib)
    assert here.pop(".mip/record") and here.pop(".mip", "") is None
    assert here == {
        "a": None,
        "a/mine.txt": b"mine",
        "a/data": None,
        "a/deep": None,
        "a/deep/own.py.bak": b"bak",
        "main.py": b"main = 1\n",
    }


def remove_file(lib):
    (lib / "a" / "own.py").unlink()


def remove_directory(lib):
    for path in "a/deep/own.py", "a/own.py":
        (lib / path).unlink()
    (lib / "a" / "deep").rmdir()
    (lib / "a").rmdir()


def file_in_place_of_directory(lib):
    remove_directory(lib)
    (lib / "a").write_bytes(b"mine")


def directory_in_place_of_file(lib):
    remove_file(lib)
    (lib / "a" / "own.py").mkdir()
    (lib / "a" / "own.py" / "mine.txt").write_bytes(b"mine")


# What a person did, and what is left of it when the package went.
BY_HAND = [
    ("file deleted", remove_file, {}),
    ("directory deleted", remove_directory, {}),
    ("file where the directory was", file_in_place_of_directory, {"a": b"mine"}),
    ("directory where the file was", directory_in_place_of_file, {"a/own.py/mine.txt": b"mine"}),
]


@pytest.mark.parametrize(("change", "left"), params(BY_HAND))
def test_uninstall_what_was_deleted_by_hand(device, net, change, left):
    """A file that is not there any more is no error, and what a person put there stays."""
    net.publish("a", files=modules("a/own.py", "a/deep/own.py", "a.txt"))
    net.publish("b")
    call(device, "install", ["a", "b"])
    change(device.lib)
    call(device, "uninstall", "a")
    assert device.tree() == {**left, **tree({"b.mpy": "b 1.0"})}
    assert call(device, "list").lines[:-1] == ["b@1.0"]
    assert os.listdir(device.lib / ".mip") == ["record"]


ALL_GONE = [
    ("at once", [["a", "b", "c", "asks", "needed"]]),
    ("one by one", ["asks", "needed", "b", "a", "c"]),
    ("in two lists", [["needed", "asks", "c"], ["a", "b"]]),
]


@pytest.mark.parametrize("empty", [True, False], ids=["empty board", "with files"])
@pytest.mark.parametrize("order", params(ALL_GONE))
def test_after_the_last_package(device, net, needing, order, empty):
    """Without packages the target is what it was before the first one, plus an empty record."""
    for name, paths in SHARING.items():
        net.publish(name, files=modules(*paths))
    device.lib.mkdir()
    if not empty:
        put_by_hand(device, "a/mine.txt", b"mine")
        put_by_hand(device, "common/deep/mine.py", b"")
        put_by_hand(device, "main.py", b"main = 1\n")
        (device.work / "boot.py").write_bytes(b"")
    before = everything(device.work)
    call(device, "install", ["a", "asks"])
    call(device, "install", ["b", "c"])
    for names in order:
        assert everything(device.work) != before
        call(device, "uninstall", names)
    record = {"lib/.mip": None, "lib/.mip/record": b'["mip", 1]\n'}
    assert everything(device.work) == {**before, **record}


# --- Upgrading ---


@pytest.fixture
def growing(net):
    """Publishes packages; calling it publishes newer ones."""

    def publish(version):
        net.publish("x", version)
        net.publish("y", version)
        for name, ref in (("v1", "v1"), ("HEAD", "HEAD")):
            net.put(f"{GITHUB}/org/repo/{name}/r.py", f"origin = '{ref} {version}'\n")
        for name in "page", "single":
            net.put(f"{WEB}/{name}.py", f"origin = '{name} {version}'\n")
        document = {"version": version, "urls": [["page.py", "../page.py"]]}
        net.put(f"{WEB}/page/package.json", json.dumps(document))

    net.publish("needs", deps=["x"])
    net.publish("pins", deps=[["x", "1.0"]])
    for ref in "HEAD", "v1":
        net.put(f"{GITHUB}/org/repo/{ref}/package.json", '{"urls": [["r.py", "r.py"]]}')
    publish("1.0")
    publish("2.0")
    return publish


# What is installed one after the other, and the packages in the record after an upgrade.
UPGRADED = [
    ("latest", ["x"], {"x": ("3.0", "latest")}),
    ("latest by its name", ["x@latest"], {"x": ("3.0", "latest")}),
    ("pinned", ["x@1.0"], {"x": ("1.0", "1.0")}),
    ("pinned to what was the latest", ["x@2.0"], {"x": ("2.0", "2.0")}),
    ("both", ["x@1.0", "y"], {"x": ("1.0", "1.0"), "y": ("3.0", "latest")}),
    ("pinned, then latest", ["x@1.0", "x"], {"x": ("3.0", "latest")}),
    ("needed", ["needs"], {"needs": ("1.0", "latest"), "x": ("3.0", None)}),
    ("needed and pinned", ["pins"], {"pins": ("1.0", "latest"), "x": ("1.0", None)}),
    ("asked, then needed", ["x", "needs"], {"needs": ("1.0", "latest"), "x": ("3.0", "latest")}),
    ("pin of another", ["x", "pins"], {"pins": ("1.0", "latest"), "x": ("1.0", "latest")}),
    ("needed and asked", ["needs", "x@1.0"], {"needs": ("1.0", "latest"), "x": ("1.0", "1.0")}),
    ("ref", [f"{REPO}@v1"], {REPO: ("v1", "v1")}),
    ("default branch", [REPO], {REPO: (None, "latest")}),
    ("URL", [f"{WEB}/page"], {f"{WEB}/page": ("3.0", "latest")}),
    ("URL of a file", [f"{WEB}/single.py"], {f"{WEB}/single.py": (None, "latest")}),
]


@pytest.mark.parametrize(("names", "expected"), params(UPGRADED))
def test_upgrade(device, net, growing, names, expected):
    """Everything is as if what was asked for were installed now, at the version asked for."""
    for name in names:
        call(device, "install", name)
    growing("3.0")
    call(device, "upgrade")
    assert packages(device) == expected
    check_as_fresh(device, *(f"{name}@{asked}" for name, (_, asked) in expected.items() if asked))


def test_upgrade_asks_for_the_same_versions(device, net, growing):
    """A pinned version and a ref are asked for again, and no other version of that package."""
    call(device, "install", ["x@1.0", "y", f"{REPO}@v1"])
    net.reset()
    call(device, "upgrade")
    assert sorted(net.documents) == [
        f"{INDEX}/package/6/x/1.0.json",
        f"{INDEX}/package/6/y/latest.json",
        f"{GITHUB}/org/repo/v1/package.json",
    ]


def changes(result):
    """The lines that say what changes: {(name, old, new)}."""
    return set(re.findall(r"^(\S+?):? (\S+) -> (\S+)$", result.out, re.MULTILINE))


def test_upgrade_says_what_changes(device, net, growing):
    """A line says from which to which version a package changes; others have none."""
    call(device, "install", ["needs", "y@1.0", f"{WEB}/page", f"{REPO}@v1"])
    growing("3.0")
    result = call(device, "upgrade")
    assert changes(result) == {("x", "2.0", "3.0"), (f"{WEB}/page", "2.0", "3.0")}
    assert result.out.count("->") == 2


def test_upgrade_says_nothing_where_nothing_changes(device, net, growing):
    """Without a newer version no line says that one changes."""
    call(device, "install", ["needs", "y@1.0", f"{WEB}/page", f"{REPO}@v1"])
    assert "->" not in call(device, "upgrade").out


# The reasons for which packages are not needed any more, and which packages stay.
# Each is: what is installed, then what x 3.0 needs, and what stays after an upgrade.
ORPHANS = [
    ("dropped", ["x"], [], {"x"}),
    ("one of two dropped", ["x"], ["d"], {"x", "d", "e"}),
    ("replaced", ["x"], ["other"], {"x", "other"}),
    ("asked for", ["x", "d"], [], {"x", "d", "e"}),
    ("needed by another", ["x", "of-e"], [], {"x", "of-e", "e"}),
    ("cycle", ["x", "c"], [], {"x", "c", "cc"}),
    ("asked for what it needed", ["x", "e"], [], {"x", "e"}),
]


@pytest.mark.parametrize(("names", "deps", "left"), params(ORPHANS))
def test_upgrade_removes_what_nothing_needs(device, net, names, deps, left):
    """A package that was not asked for goes when nothing needs it, and what it needed too."""
    net.publish("x", "2.0", deps=["d", "f"])
    net.publish("d", files=["deep/d"], deps=["e"])
    net.publish("e", files=["deep/er/e"])
    net.publish("f", deps=["ff"])
    net.publish("ff", deps=["f"])
    net.publish("of-e", deps=["e"])
    net.publish("other")
    net.publish("c", deps=["cc"])
    net.publish("cc", deps=["c"])
    call(device, "install", names)
    assert {"d", "e", "f", "ff"} < packages(device).keys()
    net.publish("x", "3.0", deps=deps)
    call(device, "upgrade")
    assert packages(device).keys() == left
    check_as_fresh(device, *names)


def test_upgrade_after_uninstall(device, net):
    """What only an uninstalled package needed goes with the next upgrade."""
    net.publish("x", deps=["d"])
    net.publish("d")
    net.publish("y")
    call(device, "install", ["x", "y"])
    call(device, "uninstall", "x")
    call(device, "upgrade")
    assert packages(device) == {"y": ("1.0", "latest")}
    check_as_fresh(device, "y")


def test_upgrade_removes_old_files(device, net):
    """Files that the new version lacks go, with directories left empty; others' files stay."""
    net.publish("x", "1.0", files=["x/a", "x/old/b", "x/both", "shared"])
    net.publish("y", files={"shared.mpy": content("shared.mpy", "x 1.0")})
    call(device, "install", ["x", "y"])
    put_by_hand(device, "x/mine.py", b"")
    net.publish("x", "2.0", files=["x/a", "x/new/b"])
    call(device, "upgrade")
    here = everything(device.lib)
    assert here.pop(".mip/record") and here.pop(".mip", "") is None
    files = {"x/a.mpy": "x 2.0", "x/new/b.mpy": "x 2.0", "shared.mpy": "x 1.0"}
    assert here == with_directories({**tree(files), "x/mine.py": b""})
    check_true(device)


def replace_by(status):
    """Have the index answer with this status for a file of y 3.0."""
    return lambda net: net.break_file(content("y.mpy", "y 3.0"), Reply(status))


def other_content(net):
    net.break_file(content("y.mpy", "y 3.0"), Reply(body=content("y.mpy", "y 3.1")))


def no_document(net):
    for kind in "6", "py":
        net.plain.routes[f"/pi/package/{kind}/y/latest.json"] = Reply(404)


def bad_document(net):
    net.plain.routes["/pi/package/6/y/latest.json"] = Reply(body=b'{"hashes": [["y.mp')


def missing_dependency(net):
    net.publish("y", "3.0", deps=["ghost"])


def other_bytecode(net):
    net.publish("y", "3.0", files={"y.mpy": b"M\x05\0\x1f\0"}, kinds=("6",))


# What goes wrong with a package of two while they are upgraded, and a word that is said.
BROKEN = [
    ("file with an error", replace_by(500), "file/"),
    ("wrong content", other_content, "file/"),
    ("bytecode of another version", other_bytecode, "file/"),
]

# What is wrong with the package itself: it stays as it is, the other one is upgraded.
GONE = [
    ("missing document", no_document, "y: "),
    ("missing file", replace_by(404), "y: not found: http://"),
    ("bad document", bad_document, "y/latest.json"),
    ("missing dependency", missing_dependency, "ghost"),
]


@pytest.mark.parametrize(("spoil", "word"), params(BROKEN))
@pytest.mark.parametrize("names", [["x", "y"], ["y", "x"]], ids="-".join)
def test_upgrade_is_one_transaction(device, net, names, spoil, word):
    """Where one package cannot be upgraded nothing changes, and the next upgrade does it."""
    net.publish("x", "2.0", files=["x", "old"], deps=["d"])
    net.publish("y", "2.0")
    net.publish("d")
    call(device, "install", names)
    for name in "x", "y":
        net.publish(name, "3.0")
    spoil(net)
    assert word in refused(device, "upgrade")
    check_true(device)
    net.plain.routes.clear()
    net.publish("y", "3.0")
    call(device, "upgrade")
    assert {name: version for name, (version, _) in packages(device).items()} == {
        "x": "3.0",
        "y": "3.0",
    }
    check_as_fresh(device, *names)


@pytest.mark.parametrize(("spoil", "word"), params(GONE))
@pytest.mark.parametrize("names", [["x", "y"], ["y", "x"]], ids="-".join)
def test_a_package_that_is_gone_stops_only_itself(device, net, names, spoil, word):
    """A package that cannot be found any more stays with all that it needs; the others are
    upgraded, and it is an InstallError in the end."""
    net.publish("x", "2.0", files=["x", "old"], deps=["d"])
    net.publish("y", "2.0", deps=["e"])
    net.publish("d")
    net.publish("e", "1.0")
    call(device, "install", names)
    for name in "x", "y":
        net.publish(name, "3.0")
    net.publish("e", "2.0")
    spoil(net)
    found = error(call(device, "upgrade", check=False))
    assert found.startswith("not upgraded: y: ") and word in found
    check_true(device)
    versions = {name: version for name, (version, _) in packages(device).items()}
    assert versions == {"x": "3.0", "y": "2.0", "e": "1.0"}
    net.plain.routes.clear()
    net.publish("y", "3.0")
    call(device, "upgrade")
    check_as_fresh(device, *names)


# What is installed one after the other before an upgrade that finds nothing new.
UNCHANGED = [
    ("one", ["x"]),
    ("pinned", ["x@1.0"]),
    ("with a dependency", ["needs"]),
    ("two at once", [["x", "y"]]),
    ("two, one by one", ["x", "y"]),
    ("dependency asked for later", ["needs", "x"]),
    ("dependency asked for before", ["x", "needs"]),
    ("two with a dependency, one by one", ["needs", "asks"]),
    ("two that share a dependency, one by one", ["needs", "needs-too"]),
    ("with shared files", ["one", "two"]),
]


@pytest.mark.parametrize("verb", ["upgrade", "install"])
@pytest.mark.parametrize("names", params(UNCHANGED))
def test_nothing_changed(device, net, growing, needing, names, verb):
    """Where nothing is new no file is written, and nothing but package.json is fetched."""
    net.publish("needs-too", deps=["y", "x"])
    for name in "one", "two":
        files = {"lib/shared.mpy": content("s.mpy", "s"), f"{name}.mpy": content("o.mpy", name)}
        net.publish(name, files=files)
    for name in names:
        call(device, "install", name)
    before, record = touched(device.work), device.record()
    net.reset()
    if verb == "upgrade":
        call(device, "upgrade")
    else:
        call(device, "install", names[-1])
    # What is pinned, recorded and in place is not even asked for.
    assert bool(net.documents) == (names != ["x@1.0"] or verb == "upgrade")
    assert net.files == []
    assert device.record() == record
    assert touched(device.work) == before


@pytest.mark.parametrize("verb", ["upgrade", "install"])
def test_nothing_changed_without_hashes(device, net, growing, verb):
    """Files without a hash are fetched, and where they are the same no file is written."""
    names = [f"{REPO}@v1", f"{WEB}/page", f"{WEB}/single.py"]
    call(device, "install", names)
    before = touched(device.work)
    net.reset()
    call(device, verb, *([names] if verb == "install" else []))
    assert touched(device.work) == before
    assert len(net.files) == (3 if verb == "upgrade" else 2)  # v1 is pinned, recorded, in place


def test_upgrade_of_nothing(device, net):
    """Where nothing is installed upgrade() asks for nothing and makes nothing."""
    call(device, "upgrade")
    assert net.requests == []
    assert device.tree(device.work, everything=True) == {}


def test_upgrade_from_the_public_index(device, net):
    """Without an index, upgrade() asks the public one."""
    net.publish("x", "1.0", index=PUBLIC)
    call(device, "install", "x", index=PUBLIC)
    net.publish("x", "2.0", index=PUBLIC)
    device.run("import mip; mip.upgrade()", check=True)
    assert device.tree() == tree({"x.mpy": "x 2.0"})


def test_upgrade_from_several_indexes(device, net):
    """The index of upgrade() may be a list: each package is of the first that has it."""
    other = f"{WEB}/other"
    net.publish("x", "1.0", index=other)
    net.publish("y", "1.0")
    call(device, "install", ["x", "y"], index=[INDEX, other])
    net.publish("x", "2.0", index=other)
    net.publish("y", "2.0")
    call(device, "upgrade", index=[INDEX, other])
    assert device.tree() == tree({"x.mpy": "x 2.0", "y.mpy": "y 2.0"})


def test_upgrade_from_where_packages_came(device, net):
    """Without an index, upgrade() asks the indexes that the record names, in their order."""
    other = f"{WEB}/other"
    net.publish("x", "1.0", index=other)
    net.publish("y", "1.0")
    call(device, "install", "x", index=other)
    call(device, "install", "y")
    net.publish("x", "2.0", index=other)
    net.publish("y", "2.0")
    device.run("import mip; mip.upgrade()", check=True)
    assert device.tree() == tree({"x.mpy": "x 2.0", "y.mpy": "y 2.0"})
    assert {line[1]: line[4] for line in device.record() if line[0] == "package"} == {
        "x": other,
        "y": INDEX,
    }


def test_upgrade_in_another_target(device, net, growing):
    """upgrade() has a target of its own, and leaves that of others alone."""
    call(device, "install", "x")
    call(device, "install", "x", target="other")
    growing("3.0")
    call(device, "upgrade", target="other")
    assert device.tree(device.work / "other") == tree({"x.mpy": "x 3.0"})
    assert device.tree() == tree({"x.mpy": "x 2.0"})


def test_upgrade_from_a_directory(device, index):
    """The index of upgrade() may be a directory, and what is damaged is repaired from there."""
    call(device, "install", "smooth", index=str(index))
    before = device.tree()
    path = "smooth/median.mpy"
    put_by_hand(device, path, before[path][:-1])
    result = call(device, "upgrade", index=str(index))
    assert device.tree() == before
    assert [path in line for line in result.lines if line.startswith("Copying")] == [True]


def test_upgrade_with_a_session(device, net, growing):
    """All that upgrade() fetches goes through the session that it is given."""
    call(device, "install", "needs")
    growing("3.0")
    net.reset()
    code = f"""
import mip, requests

class Session:
    def get(self, url):
        print("GET", url)
        return requests.get(url)

mip.upgrade(index={INDEX!r}, session=Session())
"""
    result = device.run(code, path=[device.path, ".frozen"], check=True)
    got = [line[4:] for line in result.lines if line.startswith("GET ")]
    assert len(got) == 3 and sorted(got) == sorted(net.requests)
    assert device.tree() == tree({"needs.mpy": "needs 1.0", "x.mpy": "x 3.0"})


# --- Files that others put there ---


@pytest.mark.parametrize("verb", ["install", "command"])
def test_what_upstream_installed(device, net, verb):
    """What upstream's mip installed is taken over without a download, and is then owned."""
    net.publish("x", files=["x/__init__", "x/part"], deps=[["d", "latest"]])
    net.publish("d")
    device.upstream().mip("install", "--index", INDEX, "x", check=True)
    assert device.record() is None
    before = touched(device.work)
    net.reset()
    if verb == "install":
        result = call(device, "install", "x")
    else:
        result = device.mip("install", "--index", INDEX, "x", check=True)
    assert net.documents and net.files == []
    after = touched(device.work)
    del after["lib/.mip/record"]
    assert after == before
    assert "no package" not in result.out
    assert owned(device) == {"x": {"x/__init__.mpy", "x/part.mpy"}, "d": {"d.mpy"}}
    call(device, "uninstall", ["x", "d"])
    assert device.tree() == {}


def test_an_older_version_of_upstreams(device, net):
    """Where upstream's mip installed an older version its files are replaced, and that is said."""
    net.publish("x", "1.0", files=["x/__init__", "x/part", "x/gone"])
    device.upstream().mip("install", "--index", INDEX, "x", check=True)
    net.publish("x", "2.0", files=["x/__init__", "x/part"])
    result = call(device, "install", "x")
    said = [line for line in result.lines if "no package" in line]
    assert len(said) == 2
    assert "x/__init__.mpy" in said[0] and "x/part.mpy" in said[1]
    gone = {"x/gone.mpy": "x 1.0"}  # of no package, so it stays
    assert device.tree() == tree({"x/__init__.mpy": "x 2.0", "x/part.mpy": "x 2.0", **gone})
    check_true(device)


# What a person put there, compared with the file of the package.
SAME, DIFFERENT, EMPTY = "same", "different", "empty"


@pytest.mark.parametrize("source", ["x", f"{WEB}/page"], ids=["index", "URL"])
@pytest.mark.parametrize("data", [SAME, DIFFERENT, EMPTY])
def test_a_file_of_no_package(device, net, growing, source, data):
    """A file by hand stays when it is equal; else it is replaced, and it is said whose it was."""
    path, text = ("x.mpy", "x 2.0") if source == "x" else ("page.py", "page 2.0")
    expected = content(path, text)
    file = put_by_hand(device, path, {SAME: expected, DIFFERENT: b"mine = 1\n", EMPTY: b""}[data])
    before = file.stat()
    result = call(device, "install", source)
    assert len(net.files) == (0 if (source, data) == ("x", SAME) else 1)
    said = [line for line in result.lines if "no package" in line]
    assert [path in line for line in said] == ([] if data == SAME else [True])
    assert file.read_bytes() == expected
    if data == SAME:
        assert file.stat().st_mtime_ns == before.st_mtime_ns
        assert file.stat().st_ino == before.st_ino
    assert owned(device) == {source: {path}}
    check_true(device)


def test_a_file_of_no_package_when_it_fails(device, net):
    """A file by hand stays as it is where the package that would replace it fails."""
    net.publish("x", files={"x.py": b"x = 2\n", "y.py": b"y = 2\n"})
    net.break_file(b"y = 2\n", Reply(404))
    put_by_hand(device, "x.py", b"mine = 1\n")
    refused(device, "install", "x")
    assert device.record() is None


def test_a_file_of_another_package(device, net):
    """A file that another package owns is replaced, which is said, and is then of both."""
    net.publish("one", files={"s.py": b"s = 1\n"})
    net.publish("two", files={"s.py": b"s = 2\n"})
    call(device, "install", "one")
    result = call(device, "install", "two")
    said = [line for line in result.lines if "s.py" in line and "Copying" not in line]
    assert said == [f"Replacing {device.lib}/s.py of one"]
    assert device.tree() == {"s.py": b"s = 2\n"}
    assert owned(device) == {"one": {"s.py"}, "two": {"s.py"}}
    # Each keeps the hash of its own.
    hashes = [line[2] for line in device.record() if line[0] == "file"]
    assert hashes == [sha256(b"s = 1\n"), sha256(b"s = 2\n")]
    check_verify(device)
    call(device, "uninstall", "two")
    assert device.tree() == {"s.py": b"s = 2\n"}
    check_verify(device, "s.py")


# --- Source and bytecode of one module ---

BOTH = ["x/__init__", "x/part", "single"]


@pytest.mark.parametrize("verb", ["install", "upgrade"])
@pytest.mark.parametrize("forms", [[True, False, True], [False, True, False]], ids=str)
def test_one_form_of_a_module(device, net, verb, forms):
    """A package that changes between bytecode and source has each module in one form."""
    net.publish("x", files=BOTH)
    call(device, "install", "x", mpy=forms[0])
    for mpy in forms[1:]:
        call(device, verb, *(["x"] if verb == "install" else []), mpy=mpy)
        suffix = ".mpy" if mpy else ".py"
        assert device.tree() == tree({path + suffix: "x 1.0" for path in BOTH})
        check_true(device)


SUFFIXES = [(".py", ".mpy"), (".mpy", ".py")]


@pytest.fixture
def two_forms(net):
    """Publishes packages that have module s in one form each; returns what s tells."""

    def publish(first, second):
        one, two = f"s{first}", f"s{second}"
        net.publish("one", files={one: content(one, "one"), **modules("one.py")})
        net.publish("two", files={two: content(two, "two"), **modules("two.py")})

    return publish


def hiding(device, result):
    """What was said of modules that hide others: a list of pairs of paths in lib."""
    lib = re.escape(str(device.lib))
    return re.findall(rf"^import takes {lib}/(\S+), which hides {lib}/(\S+)$", result.out, re.M)


@pytest.mark.parametrize(("first", "second"), SUFFIXES)
def test_both_forms_of_two_packages(device, net, two_forms, first, second):
    """Both forms are there, each of its own package; it is said where the new one is hidden."""
    two_forms(first, second)
    one, two = f"s{first}", f"s{second}"
    files = {one: content(one, "one"), **modules("one.py")}
    call(device, "install", "one")
    result = call(device, "install", "two")
    assert hiding(device, result) == ([("s.py", "s.mpy")] if second == ".mpy" else [])
    assert device.tree() == {**files, two: content(two, "two"), **modules("two.py")}
    check_true(device)
    assert hiding(device, check_verify(device)) == [("s.py", "s.mpy")]
    assert owned(device) == {"one": {one, "one.py"}, "two": {two, "two.py"}}
    loaded = "one" if first == ".py" else "two"
    assert device.run("import s; print(s.origin)", check=True).lines == [loaded]
    before = touched(device.work)
    call(device, "upgrade")
    assert touched(device.work) == before
    call(device, "uninstall", "two")
    assert device.tree() == files
    call(device, "uninstall", "one")
    assert device.tree() == {}


@pytest.mark.parametrize(("first", "second"), SUFFIXES)
def test_both_forms_in_one_run(device, net, two_forms, first, second):
    """Of two packages of one run both forms are there, and it is said which one is hidden."""
    two_forms(first, second)
    result = call(device, "install", ["one", "two"])
    assert hiding(device, result) == [("s.py", "s.mpy")]
    one, two = f"s{first}", f"s{second}"
    files = {one: content(one, "one"), two: content(two, "two")}
    assert device.tree() == {**files, **modules("one.py", "two.py")}
    check_true(device)


@pytest.mark.parametrize("order", SUFFIXES, ids="-".join)
def test_both_forms_in_one_package(device, net, order):
    """Of one package both forms are there, and it is said which one is hidden."""
    paths = [f"s{suffix}" for suffix in order]
    net.put(f"{WEB}/p/package.json", json.dumps({"urls": [[path, path] for path in paths]}))
    for path in paths:
        net.put(f"{WEB}/p/{path}")
    result = call(device, "install", f"{WEB}/p")
    assert hiding(device, result) == [("s.py", "s.mpy")]
    assert device.tree().keys() == {"s.py", "s.mpy"}
    check_true(device)


# The module of a person, that of the package, and whether the latter is there already.
FOREIGN = [
    ("source", "s.py", "s.mpy", False),
    ("bytecode", "s.mpy", "s.py", False),
    ("source, the other form is there", "s.py", "s.mpy", True),
    ("bytecode, the other form is there", "s.mpy", "s.py", True),
]


@pytest.mark.parametrize(("mine", "path", "there"), params(FOREIGN))
def test_the_other_form_is_of_no_package(device, net, mine, path, there):
    """Where the other form is a person's it stays; if import takes that one, it is said."""
    net.publish("one", files={path: content(path, "one"), **modules("one.py")})
    plain = call(device, "install", "one", target="fresh").out
    put_by_hand(device, mine, content(mine, "mine"))
    if there:
        put_by_hand(device, path, content(path, "one"))
    result = call(device, "install", "one")
    assert device.tree() == {
        **modules("one.py"),
        path: content(path, "one"),
        mine: content(mine, "mine"),
    }
    assert hiding(device, result) == ([("s.py", "s.mpy")] if mine == "s.py" else [])
    assert "import" not in plain
    loaded = device.run("import s; print(s.origin)", check=True).lines
    assert loaded == ["mine" if mine == "s.py" else "one"]
    call(device, "uninstall", "one")
    assert device.tree() == {mine: content(mine, "mine")}


def test_the_other_form_stays_when_it_fails(device, net):
    """Where the other form of a package cannot be had the one that is there stays."""
    net.publish("x", files=BOTH)
    call(device, "install", "x", mpy=False)
    net.break_file(content("single.mpy", "x 1.0"), Reply(404))
    refused(device, "install", "x")
    refused(device, "upgrade", mpy=True)


def test_source_stays_source(device, net):
    """upgrade() takes source where source was asked for, and bytecode where it is told to."""
    net.publish("x", files=BOTH)
    call(device, "install", "x", mpy=False)
    source = set(device.tree())
    call(device, "upgrade")
    assert set(device.tree()) == source
    assert device.record()[1][-1] == "py"
    call(device, "upgrade", mpy=True)
    assert set(device.tree()) != source
    assert device.record()[1][-1] != "py"


# --- Verifying ---

CHECKED = ["pkg/a.py", "pkg/b.mpy", "pkg/deep/c.bin"]


def put_checked(net):
    """Publish package x with the files CHECKED, and y that shares one of them."""
    files = {**modules(*CHECKED[:2]), CHECKED[2]: bytes(range(256)) * 9}
    net.publish("x", files=files)
    net.publish("y", files={path: files[path] for path in CHECKED[1:2]} | modules("y.py"))


def flip(data):
    return data[:-1] + bytes([data[-1] ^ 1])


# What became of a file: its content now, None for a file that is gone.
DAMAGES = [
    ("gone", lambda data: None),
    ("empty", lambda data: b""),
    ("shorter", lambda data: data[:-1]),
    ("longer", lambda data: data + b"\n"),
    ("one bit", flip),
]


def check_verify(device, *paths):
    """verify() returns and prints these paths, each once, and changes nothing: what it said."""
    before = touched(device.work)
    result = call(device, "verify")
    found = returned(result)
    assert sorted(device.work / path for path in found) == sorted(device.lib / p for p in paths)
    lines = [line for line in result.lines[:-1] if not line.startswith("import takes ")]
    assert len(lines) == len(paths)
    for path in found:
        assert [path in line for line in lines].count(True) == 1
    assert touched(device.work) == before
    return result


@pytest.mark.parametrize("repair", ["install", "upgrade"])
@pytest.mark.parametrize("path", CHECKED)
@pytest.mark.parametrize("damage", params(DAMAGES))
def test_verify(device, net, damage, path, repair):
    """A file that is missing or differs is named, and is all that installing again fetches."""
    put_checked(net)
    call(device, "install", ["x", "y"])
    check_verify(device)
    good, before = everything(device.lib), touched(device.lib)
    data = damage(good[path])
    if data is None:
        (device.lib / path).unlink()
    else:
        (device.lib / path).write_bytes(data)
    check_verify(device, path)
    net.reset()
    call(device, repair, *([["x", "y"]] if repair == "install" else []))
    digits = sha256(good[path])[:8]
    assert net.files == [f"{INDEX}/file/{digits[:2]}/{digits}"]
    assert everything(device.lib) == good
    after = touched(device.lib)
    assert after.pop(path) != before.pop(path)
    after.pop(".mip/record"), before.pop(".mip/record")
    assert after == before
    check_verify(device)


def test_verify_finds_all(device, net):
    """All damaged files are named, a shared one once, and no file of a person."""
    put_checked(net)
    call(device, "install", ["x", "y"])
    for path in CHECKED:
        (device.lib / path).write_bytes(b"")
    put_by_hand(device, "pkg/mine.py", b"")
    check_verify(device, *CHECKED)


def test_verify_with_a_directory_gone(device, net):
    """Files whose directory is gone, or is a file now, are named as missing ones."""
    put_checked(net)
    call(device, "install", "x")
    for path in CHECKED:
        (device.lib / path).unlink()
    (device.lib / "pkg" / "deep").rmdir()
    check_verify(device, *CHECKED)
    (device.lib / "pkg").rmdir()
    (device.lib / "pkg").write_bytes(b"mine")
    check_verify(device, *CHECKED)


def test_verify_with_a_directory_in_place_of_a_file(device, net):
    """A directory in the place of a file is named as that file."""
    put_checked(net)
    call(device, "install", "x")
    (device.lib / CHECKED[0]).unlink()
    (device.lib / CHECKED[0]).mkdir()
    check_verify(device, CHECKED[0])


def test_verify_without_hashes(device, net, growing):
    """Files of a URL are verified too, and only the damaged one is replaced."""
    names = [f"{WEB}/page", f"{REPO}@v1"]
    call(device, "install", names)
    good, before = everything(device.lib), touched(device.lib)
    (device.lib / "r.py").write_bytes(b"")
    check_verify(device, "r.py")
    call(device, "install", names)
    assert everything(device.lib) == good
    assert touched(device.lib)["page.py"] == before["page.py"]
    check_verify(device)


def test_verify_in_another_target(device, net):
    """verify() has a target of its own."""
    net.publish("x")
    call(device, "install", "x")
    call(device, "install", "x", target="./other/")
    (device.work / "other" / "x.mpy").unlink()
    check_verify(device)
    (path,) = returned(call(device, "verify", target="./other/"))
    assert device.work / path == device.work / "other" / "x.mpy"


def test_verify_of_nothing(device, net):
    """Where nothing is installed verify() returns an empty list and makes nothing."""
    result = call(device, "verify")
    assert result.lines == ["[]"]
    assert device.tree(device.work, everything=True) == {}


# --- Interrupted runs ---

OLD = {
    "x/__init__.py": b"VERSION = 1\n",
    "x/same.py": b"SAME = 1\n",
    "x/old/old.py": b"OLD = 1\n",
    "top.py": b"TOP = 1\n",
}
NEW = {
    "x/__init__.py": b"VERSION = 2\n",
    "x/same.py": b"SAME = 1\n",
    "x/new/new.py": b"NEW = 1\n",
    "top.py": b"TOP = 2\n",
}
Y = {"y.py": b"Y = 1\n"}
Z = {"z.py": b"Z = 1\n"}

# States of an interrupted change from OLD to NEW. Each is: what is in .mip besides the record,
# what was done to the target, and whether NEW has to come of it.
UNFINISHED = [
    ("begun", "room", "", False),
    ("empty plan", "room empty-plan", "", False),
    ("torn plan", "room torn-plan", "", False),
    ("whole plan", "room plan empty-new", "", False),
    ("made directories", "room plan empty-new", "directories", False),
    ("staging", "room plan torn-new", "directories torn-staged", False),
    ("staged", "room plan torn-new", "directories staged", False),
    ("whole record", "room plan new", "directories staged", False),
    ("committed", "plan new", "directories staged", True),
    ("one moved", "plan new", "directories staged moved-top.py", True),
    ("another moved", "plan new", "directories staged moved-x/new/new.py", True),
    ("all moved", "plan new", "directories moved", True),
    ("removed", "plan new", "directories moved removed", True),
    ("recorded", "plan", "directories moved removed recorded", True),
]

VERBS = ["list", "verify", "install", "uninstall", "upgrade", "recover"]


def record_of(**packages):
    """The text of a record of these packages, name=(version, files)."""
    lines = [["mip", 1]]
    for name, (version, files) in packages.items():
        lines.append(["package", name, version, "latest", INDEX])
        lines += [["file", path, sha256(data)] for path, data in files.items()]
    return "".join(json.dumps(line) + "\n" for line in lines)


def plan_of(first, **packages):
    """The text of the plan of these packages; `first`: their directories are not there yet."""
    lines = [["mip", 2]]
    for name, (_, files) in packages.items():
        lines.append(["planned", name, None])
        for path, data in files.items():
            above = os.path.dirname(path)
            if above == "x/new" or above and first and ["dir", above, ""] not in lines:
                lines.append(["dir", above, "" if first else "x"])
            lines.append(["get", path, sha256(data)[:8], None])
    return "".join(json.dumps(line) + "\n" for line in [*lines, ["end"]])


def interrupt(device, kept, done, first):
    """Make the state of a run that was interrupted; `first`: nothing was installed before it."""
    kept, done = kept.split(), done.split()
    mip = device.lib / ".mip"
    mip.mkdir(parents=True)
    old = {} if first else {**OLD, **Y}
    for path, data in old.items():
        put_by_hand(device, path, data)
    coming = {"x": ("2.0", NEW), "y": ("1.0", Y)}
    record = record_of(**coming)
    if not first:
        (mip / "record").write_text(record_of(x=("1.0", OLD), y=("1.0", Y)))
    if "recorded" in done:
        (mip / "record").write_text(record)
    for name, text in (("room", ""), ("plan", plan_of(first, **coming)), ("new", record)):
        if name in kept:
            (mip / name).write_text(text)
        elif f"torn-{name}" in kept:
            (mip / name).write_text(text[: len(text) // 2])
        elif f"empty-{name}" in kept:
            (mip / name).write_text("")
    for number, (path, data) in enumerate({**NEW, **Y}.items()):
        if "directories" in done:
            (device.lib / path).parent.mkdir(parents=True, exist_ok=True)
        if "moved" in done or f"moved-{path}" in done:
            put_by_hand(device, path, data)
        elif data != old.get(path) and "staged" in done:
            (device.lib / f"{path}~mip").write_bytes(data)
        elif data != old.get(path) and "torn-staged" in done:
            (device.lib / f"{path}~mip").write_bytes(data[: 4 * number])
    if "removed" in done and not first:
        (device.lib / "x" / "old" / "old.py").unlink()
        (device.lib / "x" / "old").rmdir()


@pytest.mark.parametrize("first", [False, True], ids=["update", "first install"])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("kept", "done", "new"), params(UNFINISHED))
def test_after_an_interruption(device, net, kept, done, new, verb, first):
    """Every verb first finishes a commit that was begun, or clears up, and then does its work."""
    for name, version, files in (("x", "2.0", NEW), ("y", "1.0", Y), ("z", "1.0", Z)):
        net.publish(name, version, files=files)
    interrupt(device, kept, done, first)
    has_y = new or not first
    files = {**(NEW if new else OLD), **Y} if has_y else {}
    result = call(device, verb, *{"install": "z", "uninstall": "y"}.get(verb, ""), check=False)
    if verb == "uninstall" and not has_y:
        assert "y" in error(result)
    else:
        assert result.status == 0, str(result)
    if verb == "list":
        names = ["x@2.0" if new else "x@1.0", "y@1.0"] if has_y else []
        assert result.lines[:-1] == names
    elif verb == "verify":
        assert result.lines == ["[]"]
    elif verb == "install":
        files.update(Z)
    elif verb == "uninstall":
        files.pop("y.py", None)
    elif verb == "upgrade" and has_y:
        files = {**NEW, **Y}
    here = everything(device.lib)
    record = here.pop(".mip/record", None)
    here.pop(".mip", None)
    assert here == with_directories(files)
    if record:
        check_true(device)
        assert {path for paths in owned(device).values() for path in paths} == files.keys()
    else:
        assert not (device.lib / ".mip").exists() and files == {}


@pytest.mark.parametrize("installed", [False, True], ids=["empty board", "with a package"])
def test_recover_twice(device, net, installed):
    """recover() where nothing was interrupted writes no file and makes no directory."""
    net.publish("x")
    if installed:
        call(device, "install", "x")
    before = touched(device.work), everything(device.work)
    device.run("import mip; mip.recover(); mip.recover()", check=True)
    assert (touched(device.work), everything(device.work)) == before


def test_recover_after_recovering(device, net):
    """What recover() finished a second recover() leaves alone."""
    interrupt(device, "plan new", "directories staged", first=False)
    call(device, "recover")
    before = touched(device.lib), everything(device.lib)
    call(device, "recover")
    assert (touched(device.lib), everything(device.lib)) == before
    assert device.tree() == {**NEW, **Y}


def test_recover_costs_one_listing(device, net):
    """recover() where nothing was interrupted lists .mip, and that is all on a board; on Linux it
    also looks which directory the target is, twice."""
    net.publish("x")
    call(device, "install", "x")
    code = """
import mip, os

calls = []

class Spy:
    def __getattr__(self, name):
        calls.append(name)
        return getattr(os, name)

def spy_open(*arguments):
    calls.append("open")
    return open(*arguments)

mip.os = Spy()
mip.open = spy_open
mip.recover()
print(calls)
mip.list()
print("open" in calls)
"""
    two_runs = sys.platform == "linux" and not left_out.off("unix")
    linux = "'stat', 'stat', " * two_runs
    assert device.run(code, check=True).lines == [f"[{linux}'ilistdir']", "x@1.0", "True"]


# --- Records that cannot be read ---

# Tries every verb, and prints a line with what it raises.
TRY = f"""
import mip, sys

CALLS = {{
    "list": lambda: mip.list(),
    "verify": lambda: mip.verify(),
    "install": lambda: mip.install("x", index={INDEX!r}),
    "install another": lambda: mip.install("y", index={INDEX!r}),
    "uninstall": lambda: mip.uninstall("x"),
    "upgrade": lambda: mip.upgrade(index={INDEX!r}),
    "recover": lambda: mip.recover(),
}}
for name in sys.argv[1:] or CALLS:
    try:
        CALLS[name]()
        print("##", name, "done")
    except Exception as e:
        print("##", name, repr(e))
"""
READING = ["list", "verify", "install", "install another", "uninstall", "upgrade"]


def check_refused_by_all(device, path, *verbs):
    """Every one of these verbs, all if there are none, refuses with this path in its text."""
    before = touched(device.work), everything(device.work)
    tried = [line[3:] for line in device.run(TRY, *verbs, check=True).lines if line[:3] == "## "]
    assert len(tried) == len(verbs or [*READING, "recover"])
    assert [line for line in tried if "InstallError(" not in line or path not in line] == []
    assert (touched(device.work), everything(device.work)) == before


@pytest.fixture
def record(device, net):
    """The path of the record of a board that has package x."""
    net.publish("x")
    net.publish("y")
    call(device, "install", "x")
    return device.lib / ".mip" / "record"


@pytest.mark.parametrize("first", ['["mip", 2]', '["mip", 1, "more"]', '["pim", 1]', "{}"])
def test_a_record_of_another_format(device, record, first):
    """A record whose first line is not this format's is refused by its path; nothing changes."""
    record.write_text(record.read_text().replace('["mip", 1]', first, 1))
    check_refused_by_all(device, ".mip/record", *READING)


def test_a_commit_of_another_format(device, record):
    """A commit that a newer mip began is refused by its path; nothing changes."""
    text = record.read_text().replace('["mip", 1]', '["mip", 2]', 1)
    record.with_name("new").write_text(text)
    record.with_name("plan").write_text(plan_of(False, x=("1.0", {})))
    check_refused_by_all(device, ".mip/new")


# What became of a record: a function of its bytes.
TORN = [
    ("empty", lambda data: b""),
    ("first line torn", lambda data: data[:5]),
    ("first line without its end", lambda data: data[:10]),
    ("package torn", lambda data: data[: data.index(b'"x"') + 2]),
    ("file torn", lambda data: data[:-30]),
    ("last byte of the line missing", lambda data: data[:-2]),
    ("one byte of a line", lambda data: data + b"["),
    ("zeros", lambda data: data[:-40] + bytes(40)),
    ("zeros behind it", lambda data: data + bytes(40)),
    ("erased", lambda data: data[:-40] + b"\xff" * 40),
    ("a hole", lambda data: data[:20] + bytes(10) + data[30:]),
    ("all zeros", lambda data: bytes(len(data))),
]


@pytest.mark.parametrize("tear", params(TORN))
def test_a_torn_record(device, record, tear):
    """A record with a torn line is one InstallError with its path; nothing changes."""
    record.write_bytes(tear(record.read_bytes()))
    check_refused_by_all(device, ".mip/record", *READING)


def test_a_torn_record_on_the_command_line(device, record):
    """The command prints one line about a torn record, and exits with 1."""
    record.write_bytes(record.read_bytes()[:-9])
    result = device.mip("list")
    assert result.status == 1
    assert len(result.err.splitlines()) == 1 and ".mip/record" in result.err
