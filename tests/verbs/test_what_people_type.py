"""What people type, and what they get: it is installed, or one sentence says what to type."""

import json

import pytest
from device import error
from internet import INDEX, sha256
from scenes import MPY
from test_sources import GITHUB, GITLAB, WEB, put_local

CODEBERG = "https://codeberg.org/api/v1/repos"
PYPI = "it begins with none of http https codeberg github gitlab"

# What is there: packages of the index, repositories, and files at URLs.
PACKAGES = {"aioble": "0.6.1", "logging": "1.0", "umqtt.simple": "1.7", "collections.x": "1"}
REPOSITORIES = (
    f"{GITHUB}/org/repo/HEAD",
    f"{GITHUB}/org/repo/v1.2",
    f"{GITHUB}/org/repo/main/sub/dir",
    f"{GITLAB}/org/repo/-/raw/HEAD",
    f"{GITLAB}/org/repo/-/raw/v1/sub",
    f"{CODEBERG}/org/repo/raw",
    f"{CODEBERG}/org/repo/raw/sub",
    f"{WEB}/lib",
)

# What is typed, and what is in the record then: names, with @ and the version that was asked for.
INSTALLED = [
    ("aioble", "aioble@latest"),
    ("aioble@0.6.1", "aioble@0.6.1"),
    ("aioble@latest", "aioble@latest"),
    ("aioble@", "aioble@latest"),
    (" aioble ", "aioble@latest"),
    ("umqtt.simple", "umqtt.simple@latest"),
    (["aioble", "logging@1.0"], "aioble@latest logging@1.0"),
    (("aioble", "logging"), "aioble@latest logging@latest"),
    ("github:org/repo", "github:org/repo@latest"),
    ("github:org/repo@v1.2", "github:org/repo@v1.2"),
    ("github:org/repo/", "github:org/repo@latest"),
    ("github:org/repo/package.json", "github:org/repo@latest"),
    ("GitHub:org/repo", "github:org/repo@latest"),
    ("GITHUB:org/repo@v1.2", "github:org/repo@v1.2"),
    ("github:org/repo.git", "github:org/repo@latest"),
    ("github:org/repo.git@v1.2", "github:org/repo@v1.2"),
    ("https://github.com/org/repo", "github:org/repo@latest"),
    ("https://github.com/org/repo/", "github:org/repo@latest"),
    ("https://github.com/org/repo.git", "github:org/repo@latest"),
    ("https://github.com/org/repo.git@v1.2", "github:org/repo@v1.2"),
    ("https://github.com/org/repo@v1.2", "github:org/repo@v1.2"),
    ("HTTPS://GitHub.com/org/repo", "github:org/repo@latest"),
    ("http://github.com/org/repo", "github:org/repo@latest"),
    ("github.com/org/repo", "github:org/repo@latest"),
    ("https://github.com/org/repo/tree/v1.2", "github:org/repo@v1.2"),
    ("https://github.com/org/repo/tree/main/sub/dir", "github:org/repo/sub/dir@main"),
    ("https://github.com/org/repo/blob/v1.2/package.json", "github:org/repo@v1.2"),
    ("https://github.com/org/repo/blob/v1.2/m.py", "github:org/repo/m.py@v1.2"),
    ("gitlab:org/repo", "gitlab:org/repo@latest"),
    ("https://gitlab.com/org/repo", "gitlab:org/repo@latest"),
    ("https://gitlab.com/org/repo.git", "gitlab:org/repo@latest"),
    ("gitlab.com/org/repo", "gitlab:org/repo@latest"),
    ("https://gitlab.com/org/repo/-/tree/v1/sub", "gitlab:org/repo/sub@v1"),
    ("https://gitlab.com/org/repo/-/blob/v1/sub/m.py", "gitlab:org/repo/sub/m.py@v1"),
    ("codeberg:org/repo", "codeberg:org/repo@latest"),
    ("https://codeberg.org/org/repo", "codeberg:org/repo@latest"),
    ("https://codeberg.org/org/repo/src/branch/v1/sub", "codeberg:org/repo/sub@v1"),
    ("https://codeberg.org/org/repo/src/tag/v1/sub/m.py", "codeberg:org/repo/sub/m.py@v1"),
    (f"{WEB}/lib", f"{WEB}/lib@latest"),
    (f"{WEB}/lib/", f"{WEB}/lib@latest"),
    (f"{WEB}/lib/package.json", f"{WEB}/lib@latest"),
    (f"{WEB}/lib/package.json?token=XYZZY", f"{WEB}/lib@latest"),
    (f"{WEB}/lib/m.py", f"{WEB}/lib/m.py@latest"),
    (f"{WEB}/lib/m.py#L10", f"{WEB}/lib/m.py@latest"),
    ("https://github.com/org/repo#readme", "github:org/repo@latest"),
    ("https://github.com/org/repo/tree/main/sub/dir?tab=readme", "github:org/repo/sub/dir@main"),
    ("github:org/repo@v1.2?token=XYZZY", "github:org/repo@v1.2"),
    (["aioble", "aioble@0.6.1"], "aioble@0.6.1"),
    (f"{WEB}/lib/m.py?token=XYZZY", f"{WEB}/lib/m.py@latest"),
    ("HTTPS://example.org/lib/m.py", f"{WEB}/lib/m.py@latest"),
    ("https://Example.ORG/lib", f"{WEB}/lib@latest"),
    ("https://example.org:443/lib", f"{WEB}/lib@latest"),
    (f"{WEB}/./lib", f"{WEB}/lib@latest"),
    (f"{WEB}//lib///package.json", f"{WEB}/lib@latest"),
    (f"{WEB}/a:b/../lib/./m.py", f"{WEB}/lib/m.py@latest"),
    ("./app", "/app@latest"),
    ("app/", "/app@latest"),
    ("./app/package.json", "/app@latest"),
    ("app/m.py", "/app/m.py@latest"),
]

