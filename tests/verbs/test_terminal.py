"""The command line as a person meets it: at a terminal, with slips, with Ctrl-C."""

import os
import pty
import re
import select
import signal
import subprocess
import threading
import time

import pytest
from scripted_server import Reply


def at_a_terminal(device, *words):
    """Run `-m mip` with these words at a terminal; what it shows there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        device.command("-m", "mip", *words),
        cwd=device.work,
        env=device.environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 1000) if select.select([ours], [], [], 30)[0] else b""
        except OSError:  # what Linux says when the other end is closed
            break
        if not data:
            break
        shown += data
    os.close(ours)
    assert process.wait(30) == 0, shown
    return shown.decode()


def publish(server, number=2):
    """A package of files of 3,000 bytes; its URL."""
    names = [f"m{n}.py" for n in range(number)]
    for name in names:
        (server.root / name).write_text("#" * 2999 + "\n")
    entries = ", ".join(f'["{name}", "{name}"]' for name in names)
    (server.root / "package.json").write_text(f'{{"urls": [{entries}]}}')
    return server.url + "/"


def screen(text):
    """The lines that a terminal shows in the end, after carriage returns and erasures."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        cells, at = [], 0
        for part in re.findall(r"\r|\x1b\[K|[^\r\x1b]", line):
            if part == "\r":
                at = 0
            elif part == "\x1b[K":
                del cells[at:]
            else:
                cells[at : at + 1] = part
                at += 1
        lines.append("".join(cells))
    return lines


@pytest.mark.parametrize("chunked", [False, True])
def test_bytes_are_counted_at_a_terminal(device, server, chunked):
    """At a terminal the bytes of a file are counted, of how many where that is known, on a line
    that is cleared behind it."""
    url = publish(server)
    if chunked:
        body = b"#" * 2999 + b"\n"
        for n in (0, 1):
            server.routes[f"/m{n}.py"] = Reply(body=body, framing="chunked", chunk_size=700)
    shown = at_a_terminal(device, "install", url)
    for n in range(256, 2900, 256):
        text = f"\x1b[K{n} bytes\r" if chunked else f"\x1b[K{n} of 3000 bytes\r"
        assert chunked or shown.count(text) == 2
    assert not chunked or re.search(r"\x1b\[K[1-9]\d+ bytes\r", shown)
    lines = [line.split(" /")[0] for line in screen(shown)]
    assert lines[1:] == ["Copying: [1/2]", "Copying: [2/2]", "Done", ""]


def test_plain_lines_when_redirected(device, server):
    """Into a file or a pipe go whole lines, without counts of bytes."""
    result = device.mip("install", publish(server), check=True)
    assert "\r" not in result.out + result.err
    assert " bytes" not in result.out + result.err
    assert [line.split()[0] for line in result.lines] == [
        "Installing",
        "Copying:",
        "Copying:",
        "Done",
    ]


@pytest.mark.parametrize("words", [[], ["install"], ["uninstall"], ["search"]])
def test_a_line_that_lacks_something(device, words):
    """A line without verb or package is a wrong one: what is missing, status 2."""
    result = device.mip(*words)
    assert result.status == 2
    kind = "word" if words == ["search"] else "package"
    said = "a verb is needed" if not words else f"{words[0]} takes a {kind}"
    assert result.err == f"mip: {said}; see --help\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["instal", "x"], "unknown instal, perhaps install"),
        (["unistall", "x"], "unknown unistall, perhaps uninstall"),
        (["upgarde"], "unknown upgarde, perhaps upgrade"),
        (["freeze"], "unknown freeze"),
        (["install", "--taget=x", "y"], "unknown --taget, perhaps --target"),
        (["install", "--nompy", "y"], "unknown --nompy, perhaps --no-mpy"),
        (["install", "--zzz", "y"], "unknown --zzz"),
    ],
)
def test_a_slip(device, words, said):
    """A verb or an option that is misspelt is told, with what was probably meant."""
    result = device.mip(*words)
    assert result.status == 2
    assert result.err == f"mip: {said}; see --help\n"


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["install", "--help"], ["help", "-h"]])
def test_help(device, words):
    """--help prints the usage on stdout, wherever it stands."""
    result = device.mip(*words, check=True)
    assert result.out.startswith("usage: micropython -m mip VERB")
    for verb in ("install", "uninstall", "upgrade", "list", "verify", "search", "recover"):
        assert f" {verb} " in result.out
    assert result.err == ""


def test_the_version_of_mip(device):
    """--version prints the version of the library."""
    version = device.run("import mip; print(mip.__version__)", check=True).out
    assert device.mip("--version", check=True).out == "mip " + version


@pytest.mark.needs("interrupt")
@pytest.mark.parametrize("first", [True, False], ids=["first install", "upgrade"])
def test_ctrl_c(device, server, first):
    """Ctrl-C while a file is fetched leaves what was there, says so, and exits with 130."""
    url = publish(server)
    if not first:
        device.mip("install", url, check=True)
        for n in (0, 1):
            (server.root / f"m{n}.py").write_text("changed = True\n")
    before = device.tree(everything=True)
    done = threading.Event()
    server.routes["/m1.py"] = lambda handler: done.wait(60) and Reply(status=404)
    process = subprocess.Popen(
        device.command("-m", "mip", "install", url),
        cwd=device.work,
        env=device.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while "/m1.py" not in [path for _, _, path in server.requests]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    done.set()
    assert process.returncode == 130, out + err
    assert out.splitlines()[-1] == "Interrupted: nothing was changed"
    assert "Traceback" not in out + err
    assert device.tree(everything=True) == before
