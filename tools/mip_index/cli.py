"""The command line, mip-index.

What it does is in builder.py, mirroring.py, checker.py and serving.py; the layout of an index is
in store.py.
"""

import argparse
import errno
import io
import re
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .builder import build
from .checker import check
from .device import MAX_HASH_LENGTH, MIN_HASH_LENGTH, PUBLIC_INDEX, PublishError, mip
from .fetch import Session, parse_headers
from .mirroring import mirror
from .serving import certificate_names, own_certificate, serve
from .store import NEWEST_MPY, Index, native_indexes

# What to do about errors of the disk.
ADVICE = {
    errno.EACCES: "name a place where you may write",
    errno.EPERM: "name a place where you may write",
    errno.EROFS: "name a place where you may write",
    errno.EEXIST: "a file is in the way, name another place",
    errno.ENOTDIR: "a file is in the way, name another place",
    errno.ENOSPC: "make room, and run it again",
}

DESCRIPTION = """\
Write MicroPython packages into an index: plain files for any web server.

MicroPython's own mip, mpremote and this mip install from an index."""

EPILOG = """\
example:
  mip-index check package.json              before you publish it
  mip-index build packages/* --output site  or: mirror github:ORG/REPO --output site
  mip-index serve site
and on the board:
  mip.install("NAME", index="http://ADDRESS:8000")

COMMAND --help tells more. Exit status: 0; 1 after an error, which is one line; 2 after a
wrong command line."""

BUILD_DESCRIPTION = """\
Write packages of your own into an index in DIR, and print the calls that install them.

A package is a directory with a manifest.py, as in micropython-lib, or with a
package.json whose URLs are relative. Its name is that of the directory. It is published
as source and compiled by mpy-cross, with the files of the packages that it requires. A
required package that is not among the SOURCEs becomes a dependency.

A published version never changes: change a package, and it needs a new version. So does
a package that requires the changed one, as it has its files."""

BUILD_EPILOG = """\
example:
  hello/manifest.py:
      metadata(version="1.0.0", description="Says hello.")
      module("hello.py")
  mip-index build hello --output site

--hash-length, --mpy-version, --license and --url stay with the index.

An interrupted run leaves the index as it was, perhaps with some of the new packages; run
it again. SOURCE_DATE_EPOCH in the environment is the time to write into index.json."""

MIRROR_DESCRIPTION = """\
Write packages of others into an index in DIR, and print the calls that install them.

Packages are installed as on a board, and their files are published. Boards that install
from DIR get these bytes, also when the origin changes or disappears: DIR is the lock
file of a fleet.

PACKAGE is what mip.install() takes: NAME or NAME@VERSION of an index, github:ORG/REPO@REF
(gitlab:, codeberg:), a URL, or a path with a slash in it, as ./driver. Each is published
with the files of all that it needs, as packages of the public index are.

In DIR a package has its name in its own index, or the name in its package.json, or the
last part of its URL. It has the version that was asked for, or the version in its
package.json, or the REF."""

MIRROR_EPILOG = """\
example:
  mip-index mirror aioble github:ORG/REPO@v1.2 --output site
  mip-index mirror ./app --name app --version 2026.1 --output site
and on the boards:
  mip.install("app@2026.1", index="https://HOST")

A published version never changes. When a dependency of a package has changed, mirror the
package with another --version."""

CHECK_DESCRIPTION = """\
Print the mistakes in packages, one on a line; without any, that a package is good.

A package.json is read as by each client:
  ours      this mip
  upstream  the mip in MicroPython
  mpremote  mpremote mip install
PLACE is the path of a package.json, of a directory with a package.json or a manifest.py,
of one with packages in it, or of an index; or a URL; or github:ORG/REPO/PATH@REF
(gitlab:, codeberg:). The files and packages that it names are looked up: relative ones on
the disk if PLACE is a path, others where clients fetch them.

An error makes a client, or `build`, fail, and the exit status is 1. A warning is a likely
mistake."""

CHECK_EPILOG = """\
example:
  mip-index check package.json
  mip-index check package.json --as github:ORG/REPO --strict     in CI
  mip-index check github:ORG/REPO@v1.2

With --as, files of that repository are looked up on the disk, so that you can check what
is not pushed yet. package.schema.json, beside this program, is for editors."""

SERVE_DESCRIPTION = """\
Print the line that installs from the index in DIR, and serve DIR until Ctrl-C.

Paste the line at the REPL of a board. A browser shows the page of the index. This server
is for the bench and the LAN; elsewhere use any web server."""

SERVE_EPILOG = """\
example:
  mip-index serve site
  mip-index serve site --tls --ca ca.der     (copy ca.der to the board)"""


def run_build(**options: Any) -> None:
    """Run the command `build`."""
    publish(build, **options)


def run_mirror(
    indexes: list[str] | None, cafile: str | None, header: list[str], **options: Any
) -> None:
    """Run the command `mirror`."""
    session = Session(cafile, parse_headers(header))
    publish(mirror, indexes=indexes or [PUBLIC_INDEX], session=session, **options)


