"""What a name means: where packages and their files come from, and what is refused unfetched."""

import json
import shutil

import pytest
from device import Device, error
from internet import INDEX, content, lines, sha256, tree

GITHUB = "https://raw.githubusercontent.com"
GITLAB = "https://gitlab.com"
CODEBERG = "https://codeberg.org/api/v1/repos"
WEB = "https://example.org"

INSTALL = """
import json, mip, sys
arguments, options = json.loads(CALL)
mip.install(*arguments, **options)
"""


def params(rows):
    """The rows of a table as parameters of a test: the first value of each is its id."""
    return [pytest.param(*row[1:], id=row[0]) for row in rows]


def install(device, *arguments, check=True, **options):
    """Run mip.install() on the board with these arguments."""
    # Not as an argument of the program: MicroPython ends with one of more than 255 bytes.
    call = repr(json.dumps([arguments, options]))
    return device.run(INSTALL.replace("CALL", call), check=check)


def listed(device):
    """The lines that mip.list() prints."""
    return device.run("import mip; mip.list()", check=True).lines


def refused(device, net, *arguments, **options):
    """Assert that install() refuses, fetches no file and leaves nothing; return the text."""
    text = error(install(device, *arguments, check=False, **options))
    assert net.files == []
    assert device.tree(device.work, everything=True) == {}
    return text


def packages(device):
    """{name: (version, asked)} of the packages in the record."""
    record = device.record()
    return {line[1]: tuple(line[2:4]) for line in record if line[0] == "package"}


def put_local(device, path, text):
    """Write a file of the board."""
    file = device.work / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def offer(net, url):
    """Publish at a URL what install() asks for there; return the tree that it installs."""
    if url.partition("?")[0].endswith((".py", ".mpy")):
        net.put(url)
        name = url.partition("?")[0].rpartition("/")[2]
        return {name: content(name, url)}
    return module(net, url, "inside.py")


def module(net, url, path, **keys):
    """Publish a package.json and, next to it, its one file; return the tree that it installs."""
    document, mark, query = url.partition("?")
    origin = f"{document.rpartition('/')[0]}/{path}{mark}{query}"
    net.put(origin)
    net.put(url, json.dumps({"urls": [[path, path]], **keys}))
    return {path: content(path, origin)}


# --- Names ---

# A name, and the URL that is asked for first.
NAMES = [
    ("foo", f"{INDEX}/package/6/foo/latest.json"),
    ("foo@1.2", f"{INDEX}/package/6/foo/1.2.json"),
    ("foo-bar_baz@1.2.post1", f"{INDEX}/package/6/foo-bar_baz/1.2.post1.json"),
    ("foo@latest", f"{INDEX}/package/6/foo/latest.json"),
    ("foo@", f"{INDEX}/package/6/foo/latest.json"),
    ("foo@*", f"{INDEX}/package/6/foo/latest.json"),
    ("github:org/repo", f"{GITHUB}/org/repo/HEAD/package.json"),
    ("github:org/repo/", f"{GITHUB}/org/repo/HEAD/package.json"),
    ("github:org/repo@v1", f"{GITHUB}/org/repo/v1/package.json"),
    ("github:org/repo/@v1", f"{GITHUB}/org/repo/v1/package.json"),
    ("github:org/repo@latest", f"{GITHUB}/org/repo/HEAD/package.json"),
    ("github:org/repo@", f"{GITHUB}/org/repo/HEAD/package.json"),
    ("github:org/repo@*", f"{GITHUB}/org/repo/HEAD/package.json"),
    ("github:org/repo@feature/x", f"{GITHUB}/org/repo/feature/x/package.json"),
    ("github:org/repo/sub", f"{GITHUB}/org/repo/HEAD/sub/package.json"),
    ("github:org/repo/sub/", f"{GITHUB}/org/repo/HEAD/sub/package.json"),
    ("github:org/repo/sub/dir@a/b/c", f"{GITHUB}/org/repo/a/b/c/sub/dir/package.json"),
    ("github:org/repo/package.json", f"{GITHUB}/org/repo/HEAD/package.json"),
    ("github:org/repo/sub/package.json@v1", f"{GITHUB}/org/repo/v1/sub/package.json"),
    ("github:org/repo/other.json@v1", f"{GITHUB}/org/repo/v1/other.json"),
    ("github:org/repo/foo.py", f"{GITHUB}/org/repo/HEAD/foo.py"),
    ("github:org/repo/sub/foo.py@v1", f"{GITHUB}/org/repo/v1/sub/foo.py"),
    ("github:org/repo/sub/foo.mpy@feature/x", f"{GITHUB}/org/repo/feature/x/sub/foo.mpy"),
    ("github:org/repo/foo.py@latest", f"{GITHUB}/org/repo/HEAD/foo.py"),
    ("gitlab:org/repo", f"{GITLAB}/org/repo/-/raw/HEAD/package.json"),
    ("gitlab:org/repo/sub@v1", f"{GITLAB}/org/repo/-/raw/v1/sub/package.json"),
    ("gitlab:org/repo/foo.py", f"{GITLAB}/org/repo/-/raw/HEAD/foo.py"),
    ("gitlab:org/repo/foo.py@feature/x", f"{GITLAB}/org/repo/-/raw/feature/x/foo.py"),
    ("codeberg:org/repo", f"{CODEBERG}/org/repo/raw/package.json?ref=HEAD"),
    ("codeberg:org/repo/sub@v1", f"{CODEBERG}/org/repo/raw/sub/package.json?ref=v1"),
    ("codeberg:org/repo/foo.py", f"{CODEBERG}/org/repo/raw/foo.py?ref=HEAD"),
    ("codeberg:org/repo/foo.mpy@feature/x", f"{CODEBERG}/org/repo/raw/foo.mpy?ref=feature/x"),
    ("https://github.com/org/repo", f"{GITHUB}/org/repo/HEAD/package.json"),
    ("https://github.com/org/repo/", f"{GITHUB}/org/repo/HEAD/package.json"),
    ("https://github.com/org/repo@v1", f"{GITHUB}/org/repo/v1/package.json"),
    ("https://github.com/org/repo@feature/x", f"{GITHUB}/org/repo/feature/x/package.json"),
    ("https://github.com/org/repo/raw/x/foo.py", "https://github.com/org/repo/raw/x/foo.py"),
    ("http://example.com/x", "http://example.com/x/package.json"),
    ("https://example.org/x", f"{WEB}/x/package.json"),
    ("https://example.org/x/", f"{WEB}/x/package.json"),
    ("https://example.org", f"{WEB}/package.json"),
    ("https://example.org/x/package.json", f"{WEB}/x/package.json"),
    ("https://example.org/x/other.json", f"{WEB}/x/other.json"),
    ("https://example.org/x/foo.py", f"{WEB}/x/foo.py"),
    ("https://example.org/x/foo.mpy", f"{WEB}/x/foo.mpy"),
    ("https://example.org/x@v1", f"{WEB}/x/package.json"),
    ("https://example.org/x/@v1", f"{WEB}/x/package.json"),
    ("https://example.org/x/package.json@v1", f"{WEB}/x/package.json"),
    ("https://example.org/x/foo.py@v1", f"{WEB}/x/foo.py"),
    ("https://example.org/@scope/x", f"{WEB}/@scope/x/package.json"),
    ("https://example.org/gh/org/repo@v1/", f"{WEB}/gh/org/repo@v1/package.json"),
    ("https://example.org/gh/org/repo@v1/foo.py", f"{WEB}/gh/org/repo@v1/foo.py"),
    ("https://example.org/gh/org/repo@v1/foo.py@v2", f"{WEB}/gh/org/repo@v1/foo.py"),
    ("https://example.org/a b/foo.py", f"{WEB}/a%20b/foo.py"),
]

# Where a package can be named but in a call, and names of every kind that are tried there.
PLACES = ["list", "command", "dependency"]
ANYWHERE = [
    "foo",
    "foo@1.2",
    "github:org/repo",
    "github:org/repo/sub/dir@a/b/c",
    "gitlab:org/repo/foo.py@feature/x",
    "codeberg:org/repo/foo.mpy@feature/x",
    "https://github.com/org/repo@v1",
    "http://example.com/x",
    "https://example.org/x/",
    "https://example.org/x/package.json@v1",
    "https://example.org/gh/org/repo@v1/foo.py@v2",
]

each_name = pytest.mark.parametrize(
    ("name", "url"), [pytest.param(*row, id=row[0]) for row in NAMES]
)


def install_in_place(device, name, place, asking, put):
    """Have a package installed that is named in one of PLACES, or in a call.

    asking: the name of a package.json for the place "dependency"; put(text) publishes it.
    """
    if place == "call":
        install(device, name)
    elif place == "list":
        install(device, [name])
    elif place == "command":
        device.mip("install", name, check=True)
    else:
        put(json.dumps({"deps": [name]}))
        install(device, asking)


@each_name
def test_a_name(device, net, name, url):
    """A name means a URL."""
    files = offer(net, url.replace("%20", " "))
    install(device, name)
    assert net.requests[0] == url
    assert device.tree() == files


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ANYWHERE)
def test_a_name_anywhere(device, net, name, place):
    """A name means the same in a list, on the command line and in `deps` as in a call."""
    url = dict(NAMES)[name]
    files = offer(net, url)
    asking = "https://host/package.json"
    install_in_place(device, name, place, asking, lambda text: net.put(asking, text))
    assert [document for document in net.requests if document != asking][0] == url
    assert device.tree() == files


