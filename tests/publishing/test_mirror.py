"""`mip-index mirror`: what others published, pinned, installs from an index of one's own."""

import json
import re
import shutil
import socket

import mip_index
import pytest
from internet import INDEX, by_mpremote, content, sha256
from mip_index import PublishError, check, mirror, mirroring
from mip_index import device as host
from mip_index.compiler import compile_module
from mip_index.fetch import Session, parse_headers
from scripted_server import Reply, Server
from test_build import assert_whole, read, read_file, tree, write_json_package
from test_sources import GITHUB, WEB, module, put_local

REPO = f"{GITHUB}/org/app"


@pytest.fixture
def online(net, monkeypatch):
    """The internet of the tests, to which this process is connected, too."""
    net.connect(monkeypatch)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    # The board of the tests asks for certificates from the authority of the tests; so do we.
    monkeypatch.setattr(mirroring, "Session", lambda: Session(net.cafile))
    return net


def put(net, name, url, version="1.0", deps=(), **keys):
    """Publish a package at a URL, with one module of its name."""
    net.put(f"{url}/{name}.py")
    document = {"version": version, "urls": [[f"{name}.py", f"{name}.py"]], **keys}
    net.put(f"{url}/package.json", json.dumps({**document, "deps": list(deps)}))


def put_app(net):
    """Publish github:org/app@v1, which needs packages of every kind; return names of modules."""
    deps = [
        ["needed", "1.0"],
        ["gitlab:org/lib", "v2"],
        ["https://example.org/web", ""],
        ["http://example.com/single.py", ""],
    ]
    put(net, "app", f"{REPO}/v1", "1.5", deps)
    net.publish("needed", "1.0", files=["needed/__init__", "needed/part"], deps=["shared"])
    net.publish("needed", "2.0")
    net.publish("shared", kinds=("py",))
    put(net, "lib", "https://gitlab.com/org/lib/-/raw/v2", "0.2", ["shared"])
    put(net, "web", f"{WEB}/web")
    net.put("http://example.com/single.py")


APP_FILES = {
    "app.py",
    "lib.py",
    "needed/__init__.mpy",
    "needed/part.mpy",
    "shared.py",
    "single.py",
    "web.py",
}


# --- What is installed ---


def test_a_mirror_installs_with_its_sources_switched_off(device, online, tmp_path):
    """A package with dependencies from four kinds of source installs from a mirror alone."""
    net = online
    put_app(net)
    device.mip("install", "--target=origin", "github:org/app@v1", check=True)
    origin = device.tree(device.work / "origin")
    assert set(origin) == APP_FILES
    assert mirror(["github:org/app@v1"], tmp_path / "site") == [("app", "1.5")]
    assert_whole(tmp_path / "site")

    shutil.rmtree(net.plain.sites["example.com"].parent)
    net.reset()
    with Server(tmp_path / "site") as server:
        for version in ("app", "app@1.5"):
            target = f"--target={version}"
            device.mip("install", target, "--index", server.url, version, check=True)
            assert device.tree(device.work / version) == origin
        upstream = device.upstream()
        upstream.mip("install", "--target", "up", "--index", server.url, "app", check=True)
        assert device.tree(device.work / "up") == origin
        files = by_mpremote("app", server.url)
        assert {path.removeprefix("lib/"): data for path, data in files.items()} == origin
    assert net.requests == []
    assert device.mip("list", "--target=app", check=True).lines == ["app@1.5"]


def test_source_from_a_mirror(device, online, tmp_path):
    """A package of an index is mirrored as bytecode and as source."""
    put_app(online)
    mirror(["needed@1.0"], tmp_path / "site")
    index = str(tmp_path / "site")
    device.mip("install", "--no-mpy", f"--index={index}", "needed", check=True)
    assert set(device.tree()) == {"needed/__init__.py", "needed/part.py", "shared.py"}
    assert device.tree()["shared.py"] == content("shared.py", "shared 1.0")
    # A board whose firmware takes no bytecode of that version gets the source, too.
    package = read(tmp_path / "site", "py", "needed")
    assert sorted(path for path, _ in package["hashes"]) == sorted(device.tree())