# What is typed, and words of the sentence.
REFUSED = [
    ("aiobel", "there is no package aiobel"),
    ("aioble@9.9", "there is no version 9.9 of aioble"),
    ("Aioble", "perhaps it is aioble"),
    ("micropython-aioble", "perhaps it is aioble"),
    ("machine_x", "there is no package machine_x"),
    ("gc", "it is built into this firmware"),
    ("aioble==0.6.1", "a version is exact: aioble@0.6.1"),
    ("aioble>=0.6", "a version is exact: aioble@0.6"),
    ("aioble~=0.6", "a version is exact: aioble@0.6"),
    ("aioble>0.6,<2", "a version is exact: aioble@0.6"),
    ("aioble#egg=aioble", "a version is exact: aioble"),
    ("aioble # Bluetooth", "a version is exact: aioble"),
    ("aioble @ 0.6.1", "a version is exact: aioble@0.6.1"),
    ("aioble@^0.6", "a version is exact: aioble@0.6"),
    ("org/repo", "a repository is github:org/repo"),
    ("git@github.com:org/repo.git", "git@github.com:org/repo.git is not the name of a package"),
    ("pypi:aioble", PYPI),
    ("fs:/lib/aioble", PYPI),
    ("localhost:8111/p", PYPI),
    ("127.0.0.1:8111/a.py", PYPI),
    ("ftp://example.org/a.py", PYPI),
    ("C:\\lib\\a.py", PYPI),
    ("http://", "neither http://HOST nor https://HOST"),
    ("http://user@example.org/a.py", "without a user"),
    ("https://me:pw@example.org/a.py", "without a user"),
    ("http://[::1]/a.py", "neither http://HOST nor https://HOST"),
    ("https://example.org/lib.zip", "an archive"),
    ("./lib.tar.gz", "an archive"),
    ("github:org", "names no file: a repository is github:ORG/REPO"),
    ("github:", "names no file"),
    ("https://example.org:/m.py", "neither http://HOST nor https://HOST"),
    ("https://example.org:abc/m.py", "neither http://HOST nor https://HOST"),
    (".", "there is no package /"),
    ("/", "there is no package /"),
    ("https://github.com/org/none", "there is no package github:org/none"),
    ("github:org/repo@v9", "there is no package github:org/repo at v9"),
    ("./none", "there is no package /"),
    ("./none.py", "not found"),
    ("", "names no package"),
    (" ", "names no package"),
    ("@1.0", "names no package"),
    ("a\nb", "names no package"),
    (None, "None names no package"),
    (7, "7 names no package"),
    (["aioble", 7], "7 names no package"),
    ("..", "not the name of a package"),
    ("aioble@1/2", "there is no directory aioble@1/2"),
    ("github:org/repo@v#9", "/v%239/package.json: not found"),
    ("aioble#sha256=123", "64 digits"),
]

# Calls with more than a package, and words of the sentence, or None: it is installed.
CALLS = [
    ({"version": 1.7}, "umqtt.simple", None),
    ({"version": "1.7"}, "umqtt.simple", None),
    ({"version": ""}, "umqtt.simple", None),
    ({"version": "1.7#sha256=00"}, "umqtt.simple", "64 digits"),
    ({"index": "logging"}, "aioble", "several packages are a list"),
    ({"index": "micropython.org/pi/v2"}, "aioble", "a URL begins with https://"),
    ({"index": "gopher://micropython.org/pi/v2"}, "aioble", "neither http://HOST"),
    ({"index": "/nowhere"}, "aioble", "there is no index '/nowhere'"),
    ({"deps": False}, "aioble", None),
]

RUN = """
import json, mip
package, options = json.loads(CALL)
mip.install(package, **options)
"""