@each_name
def test_what_list_prints_installs_the_same(device, net, name, url):
    """What list() prints for a package is a name that means the same URL."""
    files = offer(net, url.replace("%20", " "))
    install(device, name)
    (line,) = listed(device)
    net.reset()
    install(device, line, target="again")
    assert net.requests[0] == url
    assert device.tree(device.work / "again") == files
    (again,) = device.run("import mip; mip.list('again')", check=True).lines
    assert again == line


VERSIONS = [
    ("foo", "1.2", f"{INDEX}/package/6/foo/1.2.json"),
    ("foo", "latest", f"{INDEX}/package/6/foo/latest.json"),
    ("foo", "", f"{INDEX}/package/6/foo/latest.json"),
    ("foo", "*", f"{INDEX}/package/6/foo/latest.json"),
    ("foo", None, f"{INDEX}/package/6/foo/latest.json"),
    ("github:org/repo", "v1", f"{GITHUB}/org/repo/v1/package.json"),
    ("github:org/repo", "feature/x", f"{GITHUB}/org/repo/feature/x/package.json"),
    ("github:org/repo", "latest", f"{GITHUB}/org/repo/HEAD/package.json"),
    ("github:org/repo", "", f"{GITHUB}/org/repo/HEAD/package.json"),
    ("github:org/repo/foo.py", "v1", f"{GITHUB}/org/repo/v1/foo.py"),
    ("gitlab:org/repo", "v1", f"{GITLAB}/org/repo/-/raw/v1/package.json"),
    ("gitlab:org/repo", "latest", f"{GITLAB}/org/repo/-/raw/HEAD/package.json"),
    ("codeberg:org/repo", "v1", f"{CODEBERG}/org/repo/raw/package.json?ref=v1"),
    ("codeberg:org/repo", "*", f"{CODEBERG}/org/repo/raw/package.json?ref=HEAD"),
    ("https://github.com/org/repo", "v1", f"{GITHUB}/org/repo/v1/package.json"),
    ("https://example.org/x", "v1", f"{WEB}/x/package.json"),
    ("https://example.org/foo.py", "v1", f"{WEB}/foo.py"),
]


@pytest.mark.parametrize(("name", "version", "url"), VERSIONS)
def test_a_version(device, net, name, version, url):
    """`version` of install() is the version of an index, or the ref of a repository."""
    files = offer(net, url)
    install(device, name, version=version)
    assert net.requests[0] == url
    assert device.tree() == files


@pytest.mark.parametrize("host", ["user@example.org", "me:pw@example.org", "[::1]", "me@host:1"])
def test_a_host_that_is_refused(device, net, host):
    """A user in a URL starts no version, and is refused in words, as an IPv6 address is."""
    assert "without a user" in refused(device, net, f"https://{host}/foo.py")


def test_an_index_by_url(device, net):
    """`index` names the place of the packages and their files, with a slash at its end or not."""
    for index, name in ("https://host/pi", "one"), ("https://host", "two"):
        net.publish(name, index=index)
    install(device, "one", index="https://host/pi/")
    install(device, "two", "https://host")
    assert device.tree() == tree({"one.mpy": "one 1.0", "two.mpy": "two 1.0"})
    assert {url.partition("/package/")[0] for url in net.documents} == {
        "https://host/pi",
        "https://host",
    }


def test_indexes_are_tried_in_order(device, net):
    """`index` may be several: each package, with its files, is of the first that has it."""
    second = "https://host/pi"
    net.publish("both", "1.0")
    net.publish("both", "2.0", index=second)
    net.publish("asker", deps=[["other", "latest"], ["both", "latest"]])
    net.publish("other", index=second)
    install(device, "asker", index=[INDEX, second])
    assert device.tree() == tree(
        {"asker.mpy": "asker 1.0", "both.mpy": "both 1.0", "other.mpy": "other 1.0"}
    )


# --- URLs in a package.json ---

# The package that is asked for, the URL of its document, a URL of a file as written in it, and
# the URL that is fetched.
ENTRIES = [
    (f"{WEB}/a/b", f"{WEB}/a/b/package.json", written, fetched)
    for written, fetched in [
        ("x.py", f"{WEB}/a/b/x.py"),
        ("./x.py", f"{WEB}/a/b/x.py"),
        ("../x.py", f"{WEB}/a/x.py"),
        ("../../x.py", f"{WEB}/x.py"),
        ("/x.py", f"{WEB}/x.py"),
        ("c/x.py", f"{WEB}/a/b/c/x.py"),
        ("c/../x.py", f"{WEB}/a/b/x.py"),
        ("../c/./x.py", f"{WEB}/a/c/x.py"),
        ("//host/x.py", "https://host/x.py"),
        ("https://host/x.py", "https://host/x.py"),
        ("a b.py", f"{WEB}/a/b/a%20b.py"),
        ("a%20b.py", f"{WEB}/a/b/a%20b.py"),
        ("caf\u00e9.py", f"{WEB}/a/b/caf%C3%A9.py"),
        ("logo@2x.png", f"{WEB}/a/b/logo@2x.png"),
        ("x.py?y=1", f"{WEB}/a/b/x.py?y=1"),
        ("github:org/repo/x.py", f"{GITHUB}/org/repo/HEAD/x.py"),
        ("github:org/repo/x.py@v9", f"{GITHUB}/org/repo/v9/x.py"),
        ("gitlab:org/repo/c/x.py", f"{GITLAB}/org/repo/-/raw/HEAD/c/x.py"),
        ("codeberg:org/repo/x.py@v9", f"{CODEBERG}/org/repo/raw/x.py?ref=v9"),
    ]
]
ENTRIES += [
    (f"{WEB}", f"{WEB}/package.json", "x.py", f"{WEB}/x.py"),
    (f"{WEB}/c/other.json", f"{WEB}/c/other.json", "x.py", f"{WEB}/c/x.py"),
    (
        "http://example.com/a",
        "http://example.com/a/package.json",
        "../x.py",
        "http://example.com/x.py",
    ),
    (
        "http://example.com/a",
        "http://example.com/a/package.json",
        "//example.com/x.py",
        "http://example.com/x.py",
    ),
    (
        "https://github.com/org/repo@v1",
        f"{GITHUB}/org/repo/v1/package.json",
        "x.py",
        f"{GITHUB}/org/repo/v1/x.py",
    ),
]
for _forge, _document, _file in [
    ("github", f"{GITHUB}/org/repo/{{0}}/a/package.json", f"{GITHUB}/{{0}}/{{2}}/{{1}}"),
    (
        "gitlab",
        f"{GITLAB}/org/repo/-/raw/{{0}}/a/package.json",
        f"{GITLAB}/{{0}}/-/raw/{{2}}/{{1}}",
    ),
    (
        "codeberg",
        f"{CODEBERG}/org/repo/raw/a/package.json?ref={{0}}",
        f"{CODEBERG}/{{0}}/raw/{{1}}?ref={{2}}",
    ),
]:
    _other = "gitlab" if _forge == "github" else "github"
    _others = (
        f"{GITLAB}/org/repo/-/raw/HEAD/x.py"
        if _forge == "github"
        else f"{GITHUB}/org/repo/HEAD/x.py"
    )
    ENTRIES += [
        (
            f"{_forge}:org/repo/a",
            _document.format("HEAD"),
            "x.py",
            _file.format("org/repo", "a/x.py", "HEAD"),
        ),
    ]
    ENTRIES += [
        (f"{_forge}:org/repo/a@v/1", _document.format("v/1"), written, fetched)
        for written, fetched in [
            ("x.py", _file.format("org/repo", "a/x.py", "v/1")),
            ("./x.py", _file.format("org/repo", "a/x.py", "v/1")),
            ("b/x.py", _file.format("org/repo", "a/b/x.py", "v/1")),
            ("../x.py", _file.format("org/repo", "x.py", "v/1")),
            ("/x.py", _file.format("org/repo", "x.py", "v/1")),
            ("a b.py", _file.format("org/repo", "a/a%20b.py", "v/1")),
            ("logo@2x.png", _file.format("org/repo", "a/logo@2x.png", "v/1")),
            (f"{_forge}:org/repo/x.py", _file.format("org/repo", "x.py", "v/1")),
            (f"{_forge}:Org/REPO/x.py", _file.format("Org/REPO", "x.py", "v/1")),
            (f"{_forge}:org/repo/x.py@v9", _file.format("org/repo", "x.py", "v9")),
            (f"{_forge}:org/repo/x.py@latest", _file.format("org/repo", "x.py", "HEAD")),
            (f"{_forge}:org/other/x.py", _file.format("org/other", "x.py", "HEAD")),
            (f"{_forge}:other/repo/x.py", _file.format("other/repo", "x.py", "HEAD")),
            (f"{_forge}:org/repo2/x.py", _file.format("org/repo2", "x.py", "HEAD")),
            (f"{_forge}:org/other/x.py@v9", _file.format("org/other", "x.py", "v9")),
            (f"{_other}:org/repo/x.py", _others),
            ("https://host/x.py", "https://host/x.py"),
        ]
    ]


