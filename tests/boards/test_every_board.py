"""mip uses nothing that a networked board lacks: ESP8266, or MicroPython 1.20."""

import ast

import pytest
from folders import ROOT

MIP = ROOT / "mip"

# Modules that every networked port has built in, and those of which mip needs one or none: it
# imports these where they are used, and goes on without.
EVERYWHERE = {"binascii", "gc", "hashlib", "json", "micropython", "os", "sys", "time"}
SOMEWHERE = {"requests", "select", "socket", "ssl", "tls"}
# Only the Unix port has more than one process; there `socket` may be a module in Python, which
# does not have this one's local sockets, of which one is the lock of a target.
ON_LINUX = {"usocket"}

# Attributes that ESP8266 or 1.20 lacks, or that MicroPython has nowhere.
NO_ATTRIBUTES = {
    *("partition", "rpartition", "splitlines", "center", "crc32", "hexdigest"),
    *("removeprefix", "removesuffix", "isascii", "casefold", "zfill", "ljust", "rjust"),
    *("makedirs", "walk", "scandir", "sendall", "getpid"),
}
# Functions of modules, and why they are not called.
NO_FUNCTIONS = {
    "os.chdir": "it is for the whole program",
    "time.time": "1.20 for WebAssembly has none, and a clock may be set meanwhile",
}
NO_NAMES = {"__file__", "compile", "frozenset", "complex", "input", "open_code", "aiter"}
NO_SYNTAX = {
    ast.Match: "match",
    ast.NamedExpr: ":=",
    ast.JoinedStr: "f-string, which firmware may leave out",
    ast.AsyncFunctionDef: "async",
    ast.Assert: "assert, which -O3 leaves out",
    ast.TryStar: "except*" if hasattr(ast, "TryStar") else "",
}


