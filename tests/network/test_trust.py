"""Which servers are trusted, who gets headers, and what people are told when it goes wrong."""

import ast
import contextlib
import datetime
import hashlib
import json
import socket
import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest
import scripted_server as mip_server
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from scripted_server import Reply

HOST = "good.test"
OTHER = "other.test"
PACKAGE = f"https://{HOST}/p"
INSTALLED = {"a.py": b"a = 1\n"}
SECRET = "token XYZZY"
ROOTS = Path("/etc/ssl/certs/ca-certificates.crt")

UNCHECKED = "not checked"

# What the user writes in a program; `cafile` is a path, or None.
SESSION = f"mip.install({PACKAGE!r}, session=mip.Session(cafile=cafile))"
MODULE = f"mip.cafile = cafile; mip.install({PACKAGE!r})"
MODULE_SESSION = f"mip.cafile = cafile; mip.install({PACKAGE!r}, session=mip.Session())"
PLAIN = f"mip.install({PACKAGE!r})"
CALLS = {"Session(cafile=)": SESSION, "mip.cafile": MODULE, "both": MODULE_SESSION}

# Runs the program in the second argument.
LIBRARY = """
import sys
import mip
cafile = sys.argv[1] or None
try:
    exec(sys.argv[2])
except mip.InstallError as error:
    print("InstallError " + repr(str(error)))
"""

# A clock that nobody set.
CLOCK = """
from utime import *

def gmtime(*args):
    return (2000, 1, 1, 0, 0, 0, 5, 1)

def time():
    return 0

def sleep(seconds):
    pass
"""


class Server(mip_server.Server):
    """A server with the package PACKAGE that counts the connections that it accepts.

    Those include the ones that end within the TLS handshake.
    """

    accepted = 0

    def get_request(self):
        self.accepted += 1
        return super().get_request()


def self_signed(directory, host):
    """The ssl.SSLContext of a server with a certificate that only it vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = x509.SubjectAlternativeName([x509.DNSName(host)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem = directory / "self-signed.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def context(authority, *hosts, **validity):
    """The ssl.SSLContext of a server with a certificate from `authority`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*hosts, **validity).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    """Our authority `ca`, two others, and files of certificates: their paths by name."""
    directory = tmp_path_factory.mktemp("trusted")
    ca, other, third = (trustme.CA() for _ in range(3))
    texts = [authority.cert_pem.bytes().decode() for authority in (other, ca, third)]
    ours = texts[1]
    bundle = "".join(f"# Authority {n}\n# of {n}\n{text}\n" for n, text in enumerate(texts))
    contents = {
        "PEM": ours,
        "DER": ssl.PEM_cert_to_DER_cert(ours),
        "PEM of several": "".join(texts),
        "PEM of several, with comments": bundle,
        "PEM with an empty line before": "\n" + ours,
        "PEM with CRLF": ours.replace("\n", "\r\n"),
        "PEM without a last newline": ours.rstrip("\n"),
        "another's": texts[0],
    }
    files = {}
    for number, (name, content) in enumerate(contents.items()):
        files[name] = directory / f"{number}"
        files[name].write_bytes(content if isinstance(content, bytes) else content.encode())
    return SimpleNamespace(ca=ca, other=other, files=files)


FILES = (
    "PEM",
    "DER",
    "PEM of several",
    "PEM of several, with comments",
    "PEM with an empty line before",
    "PEM with CRLF",
    "PEM without a last newline",
)


@pytest.fixture
def start(device, tmp_path):
    """A function that starts a server for `hosts` with that ssl.SSLContext, or None."""
    device.cafile = None
    site = tmp_path / "site"
    site.mkdir()
    with contextlib.ExitStack() as stack:

        def start(tls, *hosts):
            server = stack.enter_context(Server(site, tls=tls))
            server.routes["/p/package.json"] = Reply(body=b'{"urls": [["a.py", "a.py"]]}')
            server.routes["/p/a.py"] = Reply(body=INSTALLED["a.py"])
            device.hosts.update(dict.fromkeys(hosts or [HOST], server.port))
            return server

        yield start