@pytest.mark.parametrize(
    ("name", "document", "written", "fetched"),
    [pytest.param(*row, id=f"{row[0]}-{row[2]}") for row in ENTRIES],
)
def test_the_url_of_a_file(device, net, name, document, written, fetched):
    """A URL in a package.json is relative to it, and has its ref in the same repository."""
    net.put(document, json.dumps({"urls": [["m.py", written]]}))
    net.put(fetched.replace("%20", " ").replace("%C3%A9", "\u00e9"), b"m = 1\n")
    install(device, name)
    assert net.requests == [document, fetched]
    assert device.tree() == {"m.py": b"m = 1\n"}


@pytest.mark.parametrize(
    "name", [f"{WEB}/a", "github:org/repo/a", "gitlab:org/repo/a", "codeberg:org/repo/a"]
)
def test_a_url_that_climbs_too_far(device, net, name):
    """A relative URL with too many `..` ends in an InstallError or at the same host's root."""
    # RFC 3986 has it end at the root; mip may as well refuse it.
    document = f"{WEB}/a/package.json"
    if ":org" in name:
        document = {
            "github": f"{GITHUB}/org/repo/HEAD/a/package.json",
            "gitlab": f"{GITLAB}/org/repo/-/raw/HEAD/a/package.json",
            "codeberg": f"{CODEBERG}/org/repo/raw/a/package.json?ref=HEAD",
        }[name.partition(":")[0]]
    net.put(document, json.dumps({"urls": [["m.py", "../../../../../../m.py"]]}))
    put_local(device, "m.py", "mine = 1\n")
    text = error(install(device, name, check=False))
    assert "m.py" in text
    assert net.documents == [document]
    assert {url.split("/")[2] for url in net.requests} == {document.split("/")[2]}
    assert device.tree(device.work, everything=True) == {"m.py": b"mine = 1\n"}


@pytest.mark.parametrize("dep", ["../../../../../../x/app", "../../../../../x/app/m.py"])
def test_a_dependency_that_climbs_too_far(device, net, dep):
    """A relative dependency of a package of the web is never a package of the board."""
    net.put(f"{WEB}/a/package.json", json.dumps({"deps": [dep]}))
    for path in "x/app/package.json", "app/package.json":
        put_local(device, path, '{"urls": [["m.py", "m.py"]]}')
    for path in "x/app/m.py", "app/m.py":
        put_local(device, path, "mine = 1\n")
    before = device.tree(device.work, everything=True)
    error(install(device, f"{WEB}/a", check=False))
    assert device.tree(device.work, everything=True) == before


UNUSABLE_URLS = [
    ("a repository", "github:org/repo"),
    ("a repository with a slash", "github:org/repo/"),
    ("a repository of gitlab", "gitlab:org/repo"),
    ("a repository of codeberg", "codeberg:org/repo"),
    ("a repository with a ref", "github:org/repo@v1"),
    ("an owner", "github:org"),
    ("a forge", "github:"),
]


@pytest.mark.parametrize("url", params(UNUSABLE_URLS))
def test_a_url_that_names_no_file(device, net, url):
    """A file whose URL names a repository is refused before any file is fetched."""
    net.put(f"{WEB}/good.py")
    net.put(f"{WEB}/package.json", json.dumps({"urls": [["good.py", "good.py"], ["m.py", url]]}))
    assert url.partition("@")[0] in refused(device, net, WEB)


# --- Dependencies ---

NEEDED = f"{INDEX}/package/6/needed"
OTHER = f"{GITHUB}/org/other"
REPO = f"{GITHUB}/org/repo"

# The JSON of an entry of `deps`, and the document that it leads to.
SHAPES = [
    ("name and version", '["needed", "2.0"]', f"{NEEDED}/2.0.json"),
    ("name and latest", '["needed", "latest"]', f"{NEEDED}/latest.json"),
    ("name and nothing", '["needed", ""]', f"{NEEDED}/latest.json"),
    ("name and star", '["needed", "*"]', f"{NEEDED}/latest.json"),
    ("list of a name", '["needed"]', f"{NEEDED}/latest.json"),
    ("list of name@version", '["needed@2.0"]', f"{NEEDED}/2.0.json"),
    ("bare name", '"needed"', f"{NEEDED}/latest.json"),
    ("bare name@version", '"needed@2.0"', f"{NEEDED}/2.0.json"),
    ("bare name@latest", '"needed@latest"', f"{NEEDED}/latest.json"),
    ("three elements", '["needed", "2.0", "why"]', f"{NEEDED}/2.0.json"),
    ("third element of another type", '["needed", "2.0", {"a": [1]}]', f"{NEEDED}/2.0.json"),
    ("repository", '["github:org/other", "v2"]', f"{OTHER}/v2/package.json"),
    ("repository, latest", '["github:org/other", "latest"]', f"{OTHER}/HEAD/package.json"),
    ("repository, no version", '["github:org/other"]', f"{OTHER}/HEAD/package.json"),
    ("bare repository", '"github:org/other"', f"{OTHER}/HEAD/package.json"),
    ("bare repository@ref", '"github:org/other@feature/x"', f"{OTHER}/feature/x/package.json"),
    ("page", '["https://github.com/org/other"]', f"{OTHER}/HEAD/package.json"),
    ("page and ref", '["https://github.com/org/other", "v2"]', f"{OTHER}/v2/package.json"),
    ("page with a slash", '["https://github.com/org/other/", "v2"]', f"{OTHER}/v2/package.json"),
    ("web", '["https://host/x/package.json", "latest"]', "https://host/x/package.json"),
    ("web, bare", '"https://host/x/"', "https://host/x/package.json"),
]

# Who asks, with the URL of the document.
ASKERS = [
    ("index", "asker", f"{INDEX}/package/6/asker/latest.json"),
    ("index-pinned", "asker@7.0", f"{INDEX}/package/6/asker/7.0.json"),
    ("web", f"{WEB}/asker", f"{WEB}/asker/package.json"),
    ("web-pinned", f"{WEB}/asker/package.json@v7", f"{WEB}/asker/package.json"),
    ("github", "github:org/repo", f"{REPO}/HEAD/package.json"),
    ("github-ref", "github:org/repo@v1", f"{REPO}/v1/package.json"),
]


@pytest.mark.parametrize(("dep", "document"), params(SHAPES))
def test_the_shape_of_a_dependency(device, net, dep, document):
    """A dependency is found whatever its shape."""
    asking = f"{INDEX}/package/6/asker/latest.json"
    net.put(asking, f'{{"v": 1, "deps": [{dep}]}}')
    files = module(net, document, "m.py")
    install(device, "asker")
    assert net.documents == [asking, document]
    assert device.tree() == files


@pytest.mark.parametrize(("asker", "asking"), params(ASKERS))
@pytest.mark.parametrize(
    ("dep", "document"),
    [
        ('["needed"]', f"{NEEDED}/latest.json"),
        ('"needed"', f"{NEEDED}/latest.json"),
        ('["needed@2.0"]', f"{NEEDED}/2.0.json"),
        ('["github:org/other"]', f"{OTHER}/HEAD/package.json"),
        ('["https://github.com/org/other"]', f"{OTHER}/HEAD/package.json"),
        ('["https://host/x"]', "https://host/x/package.json"),
    ],
)
def test_the_version_of_who_asks(device, net, asker, asking, dep, document):
    """The version or ref of who asks is not that of a dependency elsewhere."""
    net.put(asking, f'{{"v": 1, "deps": [{dep}]}}')
    files = module(net, document, "m.py")
    install(device, asker)
    assert net.documents == [asking, document]
    assert device.tree() == files


# An entry of `deps` of github:org/repo/a at the ref v1, and the document that it leads to.
RELATED = [
    ("same repository", '["github:org/repo/sub"]', f"{REPO}/v1/sub/package.json"),
    ("same repository, bare", '"github:org/repo/sub"', f"{REPO}/v1/sub/package.json"),
    ("same, other case", '["github:ORG/Repo/sub"]', f"{GITHUB}/ORG/Repo/v1/sub/package.json"),
    ("same, latest", '["github:org/repo/sub", "latest"]', f"{REPO}/HEAD/sub/package.json"),
    ("same, other ref", '["github:org/repo/sub", "v2"]', f"{REPO}/v2/sub/package.json"),
    ("same, own ref", '"github:org/repo/sub@v2"', f"{REPO}/v2/sub/package.json"),
    ("other repository", '["github:org/repo2/sub"]', f"{REPO}2/HEAD/sub/package.json"),
    ("other forge", '["gitlab:org/repo"]', f"{GITLAB}/org/repo/-/raw/HEAD/package.json"),
    ("relative", '["./sub"]', f"{REPO}/v1/a/sub/package.json"),
    ("relative, bare", '"./sub/"', f"{REPO}/v1/a/sub/package.json"),
    ("relative, above", '["../sub/package.json"]', f"{REPO}/v1/sub/package.json"),
    ("relative file", '["../sub/m.py"]', f"{REPO}/v1/sub/m.py"),
]


@pytest.mark.parametrize(("dep", "document"), params(RELATED))
def test_the_ref_of_a_dependency(device, net, dep, document):
    """The ref of a repository is for dependencies in it that have none, and for no other."""
    asking = f"{REPO}/v1/a/package.json"
    net.put(asking, f'{{"deps": [{dep}]}}')
    files = offer(net, document)
    install(device, "github:org/repo/a@v1")
    assert net.requests[:2] == [asking, document]
    assert device.tree() == files


