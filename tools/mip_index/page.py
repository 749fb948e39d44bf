"""The page of an index for people, index.html: one file, which needs nothing else.

Without JavaScript it is a plain list.  What packages say of themselves is text in it and nothing
else; besides, its policy lets no script run but its own.
"""

import base64
import hashlib
import html
import string
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .device import MAX_HASH_LENGTH, PublishError
from .store import ANY, Index, native_indexes, version_key

HERE = Path(__file__).parent


def write_page(index: Index) -> None:
    """Write the page of an index, if it is not what it was."""
    index.write("index.html", render(index).encode())


def render(index: Index) -> str:
    """Return the page of an index."""
    style, script = ((HERE / f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    natives = native_indexes(index.directory)
    entries = dict(index.entries)
    for native in natives.values():
        for name, entry in native.entries.items():
            entries.setdefault(name, entry)
    packages = [_package(index, natives, entries[name]) for name in sorted(entries, key=str.lower)]
    number = f"{len(packages):,} package{'s' * (len(packages) != 1)}"
    updated = time.strftime("%Y-%m-%d", time.gmtime(index.updated))
    return string.Template((HERE / "page.html").read_text("utf-8")).substitute(
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        title="MicroPython packages",
        style=style,
        script=script,
        count=number,
        url=html.escape(index.url or "URL"),
        packages="\n".join(packages),
        footer=f"{number}, {updated}. Made by mip-index; mip, mpremote and MicroPython's own "
        "mip install from here.",
    )


def _package(index: Index, natives: dict[str, Index], entry: dict[str, Any]) -> str:
    """Return the item of the list for an entry of index.json."""
    name, version = entry["name"], entry["version"]
    there = {tag: each for tag, each in natives.items() if name in each.entries}
    home = index if name in index.entries else next(iter(there.values()))
    document = home.package(next(iter(home.entries[name]["versions"])), name, "latest") or {}
    contents = [home.content(hash) for _, hash in document.get("hashes", [])]
    for path in contents:
        if not path.is_file():
            raise PublishError(
                f"{path}: gone, and {name} needs it: build it again or copy it back"
            )
    size = sum(path.stat().st_size for path in contents)
    needs = [*entry.get("needs", []), *(need for need, _ in document.get("deps", []))]
    every = {each for list in home.entries[name]["versions"].values() for each in list}
    versions = sorted(every, key=version_key, reverse=True)
    # Isolated: a right-to-left mark in it would turn round what follows.
    license = f"<bdi>{html.escape(entry['license'])}</bdi> · " if entry.get("license") else ""
    facts = {
        "Versions": ", ".join(versions) if len(versions) > 1 else "",
        "Author": entry.get("author", ""),
        "Needs": ", ".join(needs),
        "Native code": ", ".join(there),
    }
    rows = "".join(
        f"<dt>{key}</dt><dd>{html.escape(value)}</dd>" for key, value in facts.items() if value
    )
    digits = min((len(hash) for _, hash in document.get("hashes", [])), default=MAX_HASH_LENGTH)
    pins = "to the byte"
    if digits < MAX_HASH_LENGTH:
        pins = f"its files by {digits} digits of their hashes"
    if document.get("deps"):
        pins += ", but not what it needs"
    lines = "".join(_lines(index, home, name, version, list(there), pins))
    description = html.escape(entry.get("description", ""))
    return (
        f'<li><details id="{html.escape(name)}"><summary><span><b>{html.escape(name)}</b> '
        f"<i>{html.escape(version)}</i></span>"
        f"<small>{license}{_bytes(size)}</small>"
        f"<p>{description}</p></summary>"
        f'<div class="more">{f"<dl>{rows}</dl>" if rows else ""}{lines}</div></details></li>'
    )


def _lines(
    index: Index, home: Index, name: str, version: str, natives: list[str], pins: str
) -> Iterator[str]:
    """Yield the lines that install a package, each with what it is for.

    home: the index that has it.  natives: the tags of those with native code of it.  pins: what
    the line of a version pins.
    """
    url = f'<span class="url">{html.escape(index.url or "URL")}</span>'
    arch = url + (f"/{ANY}" if natives else "")
    # Only this mip puts the board's architecture into a URL.
    other = url if home is index else f"{url}/{natives[0]}"
    both = f'["{arch}", "{url}"]' if natives and home is index else f'"{arch}"'
    yield _line("At the REPL", f'mip.install("{name}", index={both})')
    yield _line("From a computer", f"mpremote mip install --index {other} {name}")
    more = f" --index '{url}'" if natives and home is index else ""
    yield _line("Unix port", f"micropython -m mip install --index '{arch}'{more} {name}")
    if home is index:
        pinned = html.escape(home.pinned_call(name, version, "\0"), quote=False)
        yield _line(f"This version, {pins}", pinned.replace("\0", url))


def _line(what: str, code: str) -> str:
    return f'<h2>{what}</h2><div class="line"><pre><code>{code}</code></pre></div>'


def _bytes(size: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{size:,} bytes" if size < 10_000 else f"{size / 1000:,.0f} KB"