@pytest.fixture
def good(start, trusted):
    """A server with a certificate from our authority."""
    return start(context(trusted.ca, HOST))


def library(device, cafile, call, **options):
    """The lines that an installation by the library printed."""
    return device.run(LIBRARY, cafile or "", call, check=True, **options).lines


def refusal(lines):
    """The text of the InstallError that an installation by the library ended with."""
    kind, text = lines[-1].split(" ", 1)
    assert kind == "InstallError", lines
    return ast.literal_eval(text)


def assert_installed(device, lines, checked=True):
    """The package is there, and one line says so when servers were not checked."""
    assert lines[-1] == "Done", lines
    assert device.tree() == INSTALLED
    assert len([line for line in lines if UNCHECKED in line]) == (0 if checked else 1), lines


def assert_refused(device, text, *words):
    """The error has these words, and nothing was written."""
    for word in words:
        assert word in text
    assert device.tree(device.work, everything=True) == {}


def failure(result):
    """The line that a command which failed wrote to stderr."""
    assert result.status == 1, str(result)
    assert result.err.startswith("mip: ") and result.err.count("\n") == 1, str(result)
    return result.err.strip()


# --- Certificates ---


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_files_of_certificates(device, good, trusted, name, call):
    """A server that a certificate of the file vouches for is trusted, by every way to say it."""
    assert_installed(device, library(device, trusted.files[name], call))


@pytest.mark.parametrize("name", FILES)
def test_files_of_certificates_on_the_command_line(device, good, trusted, name):
    """--cafile and SSL_CERT_FILE take the same files."""
    for words, env in (
        (["--cafile", trusted.files[name]], {"SSL_CERT_FILE": str(trusted.files["another's"])}),
        ([], {"SSL_CERT_FILE": str(trusted.files[name])}),
    ):
        result = device.mip("install", *words, PACKAGE, env=env, check=True)
        assert_installed(device, result.lines)
        device.mip("uninstall", PACKAGE, check=True)
        assert device.tree() == {}


# name: (which certificate the server has, words of the error)
REFUSED = {
    "self-signed": "self-signed",
    "another authority": "other",
    "another host": "host",
    "expired": "expired",
}


@pytest.fixture(params=REFUSED.values(), ids=REFUSED)
def bad(request, start, trusted, tmp_path):
    """A server that is not to be trusted."""
    past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=9)
    tls = {
        "self-signed": lambda: self_signed(tmp_path, HOST),
        "other": lambda: context(trusted.other, HOST),
        "host": lambda: context(trusted.ca, OTHER),
        "expired": lambda: context(trusted.ca, HOST, not_after=past),
    }[request.param]()
    return start(tls)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_server_that_is_not_to_be_trusted(device, bad, trusted, call):
    """It is asked once, sent nothing, and the error names it; nothing is written."""
    text = refusal(library(device, trusted.files["PEM"], call))
    assert_refused(device, text, HOST, "not to be trusted")
    assert (bad.accepted, bad.requests) == (1, [])


def test_an_error_of_trust_is_one_line(device, bad, trusted):
    """The text of the exception is one line, whatever the TLS library says."""
    text = refusal(library(device, trusted.files["PEM"], SESSION))
    assert len(text.splitlines()) == 1 and text == text.strip()


# The host has a second address, where nothing listens.
TWO_ADDRESSES = f"""
import socket
look = socket.getaddrinfo
socket.getaddrinfo = lambda host, *args: look(host, *args) + look("closed.test", *args)
{SESSION}
"""


