"""Symbolic links, on the Unix port: one in the place of a file goes, others are followed."""

import json
import os

import pytest
from internet import content

URL = "http://example.com/p"

CALL = """
import json, mip, sys
verb, arguments = json.loads(sys.argv[1])
print(json.dumps(getattr(mip, verb)(*arguments)))
"""


def params(rows):
    """The rows of a table as parameters of a test: the first value of each is its id."""
    return [pytest.param(*row[1:], id=row[0]) for row in rows]


def call(device, verb, *arguments, check=True):
    """Call a verb of mip on the board."""
    return device.run(CALL, json.dumps([verb, arguments]), check=check)


def everything(directory):
    """All there is in a directory: {path: content}, -> for a link, None for a directory."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


@pytest.fixture
def outside(device):
    """A directory next to the target, with a directory and a file in it."""
    outside = device.work / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "mine.py").write_bytes(b"mine = 1\n")
    device.lib.mkdir()
    return outside


def publish(net, *paths, version="1.0"):
    """Publish a package of modules at URL; return the tree that it installs."""
    urls = [[path, f"{version}/{number}.py"] for number, path in enumerate(paths)]
    net.put(f"{URL}/package.json", json.dumps({"version": version, "urls": urls}))
    for number, path in enumerate(paths):
        net.put(f"{URL}/{version}/{number}.py", content(path, f"{path} {version}"))
    return {path: content(path, f"{path} {version}") for path in paths}


def link(device, path, goal):
    """Make a link in lib to a path that is relative to lib, or to {outside}, an absolute one."""
    place = device.lib / path
    place.parent.mkdir(parents=True, exist_ok=True)
    if "{outside}" in goal:
        goal = goal.replace("{outside}", str(device.work / "outside"))
    else:
        goal = os.path.relpath(device.lib / goal, place.parent)
    place.symlink_to(goal)
    return place


# Links in the target, the path of a package, and where its file really is.
STAYING_IN = [
    ("relative", {"pkg": "real"}, "pkg/new.py", "real/new.py"),
    ("below a directory", {"a/pkg": "real"}, "a/pkg/new.py", "real/new.py"),
    ("to a directory below", {"pkg": "real/deep"}, "pkg/new.py", "real/deep/new.py"),
    ("a new directory", {"pkg": "real"}, "pkg/new/new.py", "real/new/new.py"),
    ("a link to a link", {"pkg": "other", "other": "real"}, "pkg/new.py", "real/new.py"),
]


@pytest.mark.parametrize(("links", "path", "real"), params(STAYING_IN))
def test_a_link_inside_the_target(device, net, outside, links, path, real):
    """A link to a directory of the target is followed, by install, verify and uninstall."""
    (device.lib / "real" / "deep").mkdir(parents=True)
    (device.lib / "real" / "mine.py").write_bytes(b"mine = 1\n")
    (device.lib / "real" / "deep" / "mine.py").write_bytes(b"mine = 2\n")
    for place, goal in links.items():
        link(device, place, goal)
    before = everything(device.work)
    (data,) = publish(net, path).values()
    call(device, "install", URL)
    assert (device.lib / real).read_bytes() == data
    assert {place for place in links if not (device.lib / place).is_symlink()} == set()
    assert json.loads(call(device, "verify").lines[-1]) == []
    call(device, "uninstall", URL)
    after = everything(device.work)
    assert after.pop("lib/.mip/record") and after.pop("lib/.mip", "") is None
    assert after == before


@pytest.mark.parametrize("path", ["new.py", "pkg/deep/new.py"])
@pytest.mark.parametrize("target", ["link", "link/", "link/below", "real/../link"])
def test_the_target_is_a_link(device, net, target, path):
    """A target that is a link, or is below one, is where the user says: it is followed."""
    (device.work / "real").mkdir()
    (device.work / "link").symlink_to("real")
    files = publish(net, path)
    code = "import mip, sys; mip.install(sys.argv[1], target=sys.argv[2])"
    device.run(code, URL, target, check=True)
    directory = device.work / "real" / ("below" if "below" in target else "")
    assert device.tree(directory) == files
    assert (device.work / "link").is_symlink()


# What a link with the name of a file of the package leads to.
GOALS = ["../outside/mine.py", "{outside}/mine.py", "../outside/nothing.py", "real.py"]


@pytest.mark.parametrize("path", ["new.py", "pkg/new.py"])
@pytest.mark.parametrize("goal", GOALS)
def test_a_destination_that_is_a_link(device, net, outside, goal, path):
    """A link with the name of a file is replaced by it; what it led to stays as it was."""
    (device.lib / "real.py").write_bytes(b"real = 1\n")
    place = link(device, path, goal)
    before = everything(device.work)
    (data,) = publish(net, path).values()
    call(device, "install", URL)
    assert not place.is_symlink() and place.read_bytes() == data
    after = everything(device.work)
    assert after.pop("lib/.mip/record") and after.pop("lib/.mip", "") is None
    assert after.pop(f"lib/{path}") == data and before.pop(f"lib/{path}").startswith("->")
    assert after == before


@pytest.mark.parametrize("verb", ["upgrade", "uninstall"])
def test_a_link_to_the_same_content(device, net, outside, verb):
    """What a link leads to stays as it is also where its content is that of the package."""
    (data,) = publish(net, "new.py").values()
    (outside / "same.py").write_bytes(data)
    place = link(device, "new.py", "../outside/same.py")
    call(device, "install", URL)
    publish(net, "new.py", version="2.0")
    call(device, verb, *([URL] if verb == "uninstall" else []))
    assert (outside / "same.py").read_bytes() == data
    assert not place.is_symlink()
    assert place.exists() == (verb == "upgrade")
