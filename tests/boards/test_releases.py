"""mip on every release of MicroPython that it names: rows of a matrix, with what was tried.

The releases are those of MicroPython for WebAssembly, which has 32-bit objects, no sockets, and
the error numbers of WASI; and the Unix port. What is tried is in device_modules/matrix.py. What
a release cannot do is in the table here, with the reason. docs/releases.md has the same table.
"""

import http.server
import json
import os
import re
import threading
from pathlib import Path

import pytest
import test_json_reader
import wasm
from folders import DEVICE_MODULES, ROOT

PAGE = ROOT / "docs" / "releases.md"

# The columns; what each stands for is in docs/releases.md.
COLUMNS = ("source", "mpy", "path", "session", "network", "reader", "words", "cuts")

# Reason why something cannot be: what the exception says then.
REASONS = {
    "it loads no bytecode": "no attribute '__version__'",
    "its `time` has no `time()`": "has no attribute 'time'",
}
NO_BYTECODE = {"mpy": "it loads no bytecode"}

# Release: what MicroPython says that it is, and {column: why not}.
RELEASES = {
    "1.20.0-297": ("1.20.0-297", NO_BYTECODE),
    "1.21.0-279": ("1.22.0-preview.278", NO_BYTECODE),
    "1.22.0-224": ("1.23.0-preview.223", NO_BYTECODE),
    "1.22.0-380": ("1.23.0-preview.379", {}),
    "1.23.0": ("1.23.0", {}),
    "1.24.1": ("1.24.1", {}),
    "1.25.0": ("1.25.0", {}),
    "1.26.0": ("1.26.0", {}),
    "1.27.0": ("1.27.0", {}),
    "1.28.0-6": ("1.28.0-6", {}),
    "1.29.0-6": ("1.29.0-6", {}),
}

UNIX = "Unix port"

IMPORT = """
import sys
print("#", sys.version, sys.implementation[1])
import mip
print("#", mip.__version__)
"""

# Prints what came of columns; with fake_socket in the place of `socket` for that of the network.
TRY = """
import sys
sys.path.append("/tests")
if {columns!r} == "network":
    import fake_socket
import matrix
matrix.run({columns!r})
"""


def documents():
    """The documents of test_json_reader.py, a line each: name, whether json takes it, and hex."""
    lines = []
    for table in (
        test_json_reader.TAKEN,
        test_json_reader.REFUSED,
        test_json_reader.UNWANTED_REFUSED,
    ):
        for name, text in table.items():
            data = text if isinstance(text, bytes) else text.encode()
            taken = table is test_json_reader.TAKEN
            lines.append(json.dumps([name, taken, data.hex()]) + "\n")
    return "".join(lines).encode()


def outcomes(text):
    """What a program printed of columns: {column: outcome}."""
    lines = re.findall(r"^## (.*)$", text, re.MULTILINE)
    return dict(json.loads(line) for line in lines)


def cell(outcome):
    """What stands in the table for an outcome: "ok", a reason, or the exception."""
    for reason, says in REASONS.items():
        if says in outcome:
            return reason
    return outcome


def version(text):
    """What MicroPython says in `sys.version` that it is, without the commit.

    A build without a tag says the commit alone: then what `sys.implementation` says.
    """
    said = re.search(r"MicroPython v(\S+)", text)
    if said:
        return re.sub(r"(-dirty|[.-]g[0-9a-f]+)$", "", said[1])
    major, minor, patch, *more = re.findall(r"\w+", text.split("(")[-1])
    return "-".join([f"{major}.{minor}.{patch}", *more])


def files(directory, place, pattern="*"):
    """The files of a directory, as wasm.Program takes them, with their directory there."""
    return {f"{place}/{file.name}": file.read_bytes() for file in Path(directory).glob(pattern)}


def test_the_releases():
    """Each release that is pinned has its row."""
    assert list(RELEASES) == wasm.RELEASES


