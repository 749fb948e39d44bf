"""The clients in the field: mpremote at a serial port, the interpreter's own mip, and this one."""

import os
import select
import socket
import socketserver
import subprocess
import sys
import threading
from urllib.parse import urlsplit

from abilities import skip_without
from folders import ROOT
from plug import Plug


class Terminal:
    """A serial port, behind which a MicroPython waits at its REPL.

    run() is an mpremote command for it.

    path: entries of the interpreter's sys.path, one or a list.
    env: more environment variables for mpremote.
    """

    def __init__(self, device, path, env=None):
        skip_without("raw")
        self._environment = {
            **os.environ,
            "XDG_CONFIG_HOME": str(device.work.parent),
            **(env or {}),
        }
        self._plug = Plug(device.command(), cwd=device.work, env=device.environment(path))
        self.name = self._plug.name

    def __enter__(self):
        self._plug.__enter__()
        return self

    def __exit__(self, *error):
        self._plug.__exit__(*error)

    def run(self, *words, cwd=ROOT):
        """Run an mpremote command in the directory `cwd`; returns its output.

        Raises AssertionError with the output when its exit status is not 0.
        """
        done = subprocess.run(
            # Unbuffered (-u): what it says and what the board says come out in their order.
            [sys.executable, "-um", "mpremote", "connect", self.name, "resume", *map(str, words)],
            cwd=cwd,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


class Proxy(socketserver.ThreadingTCPServer):
    """An HTTP proxy that takes every host to a server of the tests.

    hosts: {host name: port on this machine}, as an Internet has it. environment: what makes a
    program that asks urllib go through it. TLS is tunnelled, so the program checks the
    certificate of the server that it asked for (RFC 9110, section 9.3.6, CONNECT).
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, hosts, cafile):
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.hosts = hosts
        url = f"http://127.0.0.1:{self.server_address[1]}"
        self.environment = {
            "http_proxy": url,
            "https_proxy": url,
            "no_proxy": "127.0.0.1",
            "SSL_CERT_FILE": str(cafile),
        }
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Tunnel(socketserver.StreamRequestHandler):
    """One connection through a Proxy, which ends with the first answer's connection."""

    def handle(self):
        method, target, _ = self.rfile.readline().decode("ascii").split()
        head = b"".join(iter(self.rfile.readline, b"\r\n"))
        url = urlsplit(f"//{target}" if method == "CONNECT" else target)
        if url.hostname not in self.server.hosts:
            self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        address = "127.0.0.1", self.server.hosts[url.hostname]
        with socket.create_connection(address) as server:
            if method == "CONNECT":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                path = f"{url.path}?{url.query}" if url.query else url.path
                server.sendall(f"{method} {path} HTTP/1.1\r\n".encode() + head + b"\r\n")
            self._relay(server)

    def _relay(self, server):
        other = {server: self.connection, self.connection: server}
        while True:
            ready, _, _ = select.select(list(other), [], [])
            for end in ready:
                data = end.recv(65536)
                if not data:
                    return
                other[end].sendall(data)


def _mpremote(device, net, words):
    with (
        Proxy(net.hosts, net.cafile) as proxy,
        Terminal(device, path=[], env=proxy.environment) as terminal,
    ):
        return terminal.run("mip", "install", *words, cwd=device.work)


def _upstream(device, net, words):
    return device.upstream().mip("install", *words, check=True).out


def _mip(device, net, words):
    return device.mip("install", *words, check=True).out


# Who installs. upstream: the mip that is frozen into the interpreter; mip: the one under test.
CLIENTS = {"mpremote": _mpremote, "upstream": _upstream, "mip": _mip}


def install(name, device, net, *words):
    """Have a client of CLIENTS install onto the board; returns what it says.

    net: the Internet that mpremote is on; the board is on its own, see Device. words: options
    and packages, which are the same words for all clients.
    Raises AssertionError, with what it says, when that does not end with Done.
    """
    said = CLIENTS[name](device, net, words)
    assert said.splitlines()[-1:] == ["Done"], said
    return said
