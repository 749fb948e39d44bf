"""Writes the small mip as a package, mip-small: its source, and a manifest.

    python tools/dev/small_package.py DIR

tools/release publishes it, for boards whose firmware is not one's own.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import size

MODULE = "mip/__init__.py"

# It is compiled as mip is.
MANIFEST = """\
metadata(
    version={version!r},
    description="mip with install() and recover() alone, in a third of the bytes.",
    license="MIT",
    author="the mip authors",
)
package("mip", opt=3)
"""


def write(directory):
    """Write it into the directory, which is made when missing."""
    about = json.loads((size.ROOT / "package.json").read_text(encoding="utf-8"))
    (directory / "mip").mkdir(parents=True, exist_ok=True)
    shutil.copy(size.sources(without="all")[MODULE], directory / MODULE)
    text = MANIFEST.format(version=about["version"])
    (directory / "manifest.py").write_text(text, encoding="utf-8")


def main(arguments):
    """Do it. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Writes the small mip as a package.")
    parser.add_argument("directory", metavar="DIR", type=Path, help="where; made when missing")
    write(parser.parse_args(arguments).directory)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
