"""`micropython -m mip`: words, options, output and exit status, as a person types them."""

import re
import shutil
import socket

import pytest
import scripted_server as mip_server
from scripted_server import Reply

# The files of the package crc of the index, and of crc and frame together.
CRC = ["crc.mpy"]
CRC_SOURCE = ["crc.py"]
CRC_AND_FRAME = ["crc.mpy", "frame.mpy"]


@pytest.fixture
def site(index):
    """A running server for the index of tests/packages."""
    with mip_server.Server(index) as server:
        yield server


def words(line, **values):
    """The words of a command line, with {name} replaced by its value."""
    return [word.format(**values) for word in line.split()]


def assert_installed(result):
    """The command did what it should, and said so."""
    assert result.status == 0, str(result)
    assert result.err == ""
    assert result.lines[-1] == "Done"


def assert_one_line(result):
    """The command failed as an InstallError does: exit status 1, one line on stderr."""
    assert result.status == 1, str(result)
    assert result.err.startswith("mip: "), str(result)
    assert result.err.count("\n") == 1 and result.err.endswith("\n"), str(result)
    assert "Traceback" not in result.out and "Done" not in result.lines, str(result)


# --- Options ---

# name: (words after -m mip, directory, files that are there then)
OPTIONS = {
    "--target=path": ("install --target=other -i {url} crc", "other", CRC),
    "--target path": ("install --target other -i {url} crc", "other", CRC),
    "-t path": ("install -t other -i {url} crc", "other", CRC),
    "a path below another": ("install --target=a/b/c -i {url} crc", "a/b/c", CRC),
    "a path that ends in /": ("install --target=other/ -i {url} crc", "other", CRC),
    "a path with = in it": ("install --target=a=b -i {url} crc", "a=b", CRC),
    "no target": ("install -i {url} crc", "lib", CRC),
    "--index=url": ("install --index={url} crc", "lib", CRC),
    "--index url": ("install --index {url} crc", "lib", CRC),
    "-i url": ("install -i {url} crc", "lib", CRC),
    "an index that ends in /": ("install -i {url}/ crc", "lib", CRC),
    "--mpy": ("install -i {url} --mpy crc", "lib", CRC),
    "--no-mpy": ("install -i {url} --no-mpy crc", "lib", CRC_SOURCE),
    "the last one counts": ("install -i {url} --no-mpy --mpy crc", "lib", CRC),
    "options before the verb": ("-i {url} --no-mpy install crc", "lib", CRC_SOURCE),
    "options before packages": ("install -i {url} crc frame", "lib", CRC_AND_FRAME),
    "options between packages": ("install crc -i {url} frame", "lib", CRC_AND_FRAME),
    "options after packages": ("install crc frame -i {url}", "lib", CRC_AND_FRAME),
    "options everywhere": ("install --no-mpy crc -t other -i {url}", "other", CRC_SOURCE),
    "a version": ("install -i {url} crc@1.0.0", "lib", CRC),
    "the version latest": ("install -i {url} crc@latest", "lib", CRC),
    "a file": ("install {url}/file.py", "lib", ["file.py"]),
    "a file and a package": ("install {url}/file.py -i {url} crc", "lib", [*CRC, "file.py"]),
}


@pytest.mark.parametrize(("line", "directory", "files"), OPTIONS.values(), ids=OPTIONS)
def test_options(device, site, line, directory, files):
    """Options stand anywhere among the words, and do what they say."""
    site.routes["/file.py"] = Reply(body=b"x = 1\n")
    assert_installed(device.mip(*words(line, url=site.url)))
    assert list(device.tree(device.work / directory)) == files
    # Nothing is anywhere else.
    everything = [f"{directory}/{name}" for name in [".mip/record", *files]]
    assert list(device.tree(device.work, everything=True)) == everything


def test_without_an_index_it_is_the_public_one(device, secure_server, index):
    """Without --index, packages come from https://micropython.org/pi/v2."""
    shutil.copytree(index, secure_server.root / "pi" / "v2")
    device.hosts = {"micropython.org": secure_server.port}
    assert_installed(device.mip("install", "crc"))
    assert list(device.tree()) == CRC
    assert {host for _, host, _ in secure_server.requests} == {"micropython.org"}
    assert secure_server.requests[0][2] == "/pi/v2/package/6/crc/latest.json"


