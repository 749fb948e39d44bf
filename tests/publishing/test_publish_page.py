"""docs/publish.md is true: a new user gets from it to an installed package, in an empty place."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time

import mip_index
import pytest
import yaml
from device import Device, interpreter
from folders import ROOT
from internet import content
from pages import shows
from test_build import assert_whole, tree, write_simple

GUIDE = (ROOT / "docs" / "publish.md").read_text(encoding="utf-8")

# Commands that are not run here, and why.
NOT_RUN = {"mip-index serve site": "it serves until Ctrl-C; see test_build.py"}
# Those that have a test of their own.
ELSEWHERE = ("git switch", "aws")

# Where the guide says that mip is; here it is this checkout.
SPEC = "git+https://github.com/ORG/REPO"

# A file: its path, as the last of the text before it, and its content.
FILE = re.compile(r"`([^`\n]+/[^`\n]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = dict(FILE.findall(GUIDE))

# Has connections go to the internet of the tests; the commands are programs of their own, which
# pipx starts without PYTHONPATH.
ROUTES = """
import os, socket

hosts = os.environ.get("MIP_TEST_HOSTS", "")
ports = dict(entry.split("=") for entry in hosts.split(",") if entry)
connect = socket.create_connection

def create_connection(address, *args, **options):
    return connect(("127.0.0.1", int(ports[address[0]])), *args, **options)

if ports:
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


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """The environment of a new user who has pipx, and has installed what the guide says.

    It has no program and no module of the development environment.
    """
    directory = tmp_path_factory.mktemp("user")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV", "MIP"))
    }
    environment |= {
        "HOME": str(directory),
        "PIPX_HOME": str(directory / "pipx"),
        "PIPX_BIN_DIR": str(directory / "bin"),
        "PATH": f"{directory / 'bin'}:/usr/local/bin:/usr/bin:/bin",
    }
    probe = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "jsonschema"]
    done = subprocess.run(
        [*probe, "--dest", directory / "probe"], stderr=subprocess.PIPE, text=True, timeout=120
    )
    if done.returncode:
        pytest.skip(f"pip reaches no package index: {done.stderr.strip()[-200:]}")
    (command, _), *_ = commands()
    assert command == f"pipx install {SPEC}"
    words = [sys.executable, "-m", *command.replace(SPEC, str(ROOT)).split()]
    subprocess.run(words, env=environment, check=True, capture_output=True, timeout=300)
    (packages,) = (directory / "pipx" / "venvs" / "mip-index").glob("lib/*/site-packages")
    # Debian's Python has a sitecustomize of its own, which comes first.
    (packages / "routes_of_tests.py").write_text(ROUTES)
    (packages / "routes_of_tests.pth").write_text("import routes_of_tests\n")
    return environment


@pytest.fixture
def place(tmp_path, net):
    """A directory with the files of the guide, and an internet with what it names there."""
    (tmp_path / "place").mkdir()
    for path, text in FILES.items():
        file = tmp_path / "place" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if path.startswith("thermo/"):
            net.put(f"https://raw.githubusercontent.com/ORG/thermo/v1.2/{path[7:]}", text)
    net.put("https://raw.githubusercontent.com/other/fonts/v3/draw.py")
    net.publish("logging", "0.6.1")
    return tmp_path / "place"


