"""What clients make of a package.json, where that is not what a device's mip makes of it.

Those are ours (this mip), upstream (the mip in MicroPython) and mpremote; the latter two read
alike, here.
"""

import posixpath
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from .device import FORGES, document_of
from .store import NEWEST_MPY, package_path

CLIENTS = ("ours", "upstream", "mpremote")
FIELD = ("upstream", "mpremote")

# The URLs that upstream and mpremote take for full ones.
FIELD_PREFIXES = ("http://", "https://", "codeberg:", "github:", "gitlab:")


@dataclass(frozen=True)
class Finding:
    """What is wrong with a package.json.

    entry    what in it, as "urls[2]", or "" for all of it
    reason   what is wrong
    clients  those for which it is: of CLIENTS
    warning  whether all clients install it, but perhaps not as it was meant
    note     whether it says only what was not looked at; it is a warning, too
    """

    entry: str
    reason: str
    clients: tuple[str, ...] = CLIENTS
    warning: bool = False
    note: bool = False

    def __str__(self) -> str:
        kind = "note" if self.note else "warning" if self.warning else "error"
        clients = "" if self.clients == CLIENTS else f" ({', '.join(self.clients)})"
        return f"{kind}: {self.entry}{': ' if self.entry else ''}{self.reason}{clients}"


def field_url(base: str, source: str, ref: str | None) -> str:
    """Return the URL that upstream and mpremote fetch for an entry of `urls`.

    base: the document, ref: that it was asked for at.
    """
    if not source.startswith(FIELD_PREFIXES):
        source = f"{base.rpartition('/')[0]}/{source}"
    forge, _, path = source.partition(":")
    if forge not in FORGES:
        return source
    owner, repo, *inside = path.split("/") if "/" in path else (path, "")
    return FORGES[forge].format(f"{owner}/{repo}", "/".join(inside), ref or "HEAD")


def field_dependency(name: str, version: str, index: str) -> str:
    """Return the URL that upstream and mpremote fetch for an entry of `deps`."""
    if not name.startswith(FIELD_PREFIXES):
        return f"{index}/{package_path(NEWEST_MPY, name, version)}"
    return field_url("", document_of(name), version)


def normal(url: str) -> str:
    """Return a URL without the dots in its path."""
    scheme, host, path, query, _ = urlsplit(url)
    return urlunsplit((scheme, host, posixpath.normpath(path), query, ""))
