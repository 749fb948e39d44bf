"""Packages that meet: in a path, in a version, in a directory, in what import loads."""

import itertools
import re

from scenes import (
    INDEX,
    KINDS,
    LIB,
    LISTED,
    MPY,
    cd,
    check,
    gone,
    install,
    look,
    publish,
    put,
    remove,
    repository,
    search,
    sha256,
    uninstall,
    upgrade,
    verb,
)

REPLACING = f"Replacing {LIB}/s.py of "
REPLACING_CHANGED = f"Replacing {LIB}/s.py, which was changed"
REMOVING_CHANGED = f"Removing {LIB}/s.py, which was changed"


def no_errors(seen):
    """No call failed."""
    errors = [one.error for one in seen if one.error]
    assert not errors, errors


def own_hashes(one, path, texts):
    """Every package that is installed has the path with the hash of its own text.

    A hash may be as short as the package.json has it.
    """
    for name, found in one.owners(path).items():
        assert len(found) >= 8 and sha256(texts[name]).startswith(found), (name, found)


# --- 1 and 2: a path that several packages list ---


def both(texts, digits=(64, 64)):
    """Packages a and b, which share s.py and have these texts there."""
    return [
        publish(name, {f"{name}.py": name, "s.py": texts[name]}, digits=count)
        for name, count in zip("ab", digits, strict=True)
    ]


def in_one_call(*names):
    return [install(*names)]


def in_two_calls(*names):
    return [install(name) for name in names]


WAYS = {"one call": in_one_call, "two calls": in_two_calls}
TEXTS = {"same": {"a": "s", "b": "s"}, "other": {"a": "s of a", "b": "s of b"}}


def shared_rows(kinds, counts):
    """Each way in which a and b come and go."""
    table = itertools.product(kinds, WAYS, ("ab", "ba"), TEXTS, counts, ("ab", "ba"))
    for kind, way, (first, then), content, digits, (one, other) in table:
        steps = [
            *both(TEXTS[content], digits),
            *WAYS[way](first, then),
            upgrade(),
            uninstall(one),
            upgrade(),
            uninstall(other),
        ]
        name = f"{kind}, {way}, {first} {then}, {content}, {digits}, without {one}, {other}"
        yield name, kind, steps, first, then, TEXTS[content], other


def judge_shared(seen, first, then, texts, left):
    no_errors(seen)
    installed, upgraded, without, again, empty = seen[-5:]
    there = {"a.py": "a", "b.py": "b", "s.py": texts[then]}
    differ = texts[first] != texts[then]
    assert installed.files == there
    assert installed.versions == {"a": "1", "b": "1"}
    assert installed.notes == ([REPLACING + first] if differ else [])
    own_hashes(installed, "s.py", texts)
    assert installed.owners("s.py").keys() == {"a", "b"}
    # Nothing is new, so nothing changes.
    assert (upgraded.files, upgraded.notes, upgraded.value) == (there, [], False)
    own_hashes(upgraded, "s.py", texts)
    # It stays as it is while any package lists it.
    assert without.files == {f"{left}.py": left, "s.py": texts[then]}
    assert without.notes == []
    assert without.owned.keys() == {left}
    own_hashes(without, "s.py", texts)
    assert again.files == {f"{left}.py": left, "s.py": texts[left]}
    assert again.bad == []
    assert (empty.files, empty.owned, empty.notes) == ({}, {}, [])


def test_a_shared_path(device):
    """The later package's content is there and it is said, both own the path, each as it is.

    Hashes are the same if one begins with the other. The path goes with its last owner.
    """
    counts = list(itertools.product((8, 64), repeat=2))
    check(device, shared_rows(["lfs2"], counts), judge_shared)


def test_a_shared_path_on_fat(device):
    """It is the same on FAT."""
    check(device, shared_rows(["fat"], [(8, 64), (64, 64)]), judge_shared)


def three_rows():
    """Three packages that share s.py, in each order of coming and going."""
    for texts in ({"a": "s", "b": "s", "c": "s"}, {"a": "sa", "b": "sb", "c": "sb"}):
        for come, go in itertools.product(itertools.permutations("abc"), ("abc", "bca", "cab")):
            steps = [publish(name, {"s.py": texts[name], f"{name}.py": ""}) for name in "abc"]
            steps += [install(name) for name in come] + [uninstall(name) for name in go]
            yield f"{come} {go} {sorted(texts.values())}", "lfs2", steps, come, go, texts


def judge_three(seen, come, go, texts):
    no_errors(seen)
    there = None
    for number, (name, one) in enumerate(zip(come, seen, strict=False)):
        owners = come[: number + 1]
        replaced = there not in (None, texts[name])
        there = texts[name]
        assert one.files == {"s.py": there, **{f"{owner}.py": "" for owner in owners}}
        assert one.owners("s.py").keys() == set(owners)
        own_hashes(one, "s.py", texts)
        assert len(one.notes) == replaced, one.notes
        assert all(note[: len(REPLACING)] == REPLACING for note in one.notes), one.notes
        assert all(note[len(REPLACING) :] in owners[:-1] for note in one.notes), one.notes
    for number, one in enumerate(seen[3:], 1):
        left = go[number:]
        files = {"s.py": there, **{f"{owner}.py": "" for owner in left}}
        assert one.files == (files if left else {})
        assert one.owned.keys() == set(left)
        own_hashes(one, "s.py", texts)


def test_a_path_of_three(device):
    """A path of three packages stays until the last of them goes."""
    check(device, three_rows(), judge_three)


def url_rows():
    """As shared_rows(), with packages that are named by their URL and have no hashes."""
    a, b = "http://h/a", "http://h/b"
    for way, content, (first, then) in itertools.product(WAYS, TEXTS, ((a, b), (b, a))):
        texts = {a: TEXTS[content]["a"], b: TEXTS[content]["b"]}
        steps = [repository(url, {f"{url[-1]}.py": url[-1], "s.py": texts[url]}) for url in (a, b)]
        steps += [*WAYS[way](first, then), upgrade(), uninstall(then), upgrade(), uninstall(first)]
        yield f"{way}, {content}, {first} {then}", "lfs2", steps, first, then, texts


def judge_urls(seen, first, then, texts):
    no_errors(seen)
    installed, upgraded, without, again, empty = seen[-5:]
    there = {"a.py": "a", "b.py": "b", "s.py": texts[then]}
    assert installed.files == there
    differ = texts[first] != texts[then]
    assert installed.notes == ([REPLACING + first] if differ else [])
    own_hashes(installed, "s.py", texts)
    assert upgraded.files == there
    own_hashes(upgraded, "s.py", texts)
    assert without.files == {f"{first[-1]}.py": first[-1], "s.py": texts[then]}
    own_hashes(without, "s.py", texts)
    assert again.files["s.py"] == texts[first]
    assert (empty.files, empty.owned) == ({}, {})