def test_a_damaged_mirror_is_noticed(device, online, tmp_path):
    """With the full hashes of a mirror no other content is installed, whoever made it."""
    put_app(online)
    mirror(["needed@1.0"], tmp_path / "site")
    for path in (tmp_path / "site" / "file").glob("*/*"):
        path.write_bytes(b"evil = 1\n")
    result = device.mip("install", f"--index={tmp_path / 'site'}", "needed")
    assert result.status == 1 and "does not match its hash" in result.err
    assert device.tree() == {}


def test_packages_of_one_mirror_install_together(device, online, tmp_path):
    """Packages that were mirrored together, and share what they need, install together."""
    put_app(online)
    new = mirror(["needed@1.0", "shared", "gitlab:org/lib@v2"], tmp_path / "site")
    assert new == [("needed", "1.0"), ("shared", "1.0"), ("lib", "0.2")]
    index = f"--index={tmp_path / 'site'}"
    device.mip("install", index, "needed", "shared", "lib", check=True)
    assert set(device.tree()) == APP_FILES - {"app.py", "web.py", "single.py"}
    device.mip("uninstall", "needed", check=True)
    assert set(device.tree()) == {"lib.py", "shared.py"}


def test_local_packages(device, online, tmp_path, monkeypatch):
    """A directory is mirrored with what it needs, as a board with these files installs it."""
    put_app(online)
    deps = ["./part", "needed@1.0"]
    put_local(device, "app/m.py", "m = 1\n")
    put_local(device, "app/part/n.py", "n = 1\n")
    put_local(device, "app/part/package.json", '{"urls": [["n.py", "n.py"]]}')
    document = {"version": "3", "urls": [["m.py", "m.py"]], "deps": deps}
    put_local(device, "app/package.json", json.dumps(document))
    device.mip("install", "--target=origin", "./app", check=True)
    monkeypatch.chdir(device.work)
    for name in ("./app", "app/package.json", f"{device.work}/app"):
        mirror([name], tmp_path / "site")
    device.mip("install", f"--index={tmp_path / 'site'}", "app@3", check=True)
    assert device.tree() == device.tree(device.work / "origin")


def test_several_indexes(online, tmp_path, index):
    """Names are looked up in indexes in order; one may be a directory."""
    online.publish("crc", "0.1")
    online.publish("needed")
    new = mirror(["crc", "needed", "morse"], tmp_path / "site", indexes=[str(index), INDEX])
    assert new == [("crc", "1.0.0"), ("needed", "1.0"), ("morse", "1.1.0")]
    for mpy in ("6", "py"):
        old = read(index, mpy, "morse")["hashes"]
        assert [path for path, _ in old] == [
            path for path, _ in read(tmp_path / "site", mpy, "morse")["hashes"]
        ]


# --- What is written ---


def test_what_is_pinned(online, tmp_path):
    """The package of a mirror has all files by their whole hash, and says where they are from."""
    put_app(online)
    mirror(["github:org/app@v1"], tmp_path / "site")
    for mpy in ("6", "py"):
        package = read(tmp_path / "site", mpy, "app", "1.5")
        assert package == read(tmp_path / "site", mpy, "app")
        assert set(package) == {"v", "version", "hashes", "from"}
        for _, hash in package["hashes"]:
            assert hash == sha256(read_file(tmp_path / "site", hash))
        assert package["from"] == [
            ["github:org/app", "v1"],
            ["needed", "1.0"],
            ["gitlab:org/lib", "v2"],
            ["https://example.org/web", "1.0"],
            ["http://example.com/single.py", "latest"],
            ["shared", "1.0"],
        ]
    (entry,) = json.loads((tmp_path / "site" / "index.json").read_text())["packages"]
    assert (entry["name"], entry["version"]) == ("app", "1.5")
    assert entry["versions"] == {"6": ["1.5"], "py": ["1.5"]}


def test_mirrors_are_the_same(online, tmp_path):
    """Two mirrors of the same are the same; again, into one of them, nothing is new."""
    put_app(online)
    names = ["github:org/app@v1", "shared"]
    assert len(mirror(names, tmp_path / "a")) == 2
    mirror(reversed(names), tmp_path / "b")
    before = tree(tmp_path / "a")
    assert before == tree(tmp_path / "b")
    assert mirror(names, tmp_path / "a") == []
    assert tree(tmp_path / "a") == before


def test_what_is_asked_for_twice_is_fetched_once(online, tmp_path):
    """Every URL is fetched once, for all kinds and packages."""
    put_app(online)
    mirror(["github:org/app@v1", "shared", "needed@1.0"], tmp_path / "site")
    assert len(online.requests) == len(set(online.requests)) > 10


