"""tools/board tries mip on a board: here the Unix port at a pseudo-terminal, where killing the
process is the reset."""

import getpass
import os
import subprocess
from pathlib import Path

import board
import board_oracle
import pytest
from board import BoardError, Trial
from board_oracle import Scene
from device import Device, interpreter
from folders import BOARD, BUILD, RESET, ROOT
from plug import Plug

# What a board has that the Unix port has not.

RESETS = 12
# What is on the board before.
THERE = {"boot.py": b"# boot\n", "lib/own.py": b"OWN = 1\n"}


class World:
    """A board at a port, with files of its own, and a directory of the computer."""

    def __init__(self, place: Path, path, hosts=None):
        self.device = Device(place / "device", ".frozen", interpreter(), hosts)
        for name, content in THERE.items():
            file = self.device.work / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)
        self.place = place / "computer"
        self.place.mkdir()
        environment = self.device.environment([*path, ".frozen"])
        self.plug = Plug(self.device.command(heap="1m"), cwd=self.device.work, env=environment)
        self.said = []

    def trial(self, kind=Trial, **options):
        """A Trial on the board, with little that takes long."""
        options = {"resets": 0, "step": 32768, "say": self.said.append, **options}
        return kind(board.Board(self.plug.name, pause=0), **options)

    def files(self):
        """What is on the board."""
        return self.device.tree(self.device.work, everything=True)


@pytest.fixture
def world(tmp_path):
    """A board that can be reset."""
    world = World(tmp_path, [RESET])
    with world.plug:
        yield world


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A World, and the Trial that did everything on it."""
    # The module network takes the board off line by the module socket of the tests.
    hosts = {"nowhere": 1}
    world = World(tmp_path_factory.mktemp("board"), [RESET, BOARD], hosts)
    wifi = "a network", "a password"
    trial = world.trial(resets=RESETS, wifi=wifi, bind="127.0.0.1")
    with world.plug:
        trial.run(world.place)
    return world, trial


# --- A trial ---

ROWS = {
    "firmware": (r"MicroPython .+", ""),
    "machine": (r".+, (32|64) bits", ""),
    "file system": (r"VfsPosix.*", ""),
    "RAM that is free, with the directory mounted": (r"[\d,]+ bytes", ""),
    "RAM kept after the import, .mpy": (r"[\d,]+ bytes", r"[\d,]+ bytes"),
    "RAM for the import and 10 files": (r"[\d,]+ bytes", r"[\d,]+ bytes"),
    "install of 10 files": (r"\d+\.\d\d s", r"\d+\.\d\d s"),
    "the same again": (r"\d+\.\d\d s", r"\d+\.\d\d s"),
    "install from a path": (r"\d+\.\d\d s", ""),
    "upgrade from a path": (r"\d+\.\d\d s", ""),
    "verify": (r"\d+\.\d\d s", ""),
    "uninstall": (r"\d+\.\d\d s", ""),
    "install of 10 files over http": (r"\d+\.\d\d s", r"\d+\.\d\d s"),
    "install of 10 files over https": (r"\d+\.\d\d s", r"\d+\.\d\d s"),
    "resets in install, upgrade, uninstall: all or nothing": (f"{RESETS} of {RESETS}", ""),
    "the rest of the board": ("as it was", ""),
}


def test_what_is_found(whole):
    """A trial has a row for each thing that is tried, and what is promised holds."""
    _, trial = whole
    assert trial.problems == []
    assert [what for what, _, _ in trial.rows] == list(ROWS)


@pytest.mark.parametrize("what", ROWS)
def test_a_row(whole, what):
    """A row has what it should, for each mip."""
    (found,) = [sides for title, *sides in whole[1].rows if title == what]
    for text, pattern in zip(found, ROWS[what], strict=True):
        assert board.re.fullmatch(pattern, text), text


def test_the_board_was_reset(whole):
    """Each reset of a call was one: the interpreter was started anew."""
    assert whole[0].plug.starts > RESETS


def test_the_board_is_as_it_was(whole):
    """What was on the board is there, and nothing else."""
    assert whole[0].files() == THERE


def test_the_table(whole):
    """The table has a head with the board's name, and every row, as Markdown."""
    _, trial = whole
    lines = board.table(trial.facts, trial.rows).splitlines()
    assert lines[0] == f"## {trial.facts['machine']}"
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + len(ROWS)
    assert {row.count("|") for row in rows} == {4}


