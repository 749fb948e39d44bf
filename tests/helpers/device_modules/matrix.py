"""What is tried on every release of MicroPython: columns of the matrix.

    import matrix

    matrix.run("path session")          # prints a line "## [column, what came of it]" for each

A column is a function here. What it raises is what came of it; else all is well.
`network` needs fake_socket, imported before this.

Runs on MicroPython.
"""

import io
import json
import os
import sys
from binascii import unhexlify

import readers

import mip

try:
    import vfs
except ImportError:
    vfs = os  # MicroPython before 1.22

# The packages of faults.PACKAGES are in an index in a directory. On WebAssembly all is in RAM.
ROOT = "" if sys.platform == "webassembly" else os.getcwd()
INDEX = ROOT + "/pi"
TARGET = ROOT + "/board/lib"


def run(columns):
    """Tries columns, and prints for each "ok" or the exception."""
    for name in columns.split():
        try:
            clear()
            globals()[name]()
            outcome = "ok"
        except BaseException as e:
            text = io.StringIO()
            sys.print_exception(e, text)
            outcome = " ".join(text.getvalue().split())
        print("##", json.dumps([name, outcome]))


def same(value, wanted):
    """Raises AssertionError unless both are the same. (-O3 leaves out what `assert` says.)"""
    if value != wanted:
        raise AssertionError("%r, not %r" % (value, wanted))


def refused(call, *parts, **options):
    """Makes a call that has to end in an InstallError, of whose text these are parts."""
    try:
        call(**options)
    except mip.InstallError as e:
        for part in parts:
            if part not in str(e):
                raise AssertionError("no %r in %r" % (part, str(e)))
    else:
        raise AssertionError("not refused: " + parts[0])


def installed(*packages, version="1"):
    """The files of packages of faults.PACKAGES, as walk() has them, without directories."""
    import faults

    wanted = {}
    for name in packages:
        wanted.update(faults.files(name, version))
    return wanted


def there(target=TARGET):
    """The files in a target, without mip's own."""
    import faults

    try:
        tree = faults.walk(target)
    except OSError:
        return {}
    return {p: tree[p] for p in tree if tree[p] is not None and p[:5] != ".mip/"}


def clear():
    """Removes what is in the target, mip's own, too."""
    import faults

    try:
        tree = faults.walk(TARGET)
    except OSError:
        return
    for path in sorted(tree, reverse=True):
        (os.rmdir if tree[path] is None else os.remove)(TARGET + "/" + path)


def publish(latest):
    """Writes the index, whose packages have this latest version."""
    import faults

    for url, data in faults._PAGES.items():
        path = INDEX + url[len(faults.INDEX) :]
        faults.write(path, data)
        if path.endswith("/%s.json" % latest):
            faults.write(path[: path.rfind("/")] + "/latest.json", data)


# ---- the columns -----------------------------------------------------------------------


def path():
    """Every verb, with an index in a directory."""
    publish("1")
    refused(lambda: mip.list(TARGET), "nothing is installed there")
    same(mip.install(["app", "tool"], INDEX, TARGET), True)
    same(there(), installed("app", "base", "tool"))
    same(mip.install(["app", "tool"], INDEX, TARGET), False)
    same(mip.verify(TARGET), [])
    refused(lambda: mip.install("none", INDEX, TARGET), "there is no package none")
    refused(lambda: mip.uninstall("none", TARGET), "none is not installed")
    refused(lambda: mip.uninstall("base", TARGET), "base is needed by app")

    os.remove(TARGET + "/base.py")
    with open(TARGET + "/common.py", "wb") as file:
        file.write(b"# changed\n")
    same(sorted(mip.verify(TARGET)), [TARGET + "/base.py", TARGET + "/common.py"])

    publish("2")
    same(mip.upgrade(target=TARGET), True)
    same(there(), installed("app", "base", "tool", version="2"))
    same(mip.upgrade(target=TARGET), False)
    same(mip.list(TARGET), ["app@2", "tool@2", "base@2"])

    same(mip.uninstall(["app", "tool"], TARGET), True)
    same(there(), installed("base", version="2"))
    same(mip.uninstall("base", TARGET), True)
    same(there(), {})

    _directory()
    _search()
    _interrupted()
    _in_the_way()
    _damaged()