def test_a_shared_path_without_hashes(device):
    """Packages that have no hashes share a path in the same way."""
    check(device, url_rows(), judge_urls)


OTHER = {"a": "s of a", "b": "s of b"}

# What a version of b, the package that came second, does to the path: (name, the files of b
# first, those of its next version, what s.py may be after upgrade()).
NEXT_VERSIONS = [
    ("changed", {"s.py": "s of b"}, {"s.py": "new s of b"}, {"s of a", "new s of b"}),
    ("the same now", {"s.py": "s of b"}, {"s.py": "s of a"}, {"s of a"}),
    ("given up", {"s.py": "s of b", "b.py": ""}, {"b.py": ""}, {"s of a"}),
    ("given up, the same", {"s.py": "s of a", "b.py": ""}, {"b.py": ""}, {"s of a"}),
    ("taken up", {"b.py": ""}, {"s.py": "s of b"}, {"s of a", "s of b"}),
    ("taken up, the same", {"b.py": ""}, {"s.py": "s of a"}, {"s of a"}),
]


def next_version_rows():
    for kind, order, row in itertools.product(KINDS, ("ab", "ba"), NEXT_VERSIONS):
        name, before, after, may = row
        steps = [publish("a", {"s.py": "s of a"}), publish("b", before, "1")]
        steps += [install(name) for name in order]
        steps += [publish("b", after, "2"), upgrade(), upgrade()]
        steps += [uninstall("b"), upgrade(), uninstall("a")]
        yield f"{kind}, {name}, {order}", kind, steps, before, after, may


def judge_next_version(seen, before, after, may):
    no_errors(seen)
    _, installed, upgraded, again, without, repaired, empty = seen
    there = upgraded.files["s.py"]
    assert there in may
    assert upgraded.owned.keys() == {"a", "b"}
    assert upgraded.owned["a"].keys() == {"s.py"}
    assert upgraded.owned["b"].keys() == after.keys()
    own_hashes(upgraded, "s.py", {"a": "s of a", "b": after.get("s.py")})
    if there != installed.files["s.py"] and there != "s of a" and "s.py" not in before:
        assert upgraded.notes == [REPLACING + "a"]
    left = there != "s of a" and "s.py" in before and "s.py" not in after
    said = f"{LIB}/s.py stays for a: install that again"
    assert upgraded.said.count(said) == left
    assert (again.files, again.notes, again.value) == (upgraded.files, [], False)
    assert without.files == {"s.py": there}
    assert repaired.files == {"s.py": "s of a"}
    assert empty.files == {}


def test_a_shared_path_in_the_next_version(device):
    """A package may change, give up or take up a path that another package lists, too."""
    check(device, next_version_rows(), judge_next_version)


def test_a_hash_that_is_recorded_stays_whole(device):
    """Where an index has 8 digits of a hash, the record keeps all that it has, however often."""
    rows = []
    for kind in KINDS:
        packages = [publish(name, {"x.py": name}, digits=8) for name in "ab"]
        changes = [publish("b", {"x.py": "a"}, "2", digits=8), install("b"), uninstall("b")]
        rows.append((kind, kind, [*packages, *2 * [install("a", "b")], *changes]))

    def judge(seen):
        no_errors(seen)
        first, again, _, alone = seen
        assert again.record == first.record
        own_hashes(again, "x.py", {"a": "a", "b": "b"})
        assert (alone.files, alone.bad) == ({"x.py": "a"}, [])
        assert "install that again" not in "".join(alone.said)

    check(device, rows, judge)


def test_a_shared_path_of_a_dependency(device):
    """A package may list the files of what it needs as its own."""
    rows = []
    for content, texts in TEXTS.items():
        files = {name: {"s.py": texts[name], f"{name}.py": name} for name in "ab"}
        packages = [publish("a", files["a"], deps=[["b", "latest"]]), publish("b", files["b"])]
        for names in ("a", "ab", "ba"):
            for calls in (in_one_call, in_two_calls):
                steps = [*packages, *calls(*names), upgrade(), uninstall("a"), upgrade()]
                rows.append((f"{content} {names} {calls.__name__}", "lfs2", steps, texts))

    def judge(seen, texts):
        no_errors(seen)
        installed, upgraded, _, _ = seen[-4:]
        assert installed.versions == {"a": "1", "b": "1"}
        own_hashes(installed, "s.py", texts)
        assert (upgraded.files, upgraded.value) == (installed.files, False)
        assert installed.bad == upgraded.bad == []

    check(device, rows, judge)


def test_letter_case_of_a_path(device):
    """Paths tell letter case where the disk does; elsewhere no file is lost, or it is refused."""
    a, b = publish("a", {"Util.py": "A"}), publish("b", {"util.py": "B"})
    rows = []
    for kind, way, order, go in itertools.product(KINDS, WAYS, ("ab", "ba"), ("ab", "ba")):
        steps = [a, b, look(), *WAYS[way](*order), *[uninstall(name) for name in go]]
        rows.append((f"{kind} {way} {order} {go}", kind, steps, kind, go))

    def judge(seen, kind, go):
        before, installed, without, empty = seen[-4:]
        if kind == "lfs2":
            no_errors(seen)
            assert installed.files == {"Util.py": "A", "util.py": "B"}
            left = {"a": {"util.py": "B"}, "b": {"Util.py": "A"}}
            assert without.files == left[go[0]]
        elif installed.error:
            # The other one alone is there, or neither.
            assert (installed.files, installed.kept) == (before.files, before.kept)
        else:
            assert len(without.files) == 1
        assert empty.files == {}

    check(device, rows, judge)


def test_another_letter_case_in_the_next_version(device):
    """A file or directory whose name changes its letter case is there under its new name."""
    versions = {"1": ("Foo.py", "Dir/a.py"), "2": ("foo.py", "dir/a.py")}
    steps = [
        publish("p", {path: "text " + version for path in paths}, version)
        for version, paths in versions.items()
    ]
    rows = [
        (f"{kind} {first} {then}", kind, [*steps, install("p@" + first), last, uninstall("p")])
        for kind in KINDS
        for first, then in ("12", "21")
        for last in (install("p@" + then), install(f"p@{then}", version=None))
    ]

    def judge(seen):
        no_errors(seen)
        installed, changed, empty = seen
        (version,) = changed.versions.values()
        assert version not in installed.versions.values()
        assert set(changed.files.values()) == {"text " + version}
        assert changed.bad == []
        assert {path.lower() for path in changed.files} == {"foo.py", "dir/a.py"}
        assert (empty.files, empty.directories) == ({}, set())

    check(device, rows, judge)