def shell(command, cwd, environment):
    """Run a command line; return its exit status and its output."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout


def test_the_guide(place, net, device, empty):
    """The commands print what the guide shows, and what they publish can be installed."""
    environment = {
        **empty,
        "MIP_TEST_HOSTS": ",".join(f"{host}={port}" for host, port in net.hosts.items()),
        "SSL_CERT_FILE": str(net.cafile),
    }
    run = 0
    for command, output in commands():
        if command in NOT_RUN or command.startswith((*ELSEWHERE, "pipx install")):
            continue
        status, said = shell(command, place, environment)
        assert shows(output, said.splitlines()), (command, said)
        errors = any("error: " in line or line.startswith("mip-index: ") for line in output)
        assert status == errors, command
        run += 1
    assert run == 8

    net.reset()
    device.mip("install", f"--index={place / 'fleet'}", "thermo@1.2", check=True)
    assert device.tree() == {
        "logging.mpy": content("logging.mpy", "logging 0.6.1"),
        "thermo.py": (place / "thermo" / "thermo.py").read_bytes(),
    }
    device.mip("install", f"--index={place / 'site'}", "hello", check=True)
    assert device.run("import hello", check=True).lines == ["Hello!"]
    assert net.requests == []


def test_it_runs_without_being_installed(place, empty):
    """`pipx run` checks a package, as the guide says, without anything being installed."""
    (text,) = re.findall(rf"`(pipx run --spec {re.escape(SPEC)} mip-index check \.)`", GUIDE)
    command = text.replace(SPEC, str(ROOT)).removeprefix("pipx ")
    command = f"{sys.executable} -m pipx {command} --offline"
    assert shell(command, place / "packages" / "hello", empty)[1].splitlines()[-1] == (
        ".: good for every client"
    )


def test_commands_that_are_not_run():
    """What is not run is in the guide."""
    assert set(NOT_RUN) <= {command for command, _ in commands()}


def test_the_names_of_the_guide():
    """Files and options that the guide names are there."""
    for path in re.findall(r"`(tools/[\w./]+)`", GUIDE):
        assert (ROOT / path).exists(), path
    text = (ROOT / "tools" / "mip_index" / "cli.py").read_text(encoding="utf-8")
    options = set(
        re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.sub(r"```.*?```", "", GUIDE, flags=re.S))
    )
    for option in options - {"--help", "--spec", "--index", "--include", "--exclude"}:
        assert f'"{option}"' in text, option


# --- Workflows of a forge ---


def steps(path):
    """The commands of a workflow of the guide, each with its directory, in order."""
    workflow = yaml.safe_load(FILES[f".github/workflows/{path}"])
    assert set(workflow) >= {"name", "jobs"}
    (job,) = workflow["jobs"].values()
    return job["steps"]


def workflow_environment(tmp_path, empty):
    """The environment in which a workflow runs: this checkout is what it gets by pipx."""
    programs = tmp_path / "programs"
    programs.mkdir(exist_ok=True)
    pipx = programs / "pipx"
    pipx.write_text(f'#!/bin/sh\nexec {sys.executable} -m pipx "$@"\n')
    pipx.chmod(0o755)
    return {
        **empty,
        "PATH": f"{programs}:{empty['PATH']}",
        "GITHUB_REPOSITORY": "ORG/thermo",
        "GITHUB_SHA": "0123456",
        "GIT_CONFIG_GLOBAL": str(programs / "gitconfig"),
    }


def git(*words, cwd, **options):
    """Run git; return what it prints."""
    names = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = subprocess.run(
        ["git", *names, *words], cwd=cwd, check=True, capture_output=True, text=True, **options
    )
    return done.stdout


@pytest.mark.parametrize("good", [True, False])
def test_the_workflow_that_checks(tmp_path, empty, good):
    """The workflow passes for a good package, and fails for one with a warning."""
    environment = workflow_environment(tmp_path, empty)
    write = tmp_path / "clone"
    write.mkdir()
    path = "thermo.py" if good else "lib/thermo.py"
    (write / "package.json").write_text(f'{{"urls": [["{path}", "thermo.py"]]}}')
    (write / "thermo.py").write_text("")
    uses, run = steps("check.yml")
    assert uses["uses"].startswith("actions/checkout@")
    status, said = shell(run["run"].replace(SPEC, str(ROOT)), write, environment)
    assert status == (not good), said
    assert ("good for every client" in said) == good


def test_the_workflow_that_publishes(tmp_path, empty, device):
    """Each push publishes what is new, and what was published stays; clients install from it."""
    environment = workflow_environment(tmp_path, empty)
    remote, work = tmp_path / "remote.git", tmp_path / "work"
    git("init", "-q", "--bare", "-b", "main", str(remote), cwd=tmp_path)
    git("init", "-q", "-b", "main", str(work), cwd=tmp_path)
    git("remote", "add", "origin", str(remote), cwd=work)
    write_simple(work / "packages" / "hello", "1.0", text="print('one')\n")
    git("add", ".", cwd=work)
    git("commit", "-qm", "one", cwd=work)
    git("push", "-q", "origin", "main", cwd=work)
    (command,) = [command for command, _ in commands() if command.startswith("git switch")]
    named = {
        f"GIT_{role}_{what}": "t" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    status, said = shell(command, work, {**environment, **named})
    assert status == 0, said
    git("switch", "-q", "main", cwd=work)
    for version in "1.0", "1.0", "1.1":
        write_simple(work / "packages" / "hello", version, text=f"print({version!r})\n")
        if version == "1.0":
            (work / "packages" / "hello" / "hello.py").write_text("print('one')\n")
        git("add", ".", cwd=work)
        git("commit", "-qm", version, "--allow-empty", cwd=work)
        git("push", "-q", "origin", "main", cwd=work)
        runner = tmp_path / f"runner-{len(list(tmp_path.glob('runner-*')))}"
        for step in steps("publish.yml"):
            if "uses" in step:
                where = runner / step.get("with", {}).get("path", ".")
                ref = step.get("with", {}).get("ref", "main")
                git("clone", "-q", "-b", ref, str(remote), str(where), cwd=tmp_path)
            else:
                command = f"set -e; {step['run'].replace(SPEC, str(ROOT))}"
                status, said = shell(command, runner, environment)
                assert status == 0, said
    # A push without anything new makes no commit.
    log = git("log", "--format=%s", "site", cwd=remote).splitlines()
    assert log == ["Publish 0123456", "Publish 0123456", "An index"]
    git("clone", "-q", "-b", "site", str(remote), str(tmp_path / "pages"), cwd=tmp_path)
    assert_whole(tmp_path / "pages")
    assert (tmp_path / "pages" / ".nojekyll").exists()
    for version, printed in ("1.0", "one"), ("1.1", "1.1"):
        device.mip("install", f"--index={tmp_path / 'pages'}", f"hello@{version}", check=True)
        assert device.run("import hello", check=True).lines == [printed]


# --- Other servers ---


@pytest.fixture
def nginx(tmp_path, index, authority):
    """A running nginx with the configuration of the guide; its port."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if not program:
        pytest.skip("there is no nginx: apt-get install nginx-light")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    leaf = authority.ca.issue_cert("host", "localhost")
    leaf.private_key_pem.write_to_path(tmp_path / "host.key")
    (tmp_path / "host.pem").write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    site = FILES["conf.d/packages.conf"]
    for before, after in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl", str(tmp_path)),
        ("/srv/site", str(index)),
    ):
        assert before in site
        site = site.replace(before, after)
    paths = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"user root;\npid {tmp_path}/pid;\ndaemon off;\nerror_log {tmp_path}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{paths}{site}}}\n"
    )
    with subprocess.Popen([program, "-c", tmp_path / "nginx.conf", "-p", tmp_path]) as process:
        try:
            for _ in range(500):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None, (tmp_path / "error.log").read_text()
                time.sleep(0.02)
            yield port
        finally:
            process.terminate()


