"""What must hold on a board after a reset: what "What it promises" in README.md says, as a check.

States are as board_device.state() has them: the tree of a target, {path: [size, sha256]}, None of
a directory, and the text of its record or None.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

STAGED = "~mip"  # what is added to the path of a file to stage it beside its place
META = ".mip"

Tree = dict[str, list | None]


@dataclass(frozen=True)
class Scene:
    """What is struck: a change from one version of a package to another.

    name: "install", "upgrade" or "uninstall".  site: the index that it is from.
    old, new: the versions, None for not installed.  files: {version: {path: sha256}}, of None
    nothing.  foreign: what else is in the target, as a tree.
    """

    name: str
    site: str
    old: str | None
    new: str | None
    files: dict[str | None, dict[str, str]]
    foreign: Tree

    @property
    def before(self) -> dict[str, str]:
        """The files of the old version."""
        return self.files[self.old]

    @property
    def after(self) -> dict[str, str]:
        """The files of the new version."""
        return self.files[self.new]

    @property
    def named(self) -> set[str]:
        """Every path that the package lists, in either version."""
        return set(self.before) | set(self.after)


def _above(paths: Iterable[str]) -> set[str]:
    found = set()
    for path in paths:
        while "/" in path:
            path = path.rsplit("/", 1)[0]
            found.add(path)
    return found


def _files(tree: Tree) -> dict[str, str]:
    """The files of a tree but for those in .mip: {path: sha256}."""
    return {
        path: entry[1]
        for path, entry in tree.items()
        if entry is not None and not path.startswith(META + "/")
    }


def cut(scene: Scene, tree: Tree, folds: bool) -> list[str]:
    """Return what is wrong with a tree right after a reset.

    folds: whether the disk is FAT, where a file may be missing until the next verb.
    """
    wrong = []
    files = _files(tree)
    for path in sorted(scene.named):
        wanted = {scene.before.get(path), scene.after.get(path)} - {None}
        if path in files and files[path] not in wanted:
            wrong.append(f"{path} is neither the old file nor the new one")
        in_both = path in scene.before and path in scene.after
        if path not in files and in_both and not folds:
            wrong.append(f"{path} is missing")
    return wrong + _foreign(scene, tree, {path + STAGED for path in scene.named})


def settled(scene: Scene, tree: Tree, record: str | None) -> list[str]:
    """Return what is wrong with a state after recovery, which is the old one or the new one."""
    wrong = _foreign(scene, tree, set())
    debris = sorted(path for path in tree if path.startswith(META + "/"))
    if debris not in ([], [META + "/record"]):
        wrong.append(f"{META} holds {', '.join(debris)}")
    found = {path: sha for path, sha in _files(tree).items() if path in scene.named}
    versions = [version for version in (scene.old, scene.new) if found == scene.files[version]]
    if not versions:
        return [*wrong, "the files are neither the old ones nor the new ones"]
    try:
        said = _record(record)
    except ValueError as error:
        return [*wrong, f"the record is damaged: {error}"]
    if said != (versions[0], scene.files[versions[0]]):
        wrong.append("the record says something else than what is there")
    return wrong


def final(scene: Scene, tree: Tree, record: str | None) -> list[str]:
    """Return what is wrong with a state after the same call again: it is the new one."""
    wrong = settled(scene, tree, record)
    found = {path: sha for path, sha in _files(tree).items() if path in scene.named}
    if not wrong and found != scene.after:
        wrong.append("the files are not the new ones")
    return wrong


def missing(scene: Scene, tree: Tree) -> int:
    """Return how many files the same call has yet to fetch, in a state that is settled."""
    files = _files(tree)
    return len({sha for path, sha in scene.after.items() if files.get(path) != sha})


def _foreign(scene: Scene, tree: Tree, staged: set[str]) -> list[str]:
    parents = _above(scene.named)
    allowed = scene.named | staged | parents | set(scene.foreign) | {META}
    wrong = [
        f"{path} was made"
        for path in sorted(tree)
        if path not in allowed and not path.startswith(META + "/")
    ]
    wrong += [
        f"{path} was changed or removed"
        for path, entry in sorted(scene.foreign.items())
        if path not in tree or tree[path] != entry
    ]
    return wrong


def _record(text: str | None) -> tuple[str | None, dict[str, str]]:
    """The version of the one package in a record, and its files."""
    if text is None:
        return None, {}
    lines = [json.loads(line) for line in text.splitlines()]
    if not text.endswith("\n") or lines[:1] != [["mip", 1]]:
        raise ValueError("not a record")
    versions = [line[2] for line in lines if line[0] == "package"]
    if len(versions) > 1:
        raise ValueError("several packages")
    files = {line[1]: line[2] for line in lines if line[0] == "file"}
    return (versions[0] if versions else None), files