# A text of a whole package.json with one file in it, m.py from the same directory.
DOCUMENTS = [
    ("no deps", '{"urls": [["m.py", "m.py"]]}'),
    ("empty deps", '{"urls": [["m.py", "m.py"]], "deps": []}'),
    (
        "unknown keys",
        '{"name": "x", "a": [["m.py", 1]], "b": {"urls": []}, "urls": [["m.py", "m.py"]]}',
    ),
    ("deps first", '{"deps": [], "version": "1", "v": 1, "urls": [["m.py", "m.py"]]}'),
    ("version is a number", '{"version": 0.2, "urls": [["m.py", "m.py"]]}'),
    ("trailing commas", '{"urls": [["m.py", "m.py",],], "deps": [],}'),
    ("missing commas", '{"urls": [["m.py" "m.py"]] "deps": []}'),
    ("one line", '{"urls":[["m.py","m.py"]]}'),
    ("CRLF", '{\r\n"urls": [\r\n["m.py",\t"m.py"]\r\n]\r\n}\r\n'),
    ("escapes", '{"url\\u0073": [["\\u006d.py", "m\\u002epy"]]}'),
    ("byte order mark", '\ufeff{"urls": [["m.py", "m.py"]]}'),
    ("raw newline in a string", '{"description": "one\ntwo", "urls": [["m.py", "m.py"]]}'),
]


@pytest.mark.parametrize("text", params(DOCUMENTS))
def test_a_document(device, net, text):
    """What MicroPython's json takes is taken; keys may be missing or unknown."""
    net.put(f"{WEB}/package.json", text)
    net.put(f"{WEB}/m.py")
    install(device, WEB)
    assert device.tree() == tree({"m.py": f"{WEB}/m.py"})


# A text of a whole package.json that is refused, and a word of the refusal. GOOD stands for an
# entry with which there is nothing wrong.
BAD_DOCUMENTS = [
    ("newer", '{"v": 99, "urls": [GOOD]}', ""),
    ("newer, said last", '{"urls": [GOOD], "v": 99}', ""),
    ("nothing to install", '{"name": "x", "files": ["good.py"]}', "nothing"),
    ("empty", "{}", "nothing"),
    ("broken", '{"urls": [GOOD], "deps": [}', ""),
    ("cut", '{"urls": [GOOD]', ""),
    ("no JSON", "<html><body>Log in</body></html>", ""),
    ("no object", "[GOOD]", ""),
    ("no bytes", "", ""),
    ("trailing text", '{"urls": [GOOD]} {}', ""),
    ("deps an object", '{"urls": [GOOD], "deps": {"needed": "latest"}}', "deps"),
    ("deps a number", '{"urls": [GOOD], "deps": 1}', "deps"),
    ("dep a number", '{"urls": [GOOD], "deps": [1]}', "deps"),
    ("dep without a name", '{"urls": [GOOD], "deps": [[]]}', ""),
    ("dep with an empty name", '{"urls": [GOOD], "deps": [["", "1.0"]]}', ""),
    ("dep with a version only", '{"urls": [GOOD], "deps": ["@1.0"]}', ""),
    ("urls an object", '{"urls": {"m.py": "m.py"}}', "urls"),
    ("urls null", '{"urls": null, "deps": []}', "urls"),
    ("urls a string", '{"urls": "good.py"}', "urls"),
    ("entry of one", '{"urls": [GOOD, ["m.py"]]}', ""),
    ("entry a string", '{"urls": [GOOD, "m.py"]}', "urls"),
    ("entry of numbers", '{"urls": [GOOD, [1, 2]]}', "urls"),
    ("hash entry of one", '{"urls": [GOOD], "hashes": [["m.py"]]}', ""),
    ("dep out of the index", '{"urls": [GOOD], "deps": ["..", "1.0"]}', ""),
    ("dep to another place", '{"urls": [GOOD], "deps": [["x", "../../y"]]}', ""),
    ("dep of an unknown forge", '{"urls": [GOOD], "deps": [["sourcehut:org/x", "1"]]}', ""),
    ("dep an owner", '{"urls": [GOOD], "deps": [["github:org", "1"]]}', "github:org"),
]


@pytest.mark.parametrize(("text", "word"), params(BAD_DOCUMENTS))
def test_a_document_that_is_refused(device, net, text, word):
    """A package.json that is wrong is refused by its name, before any file is fetched."""
    net.put(f"{WEB}/x/package.json", text.replace("GOOD", '["good.py", "good.py"]'))
    net.put(f"{WEB}/x/good.py")
    message = refused(device, net, f"{WEB}/x")
    assert word in message
    assert message.strip(": ")


@pytest.mark.parametrize("text", ["{", '{"v": 99}', "[]", "<html>"])
def test_a_refusal_names_the_document(device, net, text):
    """The refusal of a package.json names its URL."""
    net.publish("asker", deps=[[f"{WEB}/x", "latest"]])
    net.put(f"{WEB}/x/package.json", text)
    assert f"{WEB}/x" in refused(device, net, "asker")