@pytest.fixture
def typed(device, net):
    """A function that types a call: what it printed, how it ended."""
    for name, version in PACKAGES.items():
        net.publish(name, version)
    for place in REPOSITORIES:
        ref = ("?ref=v1" if "sub" in place else "?ref=HEAD") if CODEBERG in place else ""
        net.put(f"{place}/package.json{ref}", '{"urls": [["m.py", "m.py"]]}')
        net.put(f"{place}/m.py{ref}", "m = 1\n")
    for name in "package.json", "m.py":
        text = '{"urls": [["m.py", "m.py"]]}' if name == "package.json" else "m = 1\n"
        net.put(f"{WEB}/lib/{name}?token=XYZZY", text)
    put_local(device, "app/package.json", '{"urls": [["m.py", "m.py"]]}')
    put_local(device, "app/m.py", "m = 1\n")

    def call(package, options=None):
        text = repr(json.dumps([package, options or {}]))
        return device.run(RUN.replace("CALL", text))

    return call


def asked(device):
    """What the record says was asked for, as name@version; paths without the board's own."""
    found = [line for line in device.record() if line[0] == "package"]
    return " ".join(
        f"{name}@{wanted}".replace(str(device.work), "") for _, name, _, wanted, *_ in found
    )


def ids(rows):
    return [str(row[0])[:40] for row in rows]


@pytest.mark.parametrize(("package", "recorded"), INSTALLED, ids=ids(INSTALLED))
def test_what_is_meant_is_installed(device, typed, package, recorded):
    """What was meant is installed, and recorded under its one name, without a token."""
    result = typed(package)
    assert result.status == 0, str(result)
    assert asked(device) == recorded
    assert "XYZZY" not in result.out + str(device.record())


@pytest.mark.parametrize(("package", "words"), REFUSED, ids=ids(REFUSED))
def test_what_is_not_understood_is_said(device, typed, package, words):
    """One sentence says what to type instead, in words of mip's own; nothing is left."""
    text = error(typed(package))
    assert words in text
    assert not device.lib.exists()
    for word in ("unpack", "NoneType", "object", "index out of range", "syntax", "codec"):
        assert word not in text


@pytest.mark.parametrize(("options", "package", "words"), CALLS, ids=ids(CALLS))
def test_more_than_a_package(device, typed, options, package, words):
    """The same holds for what stands beside a package."""
    result = typed(package, options)
    if words:
        assert words in error(result)
    else:
        assert result.status == 0, str(result)
        assert package in asked(device)


def test_how_many_rows_there_are():
    """The tables have what people type: 60 rows at least."""
    assert len(INSTALLED) + len(REFUSED) + len(CALLS) >= 60


def test_two_packages_as_two_arguments(device, typed):
    """install("a", "b") says that packages are a list."""
    result = device.run("import mip\nmip.install('aioble', 'logging')")
    assert "several packages are a list" in error(result)


def test_a_dependency_that_is_missing(device, net):
    """It is said who needs it."""
    net.publish("asker", deps=["nowhere"])
    result = device.run("import mip\nmip.install('asker')")
    assert "no package nowhere (needed by asker)" in error(result)


def test_a_dependency_with_a_range(device, net):
    """A range in a package.json is refused as one, with who has it."""
    net.publish("logging", "0.6")
    net.publish("asker", deps=[["logging", ">=0.5"]])
    text = error(device.run("import mip\nmip.install('asker')"))
    assert "there are no ranges, a version is exact: logging@0.5" in text


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ('{"name": "x", "main": "x.js", "dependencies": {"y": "1"}}', "for npm"),
        ("{}", "it is empty"),
        ('{"urls": []}', "it is empty"),
        ('{"urls": [["m.py", "m.py", 1]]}', "nothing to install on"),
    ],
)
def test_a_document_without_files(device, net, document, words):
    """What is empty is called empty; what is for other boards names this one."""
    net.put(f"{WEB}/package.json", document)
    text = error(device.run(f"import mip\nmip.install({WEB!r})"))
    assert words in text and "nothing to install" in text


def test_an_empty_target(device, net):
    """An empty target is none: the default."""
    net.publish("p")
    device.run("import mip\nmip.install('p', target='')\nmip.list('')", check=True)
    assert list(device.tree()) == ["p.mpy"]


@pytest.mark.parametrize("verb", ["list", "verify", "upgrade", "uninstall"])
def test_a_target_without_a_record(device, net, verb):
    """A target that somebody names and that has no record is an error, and is not made."""
    words = "'x', target='nowhere'" if verb == "uninstall" else "target='nowhere'"
    text = error(device.run(f"import mip\nmip.{verb}({words})"))
    assert text == "nowhere/: nothing is installed there"
    assert not (device.work / "nowhere").exists()