def test_no_other_address_is_tried(device, bad, trusted):
    """A server that is not to be trusted is final: not its other address, nor once more."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        device.hosts["closed.test"] = closed.getsockname()[1]
        text = refusal(library(device, trusted.files["PEM"], TWO_ADDRESSES))
    assert_refused(device, text, HOST, "not to be trusted")
    assert (bad.accepted, bad.requests) == (1, [])


@pytest.mark.parametrize("words", [[], ["--cafile", "{}"]], ids=["system's", "--cafile"])
def test_a_server_that_the_command_line_does_not_trust(device, bad, trusted, words):
    """It is refused by default, too, in one line."""
    ours = str(trusted.files["PEM"])
    env = {"SSL_CERT_FILE": str(trusted.files["another's"]) if words else ours}
    words = [word.format(ours) for word in words]
    line = failure(device.mip("install", *words, PACKAGE, env=env))
    assert_refused(device, line, HOST, "not to be trusted")
    assert (bad.accepted, bad.requests) == (1, [])


@pytest.mark.skipif(not ROOTS.exists(), reason="the system keeps its certificates elsewhere")
def test_the_roots_of_the_system(device, good):
    """Without a word about certificates, the command line takes the system's."""
    line = failure(device.mip("install", PACKAGE))
    assert_refused(device, line, HOST, "not to be trusted")
    assert (good.accepted, good.requests) == (1, [])


def test_insecure(device, bad, trusted):
    """--insecure takes any server, and one line says that servers were not checked."""
    env = {"SSL_CERT_FILE": str(trusted.files["PEM"])}
    result = device.mip("install", "--insecure", PACKAGE, env=env, check=True)
    assert_installed(device, result.lines, checked=False)


@pytest.mark.parametrize("call", [PLAIN, SESSION], ids=["no session", "Session()"])
def test_without_certificates(device, bad, call):
    """The library takes any server when it has no certificates, and says so in one line."""
    assert_installed(device, library(device, None, call), checked=False)


def test_without_tls_nothing_is_said(device, start):
    """A run that meets no TLS server does not speak of checking servers."""
    start(None)
    call = PLAIN.replace("https:", "http:")
    assert_installed(device, library(device, None, call), checked=True)


FILES_WITHOUT = {
    "missing": None,
    "empty": b"",
    "no certificate": b"# nothing\n",
    "only text": b"one\ntwo\nthree\n",
    "not base64": b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
    "not a certificate": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "cut": b"-----BEGIN CERTIFICATE-----\nMIIB\n",
    "an end alone": b"# x\n-----END CERTIFICATE-----\n",
    "bytes": bytes(range(256)),
    "cut DER": b"0\x82",
}


@pytest.mark.parametrize("content", FILES_WITHOUT.values(), ids=FILES_WITHOUT)
def test_files_without_certificates(device, good, tmp_path, content):
    """A file without a certificate is an InstallError; nothing is fetched or written."""
    file = tmp_path / "no-certificates"
    if content is not None:
        file.write_bytes(content)
    assert_refused(device, refusal(library(device, file, SESSION)))
    assert good.requests == []
    line = failure(device.mip("install", "--cafile", file, PACKAGE))
    assert_refused(device, line)
    assert good.requests == []


def test_a_missing_file_of_certificates_is_named(device, good, tmp_path):
    """The error names the file of certificates that is not there."""
    assert "no-such-file" in refusal(library(device, tmp_path / "no-such-file", SESSION))


def test_a_clock_that_nobody_set(device, start, trusted, tmp_path):
    """When a server is refused and the clock is wrong, the error says how to set it."""
    start(context(trusted.other, HOST))
    clock = tmp_path / "clock"
    clock.mkdir()
    (clock / "time.py").write_text(CLOCK)
    cafile = trusted.files["PEM"]
    text = refusal(library(device, cafile, SESSION, path=[clock, device.path]))
    assert_refused(device, text, HOST, "2000", "ntptime.settime()")
    assert "ntptime" not in refusal(library(device, cafile, SESSION))


@pytest.mark.parametrize("what", ["/p/package.json", "/p/a.py"])
@pytest.mark.parametrize("cafile", ["PEM", None])
def test_a_redirect_to_http(device, good, start, trusted, what, cafile):
    """A redirect from https to http is refused, certificates or not, and not followed."""
    plain = start(None, OTHER)
    good.routes[what] = Reply(302, {"Location": f"http://{OTHER}{what}"})
    text = refusal(library(device, cafile and trusted.files[cafile], SESSION))
    assert_refused(device, text, "redirected to", f"http://{OTHER}{what}")
    assert (plain.accepted, good.accepted) == (0, 1)