# --- 5: what was changed by hand, or is of no package ---

P = {"p.py": "p", "s.py": "s"}
EDIT = put(f"{LIB}/s.py", "edited")
V1 = publish("p", P, "1")
V2 = publish("p", {"p.py": "p", "s.py": "new s"}, "2")
V2_WITHOUT = publish("p", {"p.py": "p"}, "2")
Q = publish("q", {"q.py": "q", "s.py": "s"})
Q_OTHER = publish("q", {"q.py": "q", "s.py": "s of q"})
HAVE = [V1, install("p")]

# (name, steps, what the last call says, what s.py is then, None where it is gone).
BY_HAND = [
    ("own, unchanged", [*HAVE, V2, upgrade()], [], "new s"),
    ("own, the same version", [*HAVE, EDIT, upgrade()], [REPLACING_CHANGED], "s"),
    ("own, again", [*HAVE, EDIT, install("p")], [REPLACING_CHANGED], "s"),
    ("own, the next version", [*HAVE, EDIT, V2, upgrade()], [REPLACING_CHANGED], "new s"),
    ("already as it comes", [*HAVE, put(f"{LIB}/s.py", "new s"), V2, upgrade()], [], "new s"),
    ("deleted", [*HAVE, remove(f"{LIB}/s.py"), upgrade()], [], "s"),
    ("deleted, the next version", [*HAVE, remove(f"{LIB}/s.py"), V2, upgrade()], [], "new s"),
    ("dropped", [*HAVE, V2_WITHOUT, upgrade()], [], None),
    ("dropped, edited", [*HAVE, EDIT, V2_WITHOUT, upgrade()], [REMOVING_CHANGED], None),
    ("dropped, deleted", [*HAVE, remove(f"{LIB}/s.py"), V2_WITHOUT, upgrade()], [], None),
    ("uninstalled", [*HAVE, uninstall("p")], [], None),
    ("uninstalled, edited", [*HAVE, EDIT, uninstall("p")], [REMOVING_CHANGED], None),
    ("uninstalled, deleted", [*HAVE, remove(f"{LIB}/s.py"), uninstall("p")], [], None),
    ("of both, one goes", [*HAVE, Q, install("q"), EDIT, uninstall("p")], [], "edited"),
    (
        "of both, both go",
        [*HAVE, Q, install("q"), EDIT, uninstall("p", "q")],
        [REMOVING_CHANGED],
        None,
    ),
    (
        "of both, the last goes",
        [*HAVE, Q, install("q"), EDIT, uninstall("q"), uninstall("p")],
        [REMOVING_CHANGED],
        None,
    ),
    ("of both, repaired", [*HAVE, Q, install("q"), EDIT, upgrade()], [REPLACING_CHANGED], "s"),
    ("of no package", [V1, EDIT, install("p")], [REPLACING + "no package"], "s"),
    ("of no package, the same", [V1, put(f"{LIB}/s.py", "s"), install("p")], [], "s"),
    (
        "of no package, the next version",
        [
            V2_WITHOUT,
            install("p"),
            EDIT,
            publish("p", {"p.py": "p", "s.py": "new s"}, "3"),
            upgrade(),
        ],
        [REPLACING + "no package"],
        "new s",
    ),
    ("of another, unchanged", [*HAVE, Q_OTHER, install("q")], [REPLACING + "p"], "s of q"),
    (
        "of another, as it comes",
        [*HAVE, put(f"{LIB}/s.py", "s of q"), Q_OTHER, install("q")],
        [],
        "s of q",
    ),
    (
        "bytecode in its place",
        [*HAVE, EDIT, publish("p", {"p.py": "p", "s.mpy": MPY}, "2"), upgrade()],
        [REMOVING_CHANGED],
        None,
    ),
    (
        "bytecode in its place, unchanged",
        [*HAVE, publish("p", {"p.py": "p", "s.mpy": MPY}, "2"), upgrade()],
        [],
        None,
    ),
]


def judge_by_hand(seen, notes, text):
    no_errors(seen)
    assert seen[-1].notes == notes
    assert seen[-1].files.get("s.py") == text


def test_changed_by_hand(device):
    """What is replaced or removed and is not as it was recorded is named; what is, is not."""
    rows = [(f"{row[0]}, {kind}", kind, *row[1:]) for kind in KINDS for row in BY_HAND]
    check(device, rows, judge_by_hand)


def test_changed_by_hand_and_of_another(device):
    """A file of a package that was edited is named when another package replaces it."""
    steps = [*HAVE, EDIT, Q_OTHER, install("q")]

    def judge(seen):
        no_errors(seen)
        assert seen[-1].notes in ([REPLACING + "p"], [REPLACING_CHANGED])
        assert seen[-1].files["s.py"] == "s of q"

    check(device, [(kind, kind, steps) for kind in KINDS], judge)


def test_what_is_said_when_it_fails(device):
    """What a call that fails would have replaced stays as it was."""
    broken = ["web", {f"{INDEX}/file/{sha256('s of q')[:2]}/{sha256('s of q')}": "other"}]
    rows = [
        ("edited", "lfs2", [*HAVE, EDIT, Q_OTHER, broken, look(), install("q")]),
        ("of another", "fat", [*HAVE, Q_OTHER, broken, look(), install("q")]),
        ("of no package", "lfs2", [EDIT, Q_OTHER, broken, look(), install("q")]),
    ]

    def judge(seen):
        assert seen[-1].error
        assert seen[-1].disk == seen[-2].disk

    check(device, rows, judge)


# --- 4: a file that must also be a directory ---


def one(name, *paths, **more):
    """A package of these paths."""
    return publish(name, {path: f"{name} {path}" for path in paths}, **more)


MINE = put(f"{LIB}/d", "mine")
MINE_BELOW = put(f"{LIB}/d/mine.py", "mine")
MINE_EMPTY = put(f"{LIB}/d")
REMOVE_IT = "remove it"