def test_one_of_several_is_upgraded(device, net):
    """upgrade("name") upgrades that package, and no other."""
    for version in "1", "2":
        net.publish("one", version)
        net.publish("two", version)
        if version == "1":
            device.run("import mip\nmip.install(['one', 'two'])", check=True)
    device.run("import mip\nprint(mip.upgrade('one'))", check=True)
    assert device.run("import mip\nmip.list()", check=True).lines == ["two@1", "one@2"]
    text = error(device.run("import mip\nmip.upgrade('three')"))
    assert text == "three is not installed"
    device.mip("upgrade", "two", check=True)
    assert sorted(device.mip("list").lines) == ["one@2", "two@2"]


def test_what_list_prints_is_a_file_to_install(device, net):
    """`install -r FILE` takes what `list` printed, with comments and empty lines."""
    for name in "one", "two":
        net.publish(name, "1")
    device.mip("install", "one", "two", check=True)
    listed = device.mip("list", check=True).out
    (device.work / "list.txt").write_text(
        f"# what it needs\n \n #\n{listed}".replace("@1", "@1 # this")
    )
    device.mip("install", "-r", "list.txt", "--target", "again", check=True)
    assert device.tree(device.work / "again") == device.tree()


@pytest.mark.parametrize("words", [["--no-deps"], []])
def test_without_dependencies(device, net, words):
    """`--no-deps` installs a package alone."""
    net.publish("needed")
    net.publish("asker", deps=["needed"])
    device.mip("install", "asker", *words, check=True)
    names = {"asker"} if words else {"asker", "needed"}
    assert {line.split("@")[0] for line in device.mip("list").lines} == names


def check_needs_no_network(device, net, call):
    """Once it has been done, a call of install() changes nothing and makes no request."""
    device.run(call, check=True)
    record = device.record()
    net.reset()
    assert device.run(call, check=True).lines[-1] == "False"
    assert net.requests == []
    assert device.record() == record


def test_what_is_pinned_and_in_place_is_not_asked_for(device, net):
    """boot.py may call install() of what is pinned every time, off line, too; not so an upgrade,
    a damaged file, or a branch."""
    net.publish("dep", "3")
    net.publish("p", "1.0", deps=["dep"])
    net.put(f"{GITHUB}/org/repo/v1/package.json", '{"urls": [["m.py", "m.py"]]}')
    net.put(f"{GITHUB}/org/repo/v1/m.py", "m = 1\n")
    call = "import mip\nprint(mip.install(['p@1.0', 'github:org/repo@v1']))"
    check_needs_no_network(device, net, call)
    record = device.record()
    (device.lib / "dep.mpy").write_bytes(b"damaged")
    assert device.run(call, check=True).lines[-1] == "True"
    assert f"{INDEX}/package/6/dep/latest.json" in net.requests
    assert device.record() == record


def test_what_was_loaded_is_said(device, net):
    """Where a module was imported before it was replaced, a reset is asked for."""
    device.lib.mkdir()
    net.publish("p", "1", kinds=("py",))
    device.run("import mip\nmip.install('p')", check=True)
    net.publish("p", "2", kinds=("py",))
    lines = device.run("import p\nimport mip\nmip.install('p')", check=True).lines
    assert lines[-2].startswith("Reset the board: ") and "/p.py was loaded" in lines[-2]
    lines = device.run("import mip\nmip.install('p')", check=True).lines
    assert not [line for line in lines if "Reset" in line]


def test_control_characters_are_not_printed(device, net):
    """No version and no description moves a cursor."""
    net.put(f"{INDEX}/package/6/p/latest.json", '{"version": "1\\u001b[2J", "hashes": []}')
    assert "bad version" in error(device.run("import mip\nmip.install('p')"))
    found = {"packages": [{"name": "p", "version": "1", "description": "a\x1b[2J\nb"}]}
    net.put(f"{INDEX}/index.json", json.dumps(found))
    out = device.run("import mip\nprint(mip.search('p'))", check=True)
    assert "\x1b" not in out.out and out.lines[-1] == "1"


@pytest.mark.parametrize("asked", [["a"], ["a", "x"]], ids="-".join)
@pytest.mark.parametrize("version", ["", "1"])
@pytest.mark.parametrize("fault", ["gone", "no server", "a page"])
def test_a_dependency_that_is_gone(device, net, asked, version, fault):
    """A dependency that cannot be found stops who needs it, and nobody else; both stay."""
    net.publish("x", "1")
    net.publish("a", "1", deps=[["x", version]])
    net.publish("b", "1")
    device.run(f"import mip\nmip.install({[*asked, 'b']})", check=True)
    net.publish("a", "2", deps=[["x", version]])
    net.publish("b", "2")
    for kind in "6", "py":
        for label in "latest", "1":
            place = net.secure.sites["micropython.org"] / f"pi/v2/package/{kind}/x/{label}.json"
            place.unlink()
            if fault == "a page":
                place.write_text("<html>log in</html>")
    net.reset()
    text = error(device.run("import mip\nmip.upgrade()"))
    assert text.startswith("not upgraded: ")
    assert len(net.requests) < 30
    assert sorted(device.run("import mip\nmip.list()", check=True).lines) == ["a@1", "b@2", "x@1"]
    assert device.run("import mip\nprint(mip.verify())", check=True).lines == ["[]"]