# --- What goes wrong ---


class OnlyResets(Trial):
    """A Trial of resets alone."""

    def _ram(self):
        pass

    def _verbs(self):
        pass


# As if the disk had no rename in one step: the new name has a part of the file for a while.
TORN = """
    def rename(self, old, new):
        self.change()
        with open(old, "rb") as file:
            data = file.read()
        write(new, data[: len(data) // 2])
        self.change()
        write(new, data)
        self.change()
        os.remove(old)
"""


def test_a_file_that_is_torn(world, tmp_path):
    """A disk that does not rename in one step is found out by the resets."""
    text = Path(board.__file__).with_name("board_device.py").read_text()
    rename = (
        "\n    def rename(self, old, new):\n        self.change()\n        os.rename(old, new)\n"
    )
    assert rename in text
    torn = tmp_path / "board_device.py"
    torn.write_text(text.replace(rename, TORN))
    trial = world.trial(OnlyResets, resets=9, device=torn)
    trial.run(world.place)
    assert any("is neither the old file nor the new one" in text for text in trial.problems)
    assert all(text.startswith("reset at change ") for text in trial.problems)
    assert world.files() == THERE


class Untidy(Trial):
    """A Trial that leaves something on the board."""

    def _ram(self):
        self.board.run(f"device.write({self.root + '/left.txt'!r}, b'x')")

    def _verbs(self):
        pass


def test_a_board_that_is_not_as_it_was(world):
    """What else was changed on the board is told."""
    trial = world.trial(Untidy)
    trial.run(world.place)
    assert trial.problems == ["the board is not as it was: left.txt"]
    assert trial.rows[-1] == ("the rest of the board", "changed", "")


class Broken(Untidy):
    """A Trial that breaks off."""

    def _ram(self):
        self.board.run("1 / 0")


def test_a_trial_that_breaks_off(world):
    """After an error of the board its directory is removed, and the error is told."""
    with pytest.raises(BoardError, match="ZeroDivisionError"):
        world.trial(Broken).run(world.place)
    assert world.files() == THERE


class Unplugged(Untidy):
    """A Trial whose board is gone after a while."""

    def _ram(self):
        self.board.port += " is gone"
        self.board.reset()


def test_a_board_that_is_gone(world, monkeypatch):
    """A board that does not come back ends the trial; what is left on it is told."""
    monkeypatch.setattr(board, "REBOOT", 0.2)
    left = f"{world.device.work}/{board.NAME} is still on the board: .* is gone"
    with pytest.raises(BoardError, match=left):
        world.trial(Unplugged).run(world.place)


class Stopped(Untidy):
    """A Trial that somebody ends."""

    def _ram(self):
        raise KeyboardInterrupt


def test_ctrl_c(world, monkeypatch):
    """After Ctrl-C the directory on the board is removed, and the status is 130."""
    monkeypatch.setattr(board, "ROOT", world.place)
    words = [world.plug.name, "--yes"]
    options = {"say": world.said.append}
    assert board.main(words, lambda one, resets, **_: Stopped(one, resets, **options)) == 130
    assert world.files() == THERE


def test_a_directory_that_is_there(world):
    """A directory of that name on the board stays, and ends the trial."""
    own = world.device.work / board.NAME / "own.txt"
    own.parent.mkdir()
    own.write_text("mine")
    with pytest.raises(BoardError, match="remove it first"):
        world.trial().run(world.place)
    assert own.read_text() == "mine"
    assert world.device.tree(own.parent) == {"own.txt": b"mine"}


def test_a_board_without_resets(tmp_path):
    """Where there is no machine.reset(), the rest is tried, and it is said."""
    world = World(tmp_path, [])
    trial = world.trial(Untidy, resets=RESETS)
    with world.plug:
        trial.run(world.place)
    whats = [what for what, *_ in trial.rows]
    assert ("resets", "not tried: there is no machine.reset()", "") in trial.rows
    assert whats[-1] == "the rest of the board"
    assert world.plug.starts == 1


