"""The options of tools/bench: they need no environment, so that --help makes none.

Run as a program it says only what is wrong with its arguments, or helps.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

HELP = """\
Measures mip, as it is frozen into firmware, against the mip that the interpreter has frozen in.
Both run in the same interpreter and install the same packages from the same server.

  time          how long install() takes over TLS, at several round trips of the link, for
                packages of many small files, for a large file, and when everything is installed
                already; and how many requests, connections and bytes the server counts
  heap          the least free heap in which an install succeeds, for 10, 100 and 1,000 files
  size          the modules as .mpy
  flash         what installs read, program and erase on littlefs and on FAT, the time that a
                model of flash gives for that, and how many lines of JSON are parsed
  ram           what the import keeps, and the least heap for it and an install of 10 files
  instructions  those of an install of 50 files, fresh and again, and of a small package beside
                many others; needs valgrind
  wasm          RAM on 32 bits, in MicroPython for WebAssembly: kept, for the import, and for
                installs of 10 and 1,000 files; needs node
  growth        how block reads and instructions grow from 100 files to 1,000
  builds        bytes and RAM of builds that do without something, for docs/sizes.md
  peers         how long whole commands take: both mips, mpremote onto a board, and curl

What the last six find are counts, no times. BENCH_FROZEN names an interpreter with our mip
frozen in, for what is compared frozen: MICROPYTHON should then name the same build with
upstream's. BENCH_UPSTREAM names micropython-lib's sources, for RAM where upstream's is loaded.
BENCH_BUILDS names a directory of interpreters for 32 bits with builds of mip frozen in: "whole",
each called as what it is without, and "none", which has no mip.

The first number to look at is a ratio: it depends on the machine less than seconds do. Rounds
alternate between both, ratios are those of medians, and the spread says how far to trust them.
Let nothing else run meanwhile.
"""
EXAMPLES = """\
examples:
  tools/bench --quick --output build/bench     a look at it, in some minutes
  tools/bench                                  everything, into docs/; takes an hour
  tools/bench --only heap --output build/bench
"""

PARTS = (
    "time",
    "heap",
    "size",
    "flash",
    "ram",
    "wasm",
    "instructions",
    "growth",
    "builds",
    "peers",
)


def arguments(words):
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="tools/bench",
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few tiny installs, in some minutes"
    )
    parser.add_argument(
        "--only", metavar="PART", choices=PARTS, help=f"measure this alone: {', '.join(PARTS)}"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="how often to measure times (3)")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=ROOT / "docs",
        help="the directory to write to (docs); --only leaves other parts of its bench.json",
    )
    options = parser.parse_args(words)
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds takes a number from 1 on")
    return options


if __name__ == "__main__":
    arguments(sys.argv[1:])