def _directory():
    # A package in a directory, with a dependency in another one.
    import faults

    packages = {
        "/x": {"urls": [["x.py", "x.py"]], "deps": [["../y", "latest"]]},
        "/y": {"version": "3", "urls": [["y/__init__.py", "y.py"]]},
    }
    for place, document in packages.items():
        faults.write(ROOT + place + "/package.json", json.dumps(document).encode())
        faults.write(ROOT + place + place + ".py", b"# here\n")
    same(mip.install(ROOT + "/x", target=TARGET), True)
    same(there(), {"x.py": b"# here\n", "y/__init__.py": b"# here\n"})
    same(mip.list(TARGET), [ROOT + "/x", ROOT + "/y@3"])
    same(mip.uninstall(ROOT + "/x", TARGET), True)
    same(mip.uninstall(ROOT + "/y", TARGET), True)
    same(there(), {})


def _search():
    # It prints what it finds.
    found = {"packages": [{"name": "app", "version": "1", "description": "An App"}, {"name": "x"}]}
    with open(INDEX + "/index.json", "w") as file:
        json.dump(found, file)
    printed = []
    mip.print = lambda *words: printed.append(words)
    try:
        mip.search("APP", INDEX)
    finally:
        del mip.print
    same(printed, [("app 1 An App",)])


class _Cut(BaseException):
    pass


class _Os:
    # The module `os`, in which the second rename() is one before which the power fails.
    def __init__(self):
        self.left = 1

    def __getattr__(self, name):
        return getattr(os, name)

    def rename(self, old, new):
        self.left -= 1
        if self.left < 0:
            raise _Cut
        os.rename(old, new)

    def remove(self, name):
        if self.left < 0:
            raise _Cut
        os.remove(name)


def _interrupted():
    # A commit that is broken off is finished.
    mip.os = _Os()
    try:
        mip.install("many", INDEX, TARGET)
        raise AssertionError("no cut")
    except _Cut:
        pass
    finally:
        mip.os = os
    same(there() == installed("many", version="2"), False)
    mip.recover(TARGET)
    same(there(), installed("many", version="2"))
    same(mip.list(TARGET), ["many@2"])
    same(mip.uninstall("many", TARGET), True)
    same(there(), {})


def _in_the_way():
    # A directory where a file has to be.
    os.mkdir(TARGET + "/base.py")
    refused(lambda: mip.install("base", INDEX, TARGET), "a file and a directory at once")
    os.rmdir(TARGET + "/base.py")
    os.mkdir(TARGET + "/base.py~mip")
    refused(lambda: mip.install("base", INDEX, TARGET), "is a directory: remove it")
    os.rmdir(TARGET + "/base.py~mip")


def _damaged():
    # A record that has lost a bracket is not read as whole.
    mip.install("base", INDEX, TARGET)
    name = TARGET + "/.mip/record"
    with open(name, "rb") as file:
        whole = file.read()
    with open(name, "wb") as file:
        file.write(whole[:-2])
    refused(lambda: mip.list(TARGET), "damaged from byte")
    with open(name, "wb") as file:
        file.write(whole)
    same(mip.uninstall("base", TARGET), True)


def session():
    """The verbs that fetch, with a session of one's own; without sockets that is what is named."""
    import faults

    if sys.platform == "webassembly":
        refused(lambda: mip.install("app", faults.INDEX, TARGET), "no socket", "session=")
    one = faults.Session("1")
    same(mip.install(["app", "tool"], faults.INDEX, TARGET, session=one), True)
    same(there(), installed("app", "base", "tool"))
    two = faults.Session("2")
    same(mip.upgrade(target=TARGET, session=two), True)
    same(there(), installed("app", "base", "tool", version="2"))
    same(mip.uninstall(["app", "tool", "base"], TARGET), True)
    same((one.open, two.open, there()), (0, 0, {}))


def network():
    """A package over http and https, in every framing; fake_socket takes the place of `socket`."""
    import fake_socket as net
    import faults

    for scheme in "http", "https":
        for framing in net.KNOWN:
            net.reset()

            def serve(host, path, framing=framing):
                data = faults._PAGES.get("http://index" + path.replace("latest.json", "1.json"))
                if data is None:
                    return net.frame(b"not found", framing, status=b"404 Not Found")
                return net.frame(data, framing)

            net.serve = serve
            index = scheme + "://index"
            same(mip.install(["app", "tool"], index, TARGET), True)
            same(there(), installed("app", "base", "tool"))
            same(net.opened, 0)
            same(mip.uninstall(["app", "tool", "base"], TARGET), True)
            same(there(), {})
    refused(lambda: mip.install("none", index, TARGET), "there is no package none")