def test_a_board_that_does_not_reset(world):
    """A reset that does not come is told."""
    one = board.Board(world.plug.name, pause=0)
    one.connect()
    (world.place / "board_device.py").touch()
    one.mount(world.place)
    with pytest.raises(BoardError, match="did not reset"):
        one.reset("pass")
    one.close()


# --- The oracle ---

OLD = {"a.mpy": "1", "b/c.mpy": "2", "gone.mpy": "3"}
NEW = {"a.mpy": "9", "b/c.mpy": "2", "new/n.mpy": "4"}
FOREIGN = {"mine": None, "mine/own.py": [9, "f"]}
SCENE = Scene("upgrade", "new", "1.0", "2.0", {None: {}, "1.0": OLD, "2.0": NEW}, FOREIGN)


def tree(files, meta=(), without=(), **changed):
    """A tree of these files, with what is foreign, and with names in .mip."""
    found = {**FOREIGN, **{path: [1, sha] for path, sha in files.items()}, ".mip": None}
    for path in files:
        if "/" in path:
            found[path.split("/")[0]] = None
    found.update({f".mip/{name}": [1, "m"] for name in meta})
    found.update(changed)
    return {path: entry for path, entry in found.items() if path not in without}


def record(version, files):
    """The text of a record."""
    lines = ['["mip", 1]', f'["package", "app", "{version}", null, "http://index"]']
    lines += [f'["file", "{path}", "{sha}"]' for path, sha in files.items()]
    return "\n".join(lines) + "\n"


CUTS = {
    "old": (tree(OLD), False, []),
    "new": (tree(NEW), False, []),
    "mixed, with staged files": (
        tree({**OLD, "a.mpy": "9", "b/c.mpy~mip": "2"}, ["plan", "new"]),
        False,
        [],
    ),
    "torn": (
        tree({**OLD, "a.mpy": "0"}),
        False,
        ["a.mpy is neither the old file nor the new one"],
    ),
    "missing": (tree(OLD, without=["a.mpy"]), False, ["a.mpy is missing"]),
    "missing on FAT": (tree(OLD, without=["a.mpy"]), True, []),
    "one that goes, missing": (tree(OLD, without=["gone.mpy"]), False, []),
    "made": (tree({**OLD, "x.py": "1"}), False, ["x.py was made"]),
    "staged of no package": (tree({**OLD, "x.py~mip": "1"}), False, ["x.py~mip was made"]),
    "foreign gone": (
        tree(OLD, without=["mine/own.py"]),
        False,
        ["mine/own.py was changed or removed"],
    ),
    "foreign changed": (
        tree(OLD, **{"mine/own.py": [9, "g"]}),
        False,
        ["mine/own.py was changed or removed"],
    ),
}


@pytest.mark.parametrize(("there", "folds", "wrong"), CUTS.values(), ids=CUTS)
def test_right_after_a_reset(there, folds, wrong):
    """Right after a reset files are whole, and nothing foreign has changed."""
    assert board_oracle.cut(SCENE, there, folds) == wrong


BOTH = {**OLD, "a.mpy": "9"}
SETTLED = {
    "old": (tree(OLD, ["record"]), record("1.0", OLD), []),
    "new": (tree(NEW, ["record"]), record("2.0", NEW), []),
    "mixed": (
        tree(BOTH, ["record"]),
        record("1.0", OLD),
        ["the files are neither the old ones nor the new ones"],
    ),
    "debris": (
        tree(OLD, ["plan", "record"]),
        record("1.0", OLD),
        [".mip holds .mip/plan, .mip/record"],
    ),
    "a staged file": (
        tree({**OLD, "a.mpy~mip": "9"}, ["record"]),
        record("1.0", OLD),
        ["a.mpy~mip was made"],
    ),
    "another version": (
        tree(OLD, ["record"]),
        record("2.0", NEW),
        ["the record says something else than what is there"],
    ),
    "another hash": (
        tree(OLD, ["record"]),
        record("1.0", NEW),
        ["the record says something else than what is there"],
    ),
    "no record": (
        tree(OLD),
        None,
        ["the record says something else than what is there"],
    ),
    "half a record": (
        tree(OLD, ["record"]),
        record("1.0", OLD)[:-1],
        ["the record is damaged: not a record"],
    ),
}


