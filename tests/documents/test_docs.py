"""README.md and docs/use.md are true: what they show is run, and shows what they say.

The other pages: docs/reference.md has all that the code has, and nothing else; links lead
somewhere; what README.md says of other installers is what they do.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import mip_index
import pytest
import small_package
import yaml
from clients import CLIENTS, Proxy, Terminal, install
from folders import HOSTS, PACKAGES, ROOT
from internet import content
from pages import Board, Computer, blocks, headings, shows

MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "mip").rglob("*.py"))

# What no test runs, and why.
COMMANDS = {
    "./tools/demo": "test_demo.py runs it",
    "./tools/test": "it runs this test",
}
NOT_RUN = {
    **COMMANDS,
    "openssl s_client -connect micropython.org:443 < /dev/null 2>&1 | grep depth=": (
        "test_the_authority_of_a_server does"
    ),
    "cp /etc/ssl/certs/ISRG_Root_X1.pem ca.pem": "not every computer has it",
    "tools/env bash": "what it finds is what commands find here",
}


def page(name):
    """The text of a page."""
    return (ROOT / name).read_text(encoding="utf-8")


# --- The world of the pages ---


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """What is at https://host: at /pi an index of tests/packages, at /mip one of mip."""
    root = tmp_path_factory.mktemp("site")
    mip_index.build(PACKAGES, root / "pi")
    small = tmp_path_factory.mktemp("packages") / "mip-small"
    small_package.write(small)
    mip_index.build(small, root / "mip", hash_length=64)
    mip_index.build(ROOT, root / "mip", name="mip", hash_length=64)
    return root


@pytest.fixture
def internet(net, site):
    """The internet that the pages name things in."""
    net.secure.sites["host"] = site
    for name in ("package.json", *MODULES):
        net.put(f"https://raw.githubusercontent.com/ORG/REPO/HEAD/{name}", page(name))
    net.put("http://example.com/x/foo.py")
    driver = "https://raw.githubusercontent.com/ORG/driver/v1"
    net.put(f"{driver}/package.json", json.dumps({"urls": [["driver.py", "driver.py"]]}))
    net.put(f"{driver}/driver.py")
    for name, version, _ in PUBLIC:
        net.publish(name, version, files=[name.replace(".", "/")])
    packages = [{"name": n, "version": v, "description": d} for n, v, d in PUBLIC]
    net.put("https://micropython.org/pi/v2/index.json", json.dumps({"packages": packages}))
    return net


# Packages of the public index that the pages name: name, version, description. What is in them
# here is one module each.
PUBLIC = (
    ("umqtt.robust", "1.0.2", 'Lightweight MQTT client for MicroPython ("robust" version).'),
    ("umqtt.simple", "1.6.0", "Lightweight MQTT client for MicroPython."),
    ("logging", "0.6.2", "A logging module."),
)


@pytest.fixture
def board(tmp_path, device, internet, site):
    """A function board(mip=False) that returns a new Board on the internet.

    mip: as in BOARDS.
    """
    numbers = iter(range(100))

    def board(mip=False):
        work = tmp_path / f"board-{next(numbers)}"
        work.mkdir()
        shutil.copy(internet.cafile, work / "ca.pem")
        shutil.copytree(site / "pi", work / "sd" / "pi")
        (work / "app").mkdir()
        (work / "app" / "package.json").write_text('{"urls": [["app.py", "app.py"]]}')
        (work / "app" / "app.py").write_text("app = 1\n")
        if mip is not False:
            path = device.path / "mip"
            shutil.copytree(path, work / "lib" / "mip", ignore=shutil.ignore_patterns("__pyc*"))
        if mip:
            (work / "boot.py").write_text("import sys\nsys.path.insert(0, '/lib')\ndel sys\n")
        return Board(work, device.interpreter, internet.hosts, tmp_path)

    return board