def test_nginx(nginx, tmp_path, device, authority):
    """A board installs over TLS, on one connection, and what never changes may be kept."""
    board = Device(tmp_path / "board", device.path, interpreter(), {"host": nginx}, authority.pem)
    board.mip("install", "--index=https://host", "telemetry", check=True)
    assert len(board.tree()) == 10
    context = ssl.create_default_context(cafile=authority.pem)
    for path, kept in (
        ("index.json", False),
        ("index.html", False),
        ("package/6/crc/latest.json", False),
        ("package/6/crc/1.0.0.json", True),
    ):
        with (
            socket.create_connection(("127.0.0.1", nginx), 20) as sock,
            context.wrap_socket(sock, server_hostname="host") as secure,
        ):
            secure.sendall(f"GET /{path} HTTP/1.0\r\nHost: host\r\n\r\n".encode())
            answer = b"".join(iter(lambda: secure.recv(65536), b"")).decode()
        assert answer.startswith("HTTP/1.1 200 OK"), path
        assert ("max-age=31536000, immutable" in answer, "max-age=60" in answer) == (
            kept,
            not kept,
        )


# What `aws s3 sync` does, as far as the guide uses it: what differs is copied, in any order.
AWS = """
import fnmatch, pathlib, shutil, sys

_, s3, sync, source, target, *options = sys.argv
assert (s3, sync, target) == ("s3", "sync", "s3://BUCKET"), sys.argv
source, bucket = pathlib.Path(source), pathlib.Path(__file__).parent.parent / "bucket"
for path in sorted(source.rglob("*"), reverse=True):
    name = path.relative_to(source).as_posix()
    wanted = True
    for option, pattern in zip(options[::2], options[1::2]):
        if fnmatch.fnmatch(name, pattern):
            wanted = option == "--include"
    if path.is_file() and wanted:
        (bucket / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, bucket / name)
"""


def test_an_object_store(tmp_path, empty):
    """After each command the store is whole, and at the end it has what the index has."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "aws.py").write_text(AWS)
    (programs / "aws").write_text(f'#!/bin/sh\nexec {sys.executable} {programs}/aws.py "$@"\n')
    (programs / "aws").chmod(0o755)
    environment = {**empty, "PATH": f"{programs}:{empty['PATH']}"}
    uploads = [command for command, _ in commands() if command.startswith("aws ")]
    assert len(uploads) == 3
    for version in "1", "2":
        write_simple(tmp_path / "in" / "a", version, text=f"x = {version}\n")
        mip_index.build(tmp_path / "in", tmp_path / "site")
        for command in uploads:
            status, said = shell(command, tmp_path, environment)
            assert (status, said) == (0, "")
            assert_whole(tmp_path / "bucket")
    assert tree(tmp_path / "bucket") == tree(tmp_path / "site")