@pytest.mark.parametrize(("there", "text", "wrong"), SETTLED.values(), ids=SETTLED)
def test_after_recovery(there, text, wrong):
    """After recovery there is one version, whole, and the record says so."""
    assert board_oracle.settled(SCENE, there, text) == wrong


def test_after_the_same_call():
    """After the same call again the new version is there; what was missing was fetched."""
    assert board_oracle.final(SCENE, tree(NEW, ["record"]), record("2.0", NEW)) == []
    found = board_oracle.final(SCENE, tree(OLD, ["record"]), record("1.0", OLD))
    assert found == ["the files are not the new ones"]
    assert board_oracle.missing(SCENE, tree(OLD)) == 2
    assert board_oracle.missing(SCENE, tree(NEW)) == 0


@pytest.mark.parametrize(("changes", "commit"), [(60, 45), (9, 3), (30, 0), (4, 4)])
@pytest.mark.parametrize("turns", [1, 4, 12])
def test_where_it_is_reset(changes, commit, turns):
    """Resets are at changes that there are, and most of them behind the commit."""
    counts = {"changes": changes, "commit": commit}
    places = [board.place_of(counts, turn, turns) for turn in range(turns)]
    assert all(1 <= place <= changes for place in places)
    if commit and commit < changes and turns > 1:
        assert sum(place > commit for place in places) == turns - -(-turns // 3)
    if turns <= min(commit or changes, changes - commit):
        assert len(set(places)) == turns


# --- The command ---


def test_help():
    """--help says what is done to the board, and does nothing."""
    done = subprocess.run(
        [ROOT / "tools" / "board", "--help"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        text=True,
    )
    assert done.returncode == 0
    for word in ("It asks", "machine.reset()", "--wifi", "docs/boards.md", board.NAME):
        assert word in done.stdout


@pytest.mark.parametrize("words", [[], ["PORT", "--resets", "-1"], ["PORT", "--fast"]])
def test_a_wrong_command_line(words, capsys):
    """A wrong option ends the command with status 2 before anything is done."""
    with pytest.raises(SystemExit) as ended:
        board.main(words)
    assert ended.value.code == 2
    assert "usage: tools/board" in capsys.readouterr().err


@pytest.mark.parametrize("answer", ["", "n", "no", "never"])
def test_it_asks(world, monkeypatch, capsys, answer):
    """Without a yes the port is not opened."""
    monkeypatch.setattr("builtins.input", lambda question: answer)
    monkeypatch.setattr(board.Board, "connect", lambda self: pytest.fail("it was opened"))
    assert board.main([world.plug.name]) == 1
    assert "Nothing was done." in capsys.readouterr().out


def test_no_board(monkeypatch, capsys, tmp_path):
    """A port that is not there ends the command with a reason."""
    monkeypatch.setattr("builtins.input", lambda question: "y")
    monkeypatch.setattr(board, "REBOOT", 0.2)
    assert board.main([str(tmp_path / "no-port")]) == 1
    assert "no-port" in capsys.readouterr().err


def test_the_command(world, monkeypatch, capsys):
    """With a yes it asks for the password, tries the board, and prints the table."""
    monkeypatch.setattr("builtins.input", lambda question: "y")
    monkeypatch.setattr(getpass, "getpass", lambda question: "a password")
    seen = []

    def trial(one, resets, wifi, bind):
        seen.append((one.port, resets, wifi, bind))
        return Untidy(board.Board(one.port, pause=0), resets, wifi=None)

    words = [world.plug.name, "--wifi", "a network", "--resets", "0"]
    assert board.main(words, trial) == 1
    wifi = "a network", "a password"
    assert seen == [(world.plug.name, 0, wifi, "0.0.0.0")]
    done = capsys.readouterr()
    assert "| the rest of the board | changed | |" in done.out
    assert done.err == "board: the board is not as it was: left.txt\n"
    assert not list(BUILD.glob(f"board-*{os.getpid()}*"))
