"""Scenes: what is done on a board, one step after another, many of them in one program.

    seen = play(device, [("lfs2", [publish("a", {"a.py": "A"}), install("a"), uninstall("a")])])
    seen[0][1].files            # what is in the target after the second call of a verb

The board has a disk of a kind, "lfs2" or "fat", at /ram; the target is /ram/lib. Packages come
from the index http://i, which is in memory. tests/helpers/device_modules/scene.py plays them.
"""

import hashlib
import itertools
import json
from dataclasses import dataclass

LIB = "/ram/lib"
INDEX = "http://i"
KINDS = ("lfs2", "fat")

# A file that says of itself that it is bytecode that any firmware loads.
MPY = "M\x06\x00\x1f of any firmware\n"

_numbers = itertools.count(1)


def sha256(text):
    """The sha256 of a text of bytes, in hex."""
    return hashlib.sha256(text.encode("latin-1")).hexdigest()


def document(keys):
    """The text of a package.json. Texts have a character for each byte."""
    return json.dumps(keys, ensure_ascii=False).encode().decode("latin-1")


# ---- steps: what is done ---------------------------------------------------------------


def publish(name, files, version="1", deps=(), digits=64, latest=True, **more):
    """Put a package of these files, {path: text}, into the index.

    digits: how many of each hash the package.json has. latest: whether this version is the latest.
    more: other keys of the package.json.
    """
    pages = {}
    hashes = []
    for path, text in files.items():
        short = sha256(text)[:digits]
        hashes.append([path, short])
        pages[f"{INDEX}/file/{short[:2]}/{short}"] = text
    keys = {"v": 1, "version": version, "hashes": hashes, "deps": list(deps), **more}
    for label in (version, "latest") if latest else (version,):
        pages[f"{INDEX}/package/py/{name}/{label}.json"] = document(keys)
    return ["web", pages]


def repository(url, files, deps=()):
    """Put a package.json, and the files that it names, to a URL that ends in no slash."""
    keys = {"urls": [[path, path] for path in files], "deps": list(deps)}
    pages = {f"{url}/{path}": text for path, text in files.items()}
    return ["web", {**pages, f"{url}/package.json": document(keys)}]


def gone(url):
    """Take a page from the web."""
    return ["web", {url: None}]


def put(path, text=None):
    """Write a file by hand, with the directories above it; without a text, make a directory."""
    return ["write", path, text]


def remove(path):
    """Remove a file by hand, or a directory with what is in it."""
    return ["remove", path]


def search(*entries):
    """Set sys.path."""
    return ["path", entries]


def cd(path):
    """Change the working directory."""
    return ["cd", path]


def broken(path, error):
    """What ends in this path cannot be opened for reading any more; with error 0, it can."""
    return ["broken", path, error]


def verb(name, *arguments, **options):
    """Call any verb."""
    return ["call", name, arguments, options]


def look():
    """Call nothing, and see what is there."""
    return ["call", None, [], {}]


# Given to install() as the one name, what the list() before returned.
LISTED = "$listed"


def install(*names, **options):
    return verb("install", names[0] if len(names) == 1 else names, **options)


def uninstall(*names, **options):
    return verb("uninstall", names[0] if len(names) == 1 else names, **options)


def upgrade(**options):
    return verb("upgrade", **options)


# ---- what is seen ----------------------------------------------------------------------