def test_hash_length_and_bytecode_versions(online, tmp_path):
    """The length of hashes and the bytecode versions can be said."""
    online.publish("x", kinds=("5", "6", "py"))
    mirror(["x"], tmp_path / "site", hash_length=12, mpy_versions=["5", "6"])
    for mpy in ("5", "6", "py"):
        ((path, hash),) = read(tmp_path / "site", mpy, "x")["hashes"]
        assert len(hash) == 12 and path == ("x.py" if mpy == "py" else "x.mpy")


def test_a_package_that_is_only_compiled(online, tmp_path):
    """What an index has only as bytecode is mirrored as that, which is said."""
    online.publish("x", kinds=("6",))
    said = []
    assert mirror(["x"], tmp_path / "site", say=said.append) == [("x", "1.0")]
    assert len(said) == 1 and "package/py/x/latest.json" in said[0]
    assert not (tmp_path / "site" / "package" / "py").exists()
    (entry,) = json.loads((tmp_path / "site" / "index.json").read_text())["packages"]
    assert entry["versions"] == {"6": ["1.0"]}


def test_what_changed_needs_another_version(online, tmp_path):
    """A published version never changes, also if what it needs does; another can be given."""
    net, site = online, tmp_path / "site"
    put(net, "app", f"{REPO}/HEAD", deps=["needed"])
    net.publish("needed", "1.0")
    mirror(["github:org/app"], site)
    before = tree(site)
    net.publish("needed", "1.1", files={"needed.py": b"new = 1\n"})
    message = r"^app 1\.0 is published with other content \(needed\.py of needed, .* is missing\)"
    with pytest.raises(PublishError, match=message):
        mirror(["github:org/app"], site)
    assert tree(site) == before
    assert mirror(["github:org/app"], site, version="1.0-2") == [("app", "1.0-2")]
    assert before.items() - tree(site).items() == {
        (path, data)
        for path, data in before.items()
        if path.endswith(("latest.json", "x.json", "x.html"))
    }
    assert read(site, "6", "app")["version"] == "1.0-2"


def test_a_mirror_and_a_build_in_one_index(online, tmp_path, index):
    """What is built and what is mirrored can be in one index."""
    site = tmp_path / "site"
    shutil.copytree(index, site)
    before = tree(site)
    online.publish("needed", "1.0")
    mirror(["needed"], site)
    files = tree(site)
    assert before.items() - files.items() == {
        (path, before[path]) for path in ("index.json", "index.html")
    }
    names = [entry["name"] for entry in json.loads(files["index.json"])["packages"]]
    assert "needed" in names and "crc" in names


# --- Names and versions ---

# What is mirrored, at which URL it is, what its package.json says beside, and what it is called.
NAMES = [
    ("github:org/app@v1.2", f"{REPO}/v1.2", {"version": "0.9"}, ("app", "0.9")),
    ("github:org/app@v1.2", f"{REPO}/v1.2", {}, ("app", "v1.2")),
    ("https://github.com/org/app@v1.2", f"{REPO}/v1.2", {}, ("app", "v1.2")),
    ("github:org/app@v1.2", f"{REPO}/v1.2", {"version": "not a one"}, ("app", "v1.2")),
    ("github:org/app", f"{REPO}/HEAD", {"version": 0.9}, ("app", "0.9")),
    ("github:org/app", f"{REPO}/HEAD", {"version": "1", "name": "other"}, ("other", "1")),
    ("github:org/app", f"{REPO}/HEAD", {"version": "1", "name": "Not One"}, ("app", "1")),
    ("github:org/app/x/y@v1", f"{REPO}/v1/x/y", {}, ("y", "v1")),
    ("https://example.org/a/b/", f"{WEB}/a/b", {"version": "1"}, ("b", "1")),
    ("https://example.org/a.b/package.json", f"{WEB}/a.b", {"version": "1"}, ("a.b", "1")),
]


@pytest.mark.parametrize(("package", "url", "keys", "called"), NAMES)
def test_what_a_package_is_called(online, tmp_path, package, url, keys, called):
    """The name and version of a mirrored package are its own, or the last part of its URL."""
    online.put(f"{url}/package.json", json.dumps({"urls": [["m.py", "m.py"]], **keys}))
    online.put(f"{url}/m.py")
    assert mirror([package], tmp_path / "site") == [called]