def test_an_upgrade_keeps_to_the_index(device, net):
    """What has the name of a package in another index is another package."""
    net.publish("q", "1", index=f"{WEB}/pi")
    net.publish("other", "1")
    device.run(f"import mip\nmip.install('q', index='{WEB}/pi')\nmip.install('other')", check=True)
    net.publish("q", "666")
    for kind in "6", "py":
        (net.secure.sites["example.org"] / f"pi/package/{kind}/q/latest.json").unlink()
    assert "not upgraded: q: " in error(device.run("import mip\nmip.upgrade()"))
    assert "q@1" in device.run("import mip\nmip.list()", check=True).lines


def test_a_list_of_which_one_is_gone(device, net):
    """upgrade() of a list goes on without what is gone, too."""
    net.publish("a", "1")
    net.put(f"{WEB}/lib/package.json", '{"urls": [["m.py", "m.py"]]}')
    net.put(f"{WEB}/lib/m.py", "m = 1\n")
    device.run(f"import mip\nmip.install(['a', '{WEB}/lib'])", check=True)
    net.publish("a", "2")
    (net.secure.sites["example.org"] / "lib/package.json").unlink()
    text = error(device.run(f"import mip\nmip.upgrade(['a', '{WEB}/lib'])"))
    assert text.startswith(f"not upgraded: {WEB}/lib: ")
    assert "a@2" in device.run("import mip\nmip.list()", check=True).lines


def test_dependencies_that_were_left_out(device, net):
    """What was installed without its dependencies gets them by the next call that wants them."""
    net.publish("dep")
    net.publish("p", "1.0", deps=["dep"])
    device.run("import mip\nmip.install('p@1.0', deps=False)", check=True)
    assert list(device.tree()) == ["p.mpy"]
    device.run("import mip\nmip.install('p@1.0', deps=False)", check=True)
    assert list(device.tree()) == ["p.mpy"]
    device.run("import mip\nmip.install('p@1.0')", check=True)
    assert sorted(device.tree()) == ["dep.mpy", "p.mpy"]


def test_what_nothing_needs_any_more(device, net):
    """upgrade() removes what nothing needs any more, also where nothing else is left."""
    net.publish("dep")
    net.publish("p", deps=["dep"])
    device.run("import mip\nmip.install('p')\nmip.uninstall('p')", check=True)
    assert list(device.tree()) == ["dep.mpy"]
    assert device.run("import mip\nprint(mip.upgrade())", check=True).lines[-1] == "True"
    assert device.tree() == {}


def test_nothing_to_uninstall(device, net):
    """uninstall() of nothing removes nothing, and says so."""
    assert device.run("import mip\nprint(mip.uninstall([]))", check=True).lines[-1] == "False"


def test_a_url_is_no_version(device, net):
    """What is behind the @ of a plain URL pins nothing: its content may be another one."""
    net.put(f"{WEB}/lib/m.py", "m = 1\n")
    call = f"import mip\nprint(mip.install('{WEB}/lib/m.py@1'))"
    device.run(call, check=True)
    net.put(f"{WEB}/lib/m.py", "m = 2\n")
    assert device.run(call, check=True).lines[-1] == "True"


def test_what_is_pinned_by_a_hash_alone_is_upgraded(device, net):
    """A pin without a version is one of the version that was found."""
    net.publish("p", "1")
    text = (net.secure.sites["micropython.org"] / "pi/v2/package/6/p/1.json").read_bytes()
    device.run(f"import mip\nmip.install('p#sha256={sha256(text)}')", check=True)
    net.publish("p", "2")
    assert device.run("import mip\nprint(mip.upgrade())", check=True).lines[-1] == "False"


def test_a_header_for_plain_http(device, server):
    """--header takes http://HOST for a host without TLS."""
    (server.root / "m.py").write_text("m = 1\n")
    device.hosts["plain.test"] = server.port
    words = ["--header", "http://plain.test:X-Token:XYZZY", "http://plain.test/m.py"]
    device.mip("install", *words, check=True)
    assert server.headers_seen[-1]["x-token"] == "XYZZY"


def test_search_without_a_word(device, server):
    """`search ''` finds everything."""
    (server.root / "index.json").write_text('{"packages": [{"name": "p", "version": "1"}]}')
    assert device.mip("search", "", "-i", server.url, check=True).lines[0].split() == ["p", "1"]