@dataclass
class Seen:
    """What is there after a call of a verb, and what it did.

    value: what it returned. error: "InstallError: ...", or None. said: the lines that it printed.
    asked: the URLs that it asked for. disk: {path: text}, a directory has None.
    bad: the paths that verify() returns then; None where there is no record.
    target: that of the call. kind: that of the disk.
    """

    value: object
    error: str
    said: list
    asked: list
    disk: dict
    bad: list
    target: str
    kind: str

    def _below(self, there):
        start = self.target + "/"
        return {path[len(start) :]: there[path] for path in there if path.startswith(start)}

    @property
    def files(self):
        """The files in the target, {path: text}, without those in .mip."""
        below = self._below(self.disk)
        return {p: t for p, t in below.items() if t is not None and not p.startswith(".mip/")}

    @property
    def directories(self):
        """The directories in the target, without .mip."""
        return {p for p, t in self._below(self.disk).items() if t is None and p != ".mip"}

    @property
    def elsewhere(self):
        """What is on the disk outside the target."""
        return {p: t for p, t in self.disk.items() if not (p + "/").startswith(self.target + "/")}

    @property
    def kept(self):
        """The files in .mip, {name: text}."""
        start = ".mip/"
        below = self._below(self.disk)
        return {p[len(start) :]: below[p] for p in below if p.startswith(start)}

    @property
    def record(self):
        """The lines of the record, parsed, without the first; [] when there is none."""
        text = self.kept.get("record", '["mip", 1]\n').encode("latin-1").decode()
        lines = text.split("\n")[:-1]
        assert json.loads(lines[0]) == ["mip", 1]
        return [json.loads(line) for line in lines[1:]]

    @property
    def owned(self):
        """{package: {path: hash}} of the record."""
        owned = {}
        for kind, name, *rest in self.record:
            if kind == "package":
                files = owned[name] = {}
            elif kind == "file":
                files[name] = rest[0]
        return owned

    @property
    def versions(self):
        """{package: version} of the record."""
        return {line[1]: line[2] for line in self.record if line[0] == "package"}

    @property
    def notes(self):
        """The lines that were said about what was replaced, removed or hidden."""
        words = ("Replacing ", "Removing ")
        return [line for line in self.said if line.startswith(words) or " hides " in line]

    def owners(self, path):
        """The packages that list this path, each with its hash."""
        return {name: files[path] for name, files in self.owned.items() if path in files}

    def wrong(self):
        """What is wrong with it whatever was done: a list of texts.

        After a verb there is no more in .mip than the record, and nothing is staged; nothing but
        an InstallError came out; what the record has is there, and verify() names what no package
        wants as it is, and nothing else.
        """
        wrong = []
        if self.error and not self.error.startswith("InstallError: "):
            wrong.append(f"it ended with {self.error}")
        if set(self.kept) - {"record"}:
            wrong.append(f".mip has {sorted(self.kept)}")
        wrong += [f"{path} is there" for path in self.disk if path.endswith("~mip")]
        if "record" in self.kept:
            unwanted = []
            fold = str.lower if self.kind == "fat" else str
            files = {fold(path): text for path, text in self.files.items()}
            for path in {path for files in self.owned.values() for path in files}:
                there = files.get(fold(path))
                hashes = [
                    files_of[other]
                    for files_of in self.owned.values()
                    for other in files_of
                    if fold(other) == fold(path)
                ]
                if there is None or not any(sha256(there).startswith(h) for h in hashes):
                    unwanted.append(f"{self.target}/{path}")
            if self.bad != sorted(unwanted) and sorted(self.bad) != sorted(unwanted):
                wrong.append(f"verify() returns {self.bad}, not {sorted(unwanted)}")
        return wrong


def play(device, scenes):
    """Play scenes, each a kind of disk and a list of steps; return a list of Seens for each."""
    script = device.work.with_name(f"scenes-{next(_numbers)}.json")
    script.write_text(json.dumps(scenes), encoding="utf-8")
    result = device.run("import scene\nscene.main()", script, heap="32m", check=True)
    played = [json.loads(line[3:]) for line in result.lines if line.startswith("## ")]
    assert len(played) == len(scenes), str(result)
    return [
        [
            Seen(**shown, target=options.get("target", LIB), kind=kind)
            for shown, (_, _, _, options) in zip(
                seen, [step for step in steps if step[0] == "call"], strict=True
            )
        ]
        for seen, (kind, steps) in zip(played, scenes, strict=True)
    ]


def check(device, rows, judge, sound=True):
    """Play rows, each (name, kind, steps, *more); fail with all that is wrong, by name.

    judge: called with the Seens of a row and what else it has; it raises AssertionError.
    sound: whether Seen.wrong() has to find nothing.
    """
    rows = [*rows]
    found = {}
    played = play(device, [row[1:3] for row in rows])
    for (name, _, _, *more), seen in zip(rows, played, strict=True):
        wrong = [text for one in seen for text in one.wrong()] if sound else []
        try:
            judge(seen, *more)
        except AssertionError as e:
            wrong.append("\n    ".join(str(e).splitlines()[:8]))
        if wrong:
            found[name] = wrong
    lines = [f"{name}: {text}" for name in found for text in found[name]]
    assert not found, "\n".join([f"{len(found)} of {len(played)} rows", *lines[:40]])
