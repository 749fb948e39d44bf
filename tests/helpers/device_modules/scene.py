"""Plays scenes: what is done on a board, one step after another, and what is seen after each.

The program's argument is a file of scenes as tests/helpers/scenes.py writes them. The board has a
disk in RAM at /ram, or a directory of the host; packages come from `web`, which is in memory.

Runs on MicroPython.
"""

import builtins
import gc
import io
import json
import os
import sys

import faults
import ramdisk

import mip

try:
    import vfs
except ImportError:
    vfs = os  # MicroPython before 1.23

LIB = "/ram/lib"

web = {}  # {URL: bytes}
asked = []  # the URLs that were asked for
said = []  # the lines that were printed

show = print


def note(*words):
    said.append(" ".join([str(word) for word in words]))


builtins.print = note


class Answer:
    """What `web` has at a URL, in the shape that `requests` has."""

    open = 0

    def __init__(self, content):
        self.status_code = 404 if content is None else 200
        self.raw = io.BytesIO(content or b"")
        self.closed = False
        Answer.open += 1

    def close(self):
        if not self.closed:
            self.closed = True
            Answer.open -= 1


class Session:
    """Fetches from `web`. meanwhile: what is called with each URL before it is answered."""

    def __init__(self, meanwhile=None):
        self.meanwhile = meanwhile

    def get(self, url):
        asked.append(url)
        if self.meanwhile:
            self.meanwhile(url)
        return Answer(web.get(url))


def options(verb, **more):
    """The options of a call of that verb, with those that all have in common."""
    common = {"target": LIB}
    if verb in ("install", "upgrade"):
        common.update(session=Session(), mpy=False)
    if verb == "install":
        common["index"] = "http://i"
    common.update(more)
    return common


def call(verb, *arguments, **more):
    """Calls a verb; returns what it returns, or what it raises."""
    try:
        return getattr(mip, verb)(*arguments, **options(verb, **more))
    except BaseException as e:
        return e


def tell(outcome):
    """What a call returned or raised, as a test sees it."""
    if not isinstance(outcome, BaseException):
        return {"value": outcome, "error": None}
    text = type(outcome).__name__ + ": " + " ".join([str(arg) for arg in outcome.args])
    return {"value": None, "error": text}


def text(data):
    """Bytes as a string of as many characters; None stays None."""
    return None if data is None else "".join(map(chr, data))


def data(text):
    """The reverse of text()."""
    return None if text is None else bytes(map(ord, text))


def disk(root="/ram"):
    """What is on the disk, {path: text, or None of a directory}."""
    return {root + "/" + path: text(found) for path, found in faults.walk(root).items()}


def remove(path):
    """Removes a file, or a directory with all that is in it."""
    if os.stat(path)[0] & 0x4000:
        for name, *_ in list(os.ilistdir(path)):
            remove(path + "/" + name)
        os.rmdir(path)
    else:
        os.remove(path)


class Broken:
    """A file system on which opening what ends in `path` for reading raises an OSError."""

    def __init__(self, real, path, error):
        self.real = real
        self.path = path
        self.error = error

    def __getattr__(self, name):
        return getattr(self.real, name)

    def mount(self, readonly, format):
        pass

    def umount(self):
        pass

    def open(self, path, mode):
        if path.endswith(self.path) and mode[0] == "r":
            raise OSError(self.error)
        return self.real.open(path, mode)


def watched(kind):
    """Mounts a new disk at /ram; returns it as a faults.Disk, which knows its open files."""
    device = ramdisk.mount(kind)
    vfs.umount("/ram")
    disk = faults.Disk(getattr(vfs, ramdisk._KINDS[kind])(device), faults.Fault())
    vfs.mount(disk, "/ram")
    return disk