def test_one_package_under_two_names(device, net):
    """A URL in another spelling is the same package."""
    for name in "https://example.org/Lib", f"{GITHUB}/Org/Repo/HEAD":
        net.put(f"{name}/package.json", '{"urls": [["m.py", "m.py"]]}')
        net.put(f"{name}/m.py", "m = 1\n")
    for asked in (
        ["https://EXAMPLE.org//Lib", "https://example.org/./Lib/", "https://example.org:443/Lib"],
        ["github:Org/Repo", "github:Org/Repo.git", "https://GitHub.com/Org/Repo/"],
    ):
        device.run(f"import mip; mip.install({asked})", check=True)
    names = [line[1] for line in device.record() if line[0] == "package"]
    assert sorted(names) == ["github:Org/Repo", "https://example.org/Lib"]


@pytest.mark.parametrize("url", ["https://me:XYZZY@example.org/a.py", "http://me:XYZZY@h/@1"])
@pytest.mark.parametrize(
    "call", ["mip.install(URL)", "mip.install('a', URL)", "mip.search('', URL)"]
)
def test_a_password_is_not_printed(device, call, url):
    """A URL with a user is refused before anything says it."""
    result = device.run(f"import mip; URL = {url!r}; {call}")
    assert "without a user" in error(result)
    assert "XYZZY" not in str(result)


def test_an_error_after_a_commit_was_finished(device, net):
    """Only an error of what is committed says that the next call finishes it."""
    net.publish("a", "1")
    device.run("import mip\nmip.install('a')", check=True)
    meta = device.lib / ".mip"
    (meta / "new").write_bytes((meta / "record").read_bytes())
    (meta / "plan").write_text('["mip", 2]\n["end"]\n')
    text = error(device.run("import mip\nmip.install('none')"))
    assert "there is no package none" in text
    assert "the next call finishes it" not in text
    assert [path.name for path in meta.iterdir()] == ["record"]


@pytest.mark.parametrize(
    "call",
    [
        "mip.install('a', target=5)",
        "mip.install('a', target=b'/lib')",
        "mip.uninstall('a', target={1: 2})",
        "mip.list(5)",
        "mip.install('a', index=5)",
        "mip.install('a', index=[None])",
        "mip.install('a', session=5)",
        "mip.install('a', session=mip.Session(5))",
        "mip.install('a', session=mip.Session(timeout='5'))",
        "mip.search(5)",
        "mip.search(None)",
    ],
)
def test_another_type(device, net, call):
    """What is of a type that mip cannot use is an InstallError, in words."""
    found = {"packages": [{"name": "p"}]}
    net.put(f"{INDEX}/index.json", json.dumps(found))
    net.publish("a")
    assert "in session, idle or an argument: " in error(device.run(f"import mip\n{call}"))


@pytest.mark.parametrize("package", [None, 5, b"a", {"a": 1}, ["a", None]])
def test_a_package_of_another_type(device, package):
    """So it is with packages, for every verb that takes them."""
    for verb in "install", "uninstall", "upgrade":
        if package is not None or verb != "upgrade":
            text = error(device.run(f"import mip\nmip.{verb}({package!r}, target='.mip/../')"))
            assert "names no package" in text or "nothing is installed" in text


def test_an_error_of_idle_is_not_the_documents(device, typed):
    """What goes wrong while a package.json is read is called what it is."""
    call = "mip.install('./app/package.json')"
    text = error(device.run(f"import mip\ndef idle(): int('dog')\nmip.idle = idle\n{call}"))
    assert "not a package.json" not in text
    assert "invalid syntax for integer" in text


IDLE = """
import mip, sys
calls = []
def idle():
    calls.append(1)
    if len(calls) >= int(sys.argv[1]):
        raise {}
mip.idle = idle
try:
    mip.install(["a", "b"])
    print("installed")
except BaseException as e:
    print(type(e).__name__)
"""


@pytest.mark.parametrize("error", ["StopIteration", "KeyboardInterrupt", "ZeroDivisionError"])
def test_an_idle_that_always_raises(device, net, error):
    """Whenever it begins, nothing is left but what was there, or the packages are whole."""
    for name in "ab":
        net.publish(name, deps=["c"], kinds=("py",))
    net.publish("c", kinds=("py",))
    device.run("import mip\nmip.install('c')", check=True)
    before = device.tree(everything=True)
    ended = set()
    for call in range(1, 60, 2):
        said = device.run(IDLE.format(error), str(call), check=True).lines[-1]
        ended.add(said)
        if said == "installed":
            break
        after = device.tree(everything=True)
        if after != before:  # it was committed
            device.run("import mip\nmip.recover()", check=True)
            assert {"a.py", "b.py", "c.py"} <= device.tree().keys(), call
            break
    assert ended - {"installed"} == {
        error if error == "KeyboardInterrupt" else "InstallError",
    }
    assert not [path for path in device.tree(everything=True) if "~mip" in path]


