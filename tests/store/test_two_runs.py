"""Two runs at once never mix on one target; a run that ended is in no one's way."""

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from scripted_server import Reply

# Calls a verb, and prints what came of it.
CALL = """
import json, mip, sys
verb, arguments, options = json.loads(sys.argv[1])
try:
    getattr(mip, verb)(*arguments, **options)
    print("## worked")
except mip.InstallError as e:
    print("## refused:", e)
"""
PACKAGES = {name: {f"{name}{i}.py": f"{name}{i}\n" * 200 for i in range(3)} for name in "abc"}
PATIENCE = 2  # seconds that one process has for what it may be kept from doing by another


class Stage:
    """A board, and a server that keeps requests waiting. Programs run on it at once.

    held: {path: (it has been asked for, it may be answered)}, two events each.
    """

    def __init__(self, device, server):
        self.device = device
        self.url = server.url
        self.held = {}
        for name, files in PACKAGES.items():
            urls = {"urls": [[path, path] for path in files]}
            pages = {"package.json": json.dumps(urls), **files}
            for path, text in pages.items():
                server.routes[f"/{name}/{path}"] = self._route(f"{name}/{path}", text)
        self.pool = ThreadPoolExecutor(4)

    def _route(self, path, text):
        def answer(_):
            # Of several requests only the first waits.
            asked, go = self.held.get(path, (None, None))
            if asked and not asked.is_set():
                asked.set()
                go.wait(20)
            return Reply(body=text.encode())

        return answer

    def hold(self, path):
        """Keep the next request for this path waiting."""
        if path:
            self.held[path] = threading.Event(), threading.Event()

    def release(self, path):
        if path:
            self.held.pop(path)[1].set()

    def start(self, verb, *arguments, **options):
        """Call a verb in a process of its own. A package is named without its URL."""
        if verb in ("install", "uninstall"):
            arguments = [f"{self.url}/{name}" for name in arguments]
        options.setdefault("target", "lib")
        return self.pool.submit(self.device.run, CALL, json.dumps([verb, arguments, options]))

    def call(self, verb, *arguments, **options):
        """As start(), and wait for its end."""
        return outcome(self.start(verb, *arguments, **options))

    def until(self, path, process, patience=20):
        """Wait until a request is kept waiting, or the process has ended."""
        end = time.monotonic() + patience
        while time.monotonic() < end and not process.done():
            if path and self.held[path][0].is_set():
                break
            time.sleep(0.002)

    def both(self, first, held, second, also):
        """The second call is made when the first waits for an answer; return both outcomes.

        held: the request of the first call that is kept waiting until the second waits for the
        request `also`, or has ended. Then the first goes on to its end, and after it the second.
        """
        self.hold(held)
        self.hold(also)
        one = self.start(*first[:-1], **first[-1])
        self.until(held, one)
        two = self.start(*second[:-1], **second[-1])
        self.until(also, two, PATIENCE)
        self.release(held)
        self.until(None, one, PATIENCE)
        self.release(also)
        return outcome(one), outcome(two)

    def check(self, outcomes, installed=(), target="lib"):
        """The packages of calls that worked are there, and only they; nothing is damaged.

        outcomes: {package that the call installs: outcome}. installed: what is there besides.
        """
        there = [name for name in outcomes if outcomes[name] == "worked"]
        for name, said in outcomes.items():
            assert said == "worked" or "another" in said, (name, said)
        files = {}
        for name in [*there, *installed]:
            files.update(PACKAGES[name])
        directory = self.device.work / target
        found = {path: data.decode() for path, data in self.device.tree(directory).items()}
        assert sorted(found) == sorted(files), outcomes
        assert found == files, outcomes
        if files:
            self.right(target, [*there, *installed])

    def right(self, target, names):
        code = "import mip, sys\nprint('##', mip.verify(sys.argv[1]))"
        assert self.device.run(code, target, check=True).lines[-1] == "## []"
        record = self.device.record(self.device.work / target)
        packages = {line[1] for line in record if line[0] == "package"}
        assert packages == {f"{self.url}/{name}" for name in names}
        assert os.listdir(self.device.work / target / ".mip") == ["record"]


