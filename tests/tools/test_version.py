"""There is one version of mip."""

import ast
import json
import re

from folders import ROOT


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def changelog():
    """The entries of the changelog, newest first: [(version, whether it is unreleased)]."""
    found = re.findall(r"^## (.+)$", text("CHANGELOG.md"), re.MULTILINE)
    entries = [re.fullmatch(r"(\d+\.\d+\.\d+)( \(unreleased\))?", line) for line in found]
    return [(entry[1], bool(entry[2])) for entry in entries]


def declared():
    """The version in each file that has it, read as its reader does: {file: version}."""
    module = ast.parse(text("mip/__init__.py")).body
    (version,) = [
        node.value.value
        for node in module
        if isinstance(node, ast.Assign) and node.targets[0].id == "__version__"
    ]
    (metadata,) = [
        node
        for node in ast.walk(ast.parse(text("manifest.py")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "metadata"
    ]
    changes = [version for version, unreleased in changelog() if not unreleased]
    return {
        "mip/__init__.py": version,
        "manifest.py": {word.arg: word.value for word in metadata.keywords}["version"].value,
        "package.json": json.loads(text("package.json"))["version"],
        "CHANGELOG.md": changes[0],
    }


def test_the_versions_agree():
    """The module, its manifest, its package.json and the newest release in the changelog agree."""
    found = declared()
    assert found == dict.fromkeys(found, found["mip/__init__.py"])


def test_the_changelog():
    """Its versions go down; only the first one may be unreleased."""
    versions = [tuple(map(int, version.split("."))) for version, _ in changelog()]
    assert versions == sorted(set(versions), reverse=True)
    assert not any(unreleased for _, unreleased in changelog()[1:])


def test_the_version_is_one():
    """It is three numbers, as in semantic versioning."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", declared()["mip/__init__.py"])


def test_the_running_version(device):
    """That is what mip says of itself, in the library and on the command line."""
    version = declared()["mip/__init__.py"]
    assert device.run("import mip; print(mip.__version__)", check=True).lines == [version]
    assert device.mip("--version", check=True).lines == [f"mip {version}"]