# (name, steps, the call that is refused, what it says, the steps that then help).
FILE_AND_DIRECTORY = [
    (
        "file",
        [one("a", "d"), install("a"), one("b", "d/x.py")],
        install("b"),
        "uninstall a",
        [uninstall("a")],
    ),
    (
        "directory",
        [one("a", "d/x.py"), install("a"), one("b", "d")],
        install("b"),
        "uninstall a",
        [uninstall("a")],
    ),
    (
        "a file below",
        [one("a", "d/e"), install("a"), one("b", "d/e/f/x.py")],
        install("b"),
        "uninstall a",
        [uninstall("a")],
    ),
    (
        "a directory below",
        [one("a", "d/e/f/x.py"), install("a"), one("b", "c.py", "d/e")],
        install("b"),
        "uninstall a",
        [uninstall("a")],
    ),
    (
        "a module",
        [one("a", "m.py"), install("a"), one("b", "m.py/x.py")],
        install("b"),
        "uninstall a",
        [uninstall("a")],
    ),
    (
        "of a dependency",
        [
            one("a", "d"),
            install("a"),
            one("c", "d/x.py"),
            one("b", "b.py", deps=[["c", "latest"]]),
        ],
        install("b"),
        "uninstall a",
        [uninstall("a")],
    ),
    (
        "own file",
        [one("p", "d"), install("p"), one("p", "d/x.py", version="2")],
        install("p"),
        "uninstall p",
        [uninstall("p")],
    ),
    (
        "own directory",
        [one("p", "d/x.py"), install("p"), one("p", "d", version="2")],
        install("p"),
        "uninstall p",
        [uninstall("p")],
    ),
    (
        "own file, older",
        [one("p", "d"), one("p", "d/x.py", version="2"), install("p")],
        install("p@1"),
        "uninstall p",
        [uninstall("p")],
    ),
    (
        "own file, upgrade",
        [one("p", "d"), install("p"), one("p", "d/x.py", version="2")],
        upgrade(),
        "uninstall p",
        [uninstall("p")],
    ),
    (
        "own directory, upgrade",
        [one("p", "d/x.py"), install("p"), one("p", "d", version="2")],
        upgrade(),
        "uninstall p",
        [uninstall("p")],
    ),
    (
        "another's, upgrade",
        [
            one("a", "a.py"),
            one("b", "d/x.py"),
            install("a"),
            install("b"),
            one("a", "d", version="2"),
        ],
        upgrade(),
        "uninstall ",
        [uninstall("b")],
    ),
    ("my file", [MINE, one("b", "d/x.py")], install("b"), REMOVE_IT, [remove(f"{LIB}/d")]),
    (
        "my file, deeper",
        [MINE, one("b", "b.py", "d/e/f/x.py")],
        install("b"),
        REMOVE_IT,
        [remove(f"{LIB}/d")],
    ),
    ("my directory", [MINE_BELOW, one("b", "d")], install("b"), REMOVE_IT, [remove(f"{LIB}/d")]),
    (
        "my empty directory",
        [MINE_EMPTY, one("b", "d")],
        install("b"),
        REMOVE_IT,
        [remove(f"{LIB}/d")],
    ),
    (
        "my file is the target",
        [put(LIB, "mine"), one("b", "x.py")],
        install("b"),
        "remove",
        [remove(LIB)],
    ),
    (
        "my directory for a file",
        [one("a", "d"), install("a"), remove(f"{LIB}/d"), MINE_BELOW],
        upgrade(),
        "remove",
        [remove(f"{LIB}/d")],
    ),
    (
        "my file for a directory",
        [one("a", "d/x.py"), install("a"), remove(f"{LIB}/d"), MINE],
        upgrade(),
        "remove",
        [remove(f"{LIB}/d")],
    ),
]

# Both are new: there is nothing to be removed, and nothing helps.
AT_ONCE = [
    ("two, file first", [one("a", "d"), one("b", "d/x.py")], install("a", "b")),
    ("two, file last", [one("a", "d/x.py"), one("b", "d")], install("a", "b")),
    ("two, deeper", [one("a", "d/e"), one("b", "d/e/f/x.py")], install("b", "a")),
    ("a dependency", [one("a", "d", deps=[["b", "latest"]]), one("b", "d/x.py")], install("a")),
    ("one, file first", [one("a", "d", "d/x.py")], install("a")),
    ("one, file last", [one("a", "d/e/x.py", "c.py", "d")], install("a")),
    ("by URL", [repository("http://h/a", {"d": "d", "d/x": "x"})], install("http://h/a")),
    (
        "beside another",
        [one("c", "c.py"), install("c"), one("a", "d"), one("b", "d/x.py")],
        install("a", "b"),
    ),
]


def judge_file_and_directory(seen, words, more):
    before, refused = seen[-2 - more], seen[-1 - more]
    assert refused.error and refused.error.startswith("InstallError: "), refused.error
    assert words in refused.error
    assert refused.disk == before.disk
    if more:
        assert seen[-1].error is None, f"then {seen[-1].error}"
        assert seen[-1].bad == []


def test_a_file_that_must_be_a_directory(device):
    """It is refused before anything changes, with what to remove; with that gone, it works."""
    rows = []
    for kind in KINDS:
        for name, steps, call, words, helps in FILE_AND_DIRECTORY:
            more = len([step for step in [*helps, call] if step[0] == "call"])
            steps = [*steps, look(), call, *helps, call]
            rows.append((f"{name}, {kind}", kind, steps, words, more))
    check(device, rows, judge_file_and_directory)


def test_a_file_that_must_be_a_directory_at_once(device):
    """It is refused in one call, too, and nothing is there."""
    rows = [
        (f"{name}, {kind}", kind, [*steps, look(), call], "", 0)
        for kind in KINDS
        for name, steps, call in AT_ONCE
    ]
    check(device, rows, judge_file_and_directory)


def test_a_file_that_must_be_a_directory_in_another_letter_case(device):
    """On FAT D and d/x.py are in each other's way, elsewhere they are not."""
    a, b = one("a", "D"), one("b", "d/x.py")
    rows = [
        (f"{kind} {order} {way}", kind, [a, b, look(), *WAYS[way](*order)], kind, way, order)
        for kind in KINDS
        for order in ("ab", "ba")
        for way in WAYS
    ]

    def judge(seen, kind, way, order):
        if kind == "lfs2":
            no_errors(seen)
            assert set(seen[-1].files) == {"D", "d/x.py"}
            return
        before, refused = seen[-2:]
        assert refused.error, refused.files
        assert refused.disk == before.disk
        if way == "two calls":
            assert f"uninstall {order[0]}" in refused.error

    check(device, rows, judge)


# --- 6: what import loads ---