def outcome(process):
    """What a program said came of its call."""
    result = process.result(30)
    found = [line[3:] for line in result.lines if line.startswith("## ")]
    assert len(found) == 1 and result.status == 0, str(result)
    return found[0]


@pytest.fixture
def stage(device, server):
    stage = Stage(device, server)
    yield stage
    stage.pool.shutdown()


# --- Two processes ---

A, B = ("install", "a", {}), ("install", "b", {})

# (where a is kept waiting, where b is).
INTERLEAVINGS = [
    ("a/package.json", "b/package.json"),
    ("a/package.json", "b/b0.py"),
    ("a/package.json", None),
    ("a/a0.py", "b/package.json"),
    ("a/a0.py", "b/b1.py"),
    ("a/a1.py", "b/b2.py"),
    ("a/a1.py", None),
    ("a/a2.py", "b/b0.py"),
    ("a/a2.py", None),
]


@pytest.mark.parametrize(("held", "also"), INTERLEAVINGS)
@pytest.mark.parametrize("installed", [(), ("c",)], ids=["first", "later"])
def test_two_installs(stage, held, also, installed):
    """Of two installs at once both end right, or one is refused in words and changes nothing."""
    if installed:
        assert stage.call("install", *installed) == "worked"
    outcomes = dict(zip("ab", stage.both(A, held, B, also), strict=True))
    assert "worked" in outcomes.values(), outcomes
    stage.check(outcomes, installed)


def test_the_same_package_twice(stage):
    """Two installs of one package end with it."""
    outcomes = stage.both(A, "a/a1.py", A, None)
    assert "worked" in outcomes
    assert all(said == "worked" or "another" in said for said in outcomes), outcomes
    stage.check({"a": "worked"})


# Looks when nothing is going on yet, and goes on when another run is in its middle.
LATE = """
import mip, os, sys, time
look = mip._Store.look


def late(self):
    look(self)
    open("looked", "w").close()
    while "go" not in os.listdir():
        time.sleep(0.01)


mip._Store.look = late
try:
    mip.install(sys.argv[1], target="lib")
except mip.InstallError as e:
    print("## refused:", e)
"""


@pytest.mark.parametrize("done", [False, True], ids=["in its middle", "at its end"])
def test_an_install_that_began_before(stage, done):
    """A run that looked when there was no target yet mixes with no other that came before it."""
    two = stage.pool.submit(stage.device.run, LATE, f"{stage.url}/b")
    while not (stage.device.work / "looked").exists():
        assert not two.done(), two.result()
        time.sleep(0.002)
    stage.hold("a/a1.py")
    one = stage.start("install", "a")
    stage.until("a/a1.py", one)
    if done:
        stage.release("a/a1.py")
        stage.until(None, one)
    (stage.device.work / "go").touch()
    stage.until(None, two)
    if not done:
        stage.release("a/a1.py")
    assert outcome(one) == "worked"
    last = two.result().lines[-1]
    assert last == "Done" if done else "another process" in last
    stage.check({}, ["a", "b"] if done else ["a"])


@pytest.mark.parametrize("held", ["a/package.json", "a/a0.py", "a/a2.py"])
def test_an_install_and_an_uninstall(stage, held):
    """An uninstall while another process installs ends right, as that does, or is refused."""
    assert stage.call("install", "c") == "worked"
    one, two = stage.both(A, held, ("uninstall", "c", {}), None)
    assert "worked" in (one, two)
    assert two == "worked" or "another" in two, two
    stage.check({"a": one}, [] if two == "worked" else ["c"])


LOOKING = ["list", "verify"]


@pytest.mark.parametrize("held", ["a/package.json", "a/a0.py", "a/a2.py"])
@pytest.mark.parametrize("verb", LOOKING)
def test_looking_changes_nothing(stage, verb, held):
    """An install ends right when another process looks what is installed meanwhile."""
    assert stage.call("install", "c") == "worked"
    one, two = stage.both(A, held, (verb, {}), None)
    assert one == "worked", one
    assert two == "worked" or "another" in two, two
    stage.check({"a": one}, ["c"])


