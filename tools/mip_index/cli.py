"""Publishes MicroPython packages as an index: plain files for any web server.

    mip-index build tests/packages --output site
    mip-index mirror github:ORG/REPO@v1.0 --output site
    mip-index check package.json
    mip-index serve site

This is the command line; what it does is in builder.py, mirroring.py, checker.py and
serving.py.  The layout of an index is in store.py: MicroPython's own mip and mpremote install
from it, too.
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
or of an index; or a URL; or github:ORG/REPO/PATH@REF (gitlab:, codeberg:). The files and
packages that it names are looked up: relative ones on the disk if PLACE is a path, others
where clients fetch them.

An error makes a client fail, and the exit status is 1. A warning is a likely mistake."""

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


def run_build(options: argparse.Namespace) -> None:
    """Run the command `build`."""
    before = Index(options.output).hash_length
    new = build(
        options.source,
        options.output,
        options.hash_length,
        options.mpy_version,
        opt=options.opt,
        name=options.name,
        license=options.license,
        url=options.url,
    )
    report(new, options.output, before)


def run_mirror(options: argparse.Namespace) -> None:
    """Run the command `mirror`."""
    before = Index(options.output).hash_length
    new = mirror(
        options.package,
        options.output,
        indexes=options.index or [PUBLIC_INDEX],
        hash_length=options.hash_length,
        mpy_versions=options.mpy_version or (),
        name=options.name,
        version=options.version,
        url=options.url,
        session=session(options),
    )
    report(new, options.output, before)


def report(new: list[tuple[str, str]], output: str, before: int) -> None:
    """Print what is new in an index, and the call that pins it.

    new: a list of (name, version). before: the digits of hashes that it had.
    """
    index = Index(output)
    for name, version in new:
        print(f"Published {name} {version}")
    every = [index, *native_indexes(output).values()]
    for name, version in new:
        # Native code without source is in none but the indexes of its architectures.
        where = [each for each in every if each.has(name, version)]
        for each in where[:1] if where[0] is index else where:
            print(each.pinned_call(name, version))
    if not new:
        print("Nothing new")
    if before not in (0, index.hash_length):
        print(f"Hashes have {index.hash_length} digits in what comes; what is there keeps its own")


def run_check(options: argparse.Namespace) -> int:
    """Run the command `check`; return the exit status."""
    bad = False
    for place in options.place:
        findings = check(
            place,
            published=options.published,
            files=options.files,
            offline=options.offline,
            index=options.index,
            mpy_version=options.mpy_version,
            session=session(options),
        )
        for finding in findings:
            print(f"{place}: {finding}")
        bad = bad or any(options.strict or not finding.warning for finding in findings)
        if not findings:
            print(f"{place}: good for every client")
    return int(bad)


def run_serve(options: argparse.Namespace) -> None:
    """Run the command `serve`."""
    tls, authority = None, b""
    names: list[str] = []
    if options.tls:
        names = certificate_names(options.bind)
        tls, authority = own_certificate(names, der=options.ca.endswith(".der"))
    elif options.cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            tls.load_cert_chain(options.cert, options.key)
        except OSError as error:
            text = f"{options.cert}, {options.key}: no certificate with its key: {error.strerror}"
            raise PublishError(text) from error

    def ready(line: str) -> None:
        if options.ca:
            # Not before: a server that listens there already may have written its own.
            Path(options.ca).write_bytes(authority)
            print(f"{options.ca} vouches for {', '.join(names)}", file=sys.stderr, flush=True)
            line = f'mip.cafile = "{Path(options.ca).name}"; {line}'
        # Flushed: who reads this through a pipe waits for it.
        print(line, flush=True)

    serve(options.dir, host=options.bind, port=options.port, tls=tls, ready=ready)


def session(options: argparse.Namespace) -> Session:
    """Return the Session for the options of add_network()."""
    return Session(options.cafile, parse_headers(options.header))


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


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    description: str,
    epilog: str,
) -> argparse.ArgumentParser:
    """Add a command to the parser; return its own parser. run: a function of its options.

    The first line of its description is shown among the commands, too.
    """
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=description.partition("\n")[0],
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def add_output(command: argparse.ArgumentParser, hash_length: int) -> None:
    """Add the options of commands that write an index. hash_length: of a new one."""
    command.add_argument(
        "--output", required=True, type=some, metavar="DIR", help="where the index is"
    )
    command.add_argument(
        "--hash-length",
        type=int,
        metavar="N",
        help=f"digits of hashes, {MIN_HASH_LENGTH} to {MAX_HASH_LENGTH}: {MIN_HASH_LENGTH} tell "
        f"damage, {MAX_HASH_LENGTH} withstand an attacker, too (in a new index {hash_length})",
    )
    command.add_argument(
        "--full-hashes",
        dest="hash_length",
        action="store_const",
        const=MAX_HASH_LENGTH,
        help=f"the same as --hash-length {MAX_HASH_LENGTH}",
    )
    command.add_argument(
        "--mpy-version",
        action="append",
        type=bytecode_version,
        metavar="N",
        help=f"bytecode version, may be given again for more (in a new index {NEWEST_MPY})",
    )
    command.add_argument("--url", help="where boards will find it, for the lines to paste")