BAD_CHUNK = """
import mip

class Session:
    status_code = 200
    raw = property(lambda self: self)
    def get(self, url): return self
    def readinto(self, buf): raise ValueError("bad chunk")
    def close(self): pass

mip.install("http://h/p", session=Session())
"""


def test_an_error_of_the_network_is_not_the_documents(device):
    """So it is with what the server sends around it."""
    assert error(device.run(BAD_CHUNK)).endswith("package.json: bad chunk")


def test_another_version_is_not_uninstalled(device, net):
    """uninstall() takes the version that is installed, as list() prints it, or none."""
    net.publish("a", "1.0")
    net.put(f"{WEB}/m.py", "m = 1\n")
    pinned = f"{WEB}/m.py#sha256={sha256(b'm = 1' + bytes([10]))}"
    device.run(f"import mip\nmip.install(['a', {pinned!r}])", check=True)
    assert "a@9 is not installed" in error(device.run("import mip\nmip.uninstall('a@9')"))
    listed = device.run("import mip\nmip.list()", check=True).lines
    assert "a@1.0" in listed
    device.run(f"import mip\nmip.uninstall({listed!r})", check=True)
    assert device.tree() == {}


def test_an_index_without_a_build_for_this_board(device, net):
    """Of several indexes that are directories, one may have nothing for this architecture."""
    urls = {"urls": [["p.py", "p.py"]]}
    put_local(device, "pi/package/py/p/latest.json", json.dumps(urls))
    put_local(device, "pi/package/py/p/p.py", "p = 1\n")
    place = device.work / "pi"
    call = (
        f"import mip\nmip.install('p', index=['{place}/{{MPY_ARCH}}_{{MPY_VERSION}}', '{place}'])"
    )
    device.run(call, check=True)
    assert device.tree().keys() == {"p.py"}


def test_what_stays_because_it_is_pinned(device, net):
    """upgrade() of a package says that it stays, where the user has pinned it."""
    net.publish("p", "1")
    net.publish("p", "2")
    device.run("import mip\nmip.install('p@1')", check=True)
    said = "p stays at 1: it is pinned"
    assert said in device.run("import mip\nmip.upgrade('p')", check=True).lines
    assert said not in device.run("import mip\nmip.upgrade('p@2')", check=True).lines
    device.run("import mip\nmip.install('p')", check=True)
    assert "pinned" not in device.run("import mip\nmip.upgrade('p')", check=True).out


def test_from_a_tag_to_the_branch(device, net):
    """What a version changes to is said; without one it is the latest."""
    for ref in "v1", "HEAD":
        net.put(f"{GITHUB}/org/repo/{ref}/package.json", '{"urls": [["m.py", "m.py"]]}')
        net.put(f"{GITHUB}/org/repo/{ref}/m.py", "m = 1\n")
    device.run("import mip\nmip.install('github:org/repo@v1')", check=True)
    said = device.run("import mip\nmip.install('github:org/repo')", check=True).lines
    assert "github:org/repo v1 -> latest" in said


def test_a_path_that_a_package_has_twice(device, net):
    """The later one's content is there; nothing foreign was replaced, so nothing is said."""
    net.put(f"{WEB}/p/package.json", '{"urls": [["m.py", "a.py"], ["m.py", "b.py"]]}')
    net.put(f"{WEB}/p/a.py", "m = 1\n")
    net.put(f"{WEB}/p/b.py", "m = 2\n")
    said = device.run(f"import mip\nmip.install('{WEB}/p')", check=True).out
    assert "Replacing" not in said
    assert (device.lib / "m.py").read_text() == "m = 2\n"


OTHER = "https://host/pi"


def record_of(device):
    """{name: the rest of its line} of what is recorded."""
    return {line[1]: line[2:] for line in device.record() if line[0] == "package"}


def test_letter_case_of_what_is_there(device, net):
    """A name in other capitals means what is recorded, for every verb, and is not recorded."""
    net.publish("aioble", "1")
    net.publish("aioble", "2")
    device.run("import mip\nmip.install('aioble@1')", check=True)
    for call in "install('Aioble@1')", "upgrade('AIOBLE')", "install('Aioble')", "upgrade()":
        device.run(f"import mip\nmip.{call}", check=True)
        assert list(record_of(device)) == ["aioble"]
    assert record_of(device)["aioble"][0] == "2"
    device.run("import mip\nmip.uninstall('AioBLE')", check=True)
    assert record_of(device) == {}


