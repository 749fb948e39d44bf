"""mip installs on the sockets of every port, over http and over https, or says why not.

A port's sockets, its TLS and its `select` are stand-ins in device_modules/ports.py, which do what
the port's do, over real sockets and to real servers. docs/releases.md has the same table.
"""

import json
import re

import pytest
from folders import ROOT
from internet import INDEX, content

# Of which the stand-ins are made.
pytestmark = pytest.mark.needs("tls")

PAGE = ROOT / "docs" / "releases.md"
PLAIN = "http://example.com/pi"

PROGRAM = """
import json, sys
import ports
ports.become(sys.argv[1])
import mip

ways = [("http", sys.argv[2], None), ("https", sys.argv[3], None), ("cafile", sys.argv[3], "ca")]
for way, index, cafile in ways:
    mip.cafile = sys.argv[4] if cafile else None
    try:
        mip.install("thing", index=index, target=way)
        outcome = "ok"
    except mip.InstallError as e:
        outcome = str(e)
    print("##", json.dumps([way, outcome]))
print("##", json.dumps(["clear", len(ports.clear)]))
"""

WAYS = ("http", "https", "cafile")

# Why it cannot be: what the InstallError says then.
NO_TLS = "there is no TLS"
UNCHECKED = "no server can be checked"
UNNAMED = "the server cannot be told its name"
REASONS = {
    NO_TLS: r"\bTLS\b|'(ssl|tls)'",
    UNCHECKED: r"this firmware cannot check a server",
    UNNAMED: r"server_hostname",
}

# Port: what is peculiar there, and what is said instead of each of WAYS, None where it installs.
PORTS = {
    "unix": ("TCP_NODELAY is 1, and not named", None, None, None),
    "esp32": ("TCP_NODELAY is 1, and named", None, None, None),
    "esp32 before 1.23": ("TCP_NODELAY is not named", None, None, None),
    "lwip": ("TCP_NODELAY is 0x40, and named; `hash()` has 8 bits", None, None, None),
    "lwip before 1.24": ("an option that it does not know is a warning", None, None, None),
    "nina": ("an option that it does not know closes the socket", None, None, None),
    "wiznet": ("settimeout() and setblocking() raise, before and after connect()", *3 * [None]),
    "zephyr": (
        "getaddrinfo() takes 3 arguments; no setblocking(), settimeout(), poll(), TLS",
        *(None, NO_TLS, NO_TLS),
    ),
    "cc3200": (
        "getaddrinfo() takes 2 arguments; wrap_socket() takes no name of the server",
        *(None, UNNAMED, UNCHECKED),
    ),
    "without select": ("no `select`, as on nrf and samd21", None, None, None),
    "without statvfs": ("no `os.statvfs`, as on Windows", None, None, None),
    "tls 1.3": ("session tickets come before the first answer", None, None, None),
    "mbedtls 1.22": ("no `tls`; a certificate that is not in a file needs `cadata=`", *3 * [None]),
    "mbedtls 1.21": ("no load_verify_locations()", None, None, UNCHECKED),
    "mbedtls 1.20": ("no SSLContext", None, None, UNCHECKED),
    "axtls": (
        "no CERT_REQUIRED, no load_verify_locations(); do_handshake_on_connect=False sends in the"
        " clear",
        *(None, None, UNCHECKED),
    ),
    "axtls 1.22": ("the same, and no CERT_NONE, no verify_mode", None, None, UNCHECKED),
    "axtls 1.20": ("no SSLContext", None, None, UNCHECKED),
}

FILES = {
    "thing/__init__.py": content("thing/__init__.py", "here"),
    "thing/a.py": b"# a\n",
    "thing/b.py": b"# b\n" * 500,
    "thing/c.py": b"",
    "thing/d.py": b"# d\n" * 20,
}


@pytest.mark.parametrize("port", PORTS)
def test_a_port(device, net, port):
    """A package is installed over http and https, or why not is said; nothing is in the clear."""
    for index in PLAIN, INDEX:
        net.publish("thing", files=FILES, index=index)
    result = device.run(PROGRAM, port, PLAIN, INDEX, net.cafile, check=True)
    lines = [line[3:] for line in result.lines if line.startswith("## ")]
    outcomes = dict(json.loads(line) for line in lines)
    assert outcomes.pop("clear") == 0
    _, *wanted = PORTS[port]
    for way, says in zip(WAYS, wanted, strict=True):
        if says is None:
            assert (way, outcomes[way]) == (way, "ok")
            assert device.tree(device.work / way) == FILES
        else:
            assert re.search(REASONS[says], outcomes[way])
            assert device.tree(device.work / way) == {}


def test_what_is_sent_in_the_clear_is_noticed(device, net):
    """A handshake that axTLS would leave out is seen."""
    net.publish("thing", files=FILES)
    code = """
import ports, sys
ports.become("axtls")
import socket, tls
sock = socket.socket()
sock.connect(socket.getaddrinfo("micropython.org", 443)[0][-1])
context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
stream = context.wrap_socket(sock, server_hostname="x", do_handshake_on_connect=False)
stream.write(b"GET /")
print(ports.clear)
"""
    assert device.run(code, check=True).lines == ["[b'GET /']"]


def rows():
    """The rows of the table in docs/releases.md: lists of their cells."""
    text = PAGE.read_text(encoding="utf-8").split("<!-- ports -->")[1]
    table = [line.strip("| ").split(" | ") for line in text.splitlines() if line[:1] == "|"]
    return table[2:]


def test_the_page_has_the_ports():
    """The table of docs/releases.md is that of the tests above."""
    expected = []
    for port, (about, *wanted) in PORTS.items():
        cells = ["ok" if says is None else says for says in wanted]
        expected.append([port, about, *cells])
    assert rows() == expected


# Fetches a page on a port as carefully as one can, without mip.
CAREFUL = """
import sys
import ports
ports.become(sys.argv[1])
import socket

def fetch(scheme, host):
    address = socket.getaddrinfo(host, 443 if scheme == "https" else 80)[0][-1]
    sock = socket.socket()
    if hasattr(socket, "TCP_NODELAY"):
        sock.setsockopt(6, socket.TCP_NODELAY, 1)
    sock.connect(address)
    stream = sock
    if scheme == "https":
        try:
            import tls
        except ImportError:
            try:
                import ssl as tls
            except ImportError:
                return "no TLS"
        if hasattr(tls, "SSLContext"):
            context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
            if hasattr(tls, "CERT_NONE"):
                context.verify_mode = tls.CERT_NONE
            stream = context.wrap_socket(sock, server_hostname=host)
        else:
            try:
                stream = tls.wrap_socket(sock, server_hostname=host)
            except TypeError:
                return "no name"
    stream.write(b"GET /page HTTP/1.0\\r\\nHost: %s\\r\\n\\r\\n" % host.encode())
    text = b""
    while True:
        part = stream.read(64)
        if not part:
            break
        text += part
    stream.close()
    return text[-6:].decode()

for scheme, host in ("http", "example.com"), ("https", "host"):
    print(fetch(scheme, host))
"""


@pytest.mark.parametrize("port", PORTS)
def test_a_stand_in_can_be_used(device, net, port):
    """Who asks a stand-in for no more than there is on the port gets a page by it."""
    net.put("http://example.com/page", "a page")
    net.put("https://host/page", "a page")
    result = device.run(CAREFUL, port, check=True)
    without = {"zephyr": "no TLS", "cc3200": "no name"}
    assert result.lines[-2:] == ["a page", without.get(port, "a page")]