def lacking(text):
    """What is used in the program `text` that not every board has, as a list of text."""
    found = []
    tree = ast.parse(text)
    top = set(tree.body)
    tuples = {
        target.id
        for node in top
        if isinstance(node, ast.Assign) and _is_tuple(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if type(node) in NO_SYNTAX:
            found.append(NO_SYNTAX[type(node)])
        elif isinstance(node, ast.Attribute) and node.attr in NO_ATTRIBUTES:
            found.append("." + node.attr)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "os.path":
            found.append(".path")
        elif isinstance(node, ast.Name) and node.id in NO_NAMES:
            found.append(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
            names = names if isinstance(node, ast.Import) else [node.module]
            allowed = EVERYWHERE if node in top else EVERYWHERE | SOMEWHERE | ON_LINUX
            found += [f"import {name}" for name in names if name not in allowed | {"mip"}]
        elif isinstance(node, ast.Call):
            found += _call(node, tuples)
        elif isinstance(node, (ast.While, ast.For)):
            found += _loop(node)
        elif isinstance(node, ast.Raise) and node.cause:
            found.append("raise from")
        elif isinstance(node, ast.Slice) and node.step:
            found.append("a slice with a step")
        elif isinstance(node, ast.arguments) and node.posonlyargs:
            found.append("positional-only parameters")
    return found


def _is_tuple(node):
    # Whether it is a tuple, also as const(...).
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "const":
        node = node.args[0]
    return isinstance(node, ast.Tuple)


def _call(node, tuples):
    # tuples: the names of those of the module.
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    keywords = {keyword.arg for keyword in node.keywords}
    first = node.args[0] if node.args else None
    if name in ("startswith", "endswith") and (
        _is_tuple(first) or getattr(first, "id", "") in tuples
    ):
        return [name + " with a tuple"]
    if name == "wrap_socket" and keywords - {"server_hostname", "do_handshake_on_connect"}:
        return [name + " with a keyword that not every port knows"]
    if name == "next" and len(node.args) > 1:
        return ["next with a default, before 1.25"]
    if name == "hash":
        return ["hash(), of which some ports have 8 bits"]
    if name == "getaddrinfo" and len(node.args) > 2:
        return ["getaddrinfo with hints, which not every port takes"]
    mode = getattr(node.args[1], "value", "") if node.args[1:] else ""
    if name == "open" and isinstance(mode, str) and "x" in mode:
        return ["open with the mode x"]
    if ast.unparse(node.func) in NO_FUNCTIONS:
        return [f"{ast.unparse(node.func)}: {NO_FUNCTIONS[ast.unparse(node.func)]}"]
    return []


def _loop(node):
    # Lines of a file: MicroPython reads them byte by byte. Streams of a network are its own.
    if isinstance(node, ast.For) and ast.unparse(node.iter).split(".")[-1] == "file":
        return ["the lines of a file, one by one"]
    calls = [part for part in ast.walk(node) if isinstance(part, ast.Call)]
    for call in calls:
        words = ast.unparse(call.func).split(".")
        if words[-1] == "readline" and "file" in words[:-1]:
            return ["readline of a file in a loop"]
    return []


# What part 2 of mip/__init__.py does yet, and the small mip: it is slow, not missing anywhere.
NOT_YET = {
    "__init__.py": {"the lines of a file, one by one"},
    "../manifests/small.py": {"the lines of a file, one by one"},
}


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py", "../manifests/small.py"])
def test_mip_uses_what_every_board_has(name):
    """Nothing in mip/ is missing on ESP8266 or in MicroPython 1.20."""
    found = set(lacking((MIP / name).read_text(encoding="utf-8")))
    assert found == NOT_YET.get(name, set())


# What has to be noticed, so that the test above can fail.
SEEDS = [
    ("'a/b'.rpartition('/')", ".rpartition"),
    ("text.splitlines()", ".splitlines"),
    ("print(__file__)", "__file__"),
    ("compile('1', '', 'eval')", "compile"),
    ("binascii.crc32(b'')", ".crc32"),
    ("sha.hexdigest()", ".hexdigest"),
    ("os.path", ".path"),
    ("'a'.startswith(('a', 'b'))", "startswith with a tuple"),
    ("import tls", "import tls"),
    ("import vfs", "import vfs"),
    ("from errno import EIO", "import errno"),
    ("def f():\n    import argparse", "import argparse"),
    ("(a := 1)", ":="),
    ("match a:\n    case 1: pass", "match"),
    ("try:\n    a\nexcept OSError as e:\n    raise ValueError from e", "raise from"),
    ("a[::2]", "a slice with a step"),
    ("def f(a, /): pass", "positional-only parameters"),
    ("c.wrap_socket(s, cert_reqs=0)", "wrap_socket with a keyword that not"),
    ("import select", "import select"),
    ("next(words, '')", "next with a default"),
    ("WORDS = const(('a', 'b'))\n'a'.startswith(WORDS)", "startswith with a tuple"),
    ("os.chdir('/')", "os.chdir: "),
    ("time.time()", "time.time: "),
    ("hash('a')", "hash()"),
    ("socket.getaddrinfo('a', 80, 0, 1)", "getaddrinfo with hints"),
    ("open('a', 'xb')", "open with the mode x"),
    ("while True:\n    line = file.readline()", "readline of a file in a loop"),
    ("while True:\n    line = self.file.readline(64)", "readline of a file in a loop"),
    ("for line in file:\n    pass", "the lines of a file"),
    ("os.getpid()", ".getpid"),
    ("assert a", "assert"),
]


@pytest.mark.parametrize(("text", "found"), SEEDS)
def test_what_a_board_lacks_is_noticed(text, found):
    """Each thing that a board lacks is found."""
    assert len(lacking(text)) == 1
    assert lacking(text)[0].startswith(found)


def test_what_is_imported_where_it_is_used():
    """Modules that not every port has may be imported where they are used."""
    assert lacking("def f():\n    import tls\n    import socket\n    import select") == []


def test_what_may_be_done():
    """What looks like something that is refused, and is not."""
    for text in (
        "next(lines)",
        "'a'.startswith('b')",
        "stream.readline(64)",
        "while True:\n    line = self.stream.readline(64)",
        "for line in lines:\n    pass",
        "socket.getaddrinfo('a', 80)",
        "open('x', 'rb')",
        "open('x')",
        "time.ticks_ms()",
    ):
        assert lacking(text) == [], text


# Runs an installation as on a port whose sockets cannot do what some ports' cannot.
OLD_SOCKETS = """
import json, sys
import fake_socket as net

lacks = sys.argv[1]
if lacks == "settimeout":
    del net.socket.settimeout
elif lacks == "setsockopt":
    del net.socket.setsockopt
elif lacks == "TCP_NODELAY":
    def refuse(self, *option):
        raise OSError(22)
    net.socket.setsockopt = refuse
elif lacks == "tls":
    import builtins

    def find(name, *rest):
        if name == "tls":
            raise ImportError(name)
        return built_in(name, *rest)

    built_in, builtins.__import__ = builtins.__import__, find
    sys.modules["ssl"] = net
elif lacks == "SSLContext":
    class Module:
        @staticmethod
        def wrap_socket(sock, server_hostname=None):
            wrapped.append(server_hostname)
            return sock
    wrapped = []
    sys.modules["tls"] = Module
import mip

net.serve = lambda host, path: net.frame(b"m = 1\\n", "length")
mip.install("https://example.org/m.py", target="lib")
if lacks == "SSLContext":
    print(wrapped)
    try:
        mip.Session(cafile="ca.pem").get("https://example.org/m.py")
    except ValueError as e:
        print(e)
"""


@pytest.mark.parametrize("lacks", ["nothing", "settimeout", "setsockopt", "TCP_NODELAY"])
def test_sockets_that_cannot_do_all(device, lacks):
    """Sockets without settimeout(), setsockopt() or its options do."""
    device.run(OLD_SOCKETS, lacks, check=True)
    assert device.tree() == {"m.py": b"m = 1\n"}


def test_firmware_without_tls_has_ssl(device):
    """Before MicroPython 1.23 `ssl` has what `tls` has."""
    device.run(OLD_SOCKETS, "tls", check=True)
    assert device.tree() == {"m.py": b"m = 1\n"}


def test_firmware_without_contexts_wraps_sockets(device):
    """MicroPython 1.20 and 1.21 wrap a socket, and refuse to check what they cannot."""
    result = device.run(OLD_SOCKETS, "SSLContext", check=True)
    assert device.tree() == {"m.py": b"m = 1\n"}
    assert result.lines[-2:] == ["['example.org']", "this firmware cannot check a server"]
