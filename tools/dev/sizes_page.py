"""Writes docs/sizes.md: what mip takes in firmware, and what a build saves that does without.

    python tools/dev/sizes_page.py           writes docs/sizes.md
    python tools/dev/sizes_page.py --check   writes nothing; exits 1 if the page says otherwise

The bytes are those of the modules as they are now. RAM is what `tools/bench --only builds` has
measured; it is in docs/bench.json.
"""

import functools
import json
import sys
import tempfile

import generated
import size

PAGE = size.ROOT / "docs" / "sizes.md"
MEASURED = size.ROOT / "docs" / "bench.json"

TEXT = """\
# Sizes, and what a build can leave out

`mip/__init__.py` is {whole:,} bytes as .mpy, compiled as for firmware with `mpy-cross -O3`.
Its budget is {budget:,} bytes and its aim {aim:,}: it is {over} the budget.
The command line, `mip/__main__.py`, is {command:,} bytes. Its budget is {command_budget:,} bytes
and its aim {command_aim:,}: it is {command_over} the budget.
Upstream's mip and requests, which only install, are {upstream:,} bytes together. This mip is
larger because it survives power cuts and full disks, keeps a record, and checks and keeps
connections.

## The menu

Each row between the first and the last is a part that a build can leave out. A manifest names
parts by the words in the first column, in `without=`:
[firmware.md](firmware.md#what-a-build-can-do-without) shows how. They are switches at the top of
`mip/__init__.py`. A verb that was left out raises an error that says so. `without="all"` leaves
out all of them and more: it is the [small mip](#the-small-mip).

| without | what is left out | bytes | flash, frozen | RAM, frozen | RAM, loaded, 64-bit |
| --- | --- | ---: | ---: | ---: | ---: |
{rows}
Bytes are those of the .mpy. Flash is what an image for 32 bits grows by when mip is frozen in, and
RAM, frozen, is what mip keeps there after `import mip`; the code itself stays in flash. Both were
measured on x86 with the Unix port; other processors take more or less flash. For the import and an
install of 10 files the whole takes {whole_install:,} bytes of heap in all, and `all`
{all_install:,}. RAM, loaded, is what mip keeps on 64 bits when it is imported from a file. On 32
bits it is about four fifths of that: [README.md](../README.md#getting-it-onto-a-board) has those
figures.

- The tests try `whole` with every fault of disk and network. They try `all`, and some switches in
  each run, with power cuts, cut connections, and every call of MicroPython's documentation.
- Every build reads the record of every other.
- Without `pages`, capitals as in `GitHub:` are not understood either, and a wrong prefix such as
  `pypi:` ends in an error that does not say so.
- Without `advice` an error has the type and the number that Python gives it, and does not name the
  package: `https://raw.githubusercontent.com/ORG/REPO/HEAD/package.json: OSError -2` in place of
  `github:ORG/REPO: https://...: the host is not known: is the board online?`. A full disk is
  `OSError 28`.
- Certificates, FAT and pins by hash have no switch: they save little.

## The small mip

`without="all"` is another program: [small.py](../manifests/small.py), with functions of
`mip/__init__.py`. It has `install()`, `recover()`, `Session`, `cafile`, `idle` and `InstallError`.
It installs from every source, all or nothing, checks hashes and servers, keeps the record, and
recovers from power cuts and from errors of the disk. To upgrade a package, install it again.

Firmware freezes it. For a board whose firmware is not yours, it is the package `mip-small` of
[a release](../README.md#the-small-mip), which updates it, too.

To move a board to the whole mip, install `mip` in its place, or freeze it, and restart. It lists,
verifies, upgrades and uninstalls what the small one has installed, and finishes what that has
begun. To move back, call `recover()` of the whole first: the small one cannot finish an uninstall.

These are the limits of the small mip, besides what has a row above:

- It reads a package.json into RAM as a whole, twice for a moment.
- An upgrade reads the new record once for each file of the old version.
- When `x` has been taken at its latest version and then something needs `x@1.0`, it refuses. Name
  that first: `mip.install(["x@1.0", "y"])`. What you pinned in an earlier call holds. What other
  installed packages need is not looked at.
- It does not count free room first. On a full disk an install can stop after its commit; the next
  call finishes it when there is room.
- It has one connection, tries one address of a host, and waits for a server that is slow but not
  silent. It calls `mip.idle` between blocks, and not while it waits, up to 15 seconds.
- It does not look at what a server sends without a hash: the page of a captive portal in place of
  a module, packed content, rubbish between chunks, an answer that nobody asked for. Use hashes, as
  every index does.
- It does not understand interim answers such as 103 Early Hints, and sends no headers over plain
  HTTP and no query behind the URL of a package.
- It installs a package.json that lists nothing, and does not notice a file without a URL.
- It does not notice a disk that loses what is written to it, nor, on FAT, another disk that is
  mounted below the target.
- When a first install fails, a target that it has made stays, empty. When the name of a file
  changes its letter case, the old file stays, except on FAT.

## Which build for which board

These builds are frozen. Of the rows whose first column is true of your board, take the last. As
bytecode, only `all` leaves room on a board with 30 KB of free RAM.

| board | build | bytes | flash, frozen | RAM, frozen | heap for an install |
| --- | --- | ---: | ---: | ---: | ---: |
{boards}
The columns are as above; heap for an install is that for the import and 10 files in all. In
`bundle-networking` this mip replaces upstream's, which has {mip:,} bytes of .mpy. `requests` stays
in the bundle for programs. It was not tried whether a build fits into `FLASH_1M` of an ESP8266. If
the linker says that `irom0_0_seg` overflowed, leave out the board's other modules first.

Names of functions, parameters and attributes cost bytes, and so do messages. Comments, docstrings
and names of local variables do not.

`./tools/env python tools/dev/size.py --without "search native"` measures any other build.
"""