def add_network(command: argparse.ArgumentParser) -> None:
    """Add the options of commands that fetch."""
    command.add_argument(
        "--cafile",
        metavar="FILE",
        help="certificates, PEM, that vouch for servers; else the system's",
    )
    command.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="HOST:NAME:VALUE",
        help="is sent to this host alone, as a token; may be given again",
    )


def add_build(commands: Any) -> None:
    """Add the command `build`."""
    command = add_command(commands, "build", run_build, BUILD_DESCRIPTION, BUILD_EPILOG)
    command.add_argument(
        "source",
        nargs="+",
        type=some,
        metavar="SOURCE",
        help="a package, or a directory with packages somewhere in it",
    )
    command.add_argument(
        "--name", help="what a single SOURCE is called; else its directory's name"
    )
    command.add_argument("--license", metavar="TEXT", help="the licence of packages that say none")
    command.add_argument(
        "--opt",
        type=int,
        choices=range(4),
        metavar="N",
        help="mpy-cross's -O where a manifest says no opt: 3 leaves out asserts and line numbers",
    )
    add_output(command, MIN_HASH_LENGTH)


def add_mirror(commands: Any) -> None:
    """Add the command `mirror`."""
    command = add_command(commands, "mirror", run_mirror, MIRROR_DESCRIPTION, MIRROR_EPILOG)
    command.add_argument(
        "package", nargs="+", type=some, metavar="PACKAGE", help="what mip.install() takes"
    )
    command.add_argument(
        "--index",
        action="append",
        metavar="URL",
        help="where names are looked up, a URL or a path; may be given again: tried in order "
        f"(default {PUBLIC_INDEX})",
    )
    command.add_argument("--name", help="what a single PACKAGE is called in the index")
    command.add_argument("--version", help="the version of a single PACKAGE in the index")
    add_output(command, MAX_HASH_LENGTH)
    add_network(command)


def add_check(commands: Any) -> None:
    """Add the command `check`."""
    command = add_command(commands, "check", run_check, CHECK_DESCRIPTION, CHECK_EPILOG)
    command.add_argument("place", nargs="+", type=some, metavar="PLACE", help="a package.json")
    command.add_argument(
        "--as",
        dest="published",
        metavar="NAME",
        help="the name under which it will be installed, as github:ORG/REPO/PATH",
    )
    command.add_argument(
        "--no-files",
        dest="files",
        action="store_false",
        help="do not look if the files and packages that it names are there",
    )
    command.add_argument("--offline", action="store_true", help="look up only what is on the disk")
    command.add_argument("--strict", action="store_true", help="warnings are errors")
    command.add_argument(
        "--index",
        default=PUBLIC_INDEX,
        metavar="URL",
        help=f"where the packages are that it needs by name (default {PUBLIC_INDEX})",
    )
    command.add_argument(
        "--mpy-version",
        type=bytecode_version,
        default=NEWEST_MPY,
        metavar="N",
        help=f"the bytecode version that prebuilt files should have (default {NEWEST_MPY})",
    )
    add_network(command)


def add_serve(commands: Any) -> None:
    """Add the command `serve`."""
    command = add_command(commands, "serve", run_serve, SERVE_DESCRIPTION, SERVE_EPILOG)
    command.add_argument("dir", type=some, metavar="DIR", help="where the index is")
    command.add_argument(
        "--port",
        type=port,
        default=8000,
        metavar="N",
        help="0 takes a free one (default 8000)",
    )
    command.add_argument(
        "--bind",
        default="0.0.0.0",
        metavar="ADDR",
        help="address to listen on; 127.0.0.1 is for this machine only (default 0.0.0.0, all)",
    )
    command.add_argument("--cert", metavar="FILE", help="a certificate, PEM: serve with TLS")
    command.add_argument("--key", metavar="FILE", help="its private key, PEM")
    command.add_argument(
        "--tls", action="store_true", help="serve with TLS and a certificate made for now"
    )
    command.add_argument(
        "--ca",
        metavar="FILE",
        help="where to write what a board has to trust for --tls: DER if it ends in .der, or PEM",
    )


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="mip-index",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mip-index {mip.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (add_build, add_mirror, add_check, add_serve):
        add(commands)
    return parser


def refuse(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the program, with status 2, if options do not go together."""
    named = options.run is run_mirror and (options.name or options.version)
    if named and len(options.package) > 1:
        parser.error("--name and --version are for a single PACKAGE")
    if options.run is run_check and len(options.place) > 1 and options.published:
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
    refuse(parser, options)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names that a terminal cannot show
    try:
        return options.run(options) or 0
    except PublishError as error:
        text = str(error)
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, "")
        text = ": ".join(filter(None, (error.filename, error.strerror or str(error), advice)))
    except KeyboardInterrupt:
        text = "interrupted: the index is whole, run it again"
    print("mip-index:", " ".join(text.split()), file=sys.stderr)
    return 1