@pytest.mark.parametrize("release", RELEASES)
def test_a_release(release, matrix, figures, compiled_path):
    """A release of WebAssembly does all that is tried, but for what the table says."""
    source = files(ROOT / "mip", "/lib/mip", "*.py")
    compiled = files(compiled_path / "mip", "/lib/mip", "*.mpy")
    named, missing = RELEASES[release]
    modules = files(DEVICE_MODULES, "/tests", "*.py")
    del modules["/tests/time.py"]  # which takes the place of MicroPython's
    modules["/documents"] = documents()
    most = source if "mpy" in missing else compiled
    imports = [wasm.Program(IMPORT, form) for form in (source, compiled)]
    programs = [
        wasm.Program(TRY.format(columns="path"), modules | source),
        wasm.Program(TRY.format(columns="path session reader words cuts"), modules | most),
        wasm.Program(TRY.format(columns="network"), modules | most),
    ]
    seen = wasm.run(release, imports + programs)
    row = {}
    for column, program in zip(("source", "mpy"), seen, strict=False):
        row[column] = cell(program.error or "ok")
    for program in seen[2:]:
        assert program.error == "", program
        for column, outcome in outcomes(program.out).items():
            row[column] = cell(outcome) if row.get(column, "ok") == "ok" else row[column]
    says = version(seen[0].lines[0])
    matrix(release, [says, row])
    figures("power cuts, WebAssembly", sum(map(int, re.findall(r"^# (\d+)$", seen[3].out, re.M))))
    assert says == named
    assert row == {column: missing.get(column, "ok") for column in COLUMNS}


def test_the_unix_port(device, matrix, compiled_path):
    """The interpreter of all other tests does all that is tried on the others."""
    (device.work / "documents").write_bytes(documents())
    row = {}
    for column, path in (("source", ROOT), ("mpy", compiled_path)):
        result = device.run(IMPORT, path=path, check=True)
        row[column] = "ok"
    for columns in ("path session reader words cuts", "network"):
        program = device.run(TRY.format(columns=columns), check=True)
        row.update(outcomes(program.out))
    matrix(UNIX, [version(result.lines[0]), row])
    assert row == {column: "ok" for column in COLUMNS}


def rows():
    """The rows of the table in docs/releases.md: lists of their cells."""
    text = PAGE.read_text(encoding="utf-8").split("<!-- matrix -->")[1]
    table = [line.strip("| ").split(" | ") for line in text.splitlines() if line[:1] == "|"]
    return table[2:]


def test_the_page_has_the_matrix():
    """The table of docs/releases.md is that of the tests above."""
    expected = [
        [release, named, *[missing.get(column, "ok") for column in COLUMNS]]
        for release, (named, missing) in RELEASES.items()
    ]
    assert rows()[: len(expected)] == expected
    unix = rows()[len(expected) :]
    assert [row[0] for row in unix] == [UNIX]
    assert unix[0][2:] == ["ok"] * len(COLUMNS)


def test_a_release_that_cannot():
    """What goes wrong is seen, with its reason."""
    library = (ROOT / "mip" / "__init__.py").read_bytes()
    assert library.count(b"if e.args[0] not in _MISSING") == 3
    broken = {"/lib/mip/__init__.py": library.replace(rb"\x02\x14\x2c\x36", rb"\x02\x14")}
    modules = files(DEVICE_MODULES, "/tests", "*.py")
    del modules["/tests/time.py"]
    programs = [
        wasm.Program(IMPORT, {"/lib/mip/__init__.py": b"import none\n"}),
        wasm.Program(TRY.format(columns="session"), modules | broken),
    ]
    seen = wasm.run("1.29.0-6", programs)
    assert "no module named 'none'" in seen[0].error
    assert "/board/lib/: 44" in outcomes(seen[1].out)["session"]


class Registry(http.server.BaseHTTPRequestHandler):
    """An npm registry whose packages are not what they should be."""

    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"not a package")

    def log_message(self, *words):
        pass


def test_what_is_downloaded_is_what_is_pinned(tmp_path, monkeypatch):
    """A package comes from the registry of npm's settings, and only with its hash."""
    monkeypatch.setattr(wasm, "CACHE", tmp_path)
    with http.server.HTTPServer(("127.0.0.1", 0), Registry) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{server.server_port}/npm/")
        with pytest.raises(ValueError, match="not that of wasm.json"):
            wasm.download(wasm.MICROPYTHON, "1.24.1")
        server.shutdown()
        thread.join()
    name = "micropython-webassembly-pyscript"
    assert server.asked == [f"/npm/@micropython/{name}/-/{name}-1.24.1.tgz"]
    assert list(tmp_path.iterdir()) == []


def test_the_registry(tmp_path, monkeypatch):
    """The registry is that of the environment, else of the user's settings, else npm's."""
    for name in [name for name in os.environ if name.lower() == "npm_config_registry"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NPM_CONFIG_USERCONFIG", str(tmp_path / "npmrc"))
    assert wasm.registry() == "https://registry.npmjs.org"
    (tmp_path / "npmrc").write_text("audit=false\nregistry = https://example.org/npm/\n")
    assert wasm.registry() == "https://example.org/npm"