class Scene:
    """A disk of a kind, and what is done on it. The steps are those of tests/helpers/scenes.py."""

    def __init__(self, kind):
        self.kind = kind
        web.clear()
        sys.path[:] = ["", ".frozen", "/elsewhere/lib"]
        self.device = ramdisk.mount(kind)

    def close(self):
        os.chdir("/")
        gc.collect()
        vfs.umount("/ram")

    def save(self):
        """Keeps the disk as it is, for restore()."""
        self.image = bytes(self.device.data)

    def restore(self):
        self.close()
        self.device.data[:] = self.image
        ramdisk.mount(self.kind, device=self.device)

    def step(self, kind, *rest):
        """Does one step; returns what it has to show, or None."""
        return getattr(self, kind)(*rest)

    def web(self, pages):
        for url, content in pages.items():
            web[url] = data(content)

    def write(self, path, content):
        try:
            faults.write(path, data(content))
        except OSError as e:
            if e.args[0] != 17:
                raise

    def remove(self, path):
        if exists(path):
            remove(path)

    def path(self, entries):
        sys.path[:] = entries

    def cd(self, path):
        os.chdir(path)

    def broken(self, path, error):
        """From now on a file cannot be opened; with error 0, it can again."""
        vfs.umount("/ram")
        real = getattr(vfs, ramdisk._KINDS[self.kind])(self.device)
        vfs.mount(Broken(real, path, error) if error else real, "/ram")

    def call(self, verb, arguments, more):
        said.clear()
        asked.clear()
        if arguments == ["$listed"]:
            arguments = [self.listed]
        shown = tell(call(verb, *arguments, **more)) if verb else {"value": None, "error": None}
        if verb == "list":
            self.listed = shown["value"]
        shown["said"] = said[:]
        shown["asked"] = asked[:]
        shown["disk"] = disk()
        shown["bad"] = None
        target = more.get("target", LIB)
        if target + "/.mip/record" in shown["disk"]:
            # What verify() says, too, which is not the outcome of the call.
            bad = call("verify", target=target)
            shown["bad"] = tell(bad)["error"] or bad
        return shown


class Cut:
    """What a disk has when the power was cut after `count` writes of a call."""

    def __init__(self, device, kind, count):
        self.device = device
        self.kind = kind
        self.count = count

    def mount(self):
        """Mounts the disk as it was then."""
        ramdisk.mount(self.kind, device=self.device.replay(self.count))

    def close(self):
        gc.collect()
        vfs.umount("/ram")

    def kept(self):
        """What is in .mip and staged, {path: content}, and the record."""
        there = faults.walk("/ram")
        return {path: there[path] for path in there if ".mip/" in path or path.endswith("~mip")}

    def rewrite(self, old, new, names=None):
        """Writes the files of .mip anew with `new` in place of `old`; returns how many.

        names: which of them; None is all but the record.
        """
        count = 0
        for name in kept_names():
            content = read(LIB + "/.mip/" + name)
            if name in names if names else name != "record":
                changed = content.replace(old, new) if old else new
                if changed != content:
                    write(LIB + "/.mip/" + name, changed)
                    count += 1
        return count


def cuts(stage, verb, *arguments, **more):
    """Calls a verb in a scene, which ends; yields a Cut for each state of what is kept."""
    stage.device.start_log()
    call(verb, *arguments, **more)
    stage.close()
    known = []
    for count in range(len(stage.device.log) + 1):
        cut = Cut(stage.device, stage.kind, count)
        cut.mount()
        try:
            kept = cut.kept()
        except OSError:
            kept = None  # FAT between two writes
        cut.close()
        if kept is not None and kept not in known:
            known.append(kept)
            yield cut


def unstick(verb, *arguments):
    """Calls a verb, and again each time that what its error names in .mip has been removed.

    Returns all errors; the last one is None when it worked in the end.
    """
    errors = []
    for _ in range(4):
        errors.append(tell(call(verb, *arguments))["error"])
        named = [name for name in kept_names() if errors[-1] and "/.mip/" + name in errors[-1]]
        if not named:
            break
        remove(LIB + "/.mip/" + named[0])
    return errors


def kept_names():
    """What is in .mip; longer names first, since one may begin with another."""
    if not exists(LIB + "/.mip"):
        return []
    found = [name for name, *_ in os.ilistdir(LIB + "/.mip")]
    return sorted(found, key=lambda name: -len(name))


def exists(path):
    try:
        os.stat(path)
        return True
    except OSError:
        return False


def read(path):
    """The content of a file, None where there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def write(path, content):
    """Writes a file, and makes the directories above it."""
    faults.write(path, content)


def main():
    with open(sys.argv[1]) as file:
        scenes = json.load(file)
    for kind, steps in scenes:
        scene = Scene(kind)
        shown = [scene.step(*step) for step in steps]
        scene.close()
        show("## " + json.dumps([seen for seen in shown if seen]))
