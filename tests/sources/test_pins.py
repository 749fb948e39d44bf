"""What is pinned by a hash, what may be read or changed on its way, and what is no code at all."""

import json

import pytest
from device import error
from internet import INDEX, content, sha256, tree
from scripted_server import Reply
from test_sources import GITHUB, WEB, install, listed, packages, params, put_local, refused

PLAIN = "http://example.com"
OTHER_HASH = "the content does not match its hash"


def pin(data):
    """What stands behind a name for this content."""
    return "#sha256=" + sha256(data if isinstance(data, bytes) else data.encode())


def wrong(text):
    """The same pin with another last digit."""
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def document(*paths, **more):
    """A package.json that lists these paths by their full hashes."""
    hashes = [[path, sha256(content(path, path))] for path in paths]
    return json.dumps({"v": 1, "version": "1.0", "hashes": hashes, **more})


def publish(net, name="p", index=INDEX, text=None, **more):
    """A package with one file in an index, its hashes in full; returns the pin of its document."""
    path = f"{name}.mpy"
    text = text or document(path, **more)
    for version in "1.0", "latest":
        net.put(f"{index}/package/6/{name}/{version}.json", text)
    sha = sha256(content(path, path))
    net.put(f"{index}/file/{sha[:2]}/{sha}", content(path, path))
    return pin(text)


def in_index(net, device, name):
    return name, publish(net), tree({"p.mpy": "p.mpy"})


def at_a_url(net, device, name):
    net.put(f"{WEB}/d/p.py", "p = 1\n")
    text = '{"urls": [["p.py", "p.py"]]}'
    net.put(f"{WEB}/d/package.json", text)
    return name, pin(text), {"p.py": b"p = 1\n"}


def on_github(net, device, name):
    text = '{"urls": [["p.py", "p.py"]]}'
    for ref in "HEAD", "v1":
        net.put(f"{GITHUB}/org/repo/{ref}/package.json", text)
        net.put(f"{GITHUB}/org/repo/{ref}/p.py", "p = 1\n")
    return name, pin(text), {"p.py": b"p = 1\n"}


def a_file(net, device, name):
    net.put(f"{WEB}/d/p.py", "p = 1\n")
    return name, pin("p = 1\n"), {"p.py": b"p = 1\n"}


def in_a_path(net, device, name):
    text = '{"urls": [["p.py", "p.py"]]}'
    put_local(device, "app/package.json", text)
    put_local(device, "app/p.py", "p = 1\n")
    return name, pin(text), {"p.py": b"p = 1\n"}


PINNED = [
    ("a name", "p", in_index),
    ("a name and a version", "p@1.0", in_index),
    ("a URL", f"{WEB}/d", at_a_url),
    ("the URL of a document", f"{WEB}/d/package.json", at_a_url),
    ("a repository", "github:org/repo", on_github),
    ("a ref of a repository", "github:org/repo@v1", on_github),
    ("a file", f"{WEB}/d/p.py", a_file),
    ("a path", "./app", in_a_path),
    ("the path of a document", "./app/package.json", in_a_path),
]


@pytest.mark.parametrize(("name", "put"), params(PINNED))
def test_a_pin(device, net, name, put):
    """#sha256= holds for what stands before it; list prints it, and what list prints installs."""
    name, digits, files = put(net, device, name)
    install(device, name + digits.upper().replace("#SHA256", "#sha256"))
    assert device.tree() == files
    (line,) = listed(device)
    assert line.endswith(digits)
    assert next(iter(packages(device).values()))[1].endswith(digits)
    device.run("import mip; mip.upgrade()", check=True)
    assert listed(device) == [line]
    install(device, line, target="again")
    assert device.tree(device.work / "again") == files


@pytest.mark.parametrize(("name", "put"), params(PINNED))
def test_a_pin_that_does_not_hold(device, net, name, put):
    """Where the content has another hash nothing of it is acted on, and nothing is installed."""
    name, digits, _ = put(net, device, name)
    text = error(install(device, name + wrong(digits), check=False))
    assert OTHER_HASH in text
    assert [url for url in net.files if not url.endswith(name)] == []
    assert device.tree(everything=True) == {}