def test_an_option_with_an_equals_sign_is_new(device, site):
    """Upstream's command line refuses --target=path, which the document shows; ours takes it."""
    line = ["install", "--index", site.url, "--target=other", "crc"]
    refused = device.upstream().mip(*line)
    assert refused.status != 0
    assert device.tree(device.work) == {}
    assert_installed(device.mip(*line))
    assert list(device.tree(device.work / "other")) == CRC


# --- Several packages ---


def test_several_packages_are_one_transaction(device, site):
    """Several packages are counted together, fetched on one connection, and done once."""
    result = device.mip("install", "-i", site.url, "frame", "morse", "ticker")
    assert_installed(result)
    assert result.lines.count("Done") == 1
    counts = re.findall(r"^Copying: \[(\d+)/(\d+)\]", result.out, re.MULTILINE)
    files = len(device.tree())
    assert counts == [(str(number), str(files)) for number in range(1, files + 1)]
    assert site.connections == 1
    installed = device.mip("list", check=True).lines
    assert sorted(installed) == ["frame@0.3.0", "morse@1.1.0", "ticker@0.2.0"]


@pytest.mark.parametrize("packages", ["crc no-such-package", "no-such-package crc"])
def test_one_package_that_fails_is_all_of_them(device, site, packages):
    """When one of several packages cannot be had, none is installed, and no file is fetched."""
    assert_one_line(device.mip("install", "-i", site.url, *packages.split()))
    assert device.tree(everything=True) == {}
    assert not [path for _, _, path in site.requests if path.startswith("/file/")]
    assert device.mip("list").out == ""


# --- Output ---


def test_what_installing_prints(device, site):
    """Installing prints upstream's words, a counter, the paths, and Done at the end."""
    result = device.mip("install", "-i", site.url, "telemetry")
    assert_installed(result)
    first, *copying = result.lines[:-1]
    assert re.fullmatch(rf"Installing telemetry\b.* to {re.escape(str(device.lib))}/?", first)
    files = [str(device.lib / name) for name in device.tree()]
    assert len(files) == 10
    words = [line.split() for line in copying]
    assert [word[:2] for word in words] == [["Copying:", f"[{n}/10]"] for n in range(1, 11)]
    assert sorted(word[2] for word in words) == sorted(files)


def test_what_installing_again_prints(device, site):
    """A file that is there already is named with Exists, and is counted."""
    device.mip("install", "-i", site.url, "crc", check=True)
    result = device.mip("install", "-i", site.url, "frame")
    assert_installed(result)
    assert sorted(result.lines[1:-1]) == [
        f"Copying: [2/2] {device.lib}/frame.mpy",
        f"Exists: [1/2] {device.lib}/crc.mpy",
    ]


def test_words_stand_one_space_apart(device, site):
    """No line of output has two spaces in a row, with a version or without."""
    site.routes["/f.py"] = Reply(body=b"x = 1\n")
    result = device.mip("install", "-i", site.url, "crc", "morse@1.1.0", f"{site.url}/f.py")
    assert_installed(result)
    assert [line for line in result.lines if "  " in line] == []


# --- List ---


def test_list(device, site):
    """list prints a line name@version for each package."""
    device.mip("install", "-i", site.url, "morse", "crc", check=True)
    result = device.mip("list")
    assert (result.status, result.err) == (0, "")
    assert sorted(result.lines) == ["crc@1.0.0", "morse@1.1.0"]


def test_list_of_nothing(device):
    """list prints nothing where nothing is installed, and makes nothing."""
    result = device.mip("list")
    assert (result.status, result.out, result.err) == (0, "", "")
    assert list(device.work.iterdir()) == []


@pytest.mark.parametrize("target", ["--target=other", "--target other", "-t other"])
def test_list_of_a_target(device, site, target):
    """list takes a target, as install does."""
    device.mip("install", "-i", site.url, "-t", "other", "crc", check=True)
    assert device.mip("list", *target.split(), check=True).lines == ["crc@1.0.0"]
    assert device.mip("list", check=True).out == ""