# What was measured of a build, in the order of the columns.
MEASURES = (
    lambda row: row["frozen"]["flash"],
    lambda row: row["frozen"]["kept"],
    lambda row: row["loaded"],
)

# Boards, and what is left out for them.
BOARDS = (
    ("a Unix port", ""),
    ("any board with flash to spare", "unix"),
    ("one that installs source, or bytecode that is known to fit", "unix native"),
    ("one of a fleet, where only a program calls mip", "unix search pages"),
    ("ESP8266, and any where each kilobyte counts", "all"),
    (
        "the same, if pinned packages that are in place must need no network",
        "search verify manage native ahead retries pages advice unix",
    ),
)
# What they are without: each is measured.
BUILDS = tuple(without for _, without in BOARDS)


@functools.cache
def sizes(without=""):
    """The bytes of both modules as .mpy, in a build that is without these."""
    with tempfile.TemporaryDirectory() as directory:
        return [path.stat().st_size for path in size.compile_modules(directory, without=without)]


def builds():
    """What was measured: {what a build is without: its row in docs/bench.json}."""
    rows = json.loads(MEASURED.read_text(encoding="utf-8"))["builds"]["rows"]
    return {row["without"]: row for row in rows}


def menu():
    """Yield the rows of the table: the whole, each switch, and all of them."""
    measured = builds()
    whole, _ = sizes()
    says = size.switches()
    for word in "", *says, "all":
        library = sizes(word)[0] if word else whole
        found = [measure(measured[word]) for measure in MEASURES]
        if word in says:
            saved = [measure(measured[""]) - measure(measured[word]) for measure in MEASURES]
            cells = [whole - library, *saved]
            yield word, says[word], *(f"\N{MINUS SIGN}{cell:,}" if cell else "0" for cell in cells)
        else:
            name, what = ("`all`", "all of the above, and more") if word else ("whole", "nothing")
            yield name, what, *(f"{cell:,}" for cell in (library, *found))


def boards():
    """Yield the rows of the table of boards."""
    for board, without in BOARDS:
        library, _ = sizes(without)
        build = f'`without="{without}"`' if without else "whole"
        frozen = builds()[without]["frozen"]
        cells = library, frozen["flash"], frozen["kept"], frozen["install"]
        yield board, build, *(f"{cell:,}" for cell in cells)


def table(rows):
    """The rows of a table as text."""
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def page():
    """Return the text of docs/sizes.md for the modules as they are now."""
    upstream = json.loads(MEASURED.read_text(encoding="utf-8"))["size"]["upstream"]
    whole, command = sizes()
    (_, _, budget, aim), (_, _, command_budget, command_aim) = size.BUDGETS
    return TEXT.format(
        whole=whole,
        budget=budget,
        aim=aim,
        over=distance(whole, budget),
        command=command,
        command_budget=command_budget,
        command_aim=command_aim,
        command_over=distance(command, command_budget),
        upstream=upstream["library"],
        mip=upstream["modules"]["mip"],
        rows=table(menu()),
        whole_install=builds()[""]["frozen"]["install"],
        all_install=builds()["all"]["frozen"]["install"],
        boards=table(boards()),
    )


def distance(count, budget):
    """Say how far `count` bytes are from a budget."""
    side = "over" if count > budget else "below"
    return f"{abs(count - budget):,} bytes {side}"


def main(words):
    """Write or, with --check, compare docs/sizes.md. Returns the exit status."""
    check = generated.checks(words, __doc__)
    wrong = "docs/sizes.md is out of date: run tools/env python tools/dev/sizes_page.py"
    return generated.settle(PAGE, page(), check, wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
