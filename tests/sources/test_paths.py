"""Where a package may put its files: destinations that are refused, wherever they are named."""

import json

from scenes import (
    KINDS,
    LIB,
    check,
    document,
    install,
    look,
    publish,
    put,
    repository,
    sha256,
    uninstall,
    upgrade,
    verb,
)

# (name, destination, what of it the error has).
REFUSED = [
    ("a tilde", "bad~1.py", "bad~1.py"),
    ("a tilde alone", "~", "~"),
    ("a tilde first", "~bad.py", "~bad.py"),
    ("a tilde last", "bad.py~", "bad.py~"),
    ("a staged file", "bad.py~mip", "bad.py~mip"),
    ("a tilde in a directory", "bad~x/x.py", "bad~x"),
    ("the alias of .mip", "~1.MIP/bad.py", "~1.MIP/bad.py"),
    ("the alias of a record", ".mip/RECORD~1", ".mip/"),
    (".mip", ".mip/bad.py", ".mip/bad.py"),
    (".mip itself", ".mip", ".mip"),
    (".mip with a suffix", ".mip/record", ".mip/record"),
    (".mip in capitals", ".MIP/bad.py", ".MIP/bad.py"),
    (".mip in both", ".Mip/bad.py", ".Mip/bad.py"),
    (".mip below", "sub/.mip/bad.py", "sub/.mip/bad.py"),
    (".mip below in capitals", "sub/.miP/record", "sub/.miP/record"),
    (".mip at the end", "sub/.mip", "sub/.mip"),
    (".mip behind a dot", "./.mip/bad.py", ".mip/bad.py"),
    (".mip behind two slashes", "sub//.mip/bad.py", ".mip/bad.py"),
    ("up", "../bad.py", "../bad.py"),
    ("up alone", "..", ".."),
    ("up and down", "../lib/bad.py", "../lib/bad.py"),
    ("down and up", "sub/../bad.py", "sub/../bad.py"),
    ("far up", "sub/../../bad.py", "sub/../../bad.py"),
    ("up at the end", "sub/..", "sub/.."),
    ("three dots", "sub/.../bad.py", "sub/.../bad.py"),
    ("absolute and up", "/../bad.py", "/../bad.py"),
    ("a space first", " bad.py", "bad.py"),
    ("a slash alone", "/", "/"),
    ("a backslash", "sub\\bad.py", "bad.py"),
    ("up with a backslash", "..\\bad.py", "bad.py"),
    ("a colon", "C:bad.py", "C:bad.py"),
    ("a URL", "http://h/bad.py", "http://h/bad.py"),
    ("a question mark", "bad?.py", "bad?.py"),
    ("an asterisk", "bad*.py", "bad*.py"),
    ("a quotation mark", 'bad".py', "bad"),
    ("less than", "bad<.py", "bad<.py"),
    ("greater than", "bad>.py", "bad>.py"),
    ("a bar", "bad|.py", "bad|.py"),
    ("a bar in a directory", "bad|/x.py", "bad|"),
    ("a NUL", "bad\x00.py", "bad"),
    ("a line feed", "bad\n.py", "bad"),
    ("a carriage return", "bad\r.py", "bad"),
    ("a tab", "bad\t.py", "bad"),
    ("an escape", "bad\x1b[2J.py", "bad"),
    ("a delete", "bad\x7f.py", "bad"),
    ("a dot last", "bad.", "bad."),
    ("a dot last in a directory", "bad./x.py", "bad./x.py"),
    ("a space last", "bad.py ", "bad.py"),
    ("a space last in a directory", "bad /x.py", "bad /x.py"),
    ("a space alone", "sub/ /bad.py", "sub/"),
    ("empty", "", ""),
    ("a dot alone", ".", "."),
    ("a slash last", "bad/", "bad/"),
    ("as long as with its suffix it may not be", "b" * 252, "b" * 40),
    ("too long", "b" * 256, "b" * 40),
    ("too long in a directory", "b" * 252 + "/x.py", "b" * 40),
    ("too long in bytes", "é" * 126, "é" * 20),
]