def test_what_other_documents_and_files_are_called(online, tmp_path):
    """A document of another name, or a single file, has the name of that."""
    module(online, f"{REPO}/v1/driver.json", "m.py")
    online.put(f"{REPO}/v1/tool.py")
    packages = ["github:org/app/driver.json@v1", "github:org/app/tool.py@v1"]
    assert mirror(packages, tmp_path / "site") == [("driver", "v1"), ("tool", "v1")]
    assert read_file(tmp_path / "site", read(tmp_path / "site", "6", "tool")["hashes"][0][1])


def test_the_version_of_an_index(online, tmp_path):
    """A package of an index keeps the version that it was asked for at."""
    keys = {"hashes": [["m.py", sha256(b"m")]]}
    online.put(f"{INDEX}/package/6/x/0.5.json", json.dumps({**keys, "version": "other"}))
    online.put(f"{INDEX}/file/{sha256(b'm')[:2]}/{sha256(b'm')}", b"m")
    assert mirror(["x@0.5"], tmp_path / "site", say=str) == [("x", "0.5")]


UNNAMED = [
    ("github:org/app", f"{REPO}/HEAD", {}, "github:org/app: no version for an index: give a --v"),
    ("github:org/app@a/b", f"{REPO}/a/b", {}, "no version for an index"),
    ("https://example.org", WEB, {"version": "1"}, "no name for an index in it: give a --name"),
    ("https://example.org/a b", f"{WEB}/a b", {"version": "1"}, "no name for an index"),
]


@pytest.mark.parametrize(("package", "url", "keys", "words"), UNNAMED)
def test_what_has_no_name_or_version(online, tmp_path, package, url, keys, words):
    """Without a name or version for an index a package is refused; both can be said."""
    online.put(f"{url}/package.json", json.dumps({"urls": [["m.py", "m.py"]], **keys}))
    online.put(f"{url}/m.py")
    with pytest.raises(PublishError, match=words):
        mirror([package], tmp_path / "site")
    assert not (tmp_path / "site").exists()
    assert mirror([package], tmp_path / "site", name="n", version="1") == [("n", "1")]


@pytest.mark.parametrize(
    ("package", "kind"),
    [("./thermo@9", "path"), ("./thermo/thermo.py@9", "path"), (f"{WEB}/thermo@9", "URL")],
)
def test_a_version_where_there_are_none(tmp_path, monkeypatch, package, kind):
    """A version on a path or a URL is refused by `mirror`, and by `check`."""
    monkeypatch.chdir(tmp_path)
    write_json_package(tmp_path / "thermo", urls=[["thermo.py", "thermo.py"]])
    (tmp_path / "thermo" / "thermo.py").write_text("")
    words = f"^{re.escape(package)}: a {kind} has no versions: leave out @9$"
    with pytest.raises(PublishError, match=words):
        mirror([package], tmp_path / "site", version="9")
    with pytest.raises(PublishError, match=words):
        check(package)
    with pytest.raises(PublishError, match=words):
        check("thermo", published=package)
    (tmp_path / "thermo@9").symlink_to("thermo")
    assert check("./thermo@9", files=False) == []


def test_two_packages_of_one_name(online, tmp_path):
    """Two packages that would have one name are refused, naming both."""
    for url in (f"{REPO}/v1", f"{GITHUB}/other/app/v1"):
        put(online, "app", url)
    online.put(f"{GITHUB}/other/app/v1/package.json", '{"urls": [["b.py", "app.py"]]}')
    with pytest.raises(PublishError, match="^github:org/app and github:other/app are both app"):
        mirror(["github:org/app@v1", "github:other/app@v1"], tmp_path / "site")
    # The same one in two spellings is no trouble.
    names = ["github:org/app@v1", "https://github.com/org/app@v1"]
    assert mirror(names, tmp_path / "site") == [("app", "1.0")]


# --- What is refused ---


def refused(packages, site):
    """The text with which a mirror is refused, which leaves nothing."""
    with pytest.raises(PublishError) as error:
        mirror(packages, site)
    assert not site.exists()
    return str(error.value)


def test_missing_files(online, tmp_path):
    """All missing files are named at once."""
    names = ["a.py", "b.py", "c.py"]
    online.put(f"{WEB}/x/package.json", json.dumps({"urls": [[name, name] for name in names]}))
    online.put(f"{WEB}/x/b.py")
    text = refused([f"{WEB}/x"], tmp_path / "site")
    assert text == f"{WEB}/x: not found: {WEB}/x/a.py {WEB}/x/c.py"


