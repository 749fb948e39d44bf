"""The options of tools/board: they need no environment, so that --help makes none.

Run as a program it says only what is wrong with its arguments, or helps.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

HELP = """\
Tries mip on a board at a serial port, in a few minutes:

  what it is   firmware, port, file system, RAM
  ram          what a mip keeps after the import, loaded as .mpy, and the least RAM for it and an
               install of 10 files
  verbs        install, upgrade, verify and uninstall, from a directory of the computer
  network      the same install over http and https, from `mip-index serve` on the computer;
               with --wifi
  resets       machine.reset() before a change of the disk, most of them within a commit, and what
               the board has then
  upstream     the same installs by the mip in the firmware, if there is one

It asks before it touches anything. It interrupts the program on the board, resets it many times,
and works in a directory of its own, mip-try, which it removes at the end. It looks if everything
else is as it was then. The table that it prints is for docs/boards.md.
"""
EXAMPLES = """\
examples:
  tools/board /dev/ttyACM0
  tools/board /dev/ttyUSB0 --wifi NAME     asks for the password
"""

RESETS = 36


def arguments(words: list[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="tools/board",
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("port", metavar="PORT", help="the serial port, as mpremote takes it")
    parser.add_argument("--wifi", metavar="NAME", help="the network that the board is to join")
    parser.add_argument(
        "--bind",
        default="0.0.0.0",
        metavar="ADDR",
        help="the computer's address that the board connects to (default 0.0.0.0, all)",
    )
    parser.add_argument(
        "--resets", type=int, default=RESETS, metavar="N", help=f"how many ({RESETS})"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before it begins")
    options = parser.parse_args(words)
    if options.resets < 0:
        parser.error("--resets takes a number from 0 on")
    return options


if __name__ == "__main__":
    arguments(sys.argv[1:])