# Who needs whom, as {name: its deps}; "a" is asked for.
GRAPHS = [
    ("itself", {"a": ["a"]}),
    ("itself pinned", {"a": [["a", "latest"], "a"]}),
    ("cycle of two", {"a": ["b"], "b": ["a"]}),
    ("cycle of four", {"a": ["b"], "b": ["c"], "c": ["d"], "d": ["a"]}),
    ("cycle that a is not in", {"a": ["b"], "b": ["c"], "c": ["b"]}),
    ("diamond", {"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}),
    ("twice in one list", {"a": ["b", ["b", "latest"]], "b": []}),
    ("chain", {"a": ["b"], "b": ["c"], "c": ["d"], "d": ["e"], "e": []}),
    ("all with all", {name: ["a", "b", "c", "d"] for name in "abcd"}),
]


@pytest.mark.parametrize("graph", params(GRAPHS))
def test_dependencies_of_dependencies(device, net, graph):
    """Cycles end, and a package that is needed often is fetched once."""
    for name, deps in graph.items():
        net.publish(name, deps=deps)
    install(device, "a")
    assert sorted(net.documents) == [f"{INDEX}/package/6/{name}/latest.json" for name in graph]
    assert len(net.files) == len(graph)
    assert device.tree() == tree({f"{name}.mpy": f"{name} 1.0" for name in graph})
    assert packages(device) == {name: ("1.0", "latest" if name == "a" else None) for name in graph}


def test_a_long_chain(device, net):
    """A chain of 100 dependencies is followed to its end."""
    for n in range(100):
        deps = [f"{WEB}/p{n + 1}"] if n < 99 else []
        net.put(
            f"{WEB}/p{n}/package.json", json.dumps({"urls": [[f"m{n}.py", "m.py"]], "deps": deps})
        )
        net.put(f"{WEB}/p{n}/m.py")
    install(device, f"{WEB}/p0")
    assert device.tree() == tree({f"m{n}.py": f"{WEB}/p{n}/m.py" for n in range(100)})
    assert len(net.requests) == 200


# Different ways to name one package.
SPELLINGS = [
    ("github:org/other", "https://github.com/org/other"),
    ("github:org/other", "github:org/other/"),
    ("github:org/other", "github:org/other/package.json"),
    (f"{WEB}/y", f"{WEB}/y/"),
    (f"{WEB}/y", f"{WEB}/y/package.json"),
]


@pytest.mark.parametrize(("one", "two"), SPELLINGS)
def test_one_package_in_two_spellings(device, net, one, two):
    """A package that is named in two ways is one package and is fetched once."""
    document = f"{OTHER}/HEAD/package.json" if "other" in one else f"{WEB}/y/package.json"
    files = module(net, document, "m.py")
    install(device, [one, two])
    assert net.documents == [document]
    assert len(net.files) == 1
    assert device.tree() == files
    assert len(packages(device)) == 1


# --- Versions that meet ---


def versions(net, *names):
    """Publish packages in the versions 1.0, 2.0 and, the latest, 3.0."""
    for name in names:
        for version in "1.0", "2.0", "3.0":
            net.publish(name, version)


# The deps of the packages "a" and "b", which are asked for in this order.
CONFLICTS = [
    ("both pin", [["x", "1.0"]], [["x", "2.0"]], "ab", ["1.0", "2.0"]),
    ("the latest between", [["x", "1.0"], ["x", "latest"]], [["x", "2.0"]], "ab", ["1.0", "2.0"]),
    ("in one package", [["x", "1.0"], ["x", "2.0"]], [], "a", ["1.0", "2.0"]),
    (
        "of a repository",
        [["github:org/other", "v1"]],
        [["https://github.com/org/other", "v2"]],
        "ab",
        ["v1", "v2"],
    ),
]


@pytest.mark.parametrize(("first", "second", "askers", "pins"), params(CONFLICTS))
def test_two_pinned_versions(device, net, first, second, askers, pins):
    """Two pinned versions of a package are refused: who asked and for what is said."""
    versions(net, "x")
    for ref in "v1", "v2":
        module(net, f"{GITHUB}/org/other/{ref}/package.json", "m.py")
    net.publish("package-a", deps=first)
    net.publish("package-b", deps=second)
    text = refused(device, net, ["package-a", "package-b"])
    for word in pins + [f"package-{name}" for name in askers]:
        assert word in text


def test_two_versions_in_one_call(device, net):
    """A list with two versions of one package is refused, naming both."""
    versions(net, "x")
    text = refused(device, net, ["x@1.0", "x@2.0"])
    assert "1.0" in text and "2.0" in text


def test_a_pinned_version_against_the_users(device, net):
    """A dependency on another version than the user's is refused, naming who needs it."""
    versions(net, "x")
    net.publish("asker", deps=[["x", "2.0"]])
    text = refused(device, net, ["asker", "x@1.0"])
    assert "1.0" in text and "2.0" in text and "asker" in text


# What is asked for, where "pins" needs x@1.0 and "likes" needs the latest x.
PINS = [
    ("pinned first", ["pins", "likes"]),
    ("latest first", ["likes", "pins"]),
    ("latest asked for", ["x", "pins"]),
    ("latest asked for last", ["pins", "x"]),
    ("latest asked for by name", ["x@latest", "pins"]),
    ("pinned by the user", ["likes", "x@1.0"]),
    ("pinned by the user first", ["x@1.0", "likes"]),
    ("pinned deep", ["x", "deep"]),
    ("the same pin twice", ["pins", "x@1.0"]),
    ("the same twice", ["x@1.0", "x@1.0"]),
    ("the same by three", ["pins", "deep", "x@1.0"]),
]


@pytest.mark.parametrize("asked", params(PINS))
def test_a_pinned_version_wins(device, net, asked):
    """A pinned version wins over the latest, in whichever order they are met."""
    versions(net, "x")
    net.publish("pins", deps=[["x", "1.0"]])
    net.publish("likes", deps=[["x", "latest"]])
    net.publish("middle", deps=["pins"])
    net.publish("deep", deps=["middle"])
    install(device, asked)
    assert device.tree()["x.mpy"] == content("x.mpy", "x 1.0")
    assert packages(device)["x"][0] == "1.0"
    assert len(net.files) == len(set(net.files)) == len(device.tree())


def test_what_only_the_latest_needed(device, net):
    """What only the latest version needs, which a pin put aside, is not installed."""
    net.publish("x", "1.0")
    net.publish("x", "2.0", deps=["extra"])
    net.publish("extra")
    net.publish("pins", deps=[["x", "1.0"]])
    install(device, ["x", "pins"])
    assert device.tree() == tree({"x.mpy": "x 1.0", "pins.mpy": "pins 1.0"})
    assert set(packages(device)) == {"x", "pins"}


def test_two_pins_after_the_latest(device, net):
    """Pins of two packages whose latest versions were resolved before both win."""
    versions(net, "x", "y")
    net.publish("pins", deps=[["x", "1.0"], ["y", "2.0"]])
    install(device, ["x", "y", "pins"])
    assert device.tree() == tree({"x.mpy": "x 1.0", "y.mpy": "y 2.0", "pins.mpy": "pins 1.0"})


# --- One transaction ---


def test_a_list_is_one_transaction(device, net):
    """Where the second package of a list does not exist, nothing of the first is fetched."""
    net.publish("first")
    assert "no-such-package" in refused(device, net, ["first", "no-such-package"])


def test_a_tuple(device, net):
    """Several packages may be a tuple."""
    net.publish("first")
    net.publish("second")
    code = "import mip; mip.install(('first', 'second'))"
    device.run(code, check=True)
    assert device.tree() == tree({"first.mpy": "first 1.0", "second.mpy": "second 1.0"})


def test_a_shared_file(device, net):
    """A file of two packages is fetched once and is in the record of both."""
    shared = content("shared.mpy", "shared")
    for name in "one", "two":
        body = content(f"{name}.mpy", name)
        net.publish(name, files={"lib/shared.mpy": shared, f"{name}.mpy": body}, kinds=("6",))
    install(device, ["one", "two"])
    assert len(net.files) == len(set(net.files)) == 3
    owner, owned = None, {}
    for kind, name, *_ in device.record()[1:]:
        if kind == "package":
            owner = name
        elif kind == "file":
            owned.setdefault(owner, set()).add(name)
    assert owned == {
        "one": {"one.mpy", "lib/shared.mpy"},
        "two": {"two.mpy", "lib/shared.mpy"},
    }


def test_a_file_that_another_package_brought(device, net):
    """A file of an index that an earlier package brought is not fetched again."""
    shared = content("shared.mpy", "shared")
    for name in "one", "two":
        body = content(f"{name}.mpy", name)
        net.publish(name, files={"shared.mpy": shared, f"{name}.mpy": body}, kinds=("6",))
    install(device, "one")
    net.reset()
    install(device, "two")
    assert len(net.files) == 1
    assert sorted(packages(device)) == ["one", "two"]
    assert [line[1] for line in device.record()].count("shared.mpy") == 2


def test_several_missing_files(device, net):
    """All missing files of a package are named at once, and nothing is installed."""
    names = ["a.py", "b.py", "c.py", "d.py"]
    net.put(f"{WEB}/package.json", json.dumps({"urls": [[name, name] for name in names]}))
    net.put(f"{WEB}/b.py")
    text = error(install(device, WEB, check=False))
    assert [name for name in names if f"{WEB}/{name}" in text] == ["a.py", "c.py", "d.py"]
    assert device.tree(device.work, everything=True) == {}


def test_missing_files_of_a_new_version(device, net):
    """Where a file of the new version is missing the old version stays as it is."""
    net.put(f"{WEB}/package.json", '{"urls": [["a.py", "a.py"], ["b.py", "b.py"]]}')
    net.put(f"{WEB}/a.py", "old = 1\n")
    net.put(f"{WEB}/b.py", "old = 2\n")
    install(device, WEB)
    before = device.tree(everything=True)
    net.put(f"{WEB}/a.py", "new = 1\n")
    net.put(f"{WEB}/package.json", '{"urls": [["a.py", "a.py"], ["b.py", "gone.py"]]}')
    assert "gone.py" in error(install(device, WEB, check=False))
    assert device.tree(everything=True) == before


# --- Kinds of packages ---


def test_compiled_and_source(device, net):
    """An index is asked for bytecode first, with mpy=False only for source."""
    net.publish("x")
    install(device, "x")
    install(device, "x", mpy=False, target="source")
    assert net.documents == [
        f"{INDEX}/package/6/x/latest.json",
        f"{INDEX}/package/py/x/latest.json",
    ]
    assert device.tree() == tree({"x.mpy": "x 1.0"})
    assert device.tree(device.work / "source", everything=True).keys() == {".mip/record", "x.py"}


@pytest.mark.parametrize("version", ["latest", "1.0"])
def test_a_package_that_is_only_source(device, net, version):
    """A package that the index has only as source is installed as source, without being told."""
    net.publish("only", kinds=("py",))
    net.publish("asker", deps=[["only", version]])
    install(device, "asker")
    assert net.documents == [
        f"{INDEX}/package/6/asker/latest.json",
        f"{INDEX}/package/6/only/{version}.json",
        f"{INDEX}/package/py/only/{version}.json",
    ]
    assert device.tree() == tree({"asker.mpy": "asker 1.0", "only.py": "only 1.0"})


def test_a_package_that_is_only_compiled(device, net):
    """With mpy=False a package that the index has only compiled is refused."""
    net.publish("x", kinds=("6",))
    text = refused(device, net, "x", mpy=False)
    assert "x" in text and INDEX in text


DATA = [
    ("page.html", b"<html>\r\n"),
    ("data.bin", bytes(range(256)) * 5),
    ("empty.txt", b""),
    ("table.json", b'{"urls": [,'),
    ("font.gz", b"\x1f\x8b\0\0"),
    ("__init__.py", b""),
    ("no-suffix", b"\r\n\0"),
]


def test_files_of_every_kind(device, net):
    """Files of any kind are installed byte for byte."""
    net.put(f"{WEB}/package.json", json.dumps({"urls": [[name, name] for name, _ in DATA]}))
    for name, data in DATA:
        net.put(f"{WEB}/{name}", data)
    install(device, WEB)
    assert device.tree() == dict(sorted(DATA))


# --- Destinations and hashes ---

# As written, and as installed.
DESTINATIONS = [
    ("m.py", "m.py"),
    ("./m.py", "m.py"),
    ("/main.py", "main.py"),
    ("//main.py", "main.py"),
    ("boot.py", "boot.py"),
    ("a//b/m.py", "a/b/m.py"),
    ("a/./m.py", "a/m.py"),
    ("lib/m.py", "lib/m.py"),
    ("a b.py", "a b.py"),
    ("caf\u00e9.py", "caf\u00e9.py"),
    ("..a/b...py", "..a/b...py"),
    (".hidden/.m", ".hidden/.m"),
    ("a@b.py", "a@b.py"),
    (".mip2/m.py", ".mip2/m.py"),
    ("a/mip/.mip.py", "a/mip/.mip.py"),
    ("n" * 251, "n" * 251),
    ("/".join("abcdefghijklmnopqrst") + "/m.py", "/".join("abcdefghijklmnopqrst") + "/m.py"),
]


@pytest.mark.parametrize("key", ["urls", "hashes"])
@pytest.mark.parametrize(("written", "installed"), DESTINATIONS)
def test_a_destination(device, net, key, written, installed):
    """A destination is below the target, in its one spelling, which the record has too."""
    entry = [written, sha256(b"m") if key == "hashes" else f"{WEB}/file"]
    net.put(f"{WEB}/file", b"m")
    net.put(f"{INDEX}/file/{sha256(b'm')[:2]}/{sha256(b'm')}", b"m")
    net.put(f"{INDEX}/package/6/x/latest.json", json.dumps({key: [entry]}))
    install(device, "x")
    files = device.tree(device.work, everything=True)
    assert files.pop("lib/.mip/record")
    assert files == {f"lib/{installed}": b"m"}
    assert ["file", installed, sha256(b"m")] in device.record()


# A destination that is refused, and a word of the refusal, which says why.
BAD_DESTINATIONS = [
    ("above", "../x.py", "../x.py"),
    ("above, later", "a/../../x.py", "a/../../x.py"),
    ("above, absolute", "/../x.py", "/../x.py"),
    ("parent", "..", ".."),
    ("the target", ".", ""),
    ("root", "/", "/"),
    ("nothing", "", ""),
    ("a directory", "a/", "a/"),
    ("backslash", "a\\x.py", "\\"),
    ("backslash above", "..\\x.py", "\\"),
    ("drive", "C:x.py", "C:x.py"),
    ("drive and slash", "C:/x.py", "C:/x.py"),
    ("dialect of an IDE", "fs:x.py", "fs:"),
    ("dialect of an IDE and slash", "fs:/lib/x.py", "fs:"),
    ("colon in a directory", "a:b/x.py", "a:b/x.py"),
    ("NUL", "a\0b.py", ""),
    ("newline", "a\nb.py", ""),
    ("carriage return", "a\rb.py", ""),
    ("tab", "a\tb.py", ""),
    ("escape", "a\x1b[2Jb.py", ""),
    ("delete", "a\x7fb.py", ""),
    ("space at the start", " x.py", ""),
    ("space at the end", "x.py ", ""),
    ("space at the end of a directory", "a /x.py", ""),
    ("the record", ".mip/record", ".mip/record"),
    ("the record in other case", ".MIP/record", ".MIP/record"),
    ("the record, hidden", "./.mip//record", "record"),
    ("the directory of the record", ".mip", ".mip"),
    ("the record of another target", "a/.mip/record", "a/.mip/record"),
    ("a file of that name", "a/.Mip", "a/.Mip"),
    ("a staged file", "m.py~mip", "m.py~mip"),
    ("a short name of FAT", "a/~1.MIP/record", "a/~1.MIP/record"),
    ("quotes", 'a".py', 'a".py'),
    ("asterisk", "a*.py", "a*.py"),
    ("question mark", "a?/b.py", "a?/b.py"),
    ("angle", "<a.py", "<a.py"),
    ("other angle", "a>b/c.py", "a>b/c.py"),
    ("bar", "a|b.py", "a|b.py"),
    ("long", "n" * 252, ""),
    ("long in UTF-8", "\u00e9" * 126, ""),
    ("long directory", "n" * 252 + "/x.py", ""),
    ("swapped, https", f"{WEB}/x.py", "URL"),
    ("swapped, github", "github:org/repo/x.py", "URL"),
    ("swapped, http", "http://example.com/x.py", "URL"),
]


@pytest.mark.parametrize("key", ["urls", "hashes"])
@pytest.mark.parametrize(("path", "word"), params(BAD_DESTINATIONS))
def test_a_destination_that_is_refused(device, net, key, path, word):
    """A destination outside the target, or one that FAT cannot have, is refused unfetched."""
    entry = [path, sha256(b"m") if key == "hashes" else f"{WEB}/file.py"]
    net.put(f"{WEB}/good.py")
    document = {"urls": [["good.py", f"{WEB}/good.py"]]}
    document.setdefault(key, []).append(entry)
    net.put(f"{INDEX}/package/6/x/latest.json", json.dumps(document))
    text = refused(device, net, "x")
    assert word in text
    assert not any(ord(c) < 32 or ord(c) == 127 for c in text)
    assert list(device.work.parent.glob("*.py")) == []


BAD_HASHES = [
    ("empty", '""'),
    ("short", '"zz"'),
    ("seven digits", '"1234567"'),
    ("65 digits", f'"{"0" * 65}"'),
    ("no hex", '"1234567g"'),
    ("sign", '"-1234567"'),
    ("plus", '"+12345678"'),
    ("prefix", '"0x123456"'),
    ("underscore", '"1234_5678"'),
    ("space", '" 12345678"'),
    ("newline", '"12345678\\n"'),
    ("path", '"../../../x"'),
    ("null", "null"),
    ("number", "12345678"),
    ("list", '["12345678"]'),
]


@pytest.mark.parametrize("value", params(BAD_HASHES))
def test_a_hash_that_is_refused(device, net, value):
    """A hash that is not 8 to 64 hexadecimal digits is refused before any file is fetched."""
    document = f'{{"urls": [["good.py", "{WEB}/good.py"]], "hashes": [["m.py", {value}]]}}'
    net.put(f"{WEB}/good.py")
    net.put(f"{INDEX}/package/6/x/latest.json", document)
    refused(device, net, "x")


@pytest.mark.parametrize("digits", [8, 9, 16, 63, 64])
def test_the_length_of_a_hash(device, net, digits):
    """A hash may have 8 to 64 digits; its file is found under all of them."""
    hash = sha256(b"m")[:digits]
    net.put(f"{INDEX}/file/{hash[:2]}/{hash}", b"m")
    net.put(f"{INDEX}/package/6/x/latest.json", json.dumps({"hashes": [["m.txt", hash]]}))
    install(device, "x")
    assert net.files == [f"{INDEX}/file/{hash[:2]}/{hash}"]
    assert device.tree() == {"m.txt": b"m"}


# Two entries for one path.
AGAIN = [
    ("from one URL", [["a.py", "1.py"], ["a.py", "1.py"]]),
    ("other spelling", [["a.py", "1.py"], ["./a.py", "1.py"]]),
    ("other spelling of the URL", [["a.py", "1.py"], ["a.py", "./1.py"]]),
    ("from two URLs", [["a.py", "1.py"], ["a.py", "2.py"]]),
    ("other spelling from two URLs", [["a.py", "1.py"], ["./a.py", "2.py"]]),
]


@pytest.mark.parametrize("between", [0, 200])
@pytest.mark.parametrize("entries", params(AGAIN))
def test_a_path_that_is_there_twice(device, net, entries, between):
    """Of two entries for one path the later one's content is there; all goes with the package."""
    others = [[f"other/m{n}.py", "1.py"] for n in range(between)]
    document = {"urls": [entries[0], *others, entries[1]]}
    net.put(f"{WEB}/package.json", json.dumps(document))
    for name in "1.py", "2.py":
        net.put(f"{WEB}/{name}", content("a.py", name))
    install(device, WEB)
    last = entries[1][1].removeprefix("./")
    harmless = {path: content("a.py", "1.py") for path, _ in others}
    assert device.tree() == dict(sorted({"a.py": content("a.py", last), **harmless}.items()))
    code = "import mip; print(mip.verify()); mip.uninstall(mip.list()[0])"
    assert device.run(code, check=True).lines[0] == "[]"
    assert device.tree() == {}


# Entries of which one has to be a file where the other has a directory, and that path.
CLASHES = [
    ("file, then directory", [["a", "1.py"], ["a/b.py", "2.py"]], "a"),
    ("directory, then file", [["a/b.py", "1.py"], ["a", "2.py"]], "a"),
    ("deep directory, then file", [["a/b/c/d.py", "1.py"], ["a/b", "2.py"]], "a/b"),
    ("file, then deep directory", [["a/b", "1.py"], ["a/b/c/d.py", "2.py"]], "a/b"),
]


def check_clash(device, path, *names):
    """install() refuses what needs a file and a directory at this path, and leaves nothing."""
    text = error(install(device, *names, check=False))
    why = "a file and a directory at once: what is asked for has both"
    assert text.endswith(f"{device.lib}/{path}: {why}")
    assert device.tree(device.work, everything=True) == {}
    assert not device.lib.exists()


@pytest.mark.parametrize("between", [0, 200])
@pytest.mark.parametrize(("entries", "path"), params(CLASHES))
def test_entries_that_clash(device, net, entries, path, between):
    """A path that has to be a file and a directory is refused by its name."""
    # Many harmless files between them: they clash however far apart they are.
    others = [[f"other/m{n}.py", "1.py"] for n in range(between)]
    document = {"urls": [entries[0], *others, entries[1]]}
    net.put(f"{WEB}/package.json", json.dumps(document))
    for name in "1.py", "2.py":
        net.put(f"{WEB}/{name}")
    check_clash(device, path, WEB)


@pytest.mark.parametrize(("entries", "path"), params(CLASHES))
def test_packages_that_clash(device, net, entries, path):
    """Entries of two packages of one run clash as those of one do."""
    for name, entry in zip(("one", "two"), entries, strict=True):
        document = {"urls": [[entry[0], f"{WEB}/{entry[1]}"]]}
        net.put(f"{INDEX}/package/6/{name}/latest.json", json.dumps(document))
        net.put(f"{WEB}/{entry[1]}")
    check_clash(device, path, ["one", "two"])


# Entries that FAT has in one place, other disks in two.
FOLDED = [
    ("a file", [["a.py", "1.py"], ["A.py", "2.py"]]),
    ("a file from one URL", [["a.py", "1.py"], ["A.py", "1.py"]]),
    ("a directory", [["d/a.py", "1.py"], ["D/a.py", "2.py"]]),
    ("a directory and a file", [["A/b.py", "1.py"], ["a", "2.py"]]),
]


@pytest.mark.parametrize("entries", params(FOLDED))
def test_entries_in_other_letter_case(device, net, entries):
    """Where the disk tells letter case both are there."""
    net.put(f"{WEB}/package.json", json.dumps({"urls": entries}))
    for name in "1.py", "2.py":
        net.put(f"{WEB}/{name}", content("a.py", name))
    install(device, WEB)
    assert device.tree() == dict(sorted((path, content("a.py", url)) for path, url in entries))


def test_packages_with_different_content_for_one_path(device, net):
    """Of two packages with different files for one destination the later one's is there.

    That is said; each owns the path, with its own hash.
    """
    for name in "one", "two":
        files = {"same.mpy": content("same.mpy", name)}
        net.publish(name, files=files, kinds=("6",))
    result = install(device, ["one", "two"])
    assert f"Replacing {device.lib}/same.mpy of one" in result.lines
    assert device.tree() == {"same.mpy": content("same.mpy", "two")}
    assert [line[1:3] for line in device.record() if line[0] == "file"] == [
        ["same.mpy", sha256(content("same.mpy", name))] for name in ("one", "two")
    ]


def test_many_files_that_do_not_clash(device, net):
    """Hundreds of files with similar names do not clash."""
    names = [f"{d}/{n}.py" for d in ("a", "b", "a/b", "ab", "a.py") for n in range(60)]
    net.put(f"{WEB}/package.json", json.dumps({"urls": [[name, "m.py"] for name in names]}))
    net.put(f"{WEB}/m.py", b"m")
    install(device, WEB)
    assert device.tree() == {name: b"m" for name in names}


def test_replacing_a_file_of_no_package(device, net):
    """That a file which no package owned is replaced is said, with its name."""
    net.put(f"{WEB}/package.json", '{"urls": [["main.py", "main.py"]]}')
    net.put(f"{WEB}/main.py")
    fresh = install(device, WEB, target="fresh").out.replace("fresh", "lib")
    device.lib.mkdir()
    (device.lib / "main.py").write_bytes(b"mine = 1\n")
    said = install(device, WEB, target="lib").lines
    assert any("main.py" in line and line not in fresh.splitlines() for line in said)
    assert device.tree() == tree({"main.py": f"{WEB}/main.py"})


# --- Local sources ---

# Names of one package or file. "{work}" stands for the board's working directory.
LOCAL = [
    "./app/package.json",
    "./app",
    "./app/",
    "app/package.json",
    "app/",
    "{work}/app/package.json",
    "{work}/app",
    "./elsewhere/../app",
    "./app/other.json",
    "./app/m.py",
    "app/m.py",
    "m.py",
    "{work}/app/m.py",
    "./a@b/m.py",
]


def installed(device, directory="lib"):
    """The files in a directory of the board's, which has a record and nothing else of mip's."""
    files = device.tree(device.work / directory, everything=True)
    assert files.pop(".mip/record")
    return files


def put_app(device):
    """Write the files that LOCAL names."""
    for path in "app/m.py", "a@b/m.py", "m.py":
        put_local(device, path, "m = 1\n")
    for path in "app/package.json", "app/other.json":
        put_local(device, path, '{"urls": [["m.py", "m.py"]]}')
    put_local(device, "elsewhere/x", "")


@pytest.mark.parametrize("name", LOCAL)
def test_a_local_name(device, net, name):
    """A path is opened, not fetched."""
    put_app(device)
    install(device, name.format(work=device.work))
    assert installed(device) == {"m.py": b"m = 1\n"}
    assert net.requests == []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["./app", "./app/package.json", "{work}/app", "{work}/app/m.py"])
def test_a_local_name_anywhere(device, net, name, place):
    """A path is opened in every place where a package is named."""
    put_app(device)
    asking = "package.json"
    name = name.format(work=device.work)
    install_in_place(device, name, place, f"./{asking}", lambda t: put_local(device, asking, t))
    assert installed(device) == {"m.py": b"m = 1\n"}
    assert net.requests == []


@pytest.mark.parametrize(
    "written",
    [
        "m.py",
        "./m.py",
        "sub/../m.py",
        "../app/m.py",
        "{work}/app/m.py",
        f"{WEB}/m.py",
        "github:org/repo/m.py",
    ],
)
def test_a_url_in_a_local_document(device, net, written):
    """A URL in a local package.json is relative to it, absolute on the board, or a full one."""
    put_local(device, "app/m.py", "m = 1\n")
    put_local(device, "app/sub/x", "")
    net.put(f"{WEB}/m.py", "m = 1\n")
    net.put(f"{REPO}/HEAD/m.py", "m = 1\n")
    written = written.format(work=device.work)
    put_local(device, "app/package.json", json.dumps({"urls": [["m.py", written]]}))
    install(device, "./app")
    assert installed(device) == {"m.py": b"m = 1\n"}
    assert len(net.requests) == (":" in written)


@pytest.mark.parametrize(
    "dep",
    [
        '"./sub"',
        '["./sub"]',
        '["./sub", "latest"]',
        '"./sub/package.json"',
        '"../app/sub/"',
        '"{work}/app/sub"',
    ],
)
def test_a_dependency_of_a_local_document(device, net, dep):
    """A path in the `deps` of a local package.json is relative to it."""
    dep = dep.replace("{work}", str(device.work))
    put_local(device, "app/package.json", f'{{"deps": [{dep}]}}')
    put_local(device, "app/sub/package.json", '{"urls": [["m.py", "m.py"]]}')
    put_local(device, "app/sub/m.py", "m = 1\n")
    install(device, "./app")
    assert installed(device) == {"m.py": b"m = 1\n"}
    assert net.requests == []


def test_dependencies_of_every_kind(device, net):
    """A local package may need packages of an index, of a repository and of the web."""
    net.publish("needed")
    module(net, f"{REPO}/v1/package.json", "a.py")
    module(net, f"{WEB}/x/package.json", "b.py")
    deps = ["needed", ["github:org/repo", "v1"], f"{WEB}/x"]
    put_local(device, "app/package.json", json.dumps({"deps": deps}))
    install(device, "./app")
    assert sorted(device.tree()) == ["a.py", "b.py", "needed.mpy"]


def test_local_cycle(device, net):
    """A cycle of local packages ends."""
    put_local(device, "a/package.json", '{"urls": [["a.py", "m.py"]], "deps": ["../b"]}')
    put_local(device, "b/package.json", '{"urls": [["b.py", "m.py"]], "deps": ["../a", "./"]}')
    put_local(device, "a/m.py", "a = 1\n")
    put_local(device, "b/m.py", "b = 1\n")
    install(device, "./a")
    assert installed(device) == {"a.py": b"a = 1\n", "b.py": b"b = 1\n"}


@pytest.mark.parametrize(
    "name", ["./nowhere", "./nowhere/package.json", "./nowhere.py", "/nowhere/x"]
)
def test_a_local_name_that_is_not_there(device, net, name):
    """A path at which there is nothing is refused by its name."""
    assert str(device.work / name) in refused(device, net, name)
    assert net.requests == []


@pytest.mark.parametrize("written", ["./pi", "pi", "pi/", "{work}/pi"])
def test_a_directory_as_an_index(device, net, index, written):
    """A directory may be the index: packages and their files are opened, not fetched."""
    shutil.copytree(index, device.work / "pi")
    name = json.loads((index / "index.json").read_text())["packages"][0]["name"]
    document = json.loads((index / "package" / "6" / name / "latest.json").read_text())
    install(device, name, index=written.format(work=device.work))
    files = installed(device)
    assert sorted(files) == sorted(path for path, _ in document["hashes"])
    for path, hash in document["hashes"]:
        assert sha256(files[path]).startswith(hash)
    assert net.requests == []


def test_a_package_that_a_local_index_does_not_have(device, net, index):
    """A package that a local index does not have is refused by its name and the index."""
    shutil.copytree(index, device.work / "pi")
    before = device.tree(device.work, everything=True)
    text = error(install(device, "no-such-package", index="./pi", check=False))
    assert "no-such-package" in text and "/pi/" in text
    assert device.tree(device.work, everything=True) == before


# --- The target ---

# As given, and the directory that it is below the working directory.
TARGETS = [
    ("third-party", "third-party"),
    ("third-party/", "third-party"),
    ("./third-party", "third-party"),
    ("a/b/c", "a/b/c"),
    ("a/b/c//", "a/b/c"),
    ("{work}/flash/lib", "flash/lib"),
    ("{work}/flash/lib/", "flash/lib"),
]


@pytest.mark.parametrize("command", [False, True], ids=["call", "command"])
@pytest.mark.parametrize(("written", "directory"), TARGETS)
def test_a_target(device, net, written, directory, command):
    """`target` is where packages go: relative or not, made with all directories above."""
    net.publish("x", files=["x/__init__", "x/y/z"])
    written = written.format(work=device.work)
    if command:
        device.mip("install", f"--target={written}", "x", check=True)
    else:
        install(device, "x", target=written)
    assert installed(device, directory) == tree({"x/__init__.mpy": "x 1.0", "x/y/z.mpy": "x 1.0"})
    assert len(device.tree(device.work, everything=True)) == 3


def test_a_target_that_is_there(device, net):
    """A target may exist, with files that are not mip's, which stay."""
    net.publish("x")
    put_local(device, "third-party/mine.py", "mine = 1\n")
    install(device, "x", target="third-party")
    assert installed(device, "third-party") == {
        "mine.py": b"mine = 1\n",
        **tree({"x.mpy": "x 1.0"}),
    }


# sys.path, and the entry that packages go to. "{work}" stands for the working directory.
SYS_PATHS = [
    ("first that ends in /lib", ["", ".frozen", "{work}/a/lib", "{work}/b/lib"], "a/lib"),
    ("not under /rom", ["/rom/lib", "{work}/a/lib"], "a/lib"),
    ("not under /rom, deeper", ["/rom/x/lib", "{work}/a/lib"], "a/lib"),
    ("not one that only starts so", ["{work}/lib/x", "{work}/a/lib"], "a/lib"),
    ("not one that only ends so", ["{work}/mylib", "{work}/a/lib"], "a/lib"),
    ("not /rom/ itself", ["{work}/rom/lib", "{work}/a/lib"], "rom/lib"),
]

# The read-only /rom of a board is a RAM disk here, so that a wrong mip does not write to a host.
ON_PATH = """
import mip, ramdisk, socket, sys
ramdisk.mount("lfs2", path="/rom")
sys.path[:] = sys.argv[1:]
mip.install("x")
"""


@pytest.mark.parametrize(("entries", "directory"), params(SYS_PATHS))
def test_the_target_in_sys_path(device, net, entries, directory):
    """Packages go to the first entry of sys.path that ends in /lib and is not under /rom."""
    net.publish("x")
    device.run(ON_PATH, *[entry.format(work=device.work) for entry in entries], check=True)
    assert installed(device, directory) == tree({"x.mpy": "x 1.0"})
    assert len(device.tree(device.work, everything=True)) == 2


@pytest.mark.parametrize("entries", [[""], ["", "/rom/lib"], ["lib2", ".frozen"]])
def test_no_target_in_sys_path(device, net, entries):
    """Where no entry of sys.path will do mip says so before anything is fetched."""
    net.publish("x")
    text = error(device.run(ON_PATH, *entries))
    assert "/lib" in text and "target" in text
    assert net.requests == []
    assert device.tree(device.work, everything=True) == {}


# A board whose only file system is a RAM disk at /.
ON_A_BOARD = """
import mip, os, ramdisk, socket, sys
os.umount("/") if hasattr(os, "umount") else __import__("vfs").umount("/")
ramdisk.mount(sys.argv[1], path="/")
os.chdir("/")
sys.path[:] = ["", ".frozen", sys.argv[2]]
if sys.argv[3]:
    mip.install("x", target=sys.argv[3])
else:
    mip.install("x")

def walk(directory):
    for name, kind, *_ in os.ilistdir(directory or "/"):
        path = directory + "/" + name
        if kind == 0x4000:
            walk(path)
        else:
            print("found", path)

walk("")
"""

# The entry of sys.path, the target that is given, and where x/y.mpy is then.
BOARDS = [
    ("usual", "/lib", "", "/lib"),
    ("the root as target", "/lib", "/", ""),
    ("like /rom", "/romantic/lib", "", "/romantic/lib"),
    ("relative target", "/lib", "third-party", "/third-party"),
]


@pytest.mark.parametrize("kind", ["lfs2", "fat"])
@pytest.mark.parametrize(("entry", "target", "directory"), params(BOARDS))
def test_the_target_on_a_board(device, net, kind, entry, target, directory):
    """On a board's own file systems the target is found and made, and "/" is one."""
    net.publish("x", files=["x/y"])
    result = device.run(ON_A_BOARD, kind, entry, target, check=True)
    found = [line.removeprefix("found ") for line in result.lines if line.startswith("found ")]
    assert sorted(found) == [f"{directory}/.mip/record", f"{directory}/x/y.mpy"]


# --- The record ---


def test_the_record(device, net):
    """The record has the packages, who asked for them, their files and what they need."""
    net.publish("asked", "1.5", deps=[["pinned", "2.0"], ["github:org/repo", "v1"]])
    net.publish("pinned", "2.0")
    module(net, f"{REPO}/v1/package.json", "m.py", version="0.7")
    net.put(f"{WEB}/single.py")
    install(device, ["asked", f"{WEB}/single.py"])
    files = device.tree()
    assert lines(device.record()) == sorted(
        [
            ["package", "asked", "1.5", "latest", INDEX],
            ["file", "asked.mpy", sha256(files["asked.mpy"])],
            ["dep", "pinned", "2.0"],
            ["dep", "github:org/repo", "v1"],
            ["package", "pinned", "2.0", None, INDEX],
            ["file", "pinned.mpy", sha256(files["pinned.mpy"])],
            ["package", "github:org/repo", "v1", None, None],
            ["file", "m.py", sha256(files["m.py"])],
            ["package", f"{WEB}/single.py", None, "latest", None],
            ["file", "single.py", sha256(files["single.py"])],
        ],
        key=str,
    )


def test_the_record_keeps_lines_with_their_package(device, net):
    """In the record the lines of a package follow its own, before those of the next."""
    net.publish("a", deps=["b"])
    net.publish("b", files=["b/one", "b/two"])
    install(device, "a")
    kinds = [line[:2] for line in device.record()[1:]]
    a, b = kinds.index(["package", "a"]), kinds.index(["package", "b"])
    assert a < kinds.index(["dep", "b"]) < b
    assert a < kinds.index(["file", "a.mpy"]) < b
    assert b < kinds.index(["file", "b/one.mpy"]) < kinds.index(["file", "b/two.mpy"])


# What is installed one after the other, and {name: (version, asked)} in the record after it.
ASKED = [
    ("latest", ["x"], {"x": ("3.0", "latest")}),
    ("version", ["x@1.0"], {"x": ("1.0", "1.0")}),
    ("version, then latest", ["x@1.0", "x"], {"x": ("3.0", "latest")}),
    ("latest, then version", ["x", "x@2.0"], {"x": ("2.0", "2.0")}),
    ("needed", ["needs"], {"needs": ("1.0", "latest"), "x": ("1.0", None)}),
    ("needed, then asked", ["needs", "x@1.0"], {"needs": ("1.0", "latest"), "x": ("1.0", "1.0")}),
    ("asked, then needed", ["x@1.0", "needs"], {"needs": ("1.0", "latest"), "x": ("1.0", "1.0")}),
    ("ref", ["github:org/repo@v1"], {"github:org/repo": ("v1", "v1")}),
    ("page", ["https://github.com/org/repo@v1"], {"github:org/repo": ("v1", "v1")}),
    ("two packages", ["x@1.0", "y@2.0"], {"x": ("1.0", "1.0"), "y": ("2.0", "2.0")}),
]


@pytest.mark.parametrize(("names", "expected"), params(ASKED))
def test_what_was_asked_for(device, net, names, expected):
    """The record tells what was asked for, and at which version, from what is only needed."""
    versions(net, "x", "y")
    net.publish("needs", deps=[["x", "1.0"]])
    module(net, f"{REPO}/v1/package.json", "m.py", version="0.7")
    for name in names:
        install(device, name)
    assert packages(device) == expected


def test_list_prints_what_install_takes(device, net):
    """All lines of list() together, given to install() elsewhere, make the same files."""
    versions(net, "x")
    net.publish("needs", deps=[["x", "1.0"]])
    module(net, f"{REPO}/v/1/package.json", "m.py", version="0.7")
    module(net, f"{OTHER}/HEAD/package.json", "n.py", version="0.8")
    module(net, f"{WEB}/x/package.json", "o.py", version="0.9")
    net.put(f"{WEB}/single.py")
    put_local(device, "app/package.json", '{"version": "1.1", "urls": [["local.py", "local.py"]]}')
    put_local(device, "app/local.py", "local = 1\n")
    install(
        device,
        [
            "needs",
            "github:org/repo@v/1",
            "github:org/other",
            f"{WEB}/x",
            f"{WEB}/single.py",
            "./app",
        ],
    )
    printed = listed(device)
    assert len(printed) == 7
    assert {"needs@1.0", "x@1.0", "github:org/repo@v/1"} <= set(printed)
    install(device, printed, target="call")
    assert device.tree(device.work / "call") == device.tree()
    device.mip("install", "--target", "command", *printed, check=True)
    assert device.tree(device.work / "command") == device.tree()
    assert device.mip("list", check=True).lines == printed


def test_list_of_nothing(device, net):
    """Where nothing is installed list() prints nothing and makes nothing."""
    assert listed(device) == []
    assert device.mip("list", check=True).lines == []
    assert list(device.work.iterdir()) == []


def test_two_targets_have_two_records(device, net):
    """Each target has its own record."""
    net.publish("x")
    net.publish("y")
    install(device, "x")
    install(device, "y", target="other")
    assert listed(device) == ["x@1.0"]
    assert device.mip("list", "--target", "other", check=True).lines == ["y@1.0"]


def test_another_board_fetches_it_again(device, net, tmp_path):
    """What is installed is a matter of the board's files alone."""
    net.publish("x")
    install(device, "x")
    other = Device(
        tmp_path / "other", device.path, device.interpreter, device.hosts, device.cafile
    )
    install(other, "x")
    assert other.tree() == device.tree()
    assert len(net.files) == 2