def reader():
    """The documents of test_json_reader.py; what json takes is read as json reads it."""
    count = 0
    with open(ROOT + "/documents") as file:
        for line in file:
            name, taken, text = json.loads(line)
            text = unhexlify(text)
            for size in 7, 512:
                found = readers.by_mip(text, size)
                if (found is None) == taken:
                    raise AssertionError("%s: %s" % (name, "refused" if taken else "taken"))
                if taken:
                    same((name, found), (name, readers.by_json(text)))
            count += 1
    same(count > 100, True)


def words():
    """The command line: words, and the exit status that they have."""
    publish("1")
    place = "--target=" + TARGET
    for line, status in (
        ("--version", 0),
        ("--help", 0),
        ("", 2),
        ("instal base", 2),
        ("list base", 2),
        ("install base --index", 2),
        ("install base --index --insecure", 2),
        ("install base --mpy=1", 2),
        ("install base --header x", 2),
        ("list --index x", 2),
        ("list %s" % place, 1),
        ("install base -i %s -t %s" % (INDEX, TARGET), 0),
        ("install app --index=%s %s --header h:n:v" % (INDEX, place), 0),
        ("install none -i %s %s" % (INDEX, place), 1),
        ("verify -t %s" % TARGET, 0),
        ("upgrade %s --mpy" % place, 0),
        ("recover %s" % place, 0),
        ("uninstall none %s" % place, 1),
    ):
        same((line, _status(line)), (line, status))
    os.remove(TARGET + "/base.py")
    same(_status("verify " + place), 1)
    same(_status("uninstall app base " + place), 0)
    same(there(), {})


def _status(line):
    sys.argv[:] = ["mip"] + line.split()
    sys.modules.pop("mip.__main__", None)
    try:
        __import__("mip.__main__")
    except SystemExit as e:
        return e.args[0] if e.args else 0


def cuts():
    """The power fails at each step of an install, an upgrade and an uninstall."""
    import blocks
    import faults
    import oracle

    class Case(faults.Case):
        # A case on a disk of blocks that is written in Python.
        def prepare(self, size):
            self.fault = self.wrapper = None
            self.disk = blocks.Disk()
            vfs.mount(self.disk, faults.ROOT)
            try:
                for path in sorted(faults.FOREIGN):
                    faults.write(faults.ROOT + "/" + path, faults.FOREIGN[path])
                names = [name for name in self.packages[0] if name != "base"]
                if names:
                    one = faults.Session("1")
                    mip.install(names, faults.INDEX, faults.TARGET, session=one)
            finally:
                vfs.umount(faults.ROOT)
            self.image = dict(self.disk.tree)

        def start(self, image=None):
            self.session = faults.Session(self.latest)
            self.disk.tree = dict(self.image if image is None else image)
            self.disk.log = None
            vfs.mount(self.disk, faults.ROOT)

        def record(self, call):
            self.disk.log = []
            self.outcome = call()
            return self.disk.log

        def open_files(self):
            return self.session.open + len(self.disk.files)

    faults.BLOCKS["blocks"] = 0
    problems = []
    count = 0
    for scenario in "install", "upgrade", "uninstall":
        case = Case(scenario, "blocks")
        problems += oracle.check_case(case)
        for number, torn, tree in blocks.cuts(case.image, case.log):
            place = (scenario, number, torn)
            tree = dict(tree)
            count += 1
            found = ["torn " + path for path in oracle.torn(case, tree)]
            found += oracle.check(case, oracle.CUT, tree)
            case.start(tree)
            try:
                mip.recover(faults.TARGET)
                settled = dict(case.disk.tree)
                found += oracle.check(case, oracle.SETTLED, settled)
                if oracle.RECORD in settled:
                    found += mip.verify(faults.TARGET)
                outcome = case.again()
                found += oracle.check_again(case, outcome, dict(case.disk.tree), settled)
            except mip.InstallError as e:
                found.append(repr(e))
            case.stop()
            problems += [(place, text) for text in found]
    same(problems[:5], [])
    print("#", count)
