"""docs/reference.md has all that the code has, and nothing that it has not."""

import ast
import re

import pytest
import size
from decided import Decided
from folders import ROOT
from pages import blocks, shows
from test_docs import internet, page, site  # noqa: F401  (fixtures)

REFERENCE = page("docs/reference.md")

SOURCE = ast.parse(page("mip/__init__.py"))
# The whole build: all switches are on.
LIBRARY = Decided({f"_{word.upper()}": True for word in size.switches()}).visit(
    ast.parse(page("mip/__init__.py"))
)
COMMAND_LINE = ast.parse(page("mip/__main__.py"))
SMALL = ast.parse((ROOT / "manifests" / "small.py").read_text(encoding="utf-8"))


def section(title):
    """The text under a heading of the reference, up to the next one of that level."""
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    return text


def rows(text):
    """The rows of the tables in `text`, without their heads, each as a list of cells."""
    found = []
    for line in text.splitlines():
        if re.fullmatch(r"\|( ?-+:? ?\|)+", line):
            found.pop()
        elif line.startswith("| "):
            found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    assert found
    return found


# --- Calls, verbs, options, exit statuses ---


def constants():
    """The values of mip's constants: {name: value}."""
    found = {}
    for node in LIBRARY.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value
            if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "const":
                value = value.args[0]
            text = ast.unparse(value)
            if re.fullmatch(r"[\d\s<()x,.]+", text):
                found[node.targets[0].id] = eval(text)
    return found


def signature(name, arguments):
    """A call as the reference writes it."""
    text = ast.unparse(arguments).removeprefix("self, ")
    for constant, value in constants().items():
        text = text.replace(f"={constant}", f"={value}")
    return f"mip.{name}({text})"


def test_the_calls():
    """Every public name of mip is in the table, with its parameters and their defaults."""
    expected = {"mip.cafile", "mip.idle", "mip.InstallError", "mip.__version__"}
    for node in LIBRARY.body:
        if isinstance(node, ast.FunctionDef) and node.name[0] != "_":
            expected.add(signature(node.name, node.args))
        elif isinstance(node, ast.ClassDef) and node.name == "Session":
            (init,) = [part for part in node.body if getattr(part, "name", "") == "__init__"]
            expected.add(signature(node.name, init.args))
        elif isinstance(node, ast.ClassDef):
            assert node.name[0] == "_" or f"mip.{node.name}" in expected
        elif isinstance(node, ast.Assign):
            name = node.targets[0].id
            assert name[0] == "_" or f"mip.{name}" in expected
    assert {row[0].strip("`") for row in rows(section("The library"))} == expected


def test_the_version():
    """The version in the table is that of mip."""
    (row,) = [row for row in rows(section("The library")) if row[0] == "`mip.__version__`"]
    assert f"__version__ = {row[1].strip('`')}\n" in page("mip/__init__.py")


def test_the_usage(device):
    """The command line is what --help prints."""
    (usage,) = [block.text for block in blocks(REFERENCE) if block.heading == "The command line"]
    assert usage.strip() == device.mip("--help", check=True).out.strip()