def test_a_package_that_is_not_there(online, tmp_path):
    """A package that is not there is refused."""
    text = refused(["nowhere"], tmp_path / "site")
    assert (
        text
        == f"{INDEX}/package/py/nowhere/latest.json: not found, so there is no package nowhere"
    )


def test_content_that_is_not_what_the_index_says(online, tmp_path):
    """A file that differs from its hash is refused."""
    online.publish("x")
    hash = sha256(content("x.mpy", "x 1.0"))[:8]
    online.put(f"{INDEX}/file/{hash[:2]}/{hash}", b"other")
    assert f"/file/{hash[:2]}/{hash}: the content does not" in refused(["x"], tmp_path / "site")


def test_what_depends_on_the_board(online, tmp_path):
    """A package with a file for each architecture, of which there is none, is refused."""
    for entry, words in (
        ('["m.mpy", "m-{MPY_ARCH}.mpy"]', "m-{MPY_ARCH}.mpy depends on the board, and there is"),
        ('["m.mpy", "m.mpy", 2566]', "m.mpy depends on the board, and there is nothing"),
    ):
        online.put(f"{WEB}/x/package.json", f'{{"version": "1", "urls": [{entry}]}}')
        assert words in refused([f"{WEB}/x"], tmp_path / "s")


@pytest.mark.parametrize("how", ["a URL", "entries"])
def test_native_code(device, online, tmp_path, how):
    """Native code is mirrored for each architecture that there is, with what else there is."""
    builds = {}
    for arch in "x64", "armv6m":
        code = b"@micropython.native\ndef double(x):\n    return 2 * x\n"
        builds[arch] = compile_module(code, "fast.py", None, "6", arch)
        online.put(f"{REPO}/v1/{arch}_6.3/fast.mpy", builds[arch])
    urls = [["fast.mpy", "{MPY_ARCH}_{MPY_VERSION}/fast.mpy"]]
    if how == "entries":
        urls = [["fast.mpy", f"{arch}_6.3/fast.mpy", builds[arch][2] << 8 | 6] for arch in builds]
    document = {"version": "1.5", "urls": [*urls, ["table.txt", "table.txt"]], "deps": ["needed"]}
    online.put(f"{REPO}/v1/package.json", json.dumps(document))
    online.put(f"{REPO}/v1/table.txt", b"1")
    online.publish("needed")
    device.mip("install", "--target=origin", "github:org/app@v1", check=True)
    assert mirror(["github:org/app@v1"], tmp_path / "site") == [("app", "1.5")]
    for arch, code in builds.items():
        there = read(tmp_path / "site" / f"{arch}_6.3", "6", "app", "1.5")
        files = {
            path: read_file(tmp_path / "site" / f"{arch}_6.3", hash)
            for path, hash in there["hashes"]
        }
        assert files == {
            "fast.mpy": code,
            "needed.mpy": content("needed.mpy", "needed 1.0"),
            "table.txt": b"1",
        }
    assert not (tmp_path / "site" / "xtensawin_6.3").exists()
    index = f"--index={tmp_path / 'site'}/{{MPY_ARCH}}_{{MPY_VERSION}}"
    device.mip("install", index, "app@1.5", check=True)
    assert device.tree() == device.tree(device.work / "origin")
    assert mirror(["github:org/app@v1"], tmp_path / "site") == []