FOO_PY = publish("foo", {"foo.py": "new"})
FOO_MPY = publish("foo", {"foo.mpy": MPY + "new"})
FOO_PACKAGE = publish("foo", {"foo/__init__.py": "new", "foo/bar.py": "new"})
FOO_PACKAGE_MPY = publish("foo", {"foo/__init__.mpy": MPY, "foo/bar.mpy": MPY})
LIKE = [publish("q", {"q/__init__.py": "1"}), publish("r", {"q.py": "2"})]
FORMS = [publish("a", {"foo.py": "1"}), publish("b", {"foo.mpy": MPY})]
FIRST = search("/ram/root", LIB)
WORKING = [search("", ".frozen", LIB), cd("/ram")]

# (name, steps, the last of them a call; what hides, what is hidden; two None where nothing does).
HIDES = [
    (
        "source beside bytecode",
        [put(f"{LIB}/foo.py", "mine"), FOO_MPY, install("foo")],
        f"{LIB}/foo.py",
        f"{LIB}/foo.mpy",
    ),
    (
        "directory beside source",
        [put(f"{LIB}/foo/mine.py", "mine"), FOO_PY, install("foo")],
        f"{LIB}/foo",
        f"{LIB}/foo.py",
    ),
    (
        "directory beside bytecode",
        [put(f"{LIB}/foo/mine.py", "mine"), FOO_MPY, install("foo")],
        f"{LIB}/foo",
        f"{LIB}/foo.mpy",
    ),
    (
        "empty directory",
        [put(f"{LIB}/foo"), FOO_PY, install("foo")],
        f"{LIB}/foo",
        f"{LIB}/foo.py",
    ),
    (
        "__init__",
        [put(f"{LIB}/foo/__init__.py", "mine"), FOO_PACKAGE_MPY, install("foo")],
        f"{LIB}/foo/__init__.py",
        f"{LIB}/foo/__init__.mpy",
    ),
    (
        "source in a package",
        [put(f"{LIB}/foo/bar.py", "mine"), FOO_PACKAGE_MPY, install("foo")],
        f"{LIB}/foo/bar.py",
        f"{LIB}/foo/bar.mpy",
    ),
    (
        "directory in a package",
        [put(f"{LIB}/foo/bar"), FOO_PACKAGE, install("foo")],
        f"{LIB}/foo/bar",
        f"{LIB}/foo/bar.py",
    ),
    (
        "of another package",
        [*FORMS, install("a"), install("b")],
        f"{LIB}/foo.py",
        f"{LIB}/foo.mpy",
    ),
    ("in one call", [*FORMS, install("a", "b")], f"{LIB}/foo.py", f"{LIB}/foo.mpy"),
    ("in one call, the other way", [*FORMS, install("b", "a")], f"{LIB}/foo.py", f"{LIB}/foo.mpy"),
    (
        "directory of another package",
        [*LIKE, install("q"), install("r")],
        f"{LIB}/q",
        f"{LIB}/q.py",
    ),
    ("directory in one call", [*LIKE, install("q", "r")], f"{LIB}/q", f"{LIB}/q.py"),
    (
        "directory in one call, the other way",
        [*LIKE, install("r", "q")],
        f"{LIB}/q",
        f"{LIB}/q.py",
    ),
    (
        "in a package itself",
        [publish("foo", {"foo.py": "1", "foo/bar.py": "2"}), install("foo")],
        f"{LIB}/foo",
        f"{LIB}/foo.py",
    ),
    (
        "source before the target",
        [FIRST, put("/ram/root/foo.py", "mine"), FOO_PY, install("foo")],
        "/ram/root/foo.py",
        f"{LIB}/foo.py",
    ),
    (
        "source before bytecode",
        [FIRST, put("/ram/root/foo.py", "mine"), FOO_MPY, install("foo")],
        "/ram/root/foo.py",
        f"{LIB}/foo.mpy",
    ),
    (
        "bytecode before the target",
        [FIRST, put("/ram/root/foo.mpy", "mine"), FOO_PY, install("foo")],
        "/ram/root/foo.mpy",
        f"{LIB}/foo.py",
    ),
    (
        "directory before the target",
        [FIRST, put("/ram/root/foo"), FOO_PY, install("foo")],
        "/ram/root/foo",
        f"{LIB}/foo.py",
    ),
    (
        "source before a package",
        [FIRST, put("/ram/root/foo.py", "mine"), FOO_PACKAGE, install("foo")],
        "/ram/root/foo.py",
        f"{LIB}/foo",
    ),
    (
        "directory before a package",
        [FIRST, put("/ram/root/foo/mine.py", "mine"), FOO_PACKAGE, install("foo")],
        "/ram/root/foo",
        f"{LIB}/foo",
    ),
    (
        "working directory",
        [*WORKING, put("/ram/foo.py", "mine"), FOO_PY, install("foo")],
        "foo.py",
        f"{LIB}/foo.py",
    ),
    (
        "bytecode in the working directory",
        [*WORKING, put("/ram/foo.mpy", "mine"), FOO_PY, install("foo")],
        "foo.mpy",
        f"{LIB}/foo.py",
    ),
    (
        "directory in the working directory",
        [*WORKING, put("/ram/foo"), FOO_MPY, install("foo")],
        "foo",
        f"{LIB}/foo.mpy",
    ),
    (
        "the second entry",
        [search("/ram/a", "/ram/b", LIB), put("/ram/b/foo.py", "mine"), FOO_PY, install("foo")],
        "/ram/b/foo.py",
        f"{LIB}/foo.py",
    ),
    (
        "the root",
        [search("/ram", LIB), put("/ram/foo.py", "mine"), FOO_PY, install("foo")],
        "/ram/foo.py",
        f"{LIB}/foo.py",
    ),
    (
        "mine in what was a package",
        [
            FOO_PACKAGE,
            install("foo"),
            put(f"{LIB}/foo/mine.py", "mine"),
            publish("foo", {"foo.py": "new"}, "2"),
            upgrade(),
        ],
        f"{LIB}/foo",
        f"{LIB}/foo.py",
    ),
    ("nothing is there", [FIRST, FOO_PY, install("foo")], None, None),
    (
        "bytecode beside source",
        [put(f"{LIB}/foo.mpy", "mine"), FOO_PY, install("foo")],
        None,
        None,
    ),
    ("source itself", [put(f"{LIB}/foo.py", "mine"), FOO_PY, install("foo")], None, None),
    (
        "behind the target",
        [search(LIB, "/ram/root"), put("/ram/root/foo.py", "mine"), FOO_PY, install("foo")],
        None,
        None,
    ),
    (
        "another name",
        [
            FIRST,
            put("/ram/root/foo2.py", "mine"),
            put("/ram/root/fo.py", "mine"),
            FOO_PY,
            install("foo"),
        ],
        None,
        None,
    ),
    (
        "no module",
        [
            FIRST,
            put("/ram/root/foo.txt", "mine"),
            publish("foo", {"foo.txt": "new"}),
            install("foo"),
        ],
        None,
        None,
    ),
    (
        "data beside a module",
        [
            FIRST,
            put("/ram/root/foo.txt", "mine"),
            put(f"{LIB}/foo.json", "mine"),
            FOO_PY,
            install("foo"),
        ],
        None,
        None,
    ),
    (
        "a module within a package",
        [FIRST, put("/ram/root/bar.py", "mine"), FOO_PACKAGE, install("foo")],
        None,
        None,
    ),
    (
        "source becomes bytecode",
        [FOO_PY, install("foo"), publish("foo", {"foo.mpy": MPY}, "2"), upgrade()],
        None,
        None,
    ),
    (
        "bytecode becomes source",
        [FOO_MPY, install("foo"), publish("foo", {"foo.py": "2"}, "2"), upgrade()],
        None,
        None,
    ),
    (
        "a package becomes bytecode",
        [
            FOO_PACKAGE,
            install("foo"),
            publish("foo", {"foo/__init__.mpy": MPY, "foo/bar.mpy": MPY}, "2"),
            upgrade(),
        ],
        None,
        None,
    ),
    (
        "a package becomes a module",
        [FOO_PACKAGE, install("foo"), publish("foo", {"foo.py": "new"}, "2"), upgrade()],
        None,
        None,
    ),
    (
        "a module becomes a package",
        [FOO_PY, install("foo"), publish("foo", {"foo/__init__.py": "new"}, "2"), upgrade()],
        None,
        None,
    ),
    ("the target, twice", [search(LIB, LIB), FOO_PY, install("foo"), install("foo")], None, None),
    (
        "the target with a slash",
        [search(LIB + "/"), FOO_PY, install("foo"), install("foo")],
        None,
        None,
    ),
    (
        "the target is the working directory",
        [FOO_PY, install("foo"), search("", LIB), cd(LIB), install("foo")],
        None,
        None,
    ),
    (
        "the target, relative",
        [FOO_PY, install("foo"), search("lib", LIB), cd("/ram"), install("foo")],
        None,
        None,
    ),
]