def test_the_verbs_and_options():
    """--help names every verb and every option that the command line knows, and no other."""
    values = {
        node.targets[0].id: node.value
        for node in COMMAND_LINE.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    (usage,) = [block.text for block in blocks(REFERENCE) if block.heading == "The command line"]
    head, options = usage.split("PACKAGE: ")
    verbs = {key.value for key in values["_VERBS"].keys}
    assert verbs == {
        node.name
        for node in LIBRARY.body
        if isinstance(node, ast.FunctionDef) and node.name[0] != "_"
    }
    cells = [cell.split()[0] for cell in re.split(r" {2,}|\n", head) if cell.strip()]
    assert verbs <= set(cells)
    known = eval(
        compile(ast.Expression(values["_INSTALLS"]), "", "eval"),
        {"_FETCHES": ast.literal_eval(values["_FETCHES"])},
    )
    named = set(re.findall(r"(?<![\w-])--([a-z-]+)", options))
    assert named - {"help", "version"} == set(known.split()) | {"no-mpy", "no-deps"}


def test_the_exit_statuses():
    """The statuses are those with which the command line returns, and are what they are."""
    (run,) = [node for node in COMMAND_LINE.body if getattr(node, "name", "") == "_run"]
    returned = {
        constant.value
        for node in ast.walk(run)
        if isinstance(node, ast.Return)
        for constant in ast.walk(node.value)
        if isinstance(constant, ast.Constant) and isinstance(constant.value, int)
    }
    table = section("The command line")
    assert {int(row[0]) for row in rows(table)} == returned


# --- On flash ---


@pytest.fixture
def recorded(device, internet):  # noqa: F811
    """The record's lines after the call that the reference names."""
    (call,) = re.findall(r"After `(mip\.install\(.*?\))`", section("On flash"))
    internet.put(
        "https://raw.githubusercontent.com/ORG/driver/v1/package.json",
        '{"urls": [["driver.py", "driver.py"]], "deps": [["crc", "latest"]]}',
    )
    device.run(f"import mip; {call}", check=True)
    return (device.lib / ".mip" / "record").read_text().splitlines()


def test_the_record(recorded):
    """The record in the reference is the one that this call writes."""
    (shown,) = [block.text for block in blocks(REFERENCE) if block.heading == "On flash"]
    assert shows(shown.splitlines(), recorded), "\n".join(recorded)


# Names in .mip/ that are made of parts, and the text in the code for each.
MADE_OF_PARTS = {"DIGITS.rm": ".rm", "NAME+": "+", "NAME++": "++"}


def test_the_files_of_mip():
    """Every file that mip has in .mip/ has a row, and every row is of one that it can have."""
    names = set()
    for node in ast.walk(LIBRARY):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("lines", "create"):
            names |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)}
        elif isinstance(node, ast.BinOp) and getattr(node.left, "attr", "") == "meta":
            names |= {node.right.value} if isinstance(node.right, ast.Constant) else set()
    names.remove("none")  # what is removed to have littlefs write, and never there
    assert names == {"record", "plan", "new", "room", "next"}
    texts = {node.value for node in ast.walk(LIBRARY) if isinstance(node, ast.Constant)}
    assert set(MADE_OF_PARTS.values()) <= texts
    cells = [row[0] for row in rows(section("On flash"))]
    named = {name for cell in cells for name in re.findall("`([^`]+)`", cell)}
    of_1_0_0 = {"1", "2"}
    staged = {name for name in named if re.fullmatch(r"[0-9a-f]{8}\.[0-9a-f]{3}", name)}
    assert len(staged) == 1
    assert named == names | set(MADE_OF_PARTS) | of_1_0_0 | staged


# --- Limits ---

# Constants that limit nothing, or nothing that anybody could meet.
NOT_LIMITS = {
    "_REDIRECTS": "statuses",
    "_PART": "how a line is read",
    "_ENOTDIR": "an error of a disk",
    "_BLOCK": "how lines are read",
    "_FIRST": "how lines are read",
    "_SECTOR": "how lines are written",
    "_YEAR": "from when a clock may be right",
    "_FULL": "errors of a disk",
    "_DISK": "errors of a disk",
    "_IS_DIRECTORY": "errors where a directory is",
    "_IPPROTO_TCP": "a number of the socket interface",
    "_POLLIN": "a number of the socket interface",
    "_POLLOUT": "a number of the socket interface",
    "_CERT_NONE": "a number of the TLS interface",
    "_CERT_REQUIRED": "a number of the TLS interface",
    "_DIRECTORY": "a bit of os.stat()",
    **dict.fromkeys(
        (
            "_KEYED",
            "_NAMED",
            "_VERSION",
            "_HASH",
            "_ASKED",
            "_INDEXED",
            "_FOUND",
            "_SAID",
            "_PLANNED",
            "_FORM",
        ),
        "a place in a list",
    ),
    **dict.fromkeys(("_BEGUN", "_COMMITTED", "_DONE"), "a state of a transaction"),
    **dict.fromkeys(
        (
            *("_EIO", "_ENOMEM", "_ENOSPC"),
            *("_EADDRINUSE", "_ECONNRESET", "_ETIMEDOUT"),
        ),
        "a number of an error",
    ),
}