ACCEPTED = [
    "plain.py",
    "a.b.c.py",
    ".hidden",
    ".unseen/x.py",
    "mip/x.py",
    "x.mip",
    ".mip2/x.py",
    ".mi/p.py",
    "..a.py",
    "...a",
    "größe.py",
    "日本/語.txt",
    "😀.txt",
    "a b c.txt",
    "a  b/c d.txt",
    "a+b.txt",
    "c#.txt",
    "100%.txt",
    "a%20b.txt",
    "a=b&c;d,e.txt",
    "it's (1) [2] {3}.txt",
    "@x/$y/!z^`.txt",
    "a-b_c",
    "UPPER.PY",
    "con/aux/nul.py",
    "1/2/3/4/5/6/7/8",
    "s" * 251,
]

WEB = "http://h/p"


def bad_rows():
    """Each path in a package of an index and in one of a URL, with and without one before."""
    for number, (name, path, part) in enumerate(REFUSED):
        kind = KINDS[number % 2]
        old = [publish("thing", {"p.py": "1"}, "1"), install("thing")] if number % 3 else []
        steps = [publish("thing", {"good.py": "good", path: "bad"}, "2"), look(), install("thing")]
        yield f"{name}, index, {kind}", kind, [*old, *steps], part, "thing"
        keys = {"urls": [["good.py", "good.py"], [path, "bad"]]}
        pages = {f"{WEB}/good.py": "good", f"{WEB}/bad": "bad", f"{WEB}/package.json": None}
        pages[f"{WEB}/package.json"] = document(keys)
        steps = [["web", pages], look(), install(WEB)]
        yield f"{name}, URL, {kind}", kind, [*old, *steps], part, WEB


def judge_bad(seen, part, package):
    before, refused = seen[-2:]
    assert refused.error and refused.error.startswith("InstallError: "), refused.files
    escaped = part.encode("unicode_escape").decode()
    assert part in refused.error or escaped in refused.error, refused.error
    assert package in refused.error, refused.error
    assert "EINVAL" not in refused.error and "Errno" not in refused.error, refused.error
    assert all(" " <= c != "\x7f" for c in refused.error), repr(refused.error)
    assert refused.disk == before.disk
    files = [url for url in refused.asked if not url.endswith(".json")]
    assert not files, files


def test_refused_destinations(device):
    """A destination that is none is refused by its name and that of the package.

    Nothing is fetched, nothing changes.
    """
    check(device, bad_rows(), judge_bad)


def good_rows():
    """All good paths in one package, in its next version, and gone."""
    for kind in KINDS:
        one, two = ({path: f"{v} {path in ACCEPTED[:9]}" for path in ACCEPTED} for v in "12")
        steps = [
            publish("p", one),
            install("p"),
            publish("p", two, "2"),
            upgrade(),
            uninstall("p"),
        ]
        yield kind, kind, steps, one, two


def judge_good(seen, one, two):
    errors = [one.error for one in seen if one.error]
    assert not errors, errors
    installed, upgraded, gone = seen
    assert installed.files == one
    assert upgraded.files == two
    assert installed.owned["p"].keys() == one.keys()
    assert (gone.files, gone.directories) == ({}, set())


def test_accepted_destinations(device):
    """Dots, spaces, letters of any script and most signs are a part of a name as any other."""
    check(device, good_rows(), judge_good)


ABSOLUTE = ["/x.py", "//x.py", "/ram/x.py", "/ram/lib/x.py", "/ram/other/x.py", "/sub/x.py"]


def test_absolute_destinations(device):
    """A destination that begins with a slash, as published packages have it, is in the target.

    It is below it as all others are, or it is refused; the root of the disk is not meant.
    """
    rows = [
        (path, kind, [publish("p", {path: "p"}), look(), install("p")], path.lstrip("/"))
        for kind in KINDS
        for path in ABSOLUTE
    ]

    def judge(seen, path):
        before, installed = seen
        if installed.error:
            assert path in installed.error
            assert installed.disk == before.disk
        else:
            assert installed.files == {path: "p"}
            assert installed.elsewhere.keys() == before.elsewhere.keys() - {LIB}

    check(device, rows, judge)


# --- Such a path in what is kept on flash ---