def test_one_line_pins_every_byte(device, net):
    """A pin, and full hashes inside, over plain HTTP: neither the document nor a file that was
    changed on its way is installed."""
    index = f"{PLAIN}/pi"
    deps = publish(net, "dep", index)
    text = document("p.mpy", deps=[["dep", "1.0" + deps]])
    digits = publish(net, "p", index, text)
    sha = sha256(content("dep.mpy", "dep.mpy"))
    file = f"{index}/file/{sha[:2]}/{sha}"
    for url in (
        f"{index}/package/6/p/latest.json",
        f"{index}/package/6/dep/1.0.json",
        file,
    ):
        path = net.plain.sites["example.com"] / url.split("/", 3)[3]
        before = path.read_bytes()
        path.write_bytes(before[:-2] + b" " + before[-2:])
        found = error(install(device, "p" + digits, index=index, check=False))
        assert OTHER_HASH in found
        assert device.tree(everything=True) == {}
        path.write_bytes(before)
    install(device, "p" + digits, index=index)
    assert device.tree() == tree({"p.mpy": "p.mpy", "dep.mpy": "dep.mpy"})


def test_an_upgrade_keeps_a_pin(device, net):
    """What was pinned stays what it is when another content is published under its name."""
    digits = publish(net)
    install(device, "p" + digits)
    publish(net, text=document("p.mpy", deps=[["q", ""]]))
    publish(net, "q")
    found = error(device.run("import mip; mip.upgrade()"))
    assert OTHER_HASH in found
    assert device.tree() == tree({"p.mpy": "p.mpy"})
    assert listed(device) == [f"p@1.0{digits}"]


def test_pins_that_differ(device, net):
    """Two hashes for one package are refused, naming who asks; a hash and a version fit."""
    digits = publish(net)
    publish(net, "q", text=document("q.mpy", deps=[["p", wrong(digits)]]))
    publish(net, "r", text=document("r.mpy", deps=[["p", "1.0"]]))
    found = refused(device, net, ["p" + digits, "q"])
    assert "q asks for" in found or "the user asks for" in found
    assert digits in found and wrong(digits) in found
    install(device, ["r", "p" + digits])
    assert set(device.tree()) == {"p.mpy", "r.mpy"}
    install(device, ["p" + digits, "r"], target="turned")
    assert listed(device)[-1] == f"p@1.0{digits}"
    found = error(install(device, "p" + wrong(digits), check=False))
    assert OTHER_HASH in found


def test_a_pin_of_a_file_in_a_package(device, net):
    """A package.json may pin what it names by URL."""
    net.put(f"{WEB}/d/a.py", "a = 1\n")
    for digits, fits in (pin("a = 1\n"), True), (wrong(pin("a = 1\n")), False):
        net.put(f"{WEB}/d/package.json", json.dumps({"urls": [["a.py", "a.py" + digits]]}))
        result = install(device, f"{WEB}/d", check=fits)
        assert fits or OTHER_HASH in error(result)


@pytest.mark.parametrize("digits", ["", "12345678", "0" * 63, "0" * 65])
def test_the_shape_of_a_pin(device, net, digits):
    """A pin has 64 digits; less would pin less."""
    publish(net)
    assert "64 digits" in refused(device, net, "p#sha256=" + digits)


def test_a_ref_with_a_hash_sign(device, net):
    """Only #sha256= begins a pin."""
    net.put(f"{GITHUB}/org/repo/v#1/package.json".replace("#", "%23"), '{"urls": []}')
    found = error(install(device, "github:org/repo@v#1", check=False))
    assert "64 digits" not in found


# What a document over https names, and whether it is said that anyone may change it.
DOCUMENTS = [
    ("a file over http", {"urls": [["a.py", f"{PLAIN}/a.py"]]}, True),
    ("a pinned file", {"urls": [["a.py", f"{PLAIN}/a.py" + pin("a = 1\n")]]}, False),
    ("a file beside it", {"urls": [["a.py", "a.py"]]}, False),
    ("a file over https", {"urls": [["a.py", f"{WEB}/a.py"]]}, False),
    ("a dependency over http", {"urls": [["b.py", "b.py"]], "deps": [[f"{PLAIN}/q", ""]]}, True),
    ("a dependency by name", {"urls": [["b.py", "b.py"]], "deps": [["p", ""]]}, False),
]