def judge_hides(seen, hider, hidden):
    no_errors(seen)
    said = [line.split(" hides ", 1) for line in seen[-1].said if " hides " in line]
    if not hider:
        assert said == []
        return
    found = [
        (before, behind)
        for before, behind in said
        if re.search(rf"{re.escape(hider)}/?([ ,:]|$)", before) and behind.startswith(hidden)
    ]
    assert found, f"said {seen[-1].said}"


def test_what_import_loads(device):
    """What hides a module that was installed is said, and only that."""
    rows = [(f"{row[0]}, {kind}", kind, *row[1:]) for kind in KINDS for row in HIDES]
    check(device, rows, judge_hides)


# --- 3: pins ---

X = [publish("x", {"x.py": version}, version) for version in "123"]
Y = publish("y", {"y.py": "y"}, deps=[["x", "1"]])
Y_ANY = publish("y", {"y.py": "y"}, deps=["x"])
Y2 = publish("y", {"y.py": "2"}, "2", deps=[["x", "2"]])
Y2_ANY = publish("y", {"y.py": "2"}, "2", deps=["x"])
Z = publish("z", {"z.py": "z"}, deps=[["x", "2"]])
Z1 = publish("z", {"z.py": "z"}, deps=[["x", "1"]])
Z2 = publish("z", {"z.py": "2"}, "2", deps=[["x", "2"]])
Z_ANY = publish("z", {"z.py": "z"}, deps=["x"])
DEEP = [publish("p", {"p.py": "p"}, deps=["q"]), publish("q", {"q.py": "q"}, deps=["y"]), Y]
DEEP_Z = [publish("r", {"r.py": "r"}, deps=["s"]), publish("s", {"s.py": "s"}, deps=["z"]), Z]
USER = "(you|the user)"
AT_V1, AT_V2 = "github:o/r@v1", "github:o/r@v2"
RAW = "https://raw.githubusercontent.com/o/r/"
R = [repository(RAW + ref, {"r.py": ref}) for ref in ("v1", "v2", "HEAD")]