# What is there that is not the target's: files beside it, another target, one below it.
BOOT = "boot"
AROUND = [
    put("/ram/boot.py", BOOT),
    put("/ram/boot.py~mip", "staged"),
    put("/ram/boot.py~mip~mip", "staged"),
    publish("other", {"other.py": "other"}),
    install("other", target="/ram/other"),
    install("other", target=f"{LIB}/sub"),
]
OUTSIDE = ["/ram/boot.py", "/ram/boot.py~mip", "/ram/other/.mip/record", f"{LIB}/sub/.mip/record"]

# Paths that lead to them.
LEADING_OUT = [
    "../boot.py",
    "/ram/boot.py",
    "/../boot.py",
    "sub/../../boot.py",
    "./../boot.py",
    "../other/.mip/record",
    "../other/other.py",
    "sub/.mip/record",
    "sub/.MIP/record",
    "sub/~1.MIP/record",
    ".mip/record",
    ".mip/../../boot.py",
    "..",
    "../boot.py~mip",
    "..//boot.py",
]
CALLS = [
    verb("list"),
    verb("verify"),
    install("q"),
    install("p"),
    upgrade(),
    uninstall("p"),
    verb("recover"),
]


def outside(seen):
    """What is on the disk that is not the target's."""
    return {
        path: text
        for path, text in seen.disk.items()
        if not path.startswith(f"{LIB}/") or path.startswith(f"{LIB}/sub/")
    }


def record_rows():
    for number, path in enumerate(LEADING_OUT):
        kind = KINDS[number % 2]
        for content in (BOOT, "another"):
            lines = [
                ["mip", 1],
                ["package", "p", "1", "latest", "http://i"],
                ["file", "p.py", sha256("p")],
                ["file", path, sha256(content)],
            ]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            steps = [*AROUND, publish("q", {"q.py": "q"}), publish("p", {"p.py": "2"}, "2")]
            steps += [put(f"{LIB}/p.py", "p"), look()]
            for call in CALLS:
                steps += [put(f"{LIB}/.mip/record", text), call]
            yield f"{path}, {content}, {kind}", kind, steps


def judge_record(seen):
    _, _, before, *calls = seen
    for call in calls:
        assert not call.error or call.error.startswith("InstallError: "), call.error
        assert outside(call) == outside(before)


def test_such_a_path_in_a_record(device):
    """A record with a path that leads out has no verb change anything there."""
    check(device, record_rows(), judge_record, sound=False)


# Installs p, and cuts the power at each write. In what is kept then besides the record, p.py
# becomes a path that leads out; a verb must not follow it. Prints what was wrong.
CUT = """
import json, sys
import scene

with open(sys.argv[1]) as file:
    paths, outside, steps, verbs = json.load(file)
tried = 0
for kind in ("lfs2", "fat"):
    for outcome in ("done", "failed"):
        stage = scene.Scene(kind)
        for step in steps:
            stage.step(*step)
        expected = [scene.read(path) for path in outside]
        if outcome == "failed":
            scene.web["http://h/p/q.py"] = None
        for stage in scene.cuts(stage, "install", "http://h/p"):
            for path in paths:
                stage.mount()
                if stage.rewrite(b'"p.py"', json.dumps(path).encode()):
                    tried += 1
                    verb = verbs[tried % len(verbs)]
                    error = scene.tell(scene.call(*verb))["error"]
                    if error and not error.startswith("InstallError"):
                        scene.show(kind, outcome, stage.count, path, verb, error)
                    if [scene.read(path) for path in outside] != expected:
                        scene.show(kind, outcome, stage.count, path, verb, "is not as it was")
                stage.close()
scene.show(tried)
"""


def test_such_a_path_in_an_unfinished_run(device, tmp_path):
    """What an interrupted run left, and was damaged then, has no verb change anything outside."""
    files = {"p.py": "p", "q.py": "q"}
    steps = [step for step in AROUND if step[0] != "call"]
    records = ["other/.mip/record", "lib/sub/.mip/record"]
    steps += [put(f"/ram/{record}", '["mip", 1]\n') for record in records]
    steps += [publish("r", {"r.py": "r"}), repository("http://h/p", files)]
    verbs = [["recover"], ["list"], ["install", "r"], ["install", "http://h/p"], ["verify"]]
    script = tmp_path / "cut.json"
    script.write_text(json.dumps([LEADING_OUT, OUTSIDE, steps, verbs]))
    *wrong, tried = device.run(CUT, script, heap="32m", check=True).lines
    assert wrong == []
    assert int(tried) > 100