def test_the_limits():
    """Every limit has a row, with its value; every row is a limit of the code."""
    values = constants()
    assert set(NOT_LIMITS) <= set(values)
    expected = {
        name: ", ".join(str(part) for part in value if part)
        if isinstance(value, tuple)
        else str(value)
        for name, value in values.items()
        if name not in NOT_LIMITS
    }
    assert {row[2].strip("`"): row[0] for row in rows(section("Limits"))} == expected


# --- Messages ---

# How texts in the code begin that nobody gets to see, and why.
NOT_MESSAGES = {
    " deps": "an option of the command line",
    "The cert": "how what mbedtls says begins",
    "bytecode x86 ": "names of architectures",
    "github.com ": "names of hosts",
    "tree blob ": "parts of URLs",
    "branch tag ": "parts of URLs",
    ".zip ": "how names of archives end",
    "HTTP/1.1\r\n": "what is sent",
    " HTTP/1.1\r\n": "the same, of the small mip",
    "wait": "an attribute",
    "the user": "who asks for a version",
    " index cafile ": "names of options",
    "target mpy": "names of options",
    "mip: ": "in front of every message",
}
# Texts to which the code adds another one.
JOINTS = (
    "Interrupted: ",
    "takes ",
    "a file and a directory at once: ",
    "this mip was built without ",
)


# The errno values in front of what they mean, in a text with a line for each meaning.
ERRORS = re.compile(r"^[-\d ]+=")


def texts(tree):
    """The texts in a program that may be a part of a message, in their order."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef))
        and isinstance(node.body[0], ast.Expr)
    }
    told = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        or (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print")
        for part in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if id(node) in documentation or node.value.startswith("usage: "):
            continue
        if ERRORS.match(node.value):
            found += [ERRORS.sub("", line) for line in node.value.split("\n")]
        elif " " in node.value or id(node) in told:
            found.append(node.value)
    return found


def fixed(text):
    """The words of a text in the code that do not vary, as a list."""
    parts = re.split(r"%[drsx]|%02X|\{\d?\}|\n", text)
    return [part.strip() for part in parts if re.search("[a-z]{2}", part)]


def messages():
    """The parts of the messages in the reference that do not vary."""
    found = []
    for text in re.findall("`([^`]+)`", "\n".join(row[0] for row in rows(section("Messages")))):
        parts = re.split(r"\b[A-Z]{2,}\b|\bN\b|[][]", text)
        found += [part.strip(" [:") for part in parts if re.search("[a-z]{2}", part)]
    return found


@pytest.mark.parametrize(
    "tree", [SOURCE, COMMAND_LINE, SMALL], ids=["library", "command line", "small"]
)
def test_every_message_is_explained(tree):
    """Every text that the code raises or prints is in a row."""
    cells = [row[0] for row in rows(section("Messages"))]
    missing = []
    for text in texts(tree):
        if text.startswith(tuple(NOT_MESSAGES)):
            continue
        pattern = ".*".join(map(re.escape, fixed(text)))
        if not any(re.search(pattern, cell) for cell in cells):
            missing.append(text)
    assert not missing


def test_every_explained_message_exists():
    """Every part of a message in the reference is a part of a text in the code."""
    known = [
        node.value
        for tree in (SOURCE, COMMAND_LINE, SMALL)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    parts = set(messages())
    for joint in JOINTS:
        joined = {part for part in parts if part.startswith(joint)}
        assert joined
        parts = (parts - joined) | {joint.strip(": ")} | {part[len(joint) :] for part in joined}
    assert {part for part in parts if not any(part in text for text in known)} == set()


def test_what_is_no_message():
    """The exceptions above are texts in the code."""
    found = [*texts(LIBRARY), *texts(COMMAND_LINE), *texts(SMALL)]
    unused = {
        start for start in NOT_MESSAGES if not any(map(lambda t: t.startswith(start), found))
    }
    assert unused == set()