def test_native_code_with_source(device, online, tmp_path, capsys):
    """A mirror splits as `build` does: native code for its boards, the source for all others."""
    code = b"@micropython.native\ndef double(x):\n    return 2 * x\n"
    urls = [["./fast.mpy", "{MPY_ARCH}_6.3/fast.mpy"], ["fast.py", "fast.py"]]
    package = write_json_package(tmp_path / "fast", version="1", urls=urls)
    (package / "fast.py").write_bytes(code)
    for arch in "x64", "armv6m":
        (package / f"{arch}_6.3").mkdir()
        data = compile_module(code, "fast.py", None, "6", arch)
        (package / f"{arch}_6.3" / "fast.mpy").write_bytes(data)
    site = tmp_path / "site"
    assert mirror([str(package)], site) == [("fast", "1")]
    assert_whole(site)
    for kind in ("6", "py"):
        assert [path for path, _ in read(site, kind, "fast")["hashes"]] == ["fast.py"]
    for arch in "x64", "armv6m":
        package = read(site / f"{arch}_6.3", "6", "fast")
        assert [path for path, _ in package["hashes"]] == ["fast.mpy"]
    device.mip("install", f"--index={site}/{{MPY_ARCH}}_{{MPY_VERSION}}", "fast", check=True)
    assert set(device.tree()) == {"fast.mpy"}
    assert mirror([str(tmp_path / "fast")], site) == []
    # The calls that pin it are told apart, and name the sha256 that boards get there.
    capsys.readouterr()
    assert mip_index.main(["mirror", str(tmp_path / "fast"), "--output", str(site)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f'mip.install("fast@1#sha256={sha256(file.read_bytes())}", index="URL{inside}")'
        for inside in ("", "/armv6m_6.3", "/x64_6.3")
        for file in [site / inside.lstrip("/") / "package" / "6" / "fast" / "1.json"]
    ] + ["Nothing new"]


def test_conflicts(online, tmp_path):
    """What a device refuses to install together is refused."""
    for version in ("1.0", "2.0"):
        online.publish("x", version)
    text = refused(["x@1.0", "x@2.0"], tmp_path / "site")
    assert "version 1.0" in text and "version 2.0" in text


def test_an_interrupted_mirror(online, tmp_path, monkeypatch):
    """An index that is mirrored into stays whole when the network fails on the way."""
    put_app(online)
    mirror(["shared"], tmp_path / "site")
    before = tree(tmp_path / "site")
    monkeypatch.setattr(host.mip, "_PAUSES", (0,))
    path = "/web/web.py"
    online.secure.routes[path] = Reply(503)
    with pytest.raises(PublishError, match=f"{WEB}{path}: the server answers 503"):
        mirror(["github:org/app@v1"], tmp_path / "site")
    assert tree(tmp_path / "site") == before


# --- Fetching ---


@pytest.fixture
def waits(monkeypatch):
    """The seconds that were waited between attempts, which are not waited."""
    waits = []
    monkeypatch.setattr(host.mip, "_wait", waits.append)
    return waits


def times(number, reply):
    """A route that gives a Reply that many times, and then the file."""
    left = [reply] * number

    def route(handler):
        if left:
            return left.pop()
        handler.send_file(handler.server.find_file("", handler.path))
        return None

    return route


@pytest.mark.parametrize(
    ("reply", "waited"),
    [
        (Reply(503), [1, 4]),
        (Reply(429, {"Retry-After": "7"}), [7, 7]),
        (Reply(429, {"Retry-After": "9999"}), [60, 60]),
        (Reply(502, {"Retry-After": "tomorrow"}), [1, 4]),
        (Reply(200, {"Content-Length": "9"}, b"cut"), [1, 4]),
    ],
)
def test_what_passes_is_tried_again(server, waits, reply, waited):
    """Busy servers and connections that break are tried again after a while."""
    (server.root / "x").write_bytes(b"content")
    server.routes["/x"] = times(2, reply)
    assert host.read(Session(), f"{server.url}/x") == b"content"
    assert waits == waited


def test_what_does_not_pass(server, waits):
    """A server that stays busy is given up; other failures are not tried again."""
    server.routes["/busy"] = Reply(503)
    server.routes["/forbidden"] = Reply(403)
    with pytest.raises(PublishError, match="/busy: the server answers 503$"):
        host.read(Session(), f"{server.url}/busy")
    assert waits == [1, 4, 10]
    with pytest.raises(PublishError, match="/forbidden: the server answers 403$"):
        host.read(Session(), f"{server.url}/forbidden")
    with pytest.raises(PublishError, match="ftp"):
        host.read(Session(), "ftp://127.0.0.1/x")
    assert host.read(Session(), f"{server.url}/missing") is None
    assert waits == [1, 4, 10]


def test_errors_of_the_network_are_words(monkeypatch):
    """A host that is not known, or cannot be reached, is told without a number."""
    for error, words in (
        (socket.gaierror(-2, "Name or service not known"), "the host is not known"),
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
    ):

        def fails(*place, error=error, **options):
            raise error

        monkeypatch.setattr(socket, "create_connection", fails)
        with pytest.raises(PublishError, match=f"^http://h/x: {words}$"):
            host.read(Session(), "http://h/x")


def test_paths(tmp_path):
    """A path is read; what is no file is nothing."""
    (tmp_path / "x").write_bytes(b"content")
    assert host.read(Session(), str(tmp_path / "x")) == b"content"
    assert host.read(Session(), str(tmp_path / "y")) is None
    assert host.read(Session(), str(tmp_path / "x" / "y")) is None
    assert host.read(Session(), str(tmp_path)) is None


def test_servers_are_checked(secure_server, authority):
    """A server that nobody vouches for is refused; --cafile names who does."""
    (secure_server.root / "x").write_bytes(b"content")
    assert host.read(Session(authority.pem), f"{secure_server.url}/x") == b"content"
    with pytest.raises(PublishError, match="CERTIFICATE_VERIFY_FAILED"):
        host.read(Session(), f"{secure_server.url}/x")


def test_a_redirect_to_a_server_without_tls(server, secure_server, authority):
    """From a server with TLS no redirect leads to one without."""
    secure_server.routes["/x"] = Reply(302, {"Location": f"{server.url}/y"})
    with pytest.raises(PublishError, match="not secure"):
        host.read(Session(authority.pem), f"{secure_server.url}/x")
    assert server.requests == []


def test_headers_stay_with_their_host(server, tmp_path):
    """A header is sent to its host, at each request, and to no other, also after a redirect."""
    with Server(tmp_path) as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost")
        server.routes["/x"] = Reply(302, {"Location": f"{elsewhere}/y"})
        other.routes["/y"] = Reply(302, {"Location": f"{server.url}/z"})
        server.routes["/z"] = Reply(200, body=b"content")
        headers = parse_headers(["127.0.0.1:Authorization: Bearer 1:2", "127.0.0.1:X-Y:z"])
        assert host.read(Session(headers=headers), f"{server.url}/x") == b"content"
        for seen in server.headers_seen:
            assert (seen["authorization"], seen["x-y"]) == ("Bearer 1:2", "z")
        (seen,) = other.headers_seen
        assert "authorization" not in seen and "x-y" not in seen


# --- The command line ---


def test_the_command(online, tmp_path, monkeypatch, capsys):
    """The command mirrors, says what is new, and errors on one line."""
    put_app(online)
    arguments = ["mirror", "github:org/app@v1", "--output", str(tmp_path / "site")]
    options = ["--cafile", str(online.cafile), "--header", "gitlab.com:PRIVATE-TOKEN:secret"]
    assert mip_index.main([*arguments, *options]) == 0
    document = tmp_path / "site/package/6/app/1.5.json"
    pin = f'mip.install("app@1.5#sha256={sha256(document.read_bytes())}", index="URL")'
    assert capsys.readouterr().out == f"Published app 1.5\n{pin}\n"
    seen = {
        host: headers
        for (_, host, _), headers in zip(
            online.secure.requests, online.secure.headers_seen, strict=True
        )
    }
    assert [host for host in seen if "private-token" in seen[host]] == ["gitlab.com"]
    assert mip_index.main([*arguments, *options]) == 0
    # The call again: who has lost it cannot get it from elsewhere.
    assert capsys.readouterr().out == f"{pin}\nNothing new\n"
    assert mip_index.main([*arguments, *options, "--version", "2", "--name", "n"]) == 0
    assert capsys.readouterr().out.startswith('Published n 2\nmip.install("n@2#sha256=')
    for wrong, words in (
        (["--header", "x:y"], "HOST:NAME:VALUE"),
        (["--index", f"{WEB}/none"], "no package"),
        (["--cafile", str(tmp_path / "none")], f"{tmp_path}/none: no certificates: "),
        (["--cafile", __file__], f"{__file__}: no certificates: "),
    ):
        assert mip_index.main([*arguments[:1], "needed", *arguments[2:], *options, *wrong]) == 1
        captured = capsys.readouterr()
        assert (captured.out, captured.err.count("\n")) == ("", 1)
        assert captured.err.startswith("mip-index: ") and words in captured.err


@pytest.mark.parametrize(
    "arguments", [["x"], ["x", "y", "--output", "s", "--name", "n"], ["--output", "s"]]
)
def test_wrong_command_lines(arguments, capsys):
    """A wrong command line ends with status 2."""
    with pytest.raises(SystemExit) as error:
        mip_index.main(["mirror", *arguments])
    assert error.value.code == 2
    assert "usage: mip-index mirror " in capsys.readouterr().err