@pytest.fixture
def computer(tmp_path, device, board, internet):
    """A Computer with a clone of this repository, and an empty board."""
    clone = tmp_path / "clone"
    clone.mkdir()
    shutil.copy(ROOT / "package.json", clone)
    shutil.copy(ROOT / "manifest.py", clone)
    for name in "mip", "manifests", "tools/dev":
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pyc*"))
    shutil.copy(internet.cafile, clone / "ca.pem")
    environment = device.environment(path=["", HOSTS, ".frozen"])
    environment["HOME"] = str(tmp_path / "home")
    with (
        Proxy(internet.hosts, internet.cafile) as proxy,
        Computer(clone, environment, board(), proxy) as computer,
    ):
        yield computer


# --- What is shown is run ---


def has_mip(board):
    """Nothing but mip is in /lib, and it can list what is installed."""
    names = {re.sub(r"\.mpy$", ".py", name) for name in board.tree()}
    assert names and names <= set(MODULES)
    lines = ["import sys", "sys.path.insert(0, '/lib')", "import mip", "mip.list()"]
    assert [printed for _, printed in board.type_in(lines)] == [[], [], [], ["[]"]]


def has_small_mip(board):
    """Nothing but the small mip is in /lib, and it can install."""
    assert list(board.tree()) == ["mip/__init__.mpy"]
    lines = ["import sys", "sys.path.insert(0, '/lib')", "import mip", "hasattr(mip, 'list')"]
    assert [printed for _, printed in board.type_in(lines)] == [[], [], [], ["False"]]
    (*_, (_, printed)) = board.type_in([*lines[:3], "mip.install('umqtt.simple')"])
    assert printed[-2:] == ["Done", "True"]


# Headings under which there is another board, and what holds at the end. The board has mip in its
# /lib, where it comes first (True), or does not (None), or it has none (False).
BOARDS = {
    "mip": (True, None),
    "Over the network": (False, has_mip),
    "From a computer": (False, has_mip),
    "From a clone": (False, has_mip),
    "The small mip": (False, has_small_mip),
    "As source": (False, has_mip),
    "Which one is imported": (None, None),
    "mip on a board": (False, None),
}


def follow(name, board, computer):
    """Do what a page shows, in its order. Returns what is not as shown: a list of texts."""
    problems = []
    current = computer.board
    check = None
    heading = None
    for block in blocks(page(name)):
        if block.heading in BOARDS and block.heading != heading:
            if check:
                check(current)
            mip, check = BOARDS[block.heading]
            current = board(mip)
            computer.plug_in(current)
        heading = block.heading
        if block.language == "pycon":
            found = typed(block, current)
        elif block.language == "console":
            found = run(block, computer)
        elif block.file:
            (current.work / block.file).write_text(block.text)
            found = []
        else:
            found = ["nothing checks this block"]
        problems += [f"{name}:{block.number}: {problem}" for problem in found]
    if check:
        check(current)
    return problems


def typed(block, board):
    """Yield what a board prints that is not as shown.

    A block that shows no output at all is a list of examples: there is no error, and what
    installs says Done, and then what it returns.
    """
    examples = not any(shown for _, shown in block.steps)
    answers = board.type_in([line for line, _ in block.steps])
    for (line, shown), (_, printed) in zip(block.steps, answers, strict=True):
        if examples:
            good = not any(text.startswith("Traceback") for text in printed)
            said = printed[:-1] if printed[-1:] in (["True"], ["False"]) else printed
            good = good and (said[-1:] == ["Done"] or not INSTALLS.match(line))
        else:
            good = shows(shown, printed)
        if not good:
            yield "\n".join([f">>> {line}", *printed])


INSTALLS = re.compile(r"mip\.(install|uninstall|upgrade)\(")


def run(block, computer):
    """Yield what commands print that is not as shown.

    Each succeeds, unless the page shows its exit status. What mpremote and mpy-cross print is
    not shown where it does not matter.
    """
    followers = [command for command, _ in block.steps[1:]] + [""]
    for (command, shown), follower in zip(block.steps, followers, strict=True):
        if command in NOT_RUN:
            continue
        status, printed = computer.run(command)
        if (shown and not shows(shown, printed)) or (status and follower != "echo $?"):
            yield "\n".join([f"$ {command}", *printed, f"exit status {status}"])


