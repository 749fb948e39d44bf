"""docs/publish.md is true: its files and its commands make what it shows."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from pages import shows
from publish import content

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "docs" / "publish.md").read_text(encoding="utf-8")

# Commands that are not run here, and why.
NOT_RUN = {"mip-index serve site": "it serves until Ctrl-C; see test_index.py"}

# A file: its path, as the last of the text before it, and its content.
FILE = re.compile(r"`([^`\n]+/[^`\n]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Has connections go to the internet of the tests; the commands are programs of their own.
ROUTES = """
import os, socket

ports = dict(entry.split("=") for entry in os.environ["MIP_TEST_HOSTS"].split(","))
connect = socket.create_connection

def create_connection(address, *args, **options):
    return connect(("127.0.0.1", int(ports[address[0]])), *args, **options)

socket.create_connection = create_connection
"""


def commands():
    """(command, lines of output) of all consoles, in order."""
    found = []
    for block in CONSOLE.findall(GUIDE):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


@pytest.fixture
def place(tmp_path, net):
    """A directory with the files of the guide, and an internet with what it names there."""
    (tmp_path / "place").mkdir()
    (tmp_path / "sitecustomize.py").write_text(ROUTES)
    for path, text in FILE.findall(GUIDE):
        file = tmp_path / "place" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if path.startswith("thermo/"):
            net.put(f"https://raw.githubusercontent.com/ORG/thermo/v1.2/{path[7:]}", text)
    net.put("https://raw.githubusercontent.com/other/fonts/v3/draw.py")
    net.publish("logging", "0.6.1")
    return tmp_path / "place"


def test_the_guide(place, net, device):
    """The commands print what the guide shows, and what they publish can be installed."""
    environment = {
        **os.environ,
        "MIP_TEST_HOSTS": ",".join(f"{host}={port}" for host, port in net.hosts.items()),
        "PYTHONPATH": str(place.parent),
        "SSL_CERT_FILE": str(net.cafile),
    }
    run = 0
    for command, output in commands():
        if command in NOT_RUN:
            continue
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=place,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert shows(output, done.stdout.splitlines()), (command, done.stdout)
        errors = any("error: " in line or line.startswith("mip-index: ") for line in output)
        assert done.returncode == errors, command
        run += 1
    assert run == len(commands()) - len(NOT_RUN) == 8

    net.reset()
    device.mip("install", f"--index={place / 'fleet'}", "thermo@1.2", check=True)
    assert device.tree() == {
        "logging.mpy": content("logging.mpy", "logging 0.6.1"),
        "thermo.py": (place / "thermo" / "thermo.py").read_bytes(),
    }
    assert net.requests == []


def test_commands_that_are_not_run():
    """What is not run is in the guide."""
    assert set(NOT_RUN) <= {command for command, _ in commands()}


def test_the_names_of_the_guide():
    """Files and options that the guide names are there."""
    for path in re.findall(r"`(tools/[\w./]+)`", GUIDE):
        assert (ROOT / path).exists(), path
    text = (ROOT / "tools" / "mip_index" / "cli.py").read_text(encoding="utf-8")
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", GUIDE)) - {"--help"}:
        assert f'"{option}"' in text, option