def test_install_takes_what_list_prints(device, site):
    """The lines of list, given to install on an empty board, install the same files."""
    site.routes["/f.py"] = Reply(body=b"x = 1\n")
    site.routes["/p/package.json"] = Reply(body=b'{"urls": [["g.py", "/f.py"]], "version": "7"}')
    packages = ["telemetry", "morse@1.1.0", f"{site.url}/f.py", f"{site.url}/p/"]
    device.mip("install", "-i", site.url, *packages, check=True)
    lines = device.mip("list", check=True).lines
    assert len(lines) == 4
    assert_installed(device.mip("install", "-i", site.url, "-t", "copy", *lines))
    assert device.tree(device.work / "copy") == device.tree()
    assert sorted(device.mip("list", "-t", "copy", check=True).lines) == sorted(lines)


# --- Help ---


@pytest.mark.parametrize(
    "line", ["--help", "-h", "install --help", "install -h", "list --help", "install crc --help"]
)
def test_help(device, line):
    """Help is printed on stdout, names verbs and options, and exits 0; nothing is done."""
    result = device.mip(*line.split())
    assert (result.status, result.err) == (0, "")
    for word in ("usage:", "install", "list", "--target", "--index", "--no-mpy", "--mpy", "-t"):
        assert word in result.out
    assert list(device.work.iterdir()) == []


# --- A wrong command line ---

WRONG = {
    "nothing": "",
    "no verb": "--no-mpy",
    "an unknown verb": "instal crc",
    "a package for a verb": "crc",
    "an unknown verb and no package": "bogus",
    "a private name for a verb": "_parse crc",
    "a name of the library for a verb": "Session crc",
    "an unknown option": "install --no-such-option crc",
    "an unknown short option": "install -x crc",
    "an unknown option with a value": "install --no-such-option=1 crc",
    "a single dash": "install - crc",
    "--target without a value": "install crc --target",
    "-t without a value": "install crc -t",
    "--index without a value": "install crc --index",
    "-i without a value": "install crc -i",
    "a value for --mpy": "install --mpy=yes crc",
    "a value for --no-mpy": "install --no-mpy=1 crc",
    "an empty value for --no-mpy": "install --no-mpy= crc",
    "install without a package": "install",
    "install with options only": "install --target other",
    "list with a package": "list crc",
    "list with an index": "list --index http://127.0.0.1",
    "list with --no-mpy": "list --no-mpy",
    "uninstall without a package": "uninstall",
    "uninstall with an index": "uninstall crc -i http://127.0.0.1",
    "uninstall with --mpy": "uninstall --mpy crc",
    "upgrade with a list": "upgrade -r list.txt",
    "a list that is not there": "install -r list.txt",
    "a value for --no-deps": "install --no-deps=1 crc",
    "--no-deps where nothing is fetched": "uninstall --no-deps crc",
    "verify with a package": "verify crc",
    "verify with --no-mpy": "verify --no-mpy",
    "recover with a package": "recover crc",
    "recover with an index": "recover --index=http://127.0.0.1",
    "an empty value for --target": "install crc --target=",
    "an option for a value": "install crc --target --no-mpy",
}


@pytest.mark.parametrize("line", WRONG.values(), ids=WRONG)
def test_a_wrong_command_line(device, line):
    """A wrong command line exits 2, with the reason in one line on stderr, and does nothing."""
    result = device.mip(*line.split())
    assert result.status == 2, str(result)
    assert result.out == ""
    assert re.fullmatch(r"mip: \S.*; see --help\n", result.err)
    assert list(device.work.iterdir()) == []


@pytest.mark.parametrize("option", ["--no-such-option", "--target", "--no-mpy=1"])
def test_a_wrong_option_is_named(device, option):
    """The reason for refusing a command line has the option in it."""
    reason = device.mip("install", "crc", option).err.splitlines()[0]
    assert option.split("=")[0] in reason


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("search", "search takes a word;"),
        ("install", "install takes a package;"),
        ("remove crc", "unknown remove, perhaps uninstall"),
        ("rm crc", "perhaps uninstall"),
        ("delete crc", "perhaps uninstall"),
        ("instal crc", "perhaps install"),
    ],
)
def test_what_was_meant(device, line, said):
    """The reason for refusing a command line says what to type instead."""
    assert said in device.mip(*line.split()).err


# --- The other verbs ---