def test_the_first_screen():
    """README.md begins with what mip is, in one sentence, and with what it does, at the REPL."""
    text = page("README.md")
    assert re.match(r"# mip\n\nmip [^.]+(\.\n\n)```pycon\n", text)
    assert len(blocks(text)[0].steps) == 4


def test_the_two_commands():
    """README.md has two commands for developers, which are there to be run."""
    (block,) = [block for block in blocks(page("README.md")) if block.heading == "Development"]
    commands = [command for command, _ in block.steps]
    assert commands == list(COMMANDS)
    for command in commands:
        assert os.access(ROOT / command, os.X_OK)


def test_the_workflow():
    """The forge runs the same two commands."""
    workflow = yaml.safe_load(page(".github/workflows/test.yml"))
    commands = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    assert commands[-2:] == list(COMMANDS)


@pytest.mark.needs("upstream")
@pytest.mark.parametrize("name", ["README.md", "docs/use.md"])
def test_the_page(name, board, computer):
    """What a page shows can be done in its order, and shows what the page says."""
    problems = follow(name, board, computer)
    assert not problems, "\n\n".join(problems)


def test_the_programs_of_a_clone():
    """tools/env finds the programs that README.md says it finds."""
    (text,) = re.findall(r"`tools/env bash` starts a shell that finds ([^:]*):", page("README.md"))
    names = re.findall(r"`([\w-]+)`", text)
    assert {"micropython", "mip-index"} < set(names)
    words = [ROOT / "tools" / "env", "bash", "-c", f"command -v {' '.join(names)}"]
    done = subprocess.run(words, capture_output=True, timeout=60, text=True)
    directory = ROOT / ".venv" / "bin"
    assert done.stdout.split() == [str(directory / name) for name in names]


def test_the_authority_of_a_server(authority, secure_server):
    """The last line that docs/use.md has of openssl at first names the server's authority."""
    (line,) = [line for line in NOT_RUN if line.startswith("openssl ")]
    assert f"$ {line}\n" in page("docs/use.md")
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl")
    here = f"127.0.0.1:{secure_server.port} -CAfile {authority.pem}"
    command = line.replace("micropython.org:443", here)
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60, text=True)
    depths = dict(re.match(r"depth=(\d) (.*)", line).groups() for line in done.stdout.splitlines())
    assert max(depths) == "1"
    (name,) = authority.ca._certificate.subject.rdns[-1:]
    assert name.rfc4514_string().split("=")[1] in depths["1"]


# --- What holds for every page ---

FILES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in FILES)


