"""What the tools share that write a file of the repository, or check that it is up to date."""

import argparse
import sys


def checks(words, text):
    """Return whether the command line has --check, the only option; `text` is its --help."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    return parser.parse_args(words).check


def settle(path, text, check, wrong):
    """Write `text` to `path`, or with `check` say `wrong` when something else is there.

    Returns the exit status: 1 when it was wrong.
    """
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return 0
    if check:
        print(wrong, file=sys.stderr)
        return 1
    path.write_text(text, encoding="utf-8")
    return 0
