"""What is kept on flash is damaged, of another shape, or made by mip 1.0.0."""

import json

import pytest
from device import error
from folders import HELPERS
from scenes import (
    KINDS,
    LIB,
    MPY,
    broken,
    check,
    install,
    look,
    publish,
    put,
    remove,
    repository,
    sha256,
    uninstall,
    upgrade,
    verb,
)

P = {"p.py": "p", "d/s.py": "s"}
PACKAGES = [
    publish("p", P, deps=[["b", "latest"]]),
    publish("b", {"b.py": "b", "d/s.py": "s"}),
    publish("q", {"q.py": "q"}),
]
INSTALLED = [*PACKAGES, install("p")]
RECORD = "".join(
    json.dumps(line) + "\n"
    for line in (
        ["mip", 1],
        ["package", "p", "1", "latest", "http://i"],
        ["dep", "b", None],
        ["file", "p.py", sha256("p")],
        ["file", "d/s.py", sha256("s")],
        ["package", "b", "1", None, "http://i"],
        ["file", "b.py", sha256("b")],
        ["file", "d/s.py", sha256("s")],
    )
)
FIRST, REST = RECORD.split("\n", 1)
ENDS = {n + 1 for n, c in enumerate(RECORD) if c == "\n"}

# Calls verbs with each of these records in place: all, or the next few. Prints what was wrong: an
# error that is not an InstallError, names not the file or says not what to do; what was changed.
RECORDS = """
import json, sys
import scene

with open(sys.argv[1]) as file:
    kind, steps, records, strict, count = json.load(file)
verbs = [
    ["list"], ["verify"], ["install", "q"], ["install", "p"], ["upgrade"], ["uninstall", "p"],
]
record = scene.LIB + "/.mip/record"
stage = scene.Scene(kind)
for step in steps:
    stage.step(*step)
stage.save()
whole = scene.disk()
turn = 0
for name, text in records:
    expected = dict(whole)
    expected[record] = text
    for _ in range(count):
        turn += 1
        verb = verbs[turn % len(verbs)]
        scene.write(record, scene.data(text))
        error = scene.tell(scene.call(*verb))["error"]
        there = scene.disk()
        if error or strict:
            if not (error or "").startswith("InstallError: "):
                scene.show(name, verb, error)
            elif strict and (".mip/record" not in error or "remove" not in error):
                scene.show(name, verb, "does not say how to go on:", error)
            if there != expected:
                changed = [path for path in there if there.get(path) != expected.get(path)]
                scene.show(name, verb, "changed", changed)
        if there != expected:
            stage.restore()
    if turn % 4 == 0:
        scene.write(record, scene.data(text))
        scene.remove(record)
        error = scene.tell(scene.call("install", "p"))["error"]
        if error or scene.disk() != whole:
            scene.show(name, "not installed again:", error)
        stage.restore()
"""