def anchors(text):
    """The names by which the headings of a page can be linked to, as GitHub makes them."""
    plain = [re.sub(r"[^\w -]", "", heading) for heading in headings(text)]
    return {heading.lower().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("name", PAGES)
def test_links(name):
    """Every link into the repository leads to a file, and to a heading of it."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page(name)):
        if ":" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        found = file.exists() and (not anchor or anchor in anchors(file.read_text()))
        broken += [] if found else [target]
    assert not broken


def test_the_names_of_the_design():
    """Functions and constants that docs/design.md names are there."""
    code = page("mip/__init__.py") + page("mip/__main__.py") + page("manifests/small.py")
    defined = set(re.findall(r"(?:def|class) (\w+)", code))
    defined |= set(re.findall(r"^(\w+) = ", code, re.M))
    text = page("docs/design.md")
    names = set(re.findall(r"`(?:\w+\.)*(_\w+)", text)) | set(re.findall(r"`(\w+)\(\)`", text))
    assert len(names) > 20
    assert names - defined == {"rmdir", "const"}  # MicroPython's


def test_tools_that_are_named():
    """Tools that the pages name are there."""
    for name in PAGES:
        for path in re.findall(r"`(?:\./)?((?:tools|tests)/[\w./]+)`", page(name)):
            assert (ROOT / path).exists(), f"{name}: {path}"


def test_the_map():
    """The map in CONTRIBUTING.md has the folders and the commands, and no others."""
    (block,) = [b for b in blocks(page("CONTRIBUTING.md")) if b.heading == "Where things are"]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("no clone")
    paths = [Path(line) for line in tracked.stdout.splitlines()]
    folders = {path.parts[0] for path in paths if len(path.parts) > 1}
    folders |= {p.parts[1] for p in paths if p.parts[0] in ("tools", "tests") and len(p.parts) > 2}
    shown = set(re.findall(r"(?<!\S)(\w+)/(?=[\s:;])", block.text))
    assert shown == {folder for folder in folders if not folder.startswith(".")}
    commands = set(re.findall(r"\w+", re.search("commands: (.*)", block.text)[1]))
    assert commands == {path.name for path in paths if path.parent == Path("tools")}


# --- What README.md says of other installers ---

# The columns of the table, by the names of clients.
COLUMNS = {"mip": 1, "upstream": 2, "mpremote": 3}


def cells(name):
    """What the table says of a client: {first cell of a row: the client's}."""
    lines = page("README.md").split("## What is different")[1].split("\n\n")[1]
    rows = [line.strip("| ").split(" | ") for line in lines.splitlines() if "|" in line]
    return {row[0]: row[COLUMNS[name]] for row in rows[2:]}


def says_done(name, device, net, package):
    """Have a client install a package. Returns whether it says that it has."""
    try:
        install(name, device, net, package)
    except AssertionError:
        return False
    return True


@pytest.fixture(params=CLIENTS)
def client(request, device, net):
    """A client: its name, its cells in the table, and a function that has it install."""
    name = request.param
    return SimpleNamespace(
        name=name,
        cells=cells(name),
        install=lambda package: says_done(name, device, net, package),
    )


def test_wrong_content(client, device, net):
    """Who installs content with another hash than the one in the index is in the table."""
    net.publish("crc")
    for file in net.secure.sites["micropython.org"].rglob("file/*/*"):
        file.write_bytes(content("crc.mpy", "another"))
    done = client.install("crc")
    assert bool(device.tree()) == done
    expected = "installed" if done else "refused"
    assert client.cells["hash mismatch"] == expected


def test_paths_out_of_the_target(client, device, net):
    """Who lets a package write outside of the target is in the table."""
    net.put("http://example.com/x/package.json", '{"urls": [["../main.py", "main.py"]]}')
    net.put("http://example.com/x/main.py", "new")
    (device.work / "main.py").write_text("old")
    device.lib.mkdir()
    done = client.install("http://example.com/x/package.json")
    assert (device.work / "main.py").read_text() == ("new" if done else "old")
    expected = "overwrites `/main.py`" if done else "refused"
    assert client.cells["a path like `../main.py`"] == expected


def test_what_an_error_leaves(client, device, net):
    """Who leaves a part of a package after an error is in the table."""
    net.put(
        "http://example.com/x/package.json",
        '{"urls": [["a.py", "a.py"], ["b.py", "b.py"]], "deps": [["no-such-package", "latest"]]}',
    )
    net.put("http://example.com/x/a.py")
    net.put("http://example.com/x/b.py")
    assert not client.install("http://example.com/x/package.json")
    left = list(device.tree())
    assert left in ([], ["a.py", "b.py"])
    expected = "files fetched before the error stay" if left else "all or nothing"
    assert client.cells["several packages, or one with dependencies"] == expected


def test_a_package_that_is_not_there(client, device, net):
    """What an exit status tells is in the table."""
    words = "mip", "install", "no-such-package"
    if client.name == "mpremote":
        with (
            Proxy(net.hosts, net.cafile) as proxy,
            Terminal(device, path=[], env=proxy.environment) as terminal,
            pytest.raises(AssertionError, match="Package not found"),
        ):
            terminal.run(*words)
        status = 1  # of which run() raises
    else:
        board = device.upstream() if client.name == "upstream" else device
        status = board.mip(*words[1:]).status
    assert client.cells["missing package"].endswith(f"exit status {status}")


def test_certificates(client, device, net, authority):
    """Who checks certificates is in the table."""
    net.publish("crc")
    net.publish("frame")
    assert client.install("crc")
    device.cafile = net.cafile = authority.pem  # which vouches for other servers
    done = client.install("frame")
    cell = client.cells["server certificates"]
    assert cell == "not checked" if done else cell.startswith("checked")