# (name, steps, the last of them a call; who asks, each as a pattern, when it is refused;
# the versions that are there then).
PINS = [
    ("user, then a package", [Y, install("x@2"), install("y")], [USER, "y"], {"x": "2"}),
    (
        "package, then the user",
        [Y, install("y"), install("x@2")],
        [USER, "y"],
        {"x": "1", "y": "1"},
    ),
    (
        "package, then a package",
        [Y, Z, install("y"), install("z")],
        ["y", "z"],
        {"x": "1", "y": "1"},
    ),
    ("the other way", [Y, Z, install("z"), install("y")], ["y", "z"], {"x": "2", "z": "1"}),
    ("two in one call", [Y, Z, install("y", "z")], ["y", "z"], {}),
    ("user and a package in one call", [Y, install("x@2", "y")], [USER, "y"], {}),
    ("a package and the user in one call", [Y, install("y", "x@2")], [USER, "y"], {}),
    ("the user twice in one call", [install("x@1", "x@2")], [USER], {}),
    ("two levels", [*DEEP, install("x@2"), install("p")], [USER, "y"], {"x": "2"}),
    (
        "two levels, recorded",
        [*DEEP, Z, install("p"), install("z")],
        ["y", "z"],
        {"p": "1", "q": "1", "y": "1", "x": "1"},
    ),
    (
        "two levels each",
        [*DEEP, *DEEP_Z, install("p"), install("r")],
        ["y", "z"],
        {"p": "1", "q": "1", "y": "1", "x": "1"},
    ),
    ("two levels each in one call", [*DEEP, *DEEP_Z, install("p", "r")], ["y", "z"], {}),
    (
        "two levels, then the user",
        [*DEEP, install("p"), install("x@3")],
        [USER, "y"],
        {"p": "1", "q": "1", "y": "1", "x": "1"},
    ),
    (
        "a new version, then another asker",
        [Y, Z1, install("y", "z"), Y2, install("y")],
        ["y", "z"],
        {"x": "1", "y": "1", "z": "1"},
    ),
    (
        "a new version in an upgrade",
        [Y, Z1, install("y", "z"), Y2, upgrade()],
        ["y", "z"],
        {"x": "1", "y": "1", "z": "1"},
    ),
    (
        "a new version against the user",
        [Y, install("y"), install("x@1"), Y2, upgrade()],
        [USER, "y"],
        {"x": "1", "y": "1"},
    ),
    (
        "a ref of a repository",
        [
            *R,
            publish("y", {"y.py": "y"}, deps=[["github:o/r", "v2"]]),
            install(AT_V1),
            install("y"),
        ],
        [USER, "y"],
        {"github:o/r": "v1"},
    ),
    ("the user anew", [install("x@1"), install("x@2")], None, {"x": "2"}),
    ("the user anew, the latest", [install("x@1"), install("x")], None, {"x": "3"}),
    ("the user anew, by version=", [install("x@1"), install("x", version="2")], None, {"x": "2"}),
    ("the user again", [install("x@1"), install("x@1")], None, {"x": "1"}),
    ("the user, of the latest", [install("x"), install("x@1")], None, {"x": "1"}),
    (
        "the user, of what any needs",
        [Y_ANY, install("y"), install("x@1")],
        None,
        {"x": "1", "y": "1"},
    ),
    ("the user, as the package", [Y, install("y"), install("x@1")], None, {"x": "1", "y": "1"}),
    ("the package, as the user", [Y, install("x@1"), install("y")], None, {"x": "1", "y": "1"}),
    ("any, of the user", [Y_ANY, install("x@2"), install("y")], None, {"x": "2", "y": "1"}),
    ("any, of the user, in one call", [Y_ANY, install("y", "x@2")], None, {"x": "2", "y": "1"}),
    (
        "any, of a package",
        [Y, Z_ANY, install("y"), install("z")],
        None,
        {"x": "1", "y": "1", "z": "1"},
    ),
    (
        "any, of a package, in one call",
        [Y, Z_ANY, install("z", "y")],
        None,
        {"x": "1", "y": "1", "z": "1"},
    ),
    (
        "any, then a package",
        [Y, Z_ANY, install("z"), install("y")],
        None,
        {"x": "1", "y": "1", "z": "1"},
    ),
    (
        "any, of two levels",
        [*DEEP, Z_ANY, install("p"), install("z")],
        None,
        {"p": "1", "q": "1", "y": "1", "x": "1", "z": "1"},
    ),
    ("pinned in an upgrade", [*X[:2], install("x@1"), X[2], upgrade()], None, {"x": "1"}),
    (
        "pinned by a package in an upgrade",
        [Y, install("y"), upgrade()],
        None,
        {"x": "1", "y": "1"},
    ),
    (
        "pinned and asked for in an upgrade",
        [Y, install("y"), install("x@1"), upgrade()],
        None,
        {"x": "1", "y": "1"},
    ),
    (
        "any in an upgrade",
        [Y_ANY, install("x@2"), install("y"), upgrade()],
        None,
        {"x": "2", "y": "1"},
    ),
    (
        "a new version moves its pin",
        [Y, install("y"), Y2, install("y")],
        None,
        {"x": "2", "y": "2"},
    ),
    ("an upgrade moves its pin", [Y, install("y"), Y2, upgrade()], None, {"x": "2", "y": "2"}),
    (
        "an upgrade moves two pins",
        [Y, Z1, install("y"), install("z"), Y2, Z2, upgrade()],
        None,
        {"x": "2", "y": "2", "z": "2"},
    ),
    (
        "both anew",
        [Y, Z1, install("y"), install("z"), Y2, Z2, install("y", "z")],
        None,
        {"x": "2", "y": "2", "z": "2"},
    ),
    (
        "an upgrade gives up a pin",
        [Y, install("y"), Y2_ANY, upgrade()],
        None,
        {"x": "3", "y": "2"},
    ),
    (
        "a pinned version moves its pin",
        [Y, Y2, install("y@1"), install("y@2")],
        None,
        {"x": "2", "y": "2"},
    ),
    (
        "a pinned version moves it back",
        [Y, Y2, install("y@2"), install("y@1")],
        None,
        {"x": "1", "y": "1"},
    ),
    (
        "the one who pinned is gone",
        [Y, install("y"), uninstall("y"), install("x@2")],
        None,
        {"x": "2"},
    ),
    (
        "who pinned is gone, another pins",
        [Y, Z, install("y"), uninstall("y"), install("z")],
        None,
        {"x": "2", "z": "1"},
    ),
    (
        "of the user, gone",
        [Y, install("x@2"), uninstall("x"), install("y")],
        None,
        {"x": "1", "y": "1"},
    ),
    ("a ref, anew", [*R, install(AT_V1), install(AT_V2)], None, {"github:o/r": "v2"}),
    (
        "any, of a ref",
        [*R, publish("y", {"y.py": "y"}, deps=["github:o/r"]), install(AT_V1), install("y")],
        None,
        {"github:o/r": "v1", "y": "1"},
    ),
]


def judge_pins(seen, name, askers, versions):
    *earlier, before, last, upgraded = seen
    no_errors(earlier)
    if askers:
        assert last.error and last.error.startswith("InstallError: "), f"{last.versions}"
        assert last.disk == before.disk
        for asker in askers:
            assert re.search(rf"\b{asker}\b", last.error), last.error
    else:
        assert last.error is None, last.error
    assert last.versions == versions
    assert last.bad in ([], None)
    if "x" in versions:
        assert last.files["x.py"] == versions["x"]
    # Whatever was refused, an upgrade works, but where it asks for the same.
    if upgraded.error and "new version" in name:
        assert all(re.search(rf"\b{asker}\b", upgraded.error) for asker in askers), upgraded.error
    elif versions:
        assert upgraded.error is None, f"upgrade(): {upgraded.error}"
    assert upgraded.versions == versions


def test_pins(device):
    """What the user or a package pinned holds later: another version is refused, with both named.

    A later request of the user takes the place of an earlier one. Any version is the pinned one.
    """
    rows = []
    for name, steps, *more in PINS:
        steps = [*X, *steps[:-1], look(), steps[-1], upgrade()]
        rows.append((name, "lfs2", steps, name, *more))
    check(device, rows, judge_pins)


def test_the_latest_of_what_a_package_pins(device):
    """The user who names no version gets the one that a package pins, or it is refused."""
    rows = [("pinned", "lfs2", [*X, Y, install("y"), install("x"), upgrade()])]

    def judge(seen):
        _, asked, upgraded = seen
        assert asked.error is None or re.search(r"\by\b", asked.error)
        assert asked.versions == upgraded.versions == {"x": "1", "y": "1"}
        assert upgraded.error is None

    check(device, rows, judge)


# --- 7: letter case of names ---

