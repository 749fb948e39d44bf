"""What the interpreter of the tests can do. The pinned one can do it all.

    @pytest.mark.needs("native")        # skipped, with the reason, where MICROPYTHON cannot

Nothing here is about mip: what the harness itself, or a test, does with an interpreter is told
apart from what mip does in it.
"""

import functools
import os
import subprocess

import pytest
from device import interpreter

# Ability: why a test that needs it is skipped; an expression that is true, or does not raise.
ABILITIES = {
    "native": (
        "it loads no native code for x64 of sub-version 3",
        "sys.implementation._mpy == 0xB06",
    ),
    "upstream": (
        "it has no mip and no requests of its own frozen in",
        "__import__('mip').install and __import__('requests').get",
    ),
    "tls": ("it has no module `tls`", "__import__('tls')"),
    "vfs": ("it has no module `vfs`", "__import__('vfs')"),
    "certificates": (
        "its TLS cannot check a server",
        "hasattr(tls().SSLContext(tls().PROTOCOL_TLS_CLIENT), 'load_verify_locations')",
    ),
    "raw": (
        "its REPL has no raw mode, by which mpremote talks to it",
        "sys.implementation.version >= (1, 27)",
    ),
    "interrupt": (
        "Ctrl-C ends its `-m` at once",
        "sys.implementation.version >= (1, 27)",
    ),
    "heap": (
        "the heaps of the tests are measured on another release",
        "sys.implementation.version >= (1, 28) and sys.maxsize >> 62",
    ),
    "json": (
        "its json takes a document without its last bracket",
        "refuses('[1')",
    ),
}

# What mip says, and the ability that is missing then.
SAYS = {"this firmware cannot check a server": "certificates"}

# What a program of a test imports, and the ability that it stands for.
MODULES = {"tls": "tls", "vfs": "vfs", "requests": "upstream", "mip": "upstream"}

PROGRAM = """
import sys

def tls():
    try:
        return __import__("tls")
    except ImportError:
        return __import__("ssl")

def refuses(text):
    try:
        __import__("json").loads(text)
    except ValueError:
        return True

for name, text in %r:
    try:
        if eval(text):
            print(name)
    except Exception:
        pass
"""


@functools.cache
def abilities():
    """The names of what the interpreter can do, as a set."""
    tries = [(name, text) for name, (_, text) in ABILITIES.items()]
    done = subprocess.run(
        [*interpreter(), "-c", PROGRAM % tries],
        env={**os.environ, "MICROPYPATH": ".frozen"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return set(done.stdout.split())


def skip_without(*names):
    """Skips the test that is running, where the interpreter cannot do all of `names`."""
    why = lacking(names) if os.environ.get("MICROPYTHON") else None
    if why:
        pytest.skip(why)


def lacking(names):
    """Why the interpreter cannot do all of `names`; None when it can."""
    for name in names:
        if name not in abilities():
            return f"{' '.join(interpreter())}: {ABILITIES[name][0]}"
    return None