@pytest.mark.parametrize("held", ["a/package.json", "a/a1.py"])
def test_recover_meanwhile(stage, held):
    """recover() while another process installs is refused, or has that refused, or both work."""
    assert stage.call("install", "c") == "worked"
    one, two = stage.both(A, held, ("recover", {}), None)
    assert two == "worked" or "another" in two, two
    stage.check({"a": one}, ["c"])
    if one != "worked":
        assert two == "worked"
        assert stage.call("install", "a") == "worked"


SPELLINGS = ["./lib", "lib/", "../device/lib", "{work}/lib", "link", "{work}/lib/../lib"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_other_spellings_of_a_target(stage, spelling):
    """A target is one in each of its spellings, as that of a symbolic link."""
    assert stage.call("install", "c") == "worked"
    (stage.device.work / "link").symlink_to("lib")
    target = spelling.format(work=stage.device.work)
    outcomes = stage.both(A, "a/a1.py", ("install", "b", {"target": target}), "b/b1.py")
    assert "worked" in outcomes
    stage.check(dict(zip("ab", outcomes, strict=True)), ["c"])


def test_two_targets(stage):
    """Two runs on two targets do not disturb each other, also when one is below the other."""
    for number, target in enumerate(("other", "lib/sub")):
        held = f"a/a{number}.py"
        outcomes = stage.both(A, held, ("install", "b", {"target": target}), "b/b1.py")
        assert outcomes == ("worked", "worked")
        stage.right(target, ["b"])
        stage.right("lib", ["a"])
        assert stage.call("uninstall", "a") == "worked"


@pytest.mark.parametrize("held", ["a/package.json", "a/a0.py", "a/a2.py"])
@pytest.mark.parametrize("then", ["a", "b"])
def test_after_a_run_that_was_killed(stage, held, then):
    """A run that was killed is in no one's way: the next one does its work at once."""
    assert stage.call("install", "c") == "worked"
    stage.hold(held)
    options = json.dumps(["install", [f"{stage.url}/a"], {"target": "lib"}])
    code = CALL.replace("sys.argv[1]", repr(options))
    with stage.device.start(code) as process:
        while process.poll() is None and not stage.held[held][0].is_set():
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    stage.release(held)
    assert stage.call("install", then) == "worked"
    stage.check({then: "worked"}, ["c"])


# --- In one interpreter ---

# What all programs here share: packages p and q in memory, a disk that knows its open files.
START = """
import _thread, gc, os, sys
import scene
from scene import Session, call, data, tell, web

FILES = {name: {"%s%d.py" % (name, i): name * 300 for i in range(3)} for name in "pq"}
for name in FILES:
    web["http://h/%s/package.json" % name] = scene.json.dumps(
        {"urls": [[path, path] for path in FILES[name]]}
    ).encode()
    for path in FILES[name]:
        web["http://h/%s/%s" % (name, path)] = FILES[name][path].encode()

def there(target=scene.LIB):
    "The names of what is there of the packages, None of one that is there in part."
    found = {}
    for name in FILES:
        right = [
            path
            for path in FILES[name]
            if scene.read(target + "/" + path) == FILES[name][path].encode()
        ]
        some = [path for path in FILES[name] if scene.exists(target + "/" + path)]
        if some:
            found[name] = len(right) == 3
    return found

def clean(name, target=scene.LIB):
    "Shows what is left that should not be."
    gc.collect()
    if disk.files or scene.Answer.open:
        scene.show(name, "leaves open", [file.path for file in disk.files], scene.Answer.open)
    kept = os.listdir(target + "/.mip") if scene.exists(target + "/.mip") else ["record"]
    if kept != ["record"]:
        scene.show(name, "leaves", kept)
    if scene.exists(target + "/.mip/record"):
        bad = tell(call("verify", target=target))
        if bad["value"] != []:
            scene.show(name, "verify():", bad)

def begin(kind="lfs2"):
    global disk
    scene.Answer.open = 0
    disk = scene.watched(kind)

def finish():
    gc.collect()
    scene.vfs.umount("/ram")

def refused(result):
    error = tell(result)["error"] or ""
    return error.startswith("InstallError: ") and "another" in error
"""


def shows_nothing(device, code):
    """Run a program behind START; fail with what it shows."""
    result = device.run(START + code, heap="16m", check=True)
    assert not result.lines, "\n".join([f"{len(result.lines)} times", *result.lines[:30]])


# At each request of a run another verb is called: by get() itself, or by a thread meanwhile.
NESTED = """
VERBS = [
    ("install", "http://h/q"),
    ("install", "http://h/p"),
    ("uninstall", "http://h/q"),
    ("upgrade",),
    ("recover",),
    ("list",),
    ("verify",),
]
done = _thread.allocate_lock()

def in_a_thread(verb):
    results = []
    def run():
        results.append(call(*verb))
        done.release()
    done.acquire()
    _thread.start_new_thread(run, ())
    done.acquire()
    done.release()
    return results[0]

turn = 0
for kind in ("lfs2", "fat"):
    for how in (lambda verb: call(*verb), in_a_thread):
        for installed in ((), ("http://h/q",)):
            for verb in VERBS:
                turn += 1
                for at in (turn % 4, (turn + 2) % 4)[: 2 if kind == "lfs2" else 1]:
                    begin(kind)
                    for name in installed:
                        call("install", name)
                    asked = []
                    results = []

                    def meanwhile(url):
                        asked.append(url)
                        if len(asked) == at + 1:
                            results.append(how(verb))

                    outer = call("install", "http://h/p", session=Session(meanwhile))
                    where = (kind, how, installed, verb, at)
                    if outer is not True:
                        scene.show(*where, "the outer run:", tell(outer))
                    looks = verb[0] in ("list", "verify", "recover")
                    if len(results) != 1 or not (refused(results[0]) or looks):
                        scene.show(*where, "was not refused:", [tell(r) for r in results])
                    error = results and tell(results[0])["error"]
                    if error and not error.startswith("InstallError: "):
                        scene.show(*where, error)
                    expected = {"p": True, "q": True} if installed else {"p": True}
                    if there() != expected:
                        scene.show(*where, there())
                    clean(where)
                    # What was refused works now.
                    again = tell(call(*verb))
                    if again["error"] and "not installed" not in again["error"]:
                        scene.show(*where, "and then", again)
                    clean(where)
                    finish()
"""


def test_a_run_within_a_run(device):
    """A verb that get() or a thread calls while another runs on that target is refused.

    The run that was first ends right, and then the other works.
    """
    shows_nothing(device, NESTED)


OTHER_TARGET = """
for at in range(4):
    begin()
    asked = []
    results = []

    def meanwhile(url):
        asked.append(url)
        if len(asked) == at + 1:
            results.append(call("install", "http://h/q", target="/ram/other"))
            results.append(call("list", target="/ram/other"))

    outer = call("install", "http://h/p", session=Session(meanwhile))
    if outer is not True or not (results[0] is True or refused(results[0])):
        scene.show(at, tell(outer), [tell(result) for result in results])
    expected = {"q": True} if results[0] is True else {}
    if there() != {"p": True} or there("/ram/other") != expected:
        scene.show(at, there(), there("/ram/other"))
    clean(at)
    clean(at, "/ram/other")
    finish()
"""


def test_a_run_on_another_target_within_a_run(device):
    """A verb that is called while another runs on another target works, or is refused."""
    shows_nothing(device, OTHER_TARGET)


# A thread that is kept waiting in its own get() until the other run has ended.
THREADS = """
for first, then in ((0, 0), (0, 2), (1, 1), (2, 0), (3, 3)):
    begin()
    waits = _thread.allocate_lock()
    go = _thread.allocate_lock()
    ended = _thread.allocate_lock()
    for lock in (waits, go, ended):
        lock.acquire()
    asked = []
    also = []
    results = []

    def in_the_thread(url):
        also.append(url)
        if len(also) == then + 1:
            waits.release()
            go.acquire()

    def run():
        results.append(call("install", "http://h/q", session=Session(in_the_thread)))
        if len(also) <= then:
            waits.release()
        ended.release()

    def meanwhile(url):
        asked.append(url)
        if len(asked) == first + 1:
            _thread.start_new_thread(run, ())
            waits.acquire()

    outer = call("install", "http://h/p", session=Session(meanwhile))
    go.release()
    ended.acquire()
    where = (first, then)
    worked = {}
    for name, result in (("p", outer), ("q", results[0])):
        if result is True:
            worked[name] = True
        elif not refused(result):
            scene.show(where, name, tell(result))
    if not worked or there() != worked:
        scene.show(where, tell(outer), tell(results[0]), there())
    clean(where)
    finish()
"""


def test_two_threads(device):
    """Of two threads that install at once one is refused in words, or both end right."""
    shows_nothing(device, THREADS)


# A run ends in an exception that its session raises, at each request or each read.
EXCEPTIONS = """
class Strange(BaseException):
    pass

class Torn:
    def __init__(self, real, error):
        self.real = real
        self.error = error
        self.status_code = 200
        self.raw = self

    def readinto(self, buf):
        raise self.error

    def close(self):
        self.real.close()

class Failing(Session):
    def __init__(self, at, error, read):
        self.at = at
        self.error = error
        self.read = read
        self.count = 0

    def get(self, url):
        self.count += 1
        answer = None
        if self.count == self.at:
            if not self.read:
                raise self.error
            return Torn(scene.Answer(b""), self.error)
        return scene.Answer(web.get(url))

PASSED_ON = (MemoryError, KeyboardInterrupt, SystemExit, Strange)
ERRORS = [
    MemoryError(), KeyboardInterrupt(), SystemExit(), Strange(), ValueError("v"), OSError(5),
    RuntimeError("r"), TypeError(), NotImplementedError(), IndexError(), StopIteration(),
    AttributeError("a"), OSError("text"), OSError(), Exception("e"),
]
for kind in ("lfs2", "fat"):
    for read in (False, True):
        for at in range(1, 5):
            for error in ERRORS[at % 2 :: 2 if kind == "lfs2" else 6]:
                begin(kind)
                call("install", "http://h/q")
                result = call("install", "http://h/p", session=Failing(at, error, read))
                where = (kind, read, at, repr(error))
                right = isinstance(result, (PASSED_ON, scene.mip.InstallError)[
                    not isinstance(error, PASSED_ON)
                ])
                if not right:
                    scene.show(*where, "ended with", tell(result))
                if there() != {"q": True}:
                    scene.show(*where, "left", there())
                clean(where)
                again = call("install", "http://h/p")
                if again is not True or there() != {"p": True, "q": True}:
                    scene.show(*where, "and then", tell(again), there())
                clean(where)
                finish()
"""


def test_after_any_exception(device):
    """After a run that ended in any exception all is closed, nothing is left, the next one works.

    MemoryError and what is no Exception is passed on, all else is an InstallError.
    """
    shows_nothing(device, EXCEPTIONS)


# Real sockets: the files that the process has open, before and after.
SOCKETS = """
import mip, os, sys

url = sys.argv[1]

def opened():
    return sorted(os.listdir("/proc/self/fd"))

class Nested:
    def __init__(self, error=None):
        self.session = mip.Session()
        self.count = 0
        self.error = error
        self.result = None

    def get(self, url_):
        self.count += 1
        if self.count == 3:
            if self.error:
                raise self.error
            try:
                mip.install(url + "/b", target="lib")
            except mip.InstallError as e:
                self.result = str(e)
        return self.session.get(url_)

before = opened()
for session in (Nested(), Nested(KeyboardInterrupt()), Nested(MemoryError())):
    try:
        mip.install(url + "/a", target="lib", session=session)
        result = "worked"
    except BaseException as e:
        result = type(e).__name__
    session.session.close()
    print(result, session.result and "another" in session.result, opened() == before)
    if result == "worked":
        mip.uninstall(url + "/a", target="lib")
for name in ("nothing", "b"):
    try:
        mip.install(url + "/" + name, target="lib")
        result = "worked"
    except mip.InstallError as e:
        result = "InstallError"
    print(result, opened() == before)
"""


def test_sockets_are_closed(stage):
    """A run that was refused, or that ended in an exception, leaves no socket open."""
    result = stage.device.run(SOCKETS, stage.url, check=True)
    expected = ["worked True True", "KeyboardInterrupt None True", "MemoryError None True"]
    expected += ["InstallError True", "worked True"]
    assert [line for line in result.lines if line.endswith(("True", "False"))] == expected
    stage.check({"b": "worked"})