def test_a_pinned_dependency_of_another_index(device, net):
    """What the user has pinned stays that of its index when another package needs it."""
    for index in INDEX, OTHER:
        net.publish("a", "1", files={"a.mpy": device_file(index)}, index=index)
    net.publish("c", deps=["a"])
    device.run(f"import mip\nmip.install('a@1', index='{OTHER}')", check=True)
    device.run("import mip\nmip.install('c')", check=True)
    assert record_of(device)["a"][2] == OTHER


def test_a_new_dependency_in_an_upgrade(device, net):
    """It is looked up first where the package that needs it came from."""
    net.publish("x")
    net.publish("a", "1", index=OTHER)
    device.run(f"import mip\nmip.install('x')\nmip.install('a', index='{OTHER}')", check=True)
    for index in INDEX, OTHER:
        net.publish("d", "1", files={"d.mpy": device_file(index)}, index=index)
    net.publish("a", "2", index=OTHER, deps=["d"])
    device.run("import mip\nmip.upgrade()", check=True)
    assert record_of(device)["d"][2] == OTHER


def device_file(text):
    """A file that this firmware loads, with a text in it."""
    return MPY.encode("latin-1") + text.encode()


def test_source_of_what_needs_it(device, net):
    """Who has asked for source has source of what it needs, also when that is new."""
    net.publish("a", "1", kinds=("py",))
    device.run("import mip\nmip.install('a', mpy=False)", check=True)
    net.publish("a", "2", kinds=("6", "py"), deps=["d"])
    net.publish("d", "1", kinds=("6", "py"))
    net.publish("c", "1", deps=["a"])
    device.run("import mip\nmip.upgrade()", check=True)
    assert device.tree().keys() == {"a.py", "d.py"}
    device.run("import mip\nmip.install('c')", check=True)
    assert device.tree().keys() == {"a.py", "d.py", "c.mpy"}


def test_an_upgraded_dependency_is_still_one(device, net):
    """upgrade() of what is only needed does not keep it for ever."""
    net.publish("d")
    net.publish("a", deps=["d"])
    device.run("import mip\nmip.install('a')\nmip.upgrade('d')", check=True)
    assert record_of(device)["d"][1] is None
    result = device.run("import mip\nmip.uninstall('a')\nprint(mip.upgrade())", check=True)
    assert "Removing d" in result.lines
    assert record_of(device) == {}


def test_a_relative_index(device, net):
    """An index that is a relative path is recorded as where it is."""
    put_local(device, "pi/package/py/p/latest.json", json.dumps({"urls": [["p.py", "p.py"]]}))
    put_local(device, "pi/package/py/p/p.py", "p = 1\n")
    put_local(device, "elsewhere/x.txt", "")
    code = "import mip, os\nmip.install('p', index='pi')\nos.chdir('elsewhere')\n"
    target = f"target='{device.lib}'"
    code = code.replace("index='pi'", f"index='pi', {target}")
    assert device.run(f"{code}print(mip.upgrade({target}))", check=True).lines[-1] == "False"


@pytest.mark.parametrize("call", ["upgrade('a', 'b')", "upgrade(index='micropython.org/pi/v2')"])
def test_an_index_that_is_none_for_an_upgrade(device, net, call):
    """upgrade() says so of an index that the caller gives, as install() does."""
    net.publish("a")
    device.run("import mip\nmip.install('a')", check=True)
    text = error(device.run(f"import mip\nmip.{call}"))
    assert "a URL begins with https://; several packages are a list" in text


def test_what_is_wrong_with_a_dependency(device, net):
    """An error names the package, however short its name, and who needs it."""
    net.publish("p", deps=["os"])
    net.publish("os", deps=[f"{WEB}/nope.py"])
    text = error(device.run("import mip\nmip.install('p')"))
    assert text.endswith("/nope.py (needed by os)")
    net.publish("os", files={"os.mpy": b"not bytecode"})
    text = error(device.run("import mip\nmip.install('p')"))
    assert text.startswith("os: https://")
    assert text.endswith("(needed by p)")


def test_errors_of_a_session_without_more(device, net):
    """A session may raise the status of a busy server alone, or with a text."""
    code = """
import mip
class Session:
    def get(self, url):
        raise OSError(%s)
mip._wait = lambda seconds: None
mip.install("p", session=Session())
"""
    for arguments in "503", "429, 'busy'":
        assert "the server answers" in error(device.run(code % arguments))


def test_pinned_packages_that_share_a_path(device, net):
    """They are in place when the later one's content is there: no request is made."""
    net.publish("p", "1", files={"x.py": b"x = 1"}, kinds=("py",))
    net.publish("q", "1", files={"x.py": b"x = 2"}, kinds=("py",))
    call = "import mip\nprint(mip.install(['p@1', 'q@1'], mpy=False))"
    check_needs_no_network(device, net, call)
    assert (device.lib / "x.py").read_bytes() == b"x = 2"
