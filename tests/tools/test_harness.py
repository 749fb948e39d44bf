"""What the other tests rely on: boards, servers, block devices, sizes."""

import json
import os
import sys

import abilities
import conftest
import pytest
import quick_disk
import scripted_server as mip_server
import size
from device import Device, interpreter

# Gets `path` of `host` with certificate checks, and prints the answer's first line and body.
SECURE_GET = """
import socket, sys, tls
host, authority = sys.argv[1:]
sock = socket.socket()
sock.connect(socket.getaddrinfo(host, 443)[0][-1])
context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
with open(authority, "rb") as file:
    context.load_verify_locations(file.read())
sock = context.wrap_socket(sock, server_hostname=host)
sock.write(b"GET /a.txt HTTP/1.1\\r\\nHost: %s\\r\\nConnection: close\\r\\n\\r\\n" % host.encode())
answer = sock.read().decode()
print(answer.split("\\r\\n")[0])
print(answer.split("\\r\\n\\r\\n")[1])
"""

# Replaces a file with another, and reads it as it is after each block write of that.
POWER_CUTS = """
import os, ramdisk, sys, vfs
kind = sys.argv[1]

def read():
    try:
        with open("/ram/file", "rb") as file:
            return file.read()
    except OSError:
        return b"missing"

def write(data):
    with open("/ram/new", "wb") as file:
        file.write(data)
    os.rename("/ram/new", "/ram/file")

disk = ramdisk.mount(kind)
write(b"old" * 500)
disk.start_log()
write(b"new" * 500)
vfs.umount("/ram")
found = []
for torn in (False, True):
    for count in range(len(disk.log) + (not torn)):
        ramdisk.mount(kind, device=disk.replay(count, torn))
        data = read()
        vfs.umount("/ram")
        found.append(data[:3].decode() if len(data) == 1500 else data.decode())
print(found[0], found[len(disk.log)])
print(*sorted(set(found)))
"""


def test_the_interpreter_is_micropython(device):
    result = device.run("import sys; print(sys.implementation.name, sys.implementation.version)")
    assert result.status == 0
    name, version = result.out.split(" ", 1)
    assert name == "micropython"
    assert eval(version) >= (1, 20)


def test_micropython_in_the_environment_is_another_interpreter(device, monkeypatch):
    monkeypatch.setenv("MICROPYTHON", sys.executable)
    other = Device(device.work, device.path, interpreter())
    assert other.run("import sys; print(sys.implementation.name)").lines == ["cpython"]


def test_the_pinned_interpreter_lacks_nothing(monkeypatch):
    """No test is skipped on it for what it lacks; what another one lacks is seen."""
    monkeypatch.delenv("MICROPYTHON", raising=False)
    assert abilities.abilities.__wrapped__() == set(abilities.ABILITIES)
    monkeypatch.setenv("MICROPYTHON", sys.executable)
    assert "native" not in abilities.abilities.__wrapped__()


def test_run(device):
    result = device.run(
        """
import os, sys
print(os.getcwd(), sys.argv[1:], os.getenv("COLOUR"))
print("wrong", file=sys.stderr)
sys.exit(3)
""",
        "a b",
        7,
        env={"COLOUR": "blue"},
    )
    assert result.status == 3
    assert result.lines == [f"{device.work} ['a b', '7'] blue"]
    assert result.err == "wrong\n"
    assert device.tree(device.work) == {}


def test_run_with_an_uncaught_exception(device):
    result = device.run("1/0")
    assert result.status == 1
    assert "ZeroDivisionError" in result.out
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        device.run("1/0", check=True)


def test_run_with_a_heap(device):
    code = "import gc; print(gc.mem_alloc() + gc.mem_free())"
    assert 60_000 < int(device.run(code, heap="64k").out) <= 65_536
    assert int(device.run(code).out) > 1_000_000


def test_run_ends_what_takes_too_long(device):
    with pytest.raises(TimeoutError, match="started"):
        device.run("print('started')\nwhile True: pass", timeout=0.5)


def test_packages_are_installed_into_the_boards_lib(device):
    code = "import sys; print([p for p in sys.path if p.endswith('/lib')][0])"
    assert device.run(code).lines == [str(device.lib)]
    assert device.upstream().run(code).lines == [str(device.lib)]


def test_ours_and_upstreams(device, module_path):
    code = "import mip; print(mip.__file__)"
    assert device.run(code).out.startswith(f"{module_path}/mip/__init__.")
    assert device.upstream().run(code).lines == ["mip/__init__.py"]


def test_ours_finds_nothing_that_is_frozen(device):
    assert "ImportError" in device.run("import requests").out
    assert device.run("import requests", path=[device.path, ".frozen"]).status == 0


def test_the_command_line_is_run_as_a_module(device):
    assert "Unknown command" in device.upstream().mip("bogus").out
    assert device.mip("--no-such-option").status == 2


def test_what_is_tested_is_what_boards_run(request, module_path):
    suffix = ".py" if request.config.getoption("--source") else ".mpy"
    assert {path.suffix for path in (module_path / "mip").glob("__*__.*")} == {suffix}


def test_tree_and_record(device):
    assert device.tree() == {}
    assert device.record() is None
    (device.lib / "pkg").mkdir(parents=True)
    (device.lib / ".mip").mkdir()
    (device.lib / "pkg" / "a.py").write_bytes(b"a")
    (device.lib / ".mip" / "record").write_text('["mip", 1]\n["file", "pkg/a.py", "00"]\n')
    assert device.tree() == {"pkg/a.py": b"a"}
    assert list(device.tree(everything=True)) == [".mip/record", "pkg/a.py"]
    assert list(device.tree(device.work)) == ["lib/.mip/record", "lib/pkg/a.py"]
    assert device.record() == [["mip", 1], ["file", "pkg/a.py", "00"]]


