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
from internet import by_mpremote, content
from mip_index.compiler import compile_module
from mip_index.device import build_of
from mip_index.store import content_path
from pages import Board, blocks, shows
from test_build import assert_whole, read, tree, write_simple

GUIDE = (ROOT / "docs" / "publish.md").read_text(encoding="utf-8")

# Commands and files that have a test of their own.
ELSEWHERE = ("git switch", "aws", "pipx install", ".github/", "conf.d/")

# Where the guide says that mip is; here it is this checkout.
SPEC = "git+https://github.com/ORG/REPO"

BLOCKS = blocks(GUIDE)
FILES = {block.file: block.text for block in BLOCKS if block.file}

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
    return [step for block in BLOCKS if block.language == "console" for step in block.steps]


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


class Author:
    """The author of the guide: a directory, a shell, an internet, and a board with mip in it."""

    def __init__(self, directory, net, device, environment):
        self.place = directory / "place"
        self._net = net
        self._environment = {
            **environment,
            "MIP_TEST_HOSTS": ",".join(f"{host}={port}" for host, port in net.hosts.items()),
            "SSL_CERT_FILE": str(net.cafile),
        }
        self.place.mkdir()
        net.secure.sites["host"] = net.plain.sites["host"] = self.place
        (directory / "board").mkdir()
        self._board = Board(directory / "board", device.interpreter, net.hosts, directory)
        shutil.copytree(device.path / "mip", self._board.work / "lib" / "mip")
        (self._board.work / "boot.py").write_text("import sys; sys.path.insert(0, '/lib')\n")

    def write(self, path, text):
        """Write a file; what is in thermo/ is pushed, too."""
        file = self.place / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if path.startswith("thermo/"):
            self._net.put(f"https://raw.githubusercontent.com/ORG/thermo/v1.2/{path[7:]}", text)
        if path == "vector/package.json":
            # What its author built elsewhere: for the board of this test, and for another one.
            code = b"@micropython.native\ndef add(a, b):\n    return a + b\n"
            (file.parent / "vector.py").write_bytes(code)
            for arch in "x64", "armv7emsp":
                build = file.parent / f"build/{arch}_6.3"
                build.mkdir(parents=True)
                data = compile_module(code, "vector.py", None, "6", arch)
                (build / "vector.mpy").write_bytes(data)

    def run(self, command, output):
        """Run a command, which prints what the guide shows, and fails where that is an error."""
        if command == "mip-index serve site":
            self.serve(command, output)
            return
        status, said = shell(command, self.place, self._environment)
        assert shows(output, said.splitlines()), (command, said)
        errors = any("error: " in line or line.startswith("mip-index: ") for line in output)
        assert status == errors, command

    def serve(self, command, output):
        """Run `serve`; a board runs the line that it prints."""
        words = [*command.split(), "--bind", "127.0.0.1", "--port", "0"]
        with subprocess.Popen(
            words,
            executable=shutil.which(words[0], path=self._environment["PATH"]),
            cwd=self.place,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            try:
                line = process.stdout.readline().rstrip()
                hidden = re.sub("[0-9.]+:[0-9]+", "...", output[0])
                assert shows([hidden], [line]), line
                self.type_in([line])
            finally:
                process.terminate()

    def type_in(self, lines):
        """Type lines at the REPL of the board; each says Done at its end."""
        for line, printed in self._board.type_in(["import mip", *lines])[1:]:
            assert "Done" in printed[-2:], (line, printed)

    def run_on_the_board(self, line):
        """Type a line at the REPL of the board; return what it prints."""
        ((_, printed),) = self._board.type_in([line])
        return printed

    def installed(self):
        """{path: content} of what is on the board, without mip."""
        found = self._board.tree()
        return {path: data for path, data in found.items() if not path.startswith("mip/")}


@pytest.fixture
def author(tmp_path, net, device, empty):
    """An Author on an internet with all that the guide names and does not make."""
    net.put("https://raw.githubusercontent.com/other/fonts/v3/draw.py")
    net.publish("logging", "0.6.1")
    author = Author(tmp_path, net, device, empty)
    mip_index.build(ROOT, author.place / "mip", name="mip", hash_length=64)
    return author


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


@pytest.mark.needs("upstream")
def test_the_guide(author, net, monkeypatch):
    """From the first line to the last: files are written, commands print what the guide shows.

    At the REPL all can be installed, and with mpremote, too.
    """
    done = set()
    for block in BLOCKS:
        if block.file:
            if not block.file.startswith(ELSEWHERE):
                author.write(block.file, block.text)
            continue
        assert block.language in ("console", "pycon"), f"{block.number}: nothing checks this"
        if block.language == "pycon":
            author.type_in([line for line, _ in block.steps])
            done.add(block.heading)
            if block.heading == "A mirror: the lock file of a fleet":
                origin = (author.place / "thermo" / "thermo.py").read_bytes()
                assert author.installed()["thermo.py"] == origin
                logging = content("logging.mpy", "logging 0.6.1")
                assert author.installed()["logging.mpy"] == logging
            continue
        for command, output in block.steps:
            if not command.startswith(ELSEWHERE):
                author.run(command, output)
                done.add(command)
    assert len(done) == 17, sorted(done)
    files = author.installed()
    assert build_of(files["vector.mpy"]) == "x64_6.3"
    assert {"hello.mpy", "phrases/english.json"} <= set(files)
    assert author.run_on_the_board("import hello") == ["Hello!"]
    (command,) = re.findall(r"`(tools/env micropython -m mip install [^`]*)`", GUIDE)
    command = command.replace("PATH", str(author.place)).replace("/tmp", str(author.place))
    status, said = shell(command, ROOT, os.environ)
    assert (status, said.splitlines()[-1]) == (0, "Done"), said
    assert (author.place / "lib" / "hello.mpy").read_bytes() == files["hello.mpy"]

    net.connect(monkeypatch, tls=False)
    (url,) = re.findall(r"mpremote mip install --index (\S+) vector`", GUIDE)
    assert build_of(by_mpremote("vector", url)["lib/vector.mpy"]) == "armv7emsp_6.3"


def test_it_runs_without_being_installed(author, empty):
    """`pipx run` checks a package, as the guide says, without anything being installed."""
    (text,) = re.findall(rf"`(pipx run --spec {re.escape(SPEC)} mip-index check \.)`", GUIDE)
    command = text.replace(SPEC, str(ROOT)).removeprefix("pipx ")
    command = f"{sys.executable} -m pipx {command} --offline"
    for path in FILES:
        if path.startswith("packages/"):
            author.write(path, FILES[path])
    assert shell(command, author.place / "packages" / "hello", empty)[1].splitlines()[-1] == (
        ".: good for every client"
    )


def test_the_names_of_the_guide():
    """Files and options that the guide names are there."""
    for path in re.findall(r"`(tools/[\w./]+)`", GUIDE):
        assert (ROOT / path).exists(), path
    text = (ROOT / "tools" / "mip_index" / "cli.py").read_text(encoding="utf-8")
    options = set(
        re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.sub(r"```.*?```", "", GUIDE, flags=re.S))
    )
    for option in options - {"--help", "--spec", "--index", "--target", "--include", "--exclude"}:
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
    begin = [command for command, _ in commands() if command.startswith("git switch")]
    named = {
        f"GIT_{role}_{what}": "t" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    for command in begin:
        status, said = shell(command, work, {**environment, **named})
        assert status == 0, said
    assert git("branch", "--show-current", cwd=work) == "main\n"
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
    shutil.copytree(index, tmp_path / "site")
    # Of native code, for which there is an index within the index.
    (tmp_path / "site" / "armv7emsp_6.3").symlink_to(".")
    site = FILES["conf.d/packages.conf"]
    for before, after in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl", str(tmp_path)),
        ("/srv/site", str(tmp_path / "site")),
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
    _, hash = read(tmp_path / "site", "6", "crc")["hashes"][0]
    for path, kept in (
        ("index.json", False),
        ("index.html", False),
        ("package/6/crc/latest.json", False),
        ("package/6/crc/1.0.0.json", True),
        ("armv7emsp_6.3/package/6/crc/1.0.0.json", True),
        ("armv7emsp_6.3/package/6/crc/latest.json", False),
        (f"armv7emsp_6.3/{content_path(hash)}", True),
        (content_path(hash), True),
    ):
        with (
            socket.create_connection(("127.0.0.1", nginx), 20) as sock,
            context.wrap_socket(sock, server_hostname="host") as secure,
        ):
            secure.sendall(f"GET /{path} HTTP/1.0\r\nHost: host\r\n\r\n".encode())
            answer = b"".join(iter(lambda: secure.recv(65536), b"")).decode("latin-1")
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
