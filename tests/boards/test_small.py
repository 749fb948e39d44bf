"""The small mip, without="all": what small.py does by itself, and what it shares with the whole.

test_switches.py tries it with power cuts, cut connections, and every call of MicroPython's
document. MIP_WITHOUT=all ./tools/test tries it with what helpers/left_out.py lists.
"""

import ast
import hashlib
import json
from pathlib import Path

import pytest
import size
import sizes_page
import sweeps
import test_disk_errors
from device import error
from folders import ROOT
from internet import INDEX, content, tree
from scripted_server import Reply

BYTES = 10240
RAM = 2600  # kept by a frozen one, on 32 bits

WEB = "https://example.org"


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """The directories of both builds: {what it is without: path}."""
    found = {without: tmp_path_factory.mktemp("build") for without in ("all", "")}
    for without, directory in found.items():
        size.compile_modules(directory, without=without)
    return found


@pytest.fixture(scope="module")
def module_path(builds):
    """The directory with the small build, in place of the whole one."""
    return builds["all"]


def source(without=""):
    """The syntax tree of mip/__init__.py as manifest.py writes it."""
    return ast.parse(Path(size.sources(ROOT, without)["mip/__init__.py"]).read_text("utf-8"))


def top(tree):
    """{name: a function or class of a module}."""
    return {node.name: node for node in tree.body if hasattr(node, "name")}


# --- What it is ---


def test_the_budget():
    """It is as small as it is to be, in flash and, as it was measured, in RAM."""
    assert sizes_page.sizes("all")[0] <= BYTES
    assert sizes_page.builds()["all"]["frozen"]["kept"] <= RAM


def test_what_it_is_made_of():
    """Each function is one of small.py, or that of mip/__init__.py as it is."""
    own = ast.parse((ROOT / "manifests" / "small.py").read_text("utf-8"))
    whole, small = source(), source("all")
    mine = top(own)
    shared = set(top(small)) - set(mine)
    assert len(shared) > 30
    for name in shared - {"__getattr__", "_meant"}:  # which are behind a switch
        assert ast.dump(top(small)[name]) == ast.dump(top(whole)[name]), name
    # Nothing is written twice but what has to be another one.
    assert set(mine) & set(top(whole)) == {"_piece", "Session", "install", "recover"}


def test_no_word_goes_with_all():
    """Whatever else is named, "all" is the small mip; and every switch by its name is not."""
    assert ast.dump(source("search all")) == ast.dump(source("all"))
    assert "_Run" not in top(source(" ".join(size.switches())))