@pytest.mark.parametrize(("text", "said"), params(DOCUMENTS))
def test_what_may_be_changed_on_its_way(device, net, text, said):
    """What a document over https names over http, without a hash, is said aloud."""
    publish(net)
    for place in WEB, PLAIN:
        for name in "a", "b":
            net.put(f"{place}/{name}.py", f"{name} = 1\n")
    net.put(f"{PLAIN}/q/package.json", '{"urls": [["q.py", "../a.py"]]}')
    for place in WEB, PLAIN:
        net.put(f"{place}/package.json", json.dumps(text))
    warnings = []
    for place in WEB, PLAIN:
        result = install(device, place, target=place[:5])
        warnings.append([line for line in result.lines if "anyone on the way" in line])
    assert len(warnings[0]) == said
    assert warnings[1] == []  # who asks over http knows it


# Headers by their key, and whether they are sent over TLS and over plain HTTP.
KEYS = [
    ("a host", "NAME", True, False),
    ("in capitals", "NaMe", True, False),
    ("plain", "http://NAME", False, True),
    ("plain, in capitals", "HTTP://NaMe", False, True),
    ("another host", "other.test", False, False),
    ("the end of a host", "test", False, False),
]

HEADERS = """
import sys, mip
session = mip.Session(headers={sys.argv[1]: {"X-Secret": "XYZZY"}})
mip.install(sys.argv[2], session=session)
"""


@pytest.mark.parametrize(("key", "over_tls", "over_http"), params(KEYS))
def test_headers_go_over_tls(device, server, secure_server, key, over_tls, over_http):
    """Headers of a host go out over TLS, and in the clear only if their key says http://."""
    name = "some.test"
    key = key.replace("NAME", name).replace("NaMe", name.upper())
    for scheme, one, wanted in ("https", secure_server, over_tls), ("http", server, over_http):
        (one.root / "a.py").write_text("a = 1\n")
        device.hosts[name] = one.port
        device.run(HEADERS, key, f"{scheme}://{name}/a.py", check=True)
        assert ["x-secret" in headers for headers in one.headers_seen] == [wanted]


# A file without a hash: its name, the type that it comes as, its content, whether it is installed.
PAGES = [
    ("source", "a.py", "text/x-python", b"a = 1\n", True),
    ("source as plain text", "a.py", "text/plain", b"a = 1\n", True),
    ("empty source", "a.py", "text/plain", b"", True),
    ("a page as source", "a.py", "text/html; charset=utf-8", b"a = 1\n", False),
    ("a page without its type", "a.py", "text/plain", b"<!DOCTYPE html>\n", False),
    ("space before a page", "a.py", "text/plain", b" \r\n\t<html>", False),
    ("much space before a page", "a.py", "text/plain", b"\n" * 300 + b"<html>", False),
    ("a page in UTF-16", "a.py", "text/plain", "\ufeff\n<html>".encode("utf-16-le"), False),
    ("the other UTF-16", "a.py", "text/plain", "\ufeff <html>".encode("utf-16-be"), False),
    ("a page as bytecode", "a.mpy", "text/html", b"<html>", False),
    ("a page that is one", "www/a.html", "text/html", b"<html>", True),
    ("data that begins so", "a.svg", "image/svg+xml", b"<svg/>", True),
]


@pytest.mark.parametrize(("name", "kind", "data", "fits"), params(PAGES))
def test_a_page_in_place_of_code(device, server, name, kind, data, fits):
    """A web page that comes as a module is refused like one that comes as a document."""
    server.routes["/p/" + name] = Reply(headers={"Content-Type": kind}, body=data)
    (server.root / "p").mkdir()
    (server.root / "p/package.json").write_text(json.dumps({"urls": [[name, name]]}))
    result = install(device, server.url + "/p", check=fits)
    if fits:
        assert device.tree() == {name: data}
    else:
        assert "web page" in error(result) or "not bytecode" in error(result)
        assert device.tree(everything=True) == {}
