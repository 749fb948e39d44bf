"""What must hold after any fault: the one oracle of all fault tests.

    case = faults.Case("upgrade", "lfs2")
    ...                                        # a fault strikes
    oracle.check(case, outcome, faults.walk(faults.ROOT))       # a list of what is wrong

The numbers in what it says are those of "What always holds" in the design.

Runs on MicroPython.
"""

import json
from binascii import hexlify
from hashlib import sha256

import mip

META = "lib/.mip"
RECORD = META + "/record"

CUT = "cut"  # the outcome of a call during which the power failed
SETTLED = "settled"  # the outcome of recover() after that

STAGED = "~mip"  # what is added to the path of a file to stage it beside its place

# What mip does to clear up: when one of these fails there, what is left is left for the next.
_CLEARING = ("list", "remove", "rmdir", "stat", "open", "read", "seek", "close")

_TRIES = 5  # requests for one URL in one call


class Findings:
    """Collects what a sweep finds, and prints it as one line of JSON for the host.

    problems: {what is wrong: [how often, where first]}. counts: {name: number}.
    """

    def __init__(self):
        self.problems = {}
        self.counts = {}

    def count(self, name, number=1):
        self.counts[name] = self.counts.get(name, 0) + number

    def add(self, place, problems):
        for text in problems:
            found = self.problems.setdefault(text, [0, str(place)])
            found[0] += 1

    def show(self):
        print("##", json.dumps([self.counts, self.problems]))


def parse(text):
    """The packages of a record: {name: (version, asked, {path: sha256}, [dependency])}.

    Raises ValueError or KeyError when it is not a record, complete and closed.
    """
    lines = text.split(b"\n")
    if lines.pop() or json.loads(lines.pop(0)) != ["mip", 1]:
        raise ValueError("not a record")
    packages = {}
    for line in lines:
        kind, name, *rest = json.loads(line)
        if kind == "package":
            if name in packages:
                raise ValueError("twice: " + name)
            package = packages[name] = (rest[0], rest[1], {}, [])
        elif kind == "file":
            package[2][name] = rest[0]
        elif kind == "dep":
            package[3].append((name, rest[0]))
        else:
            raise ValueError("unknown line: " + kind)
    return packages


def _sha(data):
    return hexlify(sha256(data).digest()).decode() if isinstance(data, bytes) else None


def _meta(tree):
    """What is in .mip, {name: content}."""
    return {path[len(META) + 1 :]: tree[path] for path in tree if path.startswith(META + "/")}


def _target(tree):
    """What is anywhere else."""
    return {p: tree[p] for p in tree if p != META and not p.startswith(META + "/")}


def above(paths):
    """The directories above `paths`."""
    found = set()
    for path in paths:
        while "/" in path:
            path = path[: path.rfind("/")]
            found.add(path)
    return found


def _say(tree, path):
    if path not in tree:
        return "missing"
    data = tree[path]
    if data is None:
        return "a directory"
    return data.decode() if data.startswith(b"unreadable") else "%d bytes" % len(data)


def differences(one, two):
    """How tree `one` is not as tree `two`, as a list of text."""
    return [
        "%s: %s, not %s" % (path, _say(one, path), _say(two, path))
        for path in sorted(set(one) | set(two))
        if (path in one) != (path in two) or one.get(path) != two.get(path)
    ]


def mixed(case, tree):
    """Whether some files of the packages are of the old state and some of the new one."""
    changed = [path for path in case.named if case.old.get(path) != case.new.get(path)]
    new = [path for path in changed if tree.get(path) == case.new.get(path)]
    old = [path for path in changed if tree.get(path) == case.old.get(path)]
    return bool(new and old)


def torn(case, tree):
    """The files of the packages that are neither old nor new nor missing (invariant 1)."""
    return [
        path
        for path in sorted(case.named)
        if path in tree and tree[path] not in (case.old.get(path), case.new.get(path))
    ]


def _coming(meta):
    """The coming record, under each name that it may have during recovery: a list. It is
    committed when the reserve has been removed."""
    return [meta[name] for name in meta if name.startswith("new") and "room" not in meta]


def _staged(case, tree):
    """What is staged beside its place: {path: content}."""
    return {path: tree[path + STAGED] for path in case.named if path + STAGED in tree}


def clearing(case, struck):
    """Whether what failed, a pair of operation and path, can be a part of clearing up."""
    operation, path = struck
    path = path.lstrip("/")
    return operation in _CLEARING and (
        path.startswith(META) or path.endswith(STAGED) or path in above(case.named)
    )


def committed(case, tree):
    """Whether the call did what it was to do, or left a commit that the next verb finishes."""
    return bool(_coming(_meta(tree))) or tree.get(RECORD) == case.final[RECORD]