def test_uninstall(device, site):
    """`uninstall` removes the packages that it names, each as `list` prints it, and exits 0."""
    device.mip("install", "-i", site.url, "frame", "morse", "-t", "other", check=True)
    listed = device.mip("list", "-t", "other").lines
    result = device.mip("uninstall", *listed, "--target=other", check=True)
    assert result.lines[-1] == "Done"
    assert device.tree(device.work / "other") == {}
    assert device.mip("list", "-t", "other").lines == []


def test_uninstall_what_is_not_there(device):
    """`uninstall` of a package that is not installed exits 1 and names it."""
    result = device.mip("uninstall", "crc")
    assert_one_line(result)
    assert "crc" in result.err and "not installed" in result.err


def test_upgrade(device, site):
    """`upgrade` takes the options of `install`: here it turns bytecode into source."""
    device.mip("install", "-i", site.url, "crc", check=True)
    assert list(device.tree()) == ["crc.mpy"]
    result = device.mip("upgrade", "--no-mpy", "-i", site.url, check=True)
    assert result.lines[-1] == "Done"
    assert list(device.tree()) == ["crc.py"]


def test_verify(device, site):
    """`verify` exits 0 when all is well, else 1, with a line for each file on stdout."""
    device.mip("install", "-i", site.url, "frame", check=True)
    result = device.mip("verify", check=True)
    assert result.lines == []
    (device.lib / "crc.mpy").write_bytes(b"something else")
    (device.lib / "frame.mpy").unlink()
    result = device.mip("verify")
    assert result.status == 1 and result.err == ""
    assert [line.split()[0] for line in result.lines] == [
        str(device.lib / "crc.mpy"),
        str(device.lib / "frame.mpy"),
    ]


def test_recover(device, site):
    """`recover` clears up after a run that was interrupted, and exits 0."""
    device.mip("install", "-i", site.url, "crc", check=True)
    for name in ("plan", "room", "new"):
        (device.lib / ".mip" / name).write_text("")
    result = device.mip("recover", check=True)
    assert result.out == ""
    assert [path.name for path in (device.lib / ".mip").iterdir()] == ["record"]


def test_the_counter(device, site):
    """The counter counts the files of all packages of a run, each as often as it is listed."""
    result = device.mip("install", "-i", site.url, "crc", "frame", check=True)
    counts = [line.split()[1] for line in result.lines if line.startswith(("Copying", "Exists"))]
    assert counts == ["[1/3]", "[2/3]", "[3/3]"]


# --- Failures ---

# name: (words after -m mip, words that the line on stderr has to have)
FAILURES = {
    "no such package": ("install -i {url} no-such-package", "no-such-package {url}"),
    "no such version": ("install -i {url} crc@9.9", "crc 9.9 {url}"),
    "no such file": ("install {url}/no-such-file.py", "{url}/no-such-file.py"),
    "no such package.json": ("install {url}/none/", "{url}/none/package.json"),
    "nobody listens": ("install -i {nobody} crc", "crc {nobody}"),
    "two versions": ("install -i {url} crc@1.0.0 crc@9.9", "crc 1.0.0 9.9"),
    "the target is a file": ("install -i {url} -t file crc", "file"),
    "a target below a file": ("install -i {url} -t file/lib crc", "file"),
    "an index of no known scheme": ("install -i gopher://127.0.0.1 crc", "crc"),
    "a port that is no number": ("install -i http://127.0.0.1:x crc", "crc"),
    "a host without a name": ("install -i http:// crc", "there is no index"),
    "a forge without a repository": ("install github:org", "github:org"),
    "a forge without a path": ("install github:", "github:"),
    "no name": ("install -i {url} @1.0", "name"),
}


@pytest.mark.parametrize(("line", "named"), FAILURES.values(), ids=FAILURES)
def test_failures(device, site, line, named):
    """What cannot be done exits 1, with one line on stderr that names what it was about."""
    (device.work / "file").write_text("not a directory")
    # A port that is taken, where nobody listens, refuses connections.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        values = {"url": site.url, "nobody": f"http://127.0.0.1:{taken.getsockname()[1]}"}
        result = device.mip(*words(line, **values))
    assert_one_line(result)
    for word in words(named, **values):
        assert word in result.err
    assert list(device.tree(device.work, everything=True)) == ["file"]


@pytest.mark.parametrize("package", ["no\nsuch", "no\r\nsuch@1", "http://127.0.0.1\n/x.py"])
def test_a_failure_is_one_line_whatever_the_name(device, site, package):
    """A line break in the name of a package does not make two lines of the message."""
    assert_one_line(device.mip("install", "-i", site.url, package))