# --- Headers ---

HEADERS = {HOST: {"Authorization": SECRET, "X-More": "one: two"}}
SENT = ("authorization", "x-more")

WITH_HEADERS = f"""
session = mip.Session(headers={HEADERS!r}, cafile=cafile)
mip.install({PACKAGE!r}, session=session)
"""
OPTIONS = [
    word
    for name, value in HEADERS[HOST].items()
    for word in ("--header", f"{HOST}:{name}:{value}")
]


def private(device, trusted, how):
    """What an installation with HEADERS printed, by the library or by the command line."""
    cafile = trusted.files["PEM"]
    if how == "library":
        return device.run(LIBRARY, cafile, WITH_HEADERS, check=True)
    return device.mip("install", "--cafile", cafile, *OPTIONS, PACKAGE)


def assert_secret(device, result):
    """No header was printed or recorded."""
    assert "XYZZY" not in result.out + result.err
    for content in device.tree(device.work, everything=True).values():
        assert b"XYZZY" not in content


@pytest.mark.parametrize("how", ["library", "command line"])
def test_headers_belong_to_a_host(device, good, start, trusted, how):
    """Headers of a host go with each request to it, and with none to another, redirects too."""
    other = start(context(trusted.ca, OTHER), OTHER)
    moved = f"https://{OTHER}/p/b.py"
    document = {"urls": [["a.py", "a.py"], ["b.py", "b.py"], ["c.py", f"https://{OTHER}/c.py"]]}
    good.routes["/p/package.json"] = Reply(302, {"Location": "/p/here.json"})
    good.routes["/p/here.json"] = Reply(body=json.dumps(document).encode())
    good.routes["/p/b.py"] = Reply(302, {"Location": moved})
    good.routes["/back.py"] = Reply(body=b"c = 1\n")
    other.routes["/p/b.py"] = Reply(body=b"b = 1\n")
    other.routes["/c.py"] = Reply(302, {"Location": f"https://{HOST}/back.py"})
    result = private(device, trusted, how)
    assert result.lines[-1] == "Done", str(result)
    assert list(device.tree()) == ["a.py", "b.py", "c.py"]
    seen = [path for _, _, path in good.requests]
    assert sorted(seen) == ["/back.py", "/p/a.py", "/p/b.py", "/p/here.json", "/p/package.json"]
    for headers in good.headers_seen:
        assert [headers.get(name) for name in SENT] == [SECRET, "one: two"]
    assert [path for _, _, path in other.requests] == ["/p/b.py", "/c.py"]
    for headers in other.headers_seen:
        assert [headers.get(name) for name in SENT] == [None, None]
    assert_secret(device, result)


@pytest.mark.parametrize("how", ["library", "command line"])
@pytest.mark.parametrize("status", [403, 404, 500])
def test_headers_are_not_in_errors(device, good, trusted, how, status):
    """A server that refuses what was asked for with headers does not have them printed."""
    good.routes["/p/a.py"] = Reply(status)
    result = private(device, trusted, how)
    assert f"{PACKAGE}/a.py" in result.out + result.err
    assert good.headers_seen[-1]["authorization"] == SECRET
    assert_secret(device, result)
    assert device.tree(device.work, everything=True) == {}


@pytest.mark.parametrize("how", ["library", "command line"])
def test_headers_do_not_go_to_a_server_that_is_not_to_be_trusted(device, bad, trusted, how):
    """A server that fails the check never sees the headers of its name."""
    result = private(device, trusted, how)
    assert_refused(device, result.out.strip() + result.err.strip(), "not to be trusted")
    assert (bad.accepted, bad.headers_seen) == (1, [])
    assert_secret(device, result)