def check_case(case):
    """What is wrong with the states before and after a call that no fault strikes."""
    wrong = []
    for tree, files, packages in (
        (case.before, case.old, case.packages[0]),
        (case.final, case.new, case.packages[1]),
    ):
        wanted = dict(case.foreign)
        wanted.update(files)
        wanted.update({path: None for path in above(files)})
        wrong += ["3 " + text for text in differences(_target(tree), _target(wanted))]
        meta = _meta(tree)
        if sorted(meta) != (["record"] if packages else []):
            wrong.append("5 .mip holds %s" % sorted(meta))
        if packages:
            record = parse(meta["record"])
            if {name: record[name][0] for name in record} != packages:
                wrong.append("8 the record names %s" % sorted(record))
            listed = {}
            for _, _, names, _ in record.values():
                listed.update({"lib/" + path: names[path] for path in names})
            if listed != {path: _sha(files[path]) for path in files}:
                wrong.append("8 the record has other files or hashes")
    return wrong


def check(case, outcome, tree, debris=False):
    """What is wrong with the state `tree` after a call with this outcome: a list of text.

    case: what was there before, what the packages contain, what a call without fault ends in.
    outcome: "done", an exception, CUT, or SETTLED for after recover().
    debris: whether .mip may hold more than the record, since it could not be cleared.
    """
    wrong = []
    meta = _meta(tree)
    target = _target(tree)
    staged = _staged(case, tree)
    for path in staged:
        target.pop(path + STAGED)
    coming = _coming(meta)
    removal = any(name.endswith(".rm") for name in meta)  # on a full disk, what is to go
    pending = removal or bool(coming)

    # 1. Whole files.
    for path in torn(case, tree):
        wrong.append("1 %s is torn: %s" % (path, _say(tree, path)))
    for path in sorted(case.named):
        there = path in tree or path not in case.old or path not in case.new
        if not there and not (pending and case.kind == "fat"):
            wrong.append("1 %s is missing" % path)

    # 2. Nothing foreign.
    parents = above(case.named)
    for path in sorted(target):
        if path not in case.before and path not in case.named and path not in parents:
            wrong.append("2 %s was made" % path)
    for path in sorted(case.before):
        if path in case.named or path in parents or path not in _target(case.before):
            continue
        if path not in tree or tree[path] != case.before[path]:
            wrong.append("2 %s was changed or removed" % path)

    # 3. Honest result; 4. as if there had been no fault.
    if outcome == "done":
        wrong += ["3 done, but " + text for text in differences(target, _target(case.final))]
        if meta != _meta(case.final):
            wrong.append("3 done, but .mip holds %s" % sorted(meta))
    elif isinstance(outcome, Exception) and not isinstance(
        outcome, (mip.InstallError, MemoryError)
    ):
        wrong.append("3 it ended with %r" % outcome)

    # 5. No debris: a failed call leaves the record, or a commit that the next verb finishes.
    rest = sorted([name for name in meta if name != "record"] + list(staged))
    if rest and outcome != CUT and not debris and not (pending and outcome != SETTLED):
        wrong.append("5 .mip holds %s" % rest)

    # 6. Bounded.
    for url in set(case.session.requests):
        if case.session.requests.count(url) > _TRIES:
            wrong.append("6 %d requests for %s" % (case.session.requests.count(url), url))

    # 7. Closed.
    if outcome not in (CUT, SETTLED) and case.open_files():
        wrong.append("7 %d files and answers are open" % case.open_files())

    # 8. A true record: the old state or the new one; or a commit that can be finished.
    before, final = case.before, case.final
    if pending:
        if final[RECORD] not in coming and not removal:
            wrong.append("8 new is not the coming record")
        records = [before.get(RECORD), final[RECORD]] + [None] * (case.kind == "fat")
        if tree.get(RECORD) not in records:
            wrong.append("8 the record is neither the old nor the new one")
        for path in case.new:
            there = tree.get(path), staged.get(path)
            if case.new[path] not in there and case.new[path] not in meta.values():
                wrong.append("8 new names %s, which is neither in place nor staged" % path)
    else:
        made = above(case.new) if outcome == CUT or debris else ()  # made ahead of the commit
        old, new = [
            differences({p: target[p] for p in target if p in whole or p not in made}, whole)
            for whole in (_target(before), _target(final))
        ]
        is_old = tree.get(RECORD) == before.get(RECORD) and not old
        is_new = tree.get(RECORD) == final[RECORD] and not new
        if not is_old and not is_new:
            wrong.append("8 neither the old state nor the new one: %s; %s" % (old[:2], new[:2]))
    return wrong


def check_again(case, outcome, tree, settled):
    """What is wrong after the same call, made again without a fault (invariant 4).

    settled: what was there when it began, which was whole and had no debris.
    """
    wrong = ["4 again: " + text for text in differences(tree, case.final)]
    if outcome != "done" and not (case.once and settled == case.final):
        wrong.append("4 again: %r" % outcome)
    fetched = [url for url in case.session.requests if "/file/" in url]
    missing = {data for path, data in case.new.items() if settled.get(path) != data}
    if len(fetched) != len(missing):
        wrong.append("4 again: fetched %d files, missed %d" % (len(fetched), len(missing)))
    if case.open_files():
        wrong.append("7 again: %d files and answers are open" % case.open_files())
    return wrong


def twice(case, tree):
    """Whether a new file is in place and staged: a rename on FAT was cut between its writes."""
    staged = [data for data in _meta(tree).values() if data]
    return any(
        tree.get(path) == case.new[path] != case.old.get(path) and case.new[path] in staged
        for path in case.new
    )