def test_hosts_go_where_the_board_sends_them(device):
    code = """
import socket
from socket import socket as made_by
for host in ("one.test", "two.test", "127.0.0.3"):
    address = socket.getaddrinfo(host, 443, 0, socket.SOCK_STREAM)[0][-1]
    family, ip, port = socket.sockaddr(address)[:3]
    print(socket.inet_ntop(family, ip), port)
"""
    device.hosts = {"one.test": 8080, "two.test": "127.0.0.2:8082"}
    for board in device, device.upstream():
        assert board.run(code).lines == ["127.0.0.1 8080", "127.0.0.2 8082", "127.0.0.3 443"]


def test_a_server_for_files(device, server):
    (server.root / "a.py").write_bytes(b"a = 1\n")
    result = device.upstream().mip("install", f"{server.url}/a.py", check=True)
    assert result.lines[-1] == "Done"
    assert device.tree() == {"a.py": b"a = 1\n"}
    assert [(method, path) for method, _, path in server.requests] == [("GET", "/a.py")]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "raw.githubusercontent.com"])
def test_a_server_with_a_certificate(device, secure_server, authority, host):
    (secure_server.root / "a.txt").write_bytes(b"hello")
    device.hosts = {host: secure_server.port}
    result = device.run(SECURE_GET, host, authority.der, check=True)
    assert result.lines == ["HTTP/1.1 200 OK", "hello"]


def test_the_certificate_is_for_no_other_host(device, secure_server, authority):
    device.hosts = {"other.test": secure_server.port}
    assert "ValueError" in device.run(SECURE_GET, "other.test", authority.der).out


def test_an_index(device, index):
    name = json.loads((index / "index.json").read_text())["packages"][0]["name"]
    with mip_server.Server(index) as server:
        result = device.upstream().mip("install", "--index", server.url, name, check=True)
    assert result.lines[-1] == "Done"
    assert device.tree() != {}


@pytest.mark.parametrize(("kind", "states"), [("lfs2", "new old"), ("fat", "missing new old")])
def test_power_cuts_on_a_block_device(device, kind, states):
    assert device.run(POWER_CUTS, kind, check=True).lines == ["old new", states]


def test_a_full_block_device(device):
    code = """
import ramdisk
ramdisk.mount("lfs2", blocks=8, path="/small")
open("/small/file", "wb").write(bytes(8 * 512))
"""
    result = device.run(code)
    assert result.status == 1
    assert "OSError: 28" in result.out or "ENOSPC" in result.out


def test_sizes(tmp_path, capfd):
    (tmp_path / "mip").mkdir()
    (tmp_path / "mip" / "__init__.py").write_text("def install():\n    assert 0\n")
    main = tmp_path / "mip" / "__main__.py"
    main.write_text("import mip\n")
    output = tmp_path / "output"
    paths = size.compile_modules(output, tmp_path)
    assert paths == [output / "mip" / "__init__.mpy", output / "mip" / "__main__.mpy"]
    assert paths[0].read_bytes()[:2] == b"M\x06"
    assert b"mip/__init__.py" in paths[0].read_bytes()
    assert b"AssertionError" not in paths[0].read_bytes()

    assert size.limits(tmp_path) == 0
    main.write_text("x = '''" + "a" * 4096 + "'''\n")
    assert size.limits(tmp_path) == 1
    assert "over its limit by" in capfd.readouterr().out


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """The directory that is in RAM, for this test."""
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(quick_disk, "MEMORY", memory)
    monkeypatch.setattr(quick_disk, "ROOM", 0)
    return memory


def test_what_a_run_leaves(memory, tmp_path):
    """What is left in RAM is moved to the disk, and replaces what the run before has left."""
    place = quick_disk.make()
    (place / "test").mkdir()
    (place / "test" / "log.txt").write_text("1")
    (place / "current").symlink_to(place / "test")
    quick_disk.clear(place, tmp_path)
    assert (tmp_path / "left" / "test" / "log.txt").read_text() == "1"
    quick_disk.make()
    quick_disk.clear(place, tmp_path)
    assert not (tmp_path / "left").exists()
    assert list(memory.iterdir()) == []


def test_a_run_that_was_killed(memory):
    """What a run has left in RAM that was killed is removed by the next one."""
    dead, alive = memory / f"{quick_disk.NAME}x", memory / f"{quick_disk.NAME}{os.getppid()}"
    for place in dead, alive:
        (place / "test").mkdir(parents=True)
    assert set(memory.iterdir()) == {dead, alive}
    place = quick_disk.make()
    assert set(memory.iterdir()) == {place, alive}


def test_too_little_room_in_memory(memory, monkeypatch):
    """Where there is little RAM, or none that is a directory, tests write to the disk."""
    monkeypatch.setattr(quick_disk, "ROOM", 1 << 60)
    assert quick_disk.make() is None
    monkeypatch.setattr(quick_disk, "MEMORY", memory / "none")
    assert quick_disk.make() is None


def test_figures(figures):
    figures("tests of the figures", 1)
    assert conftest.total([1, 2, 1000]) == "1,003"
    assert conftest.total(["b", "a", "b"]) == "a, b"