FOO = publish("foo", {"foo.py": "1"})
FOO_2 = publish("foo", {"foo.py": "2"}, "2")
CAPITALS = [publish("Foo", {"foo.py": "1"}), publish("FOO", {"foo.py": "1"})]

# (name, steps, the last of them a call; the packages that are there then).
NAMES = [
    ("twice", [FOO, *CAPITALS, install("foo"), install("Foo")], 1),
    ("twice in one call", [FOO, *CAPITALS, install("foo", "FOO")], 1),
    ("uninstalled in capitals", [FOO, install("foo"), uninstall("FOO")], 0),
    (
        "needed in capitals",
        [FOO, *CAPITALS, install("foo"), publish("y", {"y.py": "y"}, deps=["FOO"]), install("y")],
        2,
    ),
    (
        "needed in two ways",
        [FOO, *CAPITALS, publish("y", {"y.py": "y"}, deps=["FOO", "foo", "Foo"]), install("y")],
        2,
    ),
    (
        "URLs in another letter case",
        [
            repository("http://h/A", {"one.py": "1"}),
            repository("http://h/a", {"two.py": "2"}),
            install("http://h/A", "http://h/a"),
        ],
        2,
    ),
    (
        "URLs in two calls",
        [
            repository("http://h/A", {"one.py": "1"}),
            repository("http://h/a", {"two.py": "2"}),
            install("http://h/A"),
            install("http://h/a"),
        ],
        2,
    ),
    (
        "repositories",
        [
            repository("https://raw.githubusercontent.com/o/R/HEAD", {"one.py": "1"}),
            repository("https://raw.githubusercontent.com/o/r/HEAD", {"two.py": "2"}),
            install("github:o/R"),
            install("github:o/r"),
        ],
        2,
    ),
    (
        "one of two URLs goes",
        [
            repository("http://h/A", {"one.py": "1"}),
            repository("http://h/a", {"two.py": "2"}),
            install("http://h/A", "http://h/a"),
            uninstall("http://h/a"),
        ],
        1,
    ),
]


def test_names(device):
    """Names of an index do not tell letter case, URLs do."""

    def judge(seen, count):
        no_errors(seen)
        assert len(seen[-1].owned) == count
        assert len(seen[-1].files) == count

    check(device, [(row[0], "lfs2", *row[1:]) for row in NAMES], judge)


def test_a_pin_in_another_letter_case(device):
    """A pin is one of a name in any letter case."""
    steps = [FOO, FOO_2, install("foo@1")]
    steps += [publish("y", {"y.py": "y"}, deps=[["Foo", "2"]]), install("y"), upgrade()]

    def judge(seen):
        _, refused, upgraded = seen
        assert refused.error and re.search(r"\by\b", refused.error)
        assert upgraded.error is None
        assert upgraded.versions == {"foo": "1"}

    check(device, [("pin", "lfs2", steps)], judge)


# --- An index like the public one ---

PAIRS = 47


def locked(number, later):
    """Two packages, of which the one was built with the other's files, before these changed.

    A version is locked when it is published; `latest` is built anew with every change. Returns
    the steps that publish them as they were first, or, `later`, as they are now.
    """
    part = f"part{number}"
    whole = f"whole{number}"
    shared = [f"{part}/__init__.py", f"{part}/more.py"][: 1 + number % 2]
    old = {path: f"old {path}" for path in shared}
    new = {path: f"new {path}" for path in shared}
    if not later:
        return [publish(part, old, "1.0"), publish(whole, {**old, f"{whole}.py": whole}, "1.0")]
    latest = publish(whole, {**new, f"{whole}.py": whole}, "1.0")
    pages = {url: page for url, page in latest[1].items() if not url.endswith("/1.0.json")}
    return [publish(part, new, "1.1"), ["web", pages]]


def pair_rows(pinned):
    """Each pair in both orders, in one call or in two; pinned, as list() has printed it.

    What list() returns is installed into an empty target then.
    """
    for number, turned in itertools.product(range(PAIRS), (False, True)):
        versions = {f"part{number}": "1.1", f"whole{number}": "1.0"}
        names = [f"{name}@{versions[name]}" if pinned else name for name in versions]
        way = [*WAYS][(number + pinned) % 2]
        steps = [*locked(number, False), *locked(number, True)]
        steps += [*WAYS[way](*names[:: -1 if turned else 1]), verb("list")]
        steps += [install(LISTED, target="/ram/other"), upgrade()]
        yield f"{names}, {way}", "lfs2", [*steps, verb("list", target="/ram/other")], versions


def judge_pairs(seen, versions):
    no_errors(seen)
    *_, here, there, upgraded, again = seen
    assert here.versions == there.versions == upgraded.versions == versions
    assert here.bad == there.bad == upgraded.bad == []
    assert set(here.files) == set(there.files)
    assert sorted(again.value) == sorted(here.value)


def test_pairs_of_the_public_index(device):
    """Two packages of which the one has old files of the other's are installed in any order.

    What list() returns then installs them on an empty board.
    """
    check(device, pair_rows(pinned=False), judge_pairs)


def test_pinned_pairs_of_the_public_index(device):
    """What list() returns installs the same files again, byte for byte."""

    def judge(seen, versions):
        judge_pairs(seen, versions)
        *_, here, there, upgraded, _ = seen
        assert there.files == here.files == upgraded.files

    check(device, pair_rows(pinned=True), judge)


# --- An upgrade in which a file is gone ---


def gone_file_rows():
    """Two packages; the second file of the next version of a is not there."""
    for kind in KINDS:
        for names in "ab", "ba":
            steps = [publish(name, {f"{name}/m.py": name}) for name in names]
            steps.append(install(*names))
            for name in names:
                files = {f"{name}/new/m.py": name + "1", f"{name}/new/d/m.py": name + "2"}
                steps.append(publish(name, files, "2"))
            short = sha256("a2")
            steps += [gone(f"{INDEX}/file/{short[:2]}/{short}"), upgrade(), upgrade()]
            yield f"{kind}, {names}", kind, steps


def judge_gone_file(seen):
    for one in seen[1:]:
        assert one.error.startswith("InstallError: not upgraded: a: not found: ")
        assert one.versions == {"a": "1", "b": "2"}
        assert one.files == {"a/m.py": "a", "b/new/m.py": "b1", "b/new/d/m.py": "b2"}
        assert one.directories == {"a", "b", "b/new", "b/new/d"}


def test_a_file_that_is_gone_stops_only_its_package(device):
    """The others are upgraded, and nothing is left that was staged for it."""
    check(device, gone_file_rows(), judge_gone_file)