def publish(command: Callable[..., list[tuple[str, str]]], output: str, **options: Any) -> None:
    """Run build() or mirror(), print what is new in the index, and the calls that pin it."""
    before = Index(output).hash_length
    done: list[Index] = []
    new = command(output=output, done=done.append, **options)
    (index,) = done
    there = {"": index, **{f"/{tag}": each for tag, each in native_indexes(output).items()}}
    for name, version in new:
        print(f"Published {name} {version}")
        if command is build:
            # What is in packages of one's own: a rule may take more than was meant.
            home = next(each for each in there.values() if each.has(name, version))
            print(f"  {', '.join(home.paths(name, version))}")
    for change in index.changes:
        print(change)
    for name, version in new or index.asked:
        for inside, each in there.items():
            if each.has(name, version):
                print(each.pinned_call(name, version, f"{index.url or 'URL'}{inside}"))
    if not new and not index.changes:
        print("Nothing new")
    if before not in (0, index.hash_length):
        digits = index.hash_length
        print(f"New versions get hashes of {digits} digits; published ones keep {before}.")


def run_check(
    places: list[str], strict: bool, cafile: str | None, header: list[str], **options: Any
) -> int:
    """Run the command `check`; return the exit status."""
    bad = False
    for place in places:
        findings = check(place, session=Session(cafile, parse_headers(header)), **options)
        for finding in findings:
            print(f"{place}: {finding}")
        told = [finding for finding in findings if not finding.note]
        bad = bad or any(strict or not finding.warning for finding in told)
        if not told:
            print(f"{place}: good for every client")
    return int(bad)


def run_serve(
    directory: str, cert: str | None, key: str | None, tls: bool, ca: str, **options: Any
) -> None:
    """Run the command `serve`."""
    context, authority = None, b""
    names: list[str] = []
    if tls:
        names = certificate_names(options["host"])
        context, authority = own_certificate(names, der=ca.endswith(".der"))
    elif cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(cert, key)
        except OSError as error:
            text = f"{cert}, {key}: no certificate with its key: {error.strerror}"
            raise PublishError(text) from error

    def ready(line: str) -> None:
        if ca:
            # Not before: a server that listens there already may have written its own.
            Path(ca).write_bytes(authority)
            print(f"{ca} vouches for {', '.join(names)}", file=sys.stderr, flush=True)
            line = f'mip.cafile = "{Path(ca).name}"; {line}'
        # Flushed: who reads this through a pipe waits for it.
        print(line, flush=True)

    serve(directory, tls=context, ready=ready, **options)


def bytecode_version(text: str) -> str:
    """Return `text` if it can be a bytecode version; for argparse."""
    if not re.fullmatch(r"[0-9]|[1-9][0-9]", text):
        raise argparse.ArgumentTypeError(f"not a bytecode version: {text}")
    return text


def some(text: str) -> str:
    """Return `text` if it is not empty, as an unset variable of a shell is; for argparse."""
    if not text:
        raise argparse.ArgumentTypeError("an empty text")
    return text