@pytest.mark.parametrize("value", ["x", "host:name", "host", ":::"])
def test_headers_that_are_none(device, good, value):
    """--header without host, name and value is a wrong command line, and is named as such."""
    result = device.mip("install", "--header", value, PACKAGE)
    assert result.status == 2, str(result)
    assert result.err.startswith("mip: ") and "--header" in result.err.splitlines()[0]
    assert good.accepted == 0


# --- Other sessions ---

# Has get() and nothing else.
REQUESTS = f"""
class Session:
    def get(self, url):
        import requests
        return requests.get(url)
mip.install({PACKAGE!r}, session=Session())
"""
REQUESTS_ITSELF = f"import requests; mip.install({PACKAGE!r}, session=requests)"


@pytest.mark.needs("upstream")
@pytest.mark.parametrize("call", [REQUESTS, REQUESTS_ITSELF], ids=["get() alone", "requests"])
def test_a_session_like_requests(device, good, trusted, call):
    """What has the get() of `requests` is a session."""
    lines = library(device, trusted.files["PEM"], call, path=[device.path, ".frozen"])
    assert (lines[-1], device.tree()) == ("Done", INSTALLED)


# --- Messages ---


def test_a_host_that_is_not_known(device):
    """A host name that is not resolved asks whether the board is online, in one line."""
    url = "http://no-such-host.invalid/p"
    line = failure(device.mip("install", url))
    assert_refused(device, line, "no-such-host.invalid", "is the board online?")


@pytest.mark.parametrize(
    ("name", "words"),
    [("micropython-crc", "perhaps it is crc"), ("no-such-package", "no package no-such-package")],
)
def test_a_package_that_is_not_there(device, index, name, words):
    """The error names the index, and the name without `micropython-` if it has that."""
    with mip_server.Server(index) as server:
        line = failure(device.mip("install", "-i", server.url, name))
    assert_refused(device, line, server.url, name, words)
    assert ("perhaps" in line) == name.startswith("micropython-")


PAGES = {
    "a page": b"<!DOCTYPE html><html><body>Log in</body></html>",
    "space before": b"\n\n  <html>",
    "a long page": b"<html>" + b"<p>Log in to the network.</p>" * 5000,
    "capitals": b"<HTML>{}</HTML>",
    "one byte": b"<",
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_web_page(device, server, page):
    """A web page instead of a package.json is taken for what it is, in one line."""
    server.routes["/p/package.json"] = Reply(body=page)
    line = failure(device.mip("install", server.url + "/p"))
    words = ("answered with a web page", "captive portal")
    assert_refused(device, line, server.url, *words)


def test_a_web_page_by_a_redirect(device, server):
    """A captive portal that redirects to its page is told by the page."""
    server.routes["/p/package.json"] = Reply(302, {"Location": "/login"})
    server.routes["/login"] = Reply(body=b"<html>Log in</html>")
    line = failure(device.mip("install", server.url + "/p"))
    assert_refused(device, line, "captive portal")


def test_no_bytecode(device, server):
    """A package without bytecode for this firmware is taken as source; one line says so."""
    body = b"x = 1\n"
    sha = hashlib.sha256(body).hexdigest()[:8]
    document = {"v": 1, "version": "1.0", "hashes": [["x.py", sha]]}
    server.routes["/package/py/x/latest.json"] = Reply(body=json.dumps(document).encode())
    server.routes[f"/file/{sha[:2]}/{sha}"] = Reply(body=body)
    lines = device.mip("install", "-i", server.url, "x", check=True).lines
    said = [line for line in lines if "no bytecode" in line]
    assert said == ["There is no bytecode of x"]
    assert device.tree() == {"x.py": body}
    assert "no bytecode" not in device.mip("upgrade", "-i", server.url, "--no-mpy").out


@pytest.mark.parametrize("code", [-30592, -28288, -40])
def test_a_refused_handshake(device, code):
    """A fatal alert may mean each of three things, which are said."""
    out = device.run(f"import mip; print(mip._reason(OSError({code}, 'X')))", check=True).out
    for words in "no TLS version", "no such host", "wants a certificate":
        assert words in out