def raw(answer):
    """A route that sends these bytes and closes the connection."""

    def send(handler):
        handler.wfile.write(answer)
        handler.close_connection = True

    return send


# What is sent instead of a package.json.
GARBAGE = {
    "not HTTP": raw(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
    "one word": raw(b"hello\r\n\r\n"),
    "empty lines": raw(b"\r\n\r\n\r\n\r\n"),
    "nothing": raw(b""),
    "another version of HTTP": raw(b"HTTP/2 200 OK\r\n\r\n"),
    "no status": raw(b"HTTP/1.1\r\n\r\n"),
    "a status that is no number": raw(b"HTTP/1.1 OK fine\r\n\r\n"),
    "a header without a colon": raw(b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"),
    "a length that is no number": raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}"),
    "a negative length": raw(b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}"),
    "a chunk without a size": Reply(
        headers={"Transfer-Encoding": "chunked"}, body=b"what\r\n", framing="close"
    ),
    "bytes that are no text": raw(b"HTTP/1.1 200 OK\r\nLocation: \xff\xfe\r\n\r\n{}"),
    "a redirect to nowhere": Reply(302, {"Location": "nowhere://"}),
    "HTML": Reply(body=b"<html>Log in to the network</html>"),
    "an empty document": Reply(body=b""),
    "half a document": Reply(body=b'{"hashes": [["crc.mpy", "8a'),
    "a list": Reply(body=b'[["crc.mpy", "8a99d421"]]'),
    "a number": Reply(body=b"7"),
    "hashes that are a number": Reply(body=b'{"hashes": 7}'),
    "an entry that is a number": Reply(body=b'{"hashes": [7]}'),
    "an entry that is a text": Reply(body=b'{"urls": ["crc.mpy"]}'),
    "an entry of one value": Reply(body=b'{"urls": [["crc.mpy"]]}'),
    "an entry of none": Reply(body=b'{"hashes": [[]]}'),
    "a dependency of no value": Reply(body=b'{"deps": [[]]}'),
    "a dependency that is an object": Reply(body=b'{"deps": [{"crc": "latest"}]}'),
    "a dependency on a number": Reply(body=b'{"deps": [[7, "latest"]]}'),
    "entries of null": Reply(body=b'{"urls": [[null, null]]}'),
    "text that is no UTF-8": Reply(body=b'{"hashes": [["\xff\xff.py", "8a99d421"]]}'),
    "a hash that is no number": Reply(body=b'{"hashes": [["crc.mpy", "8a99d42x"]]}'),
    "a hash that is not ASCII": Reply(body='{"hashes": [["crc.mpy", "8a99d42é"]]}'.encode()),
    "a hash that is short": Reply(body=b'{"hashes": [["crc.mpy", "8a"]]}'),
    "a version from the future": Reply(body=b'{"v": 2, "hashes": [["crc.mpy", "8a99d421"]]}'),
    "a version that is a text": Reply(body=b'{"v": "x", "hashes": [["crc.mpy", "8a99d421"]]}'),
}


@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_no_usage_error(device, site, answer):
    """Whatever a server sends instead of a package.json, it is one line and exit status 1."""
    site.routes["/package/6/crc/latest.json"] = answer
    assert_one_line(device.mip("install", "-i", site.url, "crc", timeout=30))
    assert device.tree(everything=True) == {}


@pytest.mark.parametrize("error", ["KeyError", "ValueError", "TypeError", "OSError"])
def test_a_bug_is_no_usage_error(device, module_path, tmp_path, error):
    """An exception that the library should not raise ends with 1, and is not taken for usage."""
    library = tmp_path / "buggy" / "mip"
    library.mkdir(parents=True)
    for main in (module_path / "mip").glob("__main__.*"):
        shutil.copy(main, library)
    (library / "__init__.py").write_text(
        "class InstallError(Exception):\n"
        "    pass\n"
        "def Session(*args):\n"
        "    pass\n"
        "def install(*args, **options):\n"
        f"    raise {error}('a bug')\n"
    )
    result = device.mip("install", "crc", path=[library.parent])
    assert result.status == 1
    assert "a bug" in result.out + result.err
    assert "--help" not in result.out + result.err