def port(text: str) -> int:
    """Return the port that `text` means; for argparse."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"not a port, 0 to 65535: {text}")
    return int(text)


def add_output(add: Callable[..., object], hash_length: int) -> None:
    """Add the options of commands that write an index. hash_length: of a new one."""
    add("--output", required=True, type=some, metavar="DIR", help="where the index is")
    add(
        "--hash-length",
        type=int,
        metavar="N",
        help=f"digits of hashes, {MIN_HASH_LENGTH} to {MAX_HASH_LENGTH}: {MIN_HASH_LENGTH} tell "
        f"damage, {MAX_HASH_LENGTH} withstand an attacker, too (in a new index {hash_length})",
    )
    text = f"the same as --hash-length {MAX_HASH_LENGTH}"
    add(
        "--full-hashes", dest="hash_length", action="store_const", const=MAX_HASH_LENGTH, help=text
    )
    add(
        "--mpy-version",
        dest="mpy_versions",
        action="append",
        type=bytecode_version,
        metavar="N",
        help=f"bytecode version, may be given again for more (in a new index {NEWEST_MPY})",
    )
    add("--url", help="where boards will find it, for the lines to paste")


def add_network(add: Callable[..., object]) -> None:
    """Add the options of commands that fetch."""
    text = "certificates, PEM, that vouch for servers; else the system's"
    add("--cafile", metavar="FILE", help=text)
    text = "is sent to this host alone, as a token; may be given again"
    add("--header", action="append", default=[], metavar="HOST:NAME:VALUE", help=text)


def add_build(add: Callable[..., object]) -> None:
    """Add the options of the command `build`."""
    text = "a package, or a directory with packages somewhere in it"
    add("sources", nargs="+", type=some, metavar="SOURCE", help=text)
    add("--name", help="what a single SOURCE is called; else its directory's name")
    add("--license", metavar="TEXT", help="the licence of packages that say none")
    text = "mpy-cross's -O where a manifest says no opt: 3 leaves out asserts and line numbers"
    add("--opt", type=int, choices=range(4), metavar="N", help=text)
    add_output(add, MIN_HASH_LENGTH)


def add_mirror(add: Callable[..., object]) -> None:
    """Add the options of the command `mirror`."""
    add("packages", nargs="+", type=some, metavar="PACKAGE", help="what mip.install() takes")
    add(
        "--index",
        dest="indexes",
        action="append",
        metavar="URL",
        help="where names are looked up, a URL or a path; may be given again: tried in order "
        f"(default {PUBLIC_INDEX})",
    )
    add("--name", help="what a single PACKAGE is called in the index")
    add("--version", help="the version of a single PACKAGE in the index")
    add_output(add, MAX_HASH_LENGTH)
    add_network(add)


def add_check(add: Callable[..., object]) -> None:
    """Add the options of the command `check`."""
    add("places", nargs="+", type=some, metavar="PLACE", help="a package.json")
    text = "the name under which it will be installed, as github:ORG/REPO/PATH"
    add("--as", dest="published", metavar="NAME", help=text)
    text = "do not look if the files and packages that it names are there"
    add("--no-files", dest="files", action="store_false", help=text)
    add("--offline", action="store_true", help="look up only what is on the disk")
    add("--strict", action="store_true", help="warnings are errors")
    text = f"where the packages are that it needs by name (default {PUBLIC_INDEX})"
    add("--index", default=PUBLIC_INDEX, metavar="URL", help=text)
    text = f"the bytecode version that prebuilt files should have (default {NEWEST_MPY})"
    add("--mpy-version", type=bytecode_version, default=NEWEST_MPY, metavar="N", help=text)
    add_network(add)


def add_serve(add: Callable[..., object]) -> None:
    """Add the options of the command `serve`."""
    add("directory", type=some, metavar="DIR", help="where the index is")
    add("--port", type=port, default=8000, metavar="N", help="0 takes a free one (default 8000)")
    text = "address to listen on; 127.0.0.1 is for this machine only (default 0.0.0.0, all)"
    add("--bind", dest="host", default="0.0.0.0", metavar="ADDR", help=text)
    add("--cert", metavar="FILE", help="a certificate, PEM: serve with TLS; needs --key")
    add("--key", metavar="FILE", help="its private key, PEM; needs --cert")
    add(
        "--tls",
        action="store_true",
        help="serve with TLS and a certificate made for now; needs --ca",
    )
    text = "where to write what a board has to trust for --tls: DER if it ends in .der, or PEM"
    add("--ca", default="", metavar="FILE", help=text)


# What there is of each command: what runs it, adds its options, and the text around them.
COMMANDS: dict[str, tuple[Callable[..., int | None], Callable[..., None], str, str]] = {
    "build": (run_build, add_build, BUILD_DESCRIPTION, BUILD_EPILOG),
    "mirror": (run_mirror, add_mirror, MIRROR_DESCRIPTION, MIRROR_EPILOG),
    "check": (run_check, add_check, CHECK_DESCRIPTION, CHECK_EPILOG),
    "serve": (run_serve, add_serve, SERVE_DESCRIPTION, SERVE_EPILOG),
}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="mip-index", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw
    )
    parser.add_argument("--version", action="version", version=f"mip-index {mip.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, (run, add, description, epilog) in COMMANDS.items():
        first = description.partition("\n")[0]
        command = commands.add_parser(
            name, help=first, description=description, epilog=epilog, formatter_class=raw
        )
        command.set_defaults(run=run, parser=command)
        add(command.add_argument)
    return parser


def refuse(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the program, with status 2, if options do not go together. parser: of the command."""
    named = options.run is run_mirror and (options.name or options.version)
    if named and len(options.packages) > 1:
        parser.error("--name and --version are for a single PACKAGE")
    if options.run is run_check and len(options.places) > 1 and options.published:
        parser.error("--as is for a single PLACE")
    if options.run is run_serve:
        if bool(options.cert) != bool(options.key):
            parser.error("--cert and --key go together")
        if options.tls and options.cert:
            parser.error("--tls makes a certificate: not together with --cert")
        if bool(options.tls) != bool(options.ca):
            parser.error("--tls and --ca go together")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status, 1 after an error.

    A wrong command line ends the program with status 2.
    """
    parser = make_parser()
    words = sys.argv[1:] if arguments is None else arguments
    if not words:
        parser.print_help(sys.stderr)
        return 2
    options = parser.parse_args(words)
    refuse(vars(options).pop("parser"), options)
    run = vars(options).pop("run")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names that a terminal cannot show
    try:
        return run(**vars(options)) or 0
    except PublishError as error:
        text = str(error)
    except ModuleNotFoundError as error:
        text = f"{error.name} is not installed: pip install {error.name}"
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, "")
        text = ": ".join(filter(None, (error.filename, error.strerror or str(error), advice)))
    except KeyboardInterrupt:
        text = "interrupted: the index is whole, run it again"
    print("mip-index:", " ".join(text.split()), file=sys.stderr)
    return 1
