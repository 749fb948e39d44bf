"""The boot.py of the pages finishes what a power cut interrupted, and imports mip only then."""

import pytest
from pages import START, blocks
from test_docs import board, internet, page, site  # noqa: F401  (fixtures)

# The disk of the board, which kills the process in place of one of its changes.
CUT = """
import os, posix_disk

class Failing(posix_disk.Disk):
    left = %d

    def _change(self):
        Failing.left -= 1
        if Failing.left < 0:
            os.system("kill -9 $PPID")

    def rename(self, old, new):
        self._change()
        super().rename(old, new)

    def remove(self, path):
        self._change()
        self._disk.remove(path)

    def mkdir(self, path):
        self._change()
        self._disk.mkdir(path)

    def open(self, path, mode):
        if mode[0] != "r":
            self._change()
        return self._disk.open(path, mode)

posix_disk.Disk = Failing
"""

CALLS = {
    "install": "mip.install('frame', index='/sd/pi')",
    "uninstall": "mip.uninstall('frame')",
}
# In the firmware of docs/firmware.md this mip is frozen; here upstream's is, so /lib comes first.
FROZEN = "import sys\nsys.path.insert(0, '/lib')\n"
LOADED = "\nimport sys\nprint('## mip' if 'mip' in sys.modules else '## nothing')\n"


def recipes():
    """The programs of the pages that recover, as parameters of a test."""
    return [
        pytest.param(before + block.text, id=name)
        for name, before in (("docs/use.md", ""), ("docs/firmware.md", FROZEN))
        for block in blocks(page(name))
        if block.language == "python" and "mip.recover()" in block.text
    ]


class Start:
    """A board that starts: what its boot.py is, and what it loads."""

    def __init__(self, board):  # noqa: F811
        self.board = board
        self.start = START % str(board.work)

    def run(self, code, check=True, before=""):
        """Start the board, and run `code` after its boot.py."""
        code = f"{before}{self.start}\nimport sys\nsys.path.insert(0, '/lib')\n{code}\n"
        return self.board.run(code, check=check)

    def loads_mip(self):
        """Start the board. Returns whether its boot.py has imported mip."""
        return self.board.run(self.start + LOADED, check=True).lines[-1] == "## mip"

    @property
    def left(self):
        """Whether something is in .mip besides the record."""
        meta = self.board.lib / ".mip"
        return meta.is_dir() and {file.name for file in meta.iterdir()} - {"record"} != set()

    def files(self):
        """What is in /lib, without mip."""
        tree = self.board.tree(everything=True)
        return {name: data for name, data in tree.items() if not name.startswith("mip/")}


def test_both_pages_have_it():
    """Each page shows it once."""
    assert [parameter.id for parameter in recipes()] == ["docs/use.md", "docs/firmware.md"]


@pytest.mark.parametrize("recipe", recipes())
def test_nothing_to_finish(board, recipe):  # noqa: F811
    """A board on which nothing was interrupted does not import mip."""
    start = Start(board(None))
    (start.board.work / "boot.py").write_text(recipe)
    assert not start.loads_mip()
    for call in CALLS.values():
        start.run(f"import mip; {call}")
        assert (start.board.lib / ".mip" / "record").exists()
        assert not start.loads_mip()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("recipe", recipes())
def test_the_power_is_cut(board, figures, recipe, call):  # noqa: F811
    """Wherever it was cut, the board starts with all or nothing, and imports mip only for that."""
    start = Start(board(None))
    boot = start.board.work / "boot.py"
    start.run("import mip; " + CALLS["install"])
    full = start.files()
    start.run("import mip; " + CALLS["uninstall"])
    empty = start.files()
    before, after = (empty, full) if call == "install" else (full, empty)
    loads, ends = set(), []
    for point in range(100):
        if start.files() != before:
            undo = "uninstall" if call == "install" else "install"
            start.run("import mip; " + CALLS[undo])
        assert start.files() == before
        boot.unlink(missing_ok=True)
        done = start.run("import mip; " + CALLS[call], check=False, before=CUT % point)
        if done.status == 0:
            break
        assert done.status == -9, str(done)
        boot.write_text(recipe)
        left = start.left
        loads.add(left)
        assert start.loads_mip() == left
        assert not start.left
        assert start.files() in (before, after)
        ends.append(start.files() == after)
        assert not start.loads_mip()
    figures("starts after a power cut, by boot.py", len(ends))
    assert done.status == 0
    assert len(ends) > 5
    assert set(ends) == {False, True}
    assert True in loads