def test_it_is_written(tmp_path, capsys):
    """tools/dev/size.py writes it for boards whose firmware is not one's own."""
    assert size.main(["--without", "all", "--output", str(tmp_path)]) == 0
    (written,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written == tmp_path / "mip" / "__init__.mpy"
    assert f"{written.stat().st_size:,} bytes" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        size.main(["--output", str(tmp_path)])


# --- Resolving ---


def call(device, *arguments, check=True, **options):
    """Run install() with these arguments; return the result."""
    words = json.dumps([arguments, options])
    code = f"import json, mip; a, o = json.loads({words!r}); print(mip.install(*a, **o))"
    return device.run(code, check=check)


def refused(device, *arguments, **options):
    """Assert that install() refuses and leaves what was there; return the text."""
    before = device.tree(device.work, everything=True)
    text = error(call(device, *arguments, check=False, **options))
    assert device.tree(device.work, everything=True) == before
    return text


def packages(device):
    """{name: what the record says of it} of the packages of the record."""
    return {line[1]: line[2:] for line in device.record() if line[0] == "package"}


def test_what_is_recorded(device, net):
    """A package has its version, what was asked for, and its index; what it needs is there."""
    net.publish("a", "1.1", deps=[["b", "latest"], ["c", "2.0"]])
    net.publish("b", "0.5")
    net.publish("c", "2.0")
    assert call(device, "a", version="1.1").lines[-2:] == ["Done", "True"]
    assert packages(device) == {
        "a": ["1.1", "1.1", INDEX],
        "b": ["0.5", None, INDEX],
        "c": ["2.0", None, INDEX],
    }
    assert device.tree() == tree({"a.mpy": "a 1.1", "b.mpy": "b 0.5", "c.mpy": "c 2.0"})
    assert call(device, "a", version="1.1").lines[-2:] == ["Done", "False"]


def test_source_is_recorded(device, net):
    """That source was asked for is in the record, for the upgrade() of another build."""
    net.publish("a")
    call(device, "a", mpy=False)
    assert packages(device) == {"a": ["1.0", "latest", INDEX, "py"]}


def test_without_dependencies(device, net):
    """deps=False installs what is named alone."""
    net.publish("a", deps=[["b", "latest"]])
    call(device, "a", deps=False)
    assert list(packages(device)) == ["a"]


def test_the_users_pin_holds(device, net):
    """A version that the user has asked for is that of a later dependency; another is refused."""
    for version in "1.0", "2.0":
        net.publish("b", version)
    net.publish("a", deps=[["b", "latest"]])
    net.publish("c", deps=[["b", "2.0"]])
    call(device, "b@1.0")
    call(device, "a")
    assert packages(device)["b"] == ["1.0", "1.0", INDEX]
    assert "b is asked for in two versions" in refused(device, "c")
    call(device, ["b@2.0", "c"])
    assert packages(device)["b"] == ["2.0", "2.0", INDEX]


@pytest.mark.parametrize(
    "wanted", [["b@1.0", "b@2.0"], ["a", "c"], ["c", "a"], ["b", "c"]], ids=" ".join
)
def test_two_versions(device, net, wanted):
    """They are refused before a file is fetched, also when the latest was taken first."""
    net.publish("b", "1.0")
    net.publish("b", "2.0")
    net.publish("a", deps=[["b", "2.0"]])
    net.publish("c", deps=[["b", "1.0"]])
    assert "b is asked for in two versions" in refused(device, wanted)
    assert net.files == []


def test_the_hash_of_a_document(device, net):
    """#sha256= pins the package.json; another one is refused."""
    net.put(f"{WEB}/p/package.json", '{"urls": [["a.py", "a.py"]]}')
    net.put(f"{WEB}/p/a.py")
    pin = "19a5e4dbef1ef3c4a7fae5fcd2b4e1d2e8d0d6b29d8a4df2bbd5f4f3e8b9c000"
    assert "does not match its hash" in refused(device, f"{WEB}/p#sha256={pin}")


def test_a_query_is_a_secret(device, net):
    """It is sent for a file, and is neither printed nor recorded."""
    net.put(f"{WEB}/p/package.json", '{"urls": [["a.py", "a.py?token=T"]]}')
    net.put(f"{WEB}/p/a.py?token=T")
    printed = call(device, f"{WEB}/p").out
    record = (device.lib / ".mip" / "record").read_text()
    assert "token" not in printed + record


def test_a_file_that_somebody_pins(device, net):
    """What a package demands of a file that was named before is not passed over."""
    net.put(f"{WEB}/f.py")
    pin = "#sha256=" + "0" * 64
    deps = json.dumps({"deps": [[f"{WEB}/f.py", pin]]})
    net.put(f"{WEB}/p/package.json", deps)
    assert "in two versions" in refused(device, [f"{WEB}/f.py", f"{WEB}/p"])


def test_a_version_that_says_another(device, net):
    """A package that calls itself 1.0.0 is what was asked for as 1.0."""
    document = {"version": "1.0.0", "urls": [["a.py", f"{WEB}/a.py"]]}
    net.put(f"{INDEX}/package/6/a/1.0.json", json.dumps(document))
    net.put(f"{WEB}/a.py")
    net.publish("x", deps=[["a", "1.0"]])
    call(device, ["a@1.0", "x"])
    assert packages(device)["a"] == ["1.0.0", "1.0", INDEX]


def test_packages_without_end(device, server):
    """They are bounded."""
    for n in range(300):
        server.routes[f"/{'x/' * n}package.json"] = Reply(body=b'{"deps": ["./x"]}')
    assert "too long" in refused(device, server.url)
    assert len(server.requests) == 200


DOCUMENTS = {
    "a page": "<html>",
    "a list": "[]",
    "a newer format": '{"v": 2}',
    "an entry of one": '{"hashes": [["a.py"]]}',
    "no path": '{"hashes": [[1, "12345678"]]}',
    "a version that no build reads": '{"version": "%s"}' % ("[" * 17),
    "a path that leads out": '{"urls": [["../a.py", "a.py"]]}',
    "an absolute path that leads out": '{"urls": [["/../a.py", "a.py"]]}',
    "the record": '{"urls": [[".MIP/record", "a.py"]]}',
    "no name": '{"deps": [[""]]}',
    "a cut document": '{"urls": [["a.py", "a.py"]',
}


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_that_is_refused(device, net, document):
    """It is an InstallError, nothing is fetched, and nothing is left."""
    net.put(f"{WEB}/p/package.json", document)
    net.put(f"{WEB}/p/a.py")
    assert refused(device, f"{WEB}/p").startswith(f"{WEB}/p/package.json: ")
    assert net.files == []


# --- Staging, commit ---


def test_another_hash(device, net):
    """A file with another hash is refused, and what was there is there."""
    net.publish("a", "1.0")
    call(device, "a")
    net.publish("a", "2.0", files={"a.mpy": content("a.mpy", "a 2.0"), "b.py": b"x"})
    (url,) = [f"{INDEX}/file/2d/2d711642"]
    net.put(url, b"y")
    assert refused(device, "a") == f"{url}: ValueError the content does not match its hash"


def test_a_new_version(device, net):
    """What the new version has no more is removed; what is of another package stays."""
    net.publish("other", files={"d/other.py": b"o", "d/shared.py": b"s"})
    call(device, "other")
    net.publish("a", "1.0", files={"a.py": b"1", "d/old.py": b"1", "d/shared.py": b"s"})
    call(device, "a")
    net.publish("a", "2.0", files={"a.py": b"2"})
    call(device, "a")
    assert device.tree() == {"a.py": b"2", "d/other.py": b"o", "d/shared.py": b"s"}


BOTH = {
    "file first": (["a", "a/b.py"], []),
    "directory first": (["a/b.py", "a"], []),
    "deeper": (["a/b/c.py", "a"], []),
    "in two packages": (["a"], ["a/b.py"]),
}


@pytest.mark.parametrize(("one", "two"), BOTH.values(), ids=BOTH)
def test_a_file_and_a_directory(device, net, one, two):
    """What has to be both is refused before the commit."""
    net.publish("one", files={path: path.encode() for path in one}, deps=[["two", ""]])
    net.publish("two", files={path: path.encode() for path in two})
    assert "a file and a directory at once" in refused(device, "one") or two


def test_in_the_way_of_what_is_there(device, net):
    """So is a file where there is a directory, and the reverse."""
    net.publish("a", files={"a": b"a"})
    net.publish("b", files={"a/b.py": b"b"})
    call(device, "a")
    assert "there is a file at " in refused(device, "b")


def test_one_path_of_two_packages(device, net):
    """The later one's file is there, also if the first one's is there already."""
    net.publish("one", files={"x.py": b"1"}, deps=[["two", ""]])
    net.publish("two", files={"x.py": b"2"})
    call(device, "one")
    assert device.tree() == {"x.py": b"2"}
    call(device, "two")
    call(device, "one")
    assert device.tree() == {"x.py": b"2"}
    call(device, "one", deps=False)
    assert device.tree() == {"x.py": b"1"}
    assert [line[1] for line in device.record() if line[0] == "package"] == ["two", "one"]


# An upgrade on FAT, where a file has another letter case in the new version.
LETTER_CASE = """
import os
import faults, ramdisk
ramdisk.mount("fat")
os.chdir("/ram")
import mip

class Answer:
    status_code = 200
    def __init__(self, data):
        self.data = data
        self.raw = self
    def readinto(self, buf):
        n = min(len(buf), len(self.data))
        buf[:n] = self.data[:n]
        self.data = self.data[n:]
        return n
    def close(self):
        pass

class Session:
    def get(self, url):
        return Answer(PAGES[url])

for name in "A.py", "a.py":
    PAGES = {
        "http://h/p/package.json": b'{"urls": [["%s", "x"]]}' % name.encode(),
        "http://h/p/x": name.encode(),
    }
    mip.install("http://h/p", target="lib", session=Session())
    with open("lib/a.py") as file:
        print(file.read(), os.listdir("lib/.mip"))
"""


def test_letter_case_on_fat(device):
    """A file is not removed because its name is written otherwise now."""
    lines = [line for line in device.run(LETTER_CASE, check=True).lines if "record" in line]
    assert lines == ["A.py ['record']", "a.py ['record']"]


# A run that ends as with a power cut: after the commit, because no file can be moved, or before
# it, because one cannot be had, and nothing is cleared up.
CUTS = {
    "after the commit": """
def stop(*ignored):
    raise OSError(5)

store.move = stop
""",
    "before the commit": """
clear = getattr(store, "clear", None) or store.finish

def only_at_first(self):
    if self.recovering:
        clear(self)

if hasattr(store, "clear"):
    store.clear = only_at_first
else:
    store.finish = only_at_first
""",
}
CUT = """
import mip
store = getattr(mip, "_Run", None) or mip._Store
CUT
mip.install("a")
"""


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("first", ["all", ""], ids=["small", "whole"])
def test_what_another_build_has_begun(device, net, builds, first, cut):
    """Each of both builds finishes what the other one has committed, or clears up after it."""
    (second,) = set(builds) - {first}
    net.publish("other", files={"other.py": b"o"})
    net.publish("a", "1.0", files={"a.py": b"1", "d/old.py": b"1"})
    device.run("import mip; mip.install(['other', 'a'])", path=builds[first], check=True)
    wanted = before = device.tree(everything=True)
    new = {"a.py": b"2", "new/e/f.py": b"f", "x.py": b"x"}
    net.publish("a", "2.0", files=new)
    if cut == "before the commit":
        last = hashlib.sha256(b"x").hexdigest()[:8]
        net.put(f"{INDEX}/file/{last[:2]}/{last}", b"another")
    result = device.run(CUT.replace("CUT", CUTS[cut]), path=builds[first])
    assert "InstallError: " in result.lines[-1]
    left = device.tree(everything=True)
    assert ".mip/plan" in left and (".mip/room" in left) == (cut == "before the commit")
    assert "new/e/f.py~mip" in left
    device.run("import mip; mip.recover()", path=builds[second], check=True)
    if cut == "after the commit":
        record = device.lib / ".mip" / "record"
        wanted = {**new, "other.py": b"o", ".mip/record": record.read_bytes()}
        assert packages(device)["a"][0] == "2.0"
    assert device.tree(everything=True) == dict(sorted(wanted.items())) != left
    folders = {path.name for path in device.lib.rglob("*") if path.is_dir()}
    assert folders == {".mip", *("new", "e")} if wanted is not before else {".mip", "d"}


# A call of the first build is cut at each write, and the second one recovers.
BOTH_BUILDS = """
import sys
loaded = []
for path in sys.argv[5], sys.argv[4]:  # `mip` is the first one then
    sys.modules.pop("mip", None)
    sys.path.insert(0, path)
    import mip
    sys.path.pop(0)
    mip.print = lambda *words: None
    loaded.append(mip)
import faults, oracle

case = faults.Case(*sys.argv[1:3])
findings = oracle.Findings()
findings.add("without a fault", oracle.check_case(case))
if sys.argv[2] == "lfs2":
    case.options = {"readsize": 128}
for number, torn, image in faults.cuts(case.image, case.log):
    findings.count("cuts")
    case.start(image=image)
    try:
        loaded[0].recover(faults.TARGET)
        wrong = oracle.check(case, oracle.SETTLED, faults.walk(faults.ROOT))
    except Exception as error:
        wrong = ["recover: %r" % error]
    findings.add((number, torn), wrong)
    case.stop()
findings.show()
"""


@pytest.mark.parametrize("kind", ["lfs2", "fat"])
@pytest.mark.parametrize(
    ("first", "scenario"), [("all", "install again"), ("", "install again"), ("", "upgrade")]
)
def test_a_power_cut_and_another_build(device, builds, first, scenario, kind):
    """What one build has begun, at any cut, the other one finishes or clears up."""
    (second,) = set(builds) - {first}
    arguments = scenario, kind, "", builds[first], builds[second]
    counts, problems = sweeps.sweep(device, BOTH_BUILDS, *arguments)
    assert counts["cuts"] > 100
    assert not problems, sweeps.listed(problems)


def test_what_the_whole_no_longer_needs(device, net, builds):
    """An upgrade that drops a package, and was cut, is finished: its files go, too."""
    net.publish("a", "1.0", deps=[["b", "latest"]])
    net.publish("b", files={"b.py": b"b", "d/b.py": b"b"})
    device.run("import mip; mip.install('a')", path=builds[""], check=True)
    net.publish("a", "2.0")
    upgrade = CUT.replace("CUT", CUTS["after the commit"])
    device.run(upgrade.replace('install("a")', "upgrade()"), path=builds[""])
    device.run("import mip; mip.recover()", path=builds["all"], check=True)
    assert device.tree() == tree({"a.mpy": "a 2.0"})


@pytest.mark.parametrize(("fault", "kind"), test_disk_errors.FAULTS)
def test_a_disk_error(device, fault, kind):
    """An error of the disk is an InstallError, nothing is broken, and the next call succeeds."""
    faults = repr(test_disk_errors.FAULTS[fault, kind])
    counts, problems = sweeps.sweep(device, test_disk_errors.ERRORS, "install", kind, faults)
    assert counts["errors"] > 50
    assert not problems, sweeps.listed(problems)


# --- The session ---


def test_a_session_that_failed_is_used_again(device, server):
    """What is left of an answer that was not understood is not taken for the next one."""
    server.routes["/a/package.json"] = Reply(body=b"{}", headers={"Content-Length": "2x"})
    server.routes["/b/package.json"] = Reply(body=b'{"urls": [["b.py", "b.py"]]}')
    server.routes["/b/b.py"] = Reply(body=b"b")
    code = f"""
import mip
session = mip.Session()
for name in "ab":
    try:
        mip.install("{server.url}/" + name, session=session)
    except mip.InstallError as e:
        print("refused", e)
"""
    lines = device.run(code, check=True).lines
    assert [line[:7] for line in lines if line[:4] in ("refu", "Done")] == ["refused", "Done"]
    assert device.tree() == {"b.py": b"b"}


def test_a_redirect_without_a_place(device, server):
    """It does not lead to where an earlier one led."""
    server.routes["/p/package.json"] = Reply(body=b'{"urls": [["1.py", "1"], ["2.py", "2"]]}')
    server.routes["/p/1"] = Reply(status=302, headers={"Location": "/there"}, body=b"")
    server.routes["/p/2"] = Reply(status=302, body=b"")
    server.routes["/there"] = Reply(body=b"there")
    assert refused(device, f"{server.url}/p").startswith(f"{server.url}/p/2: ")


def test_endless_headers(device, server):
    """They are an error, not the beginning of the body."""
    server.routes["/p/package.json"] = Reply(body=b'{"urls": [["a.py", "a"]]}')
    server.routes["/p/a"] = Reply(body=b"a", headers={f"X-{n}": "y" for n in range(300)})
    assert refused(device, f"{server.url}/p").startswith(f"{server.url}/p/a: OSError ")


def test_one_connection(device, net):
    """All requests to a host go over one connection."""
    net.publish("a", files={f"{n}.py": b"%d" % n for n in range(9)})
    call(device, "a")
    assert (net.secure.connections, len(net.requests)) == (1, 10)


def test_headers_go_to_their_host_over_tls(device, net):
    """A header is for one host, and is not sent without TLS."""
    net.put("http://example.com/p/package.json", f'{{"urls": [["a.py", "{WEB}/a.py"]]}}')
    net.put(f"{WEB}/a.py")
    code = """
import mip
headers = {"example.org": {"X-Token": "T"}, "example.com": {"X-Token": "U"}}
mip.install("http://example.com/p", session=mip.Session(headers))
"""
    device.run(code, check=True)
    assert [headers.get("x-token") for headers in net.plain.headers_seen] == [None]
    assert [headers.get("x-token") for headers in net.secure.headers_seen] == ["T"]


def test_certificates(device, net):
    """With a cafile, a server that it does not vouch for is not asked for anything."""
    net.publish("a")
    code = "import mip; mip.cafile = {!r}; mip.install('a')"
    device.run(code.format(str(net.cafile)), check=True)
    net.publish("b")
    asked = len(net.requests)
    wrong = ROOT / "tests" / "helpers" / "stand_ins"
    result = device.run(code.replace("'a'", "'b'").format(str(wrong / "no.pem")))
    assert "InstallError: " in result.lines[-1]
    assert len(net.requests) == asked


# --- The rest ---


def test_a_clean_target_is_not_written_to(device, net):
    """recover() of a target in which nothing is to be done writes nothing, as at each start."""
    net.publish("a")
    call(device, "a")
    code = """
import mip, os

class Still:
    def __getattr__(self, name):
        if name in ("mkdir", "remove", "rename"):
            raise AssertionError(name)
        return getattr(os, name)

mip.open = lambda path, mode="r": open(path, mode) if "w" not in mode else 1 / 0
mip.recover()
mip.recover("nothing/here")
"""
    before = device.tree(device.work, everything=True)
    device.run(code, check=True)
    assert device.tree(device.work, everything=True) == before


def test_a_damaged_record(device, net):
    """It is an error that names it, and nothing is changed."""
    net.publish("a")
    call(device, "a")
    (device.lib / ".mip" / "record").write_bytes(b"[]\n")
    assert "record damaged" in refused(device, "a")


def test_one_at_a_time(device, net):
    """A call within a call is refused, and so is nothing after it."""
    net.publish("a")
    code = """
import mip

def idle():
    mip.idle = None
    try:
        mip.install("a")
    except mip.InstallError as e:
        print(e)

mip.idle = idle
mip.install("a")
"""
    lines = device.run(code, check=True).lines
    assert "mip is at work" in lines and lines[-1] == "Done"


def test_what_idle_raises(device, net):
    """It ends the call, and nothing is half installed."""
    net.publish("a")
    result = device.run("import mip\ndef idle(): 1 / 0\nmip.idle = idle\nmip.install('a')")
    assert "ZeroDivisionError" in error(result)
    assert device.tree(device.work, everything=True) == {}