def damage(device, tmp_path, kind, records, strict=True, count=6):
    """Try each record, {name: text}, with so many verbs; fail with what was wrong."""
    script = tmp_path / "records.json"
    script.write_text(json.dumps([kind, INSTALLED, list(records.items()), strict, count]))
    wrong = device.run(RECORDS, script, heap="32m", check=True).lines
    assert not wrong, "\n".join([f"{len(wrong)} times", *wrong[:40]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_torn_at_every_byte(device, tmp_path, kind):
    """A record that ends within a line is refused by its name, with what to do; nothing changes.

    When it is removed, what is there is installed again.
    """
    step = 1 if kind == "lfs2" else 17
    torn = {f"{n} bytes": RECORD[:n] for n in range(0, len(RECORD), step) if n not in ENDS}
    damage(device, tmp_path, kind, torn, count=1)


def test_a_record_torn_at_the_end_of_a_line(device, tmp_path):
    """A record without its last lines is a record, or it is refused."""
    damage(device, tmp_path, "lfs2", {f"{n}": RECORD[:n] for n in sorted(ENDS)}, strict=False)


LINES = [
    "5",
    "null",
    "true",
    '"file"',
    "[]",
    "{}",
    '{"file": "p.py"}',
    "[[]]",
    "[null]",
    "[1, 2, 3]",
    "[[1], [2]]",
    '["package"]',
    '["package", "p"]',
    '["package", "p", "1"]',
    '["package", null, "1", "latest", null]',
    '["package", "p", 1, "latest", null]',
    '["package", "p", "1", 5, null]',
    '["package", "p", "1", "latest", 5]',
    '["package", ["p"], "1", "latest", null]',
    '["file"]',
    '["file", "p.py"]',
    '["file", 5, 5]',
    '["file", null, null]',
    '["file", "p.py", 5]',
    '["file", "p.py", null]',
    '["file", ["p.py"], "x"]',
    '["file", {}, {}]',
    '["dep"]',
    '["dep", "b"]',
    '["dep", 5, null]',
    '["dep", "b", 5]',
    '["file", "p.py", "x"',
    '["file", "p.py" "x"]',
    "['file', 'p.py', 'x']",
    "file p.py",
    "\x00" * 40,
    "\xff" * 40,
    "\xff\xfe",
    '["file", "\xe9.py", "x"]',
    '["file", "\xc3", "x"]',
    "[" * 2000,
    "x" * 5000,
]


def test_lines_of_another_shape(device, tmp_path):
    """A record with a line that is none of a record's is refused by every verb."""
    records = {}
    for line in LINES:
        records[f"{line[:40]!r} first"] = f"{FIRST}\n{line}\n{REST}"
        records[f"{line[:40]!r} last"] = f"{RECORD}{line}\n"
    damage(device, tmp_path, "lfs2", records, count=3)


FORMATS = [
    "",
    "\n",
    '["mip", 2]',
    '["mip", 0]',
    '["mip", -1]',
    '["mip", 11]',
    '["mip"]',
    '["mip", "1"]',
    '["mip", null]',
    '["mip", 1, 2]',
    '["pip", 1]',
    '["MIP", 1]',
    "[]",
    "{}",
    "5",
    "mip 1",
    '{"mip": 1}',
    "\xef\xbb\xbf" + FIRST,
    "\x00" + FIRST,
    "\x00" * 10,
    "\xff" * 10,
    "<!DOCTYPE html>",
]


def test_other_formats(device, tmp_path):
    """A record whose first line is not this format's is refused by every verb."""
    records = {f"{line!r}": f"{line}\n{REST}" for line in FORMATS}
    records |= {f"{line!r} alone": line for line in FORMATS}
    damage(device, tmp_path, "fat", records, count=2)


LENIENT = [
    '["mip",1]',
    '["mip", 1.0]',
    '["mip", true]',
    '["thing", "x"]',
    '["thing", "x", "y"]',
    '["file", "q.py", "01234567"]',
    '["file", "q.py", ""]',
    '["package", "p", "1", "latest", "http://i"]',
    '["package", "p", "1", "latest", "http://i", "more"]',
    '["dep", "p", "1"]',
    '["dep", "x", null]',
    '["file", "d", "x"]',
    '["file", "p.py/x", "x"]',
    "",
    " ",
    "\r",
]


def test_lines_that_may_be(device, tmp_path):
    """Whatever else a line is, no verb ends in anything but an InstallError."""
    records = {f"{line!r} last": f"{RECORD}{line}\n" for line in LENIENT}
    records |= {f"{line!r} first": f"{line}\n{RECORD}" for line in LENIENT}
    records |= {f"{line!r} second": f"{FIRST}\n{line}\n{REST}" for line in LENIENT}
    records["CRLF"] = RECORD.replace("\n", "\r\n")
    damage(device, tmp_path, "lfs2", records, strict=False, count=4)


# What is in the place of the record, and how it is taken away.
IN_ITS_PLACE = {
    "directory": ([remove(f"{LIB}/.mip/record"), put(f"{LIB}/.mip/record")], []),
    "full directory": ([remove(f"{LIB}/.mip/record"), put(f"{LIB}/.mip/record/x", "x")], []),
    "unreadable": ([broken(".mip/record", 5)], [broken("", 0)]),
    "denied": ([broken(".mip/record", 13)], [broken("", 0)]),
}
CALLS = [
    verb("list"),
    verb("verify"),
    install("q"),
    install("p"),
    upgrade(),
    uninstall("p"),
]


def test_what_is_no_file(device):
    """A record that is a directory or cannot be read is refused; without it, all works."""
    rows = []
    for kind in KINDS:
        for name, (steps, helps) in IN_ITS_PLACE.items():
            again = [
                *helps,
                remove(f"{LIB}/.mip/record"),
                install("p"),
                install("q"),
                verb("list"),
            ]
            steps = [*INSTALLED, *steps, look(), *CALLS, *again]
            rows.append((f"{name} {kind}", kind, steps))

    def judge(seen):
        before, calls, again = seen[1], seen[2 : 2 + len(CALLS)], seen[2 + len(CALLS) :]
        for number, one in enumerate(calls):
            name = CALLS[number][1]
            assert one.error and one.error.startswith("InstallError: "), (name, one.error)
            assert ".mip/record" in one.error and "remove" in one.error, (name, one.error)
            assert one.disk == before.disk, name
        errors = [one.error for one in again if one.error]
        assert not errors, errors
        assert again[-1].files == {**P, "b.py": "b", "q.py": "q"}
        assert again[-1].bad == []

    check(device, rows, judge, sound=False)


LONG = {
    "one line": "x" * 100_000,
    "brackets": "[" * 100_000,
    "a string": f'{FIRST}\n["package", "' + "p" * 100_000,
    "a long line": f'{FIRST}\n["package", "' + "p" * 100_000 + f'", "1", null, null]\n{REST}',
    "a list": f"{FIRST}\n" + "[1, " * 25_000,
    "zeros": "\x00" * 100_000,
    "zeros behind": RECORD + "\x00" * 100_000,
    "erased behind": RECORD + "\xff" * 100_000,
}
# Leaves a heap that has room for what mip needs, but not for such a line.
LITTLE = """
import gc, mip
gc.collect()
room = bytearray(32_000)
ballast = []
try:
    while True:
        ballast.append(bytearray(500))
except MemoryError:
    pass
del room
gc.collect()
"""


@pytest.mark.parametrize("name", LONG)
def test_a_long_line(device, name):
    """A line of 100 KB is refused by every verb, with no more heap than any other record."""
    kept = device.lib / ".mip"
    kept.mkdir(parents=True)
    (kept / "record").write_bytes(LONG[name].encode("latin-1"))
    before = device.tree(everything=True)
    calls = 'mip.list() mip.verify() mip.upgrade() mip.uninstall("p") mip.install("./q.py")'
    for call in calls.split():
        text = error(device.run(LITTLE + call, heap="1m"))
        assert ".mip/record" in text and "remove" in text, (call, text)
    assert device.tree(everything=True) == before
    (device.work / "q.py").write_text("q = 1\n")
    (kept / "record").unlink()
    device.run(LITTLE + 'mip.install("./q.py")', heap="1m", check=True)
    assert device.tree() == {"q.py": b"q = 1\n"}


# --- The plan and the coming record ---

# Puts each text into .mip/plan, .mip/new or both beside a good record. A verb works, or refuses it
# by its name; with that removed, it works.
BESIDE = """
import json, sys
import scene

with open(sys.argv[1]) as file:
    kind, steps, texts = json.load(file)
verbs = [["recover"], ["list"], ["verify"], ["install", "q"], ["upgrade"], ["uninstall", "p"]]
there = [["plan"], ["new"], ["plan", "new"], ["plan", "room"], ["plan", "new", "room"]]
stage = scene.Scene(kind)
for step in steps:
    stage.step(*step)
stage.save()
whole = scene.disk()
tried = 0

def files(disk):
    return {path: disk[path] for path in disk if "/.mip/" not in path or path.endswith("/record")}

for text in texts:
    for names in there:
        tried += 1
        verb = verbs[tried % 6]
        where = names, repr(text[:40]), verb
        for name in names:
            scene.write(scene.LIB + "/.mip/" + name, scene.data(text))
        error = scene.tell(scene.call(*verb))["error"]
        if error and not error.startswith("InstallError: "):
            scene.show(*where, error)
        found = scene.disk()
        if error or verb[0] in ("recover", "list", "verify"):
            if files(found) != files(whole):
                scene.show(*where, "changed something", error)
        if error:
            errors = scene.unstick(*verb)
            if errors[-1]:
                scene.show(*where, "is stuck:", errors)
        for again in (["list"], ["verify"]):
            error = scene.tell(scene.call(*again))["error"]
            if error:
                scene.show(*where, again, error)
        if scene.kept_names() != ["record"]:
            scene.show(*where, "leaves", scene.kept_names())
        if scene.disk() != whole:
            stage.restore()
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_of_another_shape(device, tmp_path, kind):
    """What is in .mip beside the record and is of another shape is cleared up, or refused by name.

    No file of a package changes. With what is named removed, every verb works.
    """
    texts = ["", FIRST, FIRST + "\n", *FORMATS, *(f"{FIRST}\n{line}\n" for line in LINES)]
    texts += [f"{FIRST}\n{line}" for line in LINES[::3]]
    if kind == "fat":
        texts = texts[::3]
    script = tmp_path / "beside.json"
    script.write_text(json.dumps([kind, INSTALLED, texts]))
    wrong = device.run(BESIDE, script, heap="32m", check=True).lines
    assert not wrong, "\n".join([f"{len(wrong)} times", *wrong[:40]])


@pytest.mark.parametrize("name", ["plan", "new"])
def test_a_long_line_in_a_plan(device, name):
    """A line of 100 KB there is cleared up or refused by its name, with no more heap."""
    kept = device.lib / ".mip"
    kept.mkdir(parents=True)
    (device.lib / "p.py").write_text("p")
    record = f'{FIRST}\n["package", "p", "1", "latest", null]\n["file", "p.py", "{sha256("p")}"]\n'
    (kept / "record").write_text(record)
    for text in LONG.values():
        (kept / name).write_bytes(text.encode("latin-1"))
        result = device.run(LITTLE + "mip.list()", heap="1m")
        if result.status:
            assert f".mip/{name}" in error(result)
            (kept / name).unlink()
            device.run(LITTLE + "mip.list()", heap="1m", check=True)
        assert device.tree(everything=True) == {"p.py": b"p", ".mip/record": record.encode()}


# Cuts the power at each write of an upgrade, damages what is kept besides the record then, and
# calls a verb. A file is as it was or as it comes, and nothing is stuck.
UNFINISHED = """
import json, sys
import scene

with open(sys.argv[1]) as file:
    kind, before, after, old, new = json.load(file)
verbs = [["recover"], ["list"], ["verify"], ["install", "q"], ["upgrade"], ["uninstall", "p"]]
damages = [
    lambda text: text[: len(text) // 3],
    lambda text: text[: len(text) * 2 // 3],
    lambda text: text[:-1],
    lambda text: text + b"[",
    lambda text: text + b'["file"]\\n',
    lambda text: b"[]\\n" + text,
    lambda text: text.replace(b'"file"', b'"life"'),
    lambda text: text.replace(b'"package"', b'"file"'),
    lambda text: bytes(len(text)),
]
stage = scene.Scene(kind)
for step in before:
    stage.step(*step)
for step in after:
    stage.step(*step)
tried = 0
for cut in scene.cuts(stage, "upgrade"):
    cut.mount()
    names = [name for name in scene.kept_names() if name in ("plan", "new")]
    cut.close()
    for name in names:
        for number, damage in enumerate(damages):
            tried += 1
            verb = verbs[tried % 6]
            cut.mount()
            text = scene.read(scene.LIB + "/.mip/" + name)
            scene.write(scene.LIB + "/.mip/" + name, damage(text))
            errors = scene.unstick(*verb)
            wrong = [e for e in errors if e and not e.startswith("InstallError: ")]
            where = (kind, cut.count, name, number, verb)
            if wrong:
                scene.show(*where, wrong)
            # FAT has no record between the two writes in which the new one takes its place.
            if errors[-1] and "p is not installed" not in errors[-1]:
                scene.show(*where, "is stuck:", errors)
            for path in old:
                content = scene.text(scene.read(scene.LIB + "/" + path))
                gone = path not in new or verb[0] == "uninstall" or kind == "fat"
                if content not in (old[path], new.get(path)) and not (content is None and gone):
                    scene.show(*where, path, content)
            cut.close()
scene.show(tried)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_plan_of_an_interrupted_run(device, tmp_path, kind):
    """Damage of what an interrupted run left makes no file a mixture, and nothing stuck."""
    new = {"p.py": "new p", "d/t.py": "t"}
    after = [publish("p", new, "2", deps=[["b", "latest"]])]
    script = tmp_path / "unfinished.json"
    script.write_text(json.dumps([kind, INSTALLED, after, P, new]))
    *wrong, tried = device.run(UNFINISHED, script, heap="32m", check=True).lines
    assert not wrong, "\n".join([f"{len(wrong)} of {tried}", *wrong[:40]])
    assert int(tried) > 20


# Cuts the power at each write of an upgrade, tears the coming record, and calls a verb.
TORN = """
import json, sys
import scene

with open(sys.argv[1]) as file:
    kind, before, after = json.load(file)
stage = scene.Scene(kind)
for step in before + after:
    stage.step(*step)
tried = 0
for cut in scene.cuts(stage, "upgrade"):
    cut.mount()
    new = scene.read(scene.LIB + "/.mip/new")
    if new and not scene.exists(scene.LIB + "/.mip/room"):
        tried += 1
        scene.write(scene.LIB + "/.mip/new", new[:-5])
        there = scene.disk()
        error = scene.tell(scene.call("list"))["error"]
        if "/.mip/new: damaged" not in (error or "") or scene.disk() != there:
            scene.show(kind, cut.count, error)
    cut.close()
scene.show(tried)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_torn_record_that_comes_is_not_acted_on(device, tmp_path, kind):
    """It is looked at before any file is moved."""
    after = [publish("p", {"p.py": "new p", "d/t.py": "t"}, "2")]
    script = tmp_path / "torn.json"
    script.write_text(json.dumps([kind, INSTALLED, after]))
    *wrong, tried = device.run(TORN, script, heap="32m", check=True).lines
    assert not wrong
    assert int(tried) > 2


# --- What somebody has left ---


def left_rows():
    """Files that a run would stage are there before it: {path: text}."""
    staged = {"torn": "torn", "what was asked for": "a 1", "empty": ""}
    for kind in KINDS:
        for name, text in staged.items():
            for packages in ("a",), ("a", "b"):
                steps = [publish("a", {"a.py": "a 1", "n.py": "1"}), publish("b", {"b.py": "b"})]
                steps += [install(*packages), put(f"{LIB}/a.py~mip", text)]
                if name == "what was asked for" and len(packages) > 1 and kind == "lfs2":
                    steps.append(put(f"{LIB}/a.py", "changed"))
                steps += [publish("a", {"a.py": "a 1", "n.py": "2"}, "2"), install(*packages)]
                yield f"{kind}, {name}, {packages}", kind, [*steps, remove(f"{LIB}/a.py~mip")]


def test_a_file_that_somebody_has_left_beside(device):
    """It never takes the place of the right one, and the right one is taken if it is there."""

    def judge(seen):
        installed, upgraded = seen
        assert upgraded.error is None
        assert upgraded.files.get("a.py") == "a 1"
        assert upgraded.files.get("n.py") == "2"
        assert upgraded.bad == []

    rows = [(name, kind, steps[:-1]) for name, kind, steps in left_rows()]
    check(device, rows, judge, sound=False)


def test_what_is_in_the_way_of_what_mip_keeps(device):
    """It is named, and when it has gone all works; what is in no form for a plan is refused."""
    whole = '["mip", 2]\n["dir", "a", null]\n["end"]\n'
    rows = []
    for kind in KINDS:
        start = [*PACKAGES, install("q")]
        for name, path, text in (
            ("none", f"{LIB}/.mip/none", None),
            (".mip", f"{LIB}/.mip", "a file"),
            ("plan", f"{LIB}/.mip/plan", whole),
        ):
            steps = [*start, remove(path), put(path, text), verb("list")]
            rows.append((f"{name} {kind}", kind, [*steps, remove(path), install("p")], path))

    def judge(seen, path):
        _, listed, again = seen
        assert not listed.error or listed.error.startswith(f"InstallError: {path}: ")
        assert again.error is None

    check(device, rows, judge, sound=False)


LONG_LINES = [
    ("brackets in a path", publish("p", {"a" + "[" * 17 + ".txt": "x"})),
    ("brackets in a version", publish("p", {"p.py": "x"}, "1" + "[" * 17, latest=True)),
    ("a long dependency", publish("p", {"p.py": "x"}, deps=[["./" + "d" * 4070, "1"]])),
    ("a long path", publish("p", {"/".join(["d" * 99] * 41): "x"})),
    ("a dependency without a name", publish("p", {"p.py": "x"}, deps=[["?x", ""]])),
]


def test_what_a_package_says_never_spoils_the_record(device):
    """A line that mip would not read again is refused before it is written."""
    rows = []
    for kind in KINDS:
        for name, package in LONG_LINES:
            steps = [*PACKAGES, install("q"), package, install("p", deps=False), verb("list")]
            rows.append((f"{name} {kind}", kind, steps))

    def judge(seen):
        before, refused, listed = seen
        assert (refused.error or "").startswith("InstallError: ")
        assert listed.error is None
        assert listed.files == before.files

    check(device, rows, judge)


# --- What mip 1.0.0 wrote ---

# States in which 1.0.0 was interrupted, and what each ends in: the tree of the target, of which
# `blobs` has the contents. A directory has null.
STATES = json.loads((HELPERS / "unfinished.json").read_text())

P2 = {
    "p/__init__.py": "V = 2\n",
    "p/new/n.py": "NEW = 2\n",
    "same.py": "SAME = 1\n",
    "s.mpy": MPY,
    "empty.py": "",
}
BASE2 = {"base.py": "B = 2\n"}
LATER = [
    publish("p", P2, "2.0", deps=[["base", "latest"]], digits=8),
    publish("base", BASE2, "2.0", digits=8),
    publish("other", {"other.py": "O = 1\n", "same.py": "SAME = 1\n"}, "1.0", digits=8),
    publish("q", {"q.py": "q"}),
    repository("http://h/u", {"u.py": "U = 1\n"}),
]


def contents(number):
    """A tree of the states: {path: text}."""
    tree = STATES["trees"][number]
    return {path: None if b is None else STATES["blobs"][b] for path, b in tree.items()}


def place(tree):
    """The steps that put it there."""
    return [put(f"{LIB}/{path}", tree[path]) for path in sorted(tree)]


def without_meta(tree):
    """The files of it that are not in .mip."""
    return {p: t for p, t in tree.items() if t is not None and not p.startswith(".mip/")}


def lines_of(tree):
    """What the record in it says, and its lines sorted."""
    return sorted(tree.get(".mip/record", FIRST + "\n").splitlines())


# The record of 1.0.0 with all there is in one: packages that were asked for and needed, one of a
# URL, a path of two.
OLD = next(contents(end) for name, _, end in STATES["states"] if name == "lfs2 upgrade")


def test_the_record_of_1_0_0(device):
    """What 1.0.0 installed is listed, verified, upgraded and uninstalled."""
    start = [*LATER, *place(OLD), verb("list"), verb("verify")]
    rows = [
        ("upgrade", "lfs2", [*start, upgrade(), upgrade(), uninstall("p", "other", "http://h/u")]),
        (
            "uninstall",
            "fat",
            [*start, uninstall("p"), upgrade(), uninstall("other", "http://h/u")],
        ),
        ("install", "lfs2", [*start, install("q"), upgrade(), uninstall("q", "p", "other")]),
    ]
    files = without_meta(OLD)
    kept = {"other.py": "O = 1\n", "same.py": "SAME = 1\n", "u.py": "U = 1\n"}
    results = {
        "upgrade": [{**P2, **BASE2, **kept}] * 2 + [{}],
        "uninstall": [{**kept, "base.py": "B = 1\n"}, kept, {}],
        "install": [{**files, "q.py": "q"}, {**P2, **BASE2, **kept, "q.py": "q"}, {}],
    }

    def judge(seen, name):
        errors = [one.error for one in seen if one.error]
        assert not errors, errors
        listed, verified, *changed = seen
        versions = {"p@1.0", "base@1.0", "other@1.0", "http://h/u"}
        assert set(listed.value or listed.said) == versions
        assert verified.value == []
        assert listed.files == verified.files == files
        for one, expected in zip(changed, results[name], strict=True):
            found = {p: t for p, t in one.files.items() if p not in ("base.py", "u.py")}
            assert found == {p: t for p, t in expected.items() if p not in ("base.py", "u.py")}
        assert changed[0].files == results[name][0]

    check(device, [(*row, row[0]) for row in rows], judge)


def unfinished_rows(calls):
    for number, (name, state, end) in enumerate(STATES["states"]):
        kind = name.split()[0]
        call = calls[number % len(calls)]
        committed = ".mip/next" in contents(state)
        steps = [*LATER, *place(contents(state)), call]
        yield f"{name} {state} {call[1]}", kind, steps, end, committed


def test_an_unfinished_commit_of_1_0_0(device):
    """What 1.0.0 was interrupted at ends as 1.0.0 would have ended it: all old, or all new."""

    def judge(seen, end, committed):
        (one,) = seen
        assert one.error is None, one.error
        tree = contents(end)
        assert one.files == without_meta(tree)
        directories = {p for p in tree if tree[p] is None and p != ".mip"}
        if committed:
            assert one.directories == directories
        else:
            assert one.directories >= directories
        assert sorted(one.kept.get("record", FIRST + "\n").splitlines()) == lines_of(tree)

    check(device, unfinished_rows([verb("recover")]), judge)


def test_verbs_after_an_unfinished_commit_of_1_0_0(device):
    """Every verb does that first, and then its work."""

    def judge(seen, end, _):
        (one,) = seen
        tree = contents(end)
        files = without_meta(tree)
        if not files and one.error:
            return
        assert one.error is None, one.error
        if "q" in one.owned:
            files["q.py"] = "q"
        elif one.asked:
            if "p" in one.owned:
                files = {p: t for p, t in files.items() if p.split("/")[0] not in ("p", "s.py")}
                files |= {**P2, **BASE2}
            else:
                files.pop("base.py", None)
        assert one.files == files

    calls = [install("q"), upgrade(), verb("list"), verb("verify")]
    check(device, unfinished_rows(calls), judge)
