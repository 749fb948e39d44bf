"""Runs the command line: `python -m mip_index`, or `python tools/mip_index` in a checkout."""

import os
import sys

if not __package__:
    sys.path[0] = os.path.dirname(os.path.abspath(sys.path[0]))

from mip_index.cli import main

if __name__ == "__main__":
    sys.exit(main())
