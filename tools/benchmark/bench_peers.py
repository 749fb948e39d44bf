"""Times whole commands that fetch the same package: both mips, mpremote onto a board, and curl.

mip and mpremote install a package of small files. curl fetches its package.json and its files,
one after the other on one connection: no client that waits for each answer can be faster. The
board of mpremote is the Unix port behind a pseudo-terminal: its serial line costs nothing.
"""

import os
import shutil
import sys
import time
from pathlib import Path
from statistics import median

import bench_site
from bench_device import BenchError
from bench_report import PEERS
from demo import certificate
from plug import Plug


def commands(bench, package, url, cafile, target, port):
    """Return {peer: the words of its command}, for the package of the index at `url`.

    cafile: the certificate that vouches for the server.  target: a new directory.  port: that of a
    board.  A peer that is not installed is left out.
    """
    install = [bench.interpreter, "-m", "mip", "install", "--index", url, "--target", target]
    found = {"ours": [*install, package.name], "upstream": [*install, package.name]}
    if shutil.which("mpremote"):
        options = ["mip", "install", "--index", url, "--target", "lib", package.name]
        found["mpremote"] = ["mpremote", "connect", port, "resume", *options]
    if shutil.which("curl"):
        settings = Path(target).with_suffix(".curl")
        fetched = ""
        for number, path in enumerate(bench_site.routes([package])):
            fetched += f'url = "{url}{path}"\noutput = "{target}/{number}"\n'
        settings.write_text(fetched)
        found["curl"] = ["curl", "--silent", "--fail", "--cacert", cafile, "-K", settings]
    return found


def measure(bench, files, rtts, rounds, say):
    """Time the commands. Returns what bench.json has under "peers".

    files: how many the package has.  rtts: round trips, in milliseconds.  rounds: how often each
    is timed.  say: as bench.say().  Raises BenchError when a command fails.
    """
    package = bench_site.small_files(files)
    cafile = bench.place / "ca-of-peers.pem"
    context = certificate(cafile)
    nothing = bench.place / "nothing-for-peers"
    nothing.mkdir()
    cells = []
    for rtt in rtts:
        took = {}
        served = bench_site.serve(bench_site.routes([package]), nothing, context, rtt)
        with served as server:
            for number in range(rounds):
                for name, seconds in _round(bench, package, server.url, cafile).items():
                    took.setdefault(name, []).append(round(seconds * 1000, 1))
                say(f"peers, {rtt} ms, round {number + 1}/{rounds}: {took}")
        times = {name: took.get(name) for name in PEERS}
        middle = {name: runs and median(runs) for name, runs in times.items()}
        cells.append({"rtt_ms": rtt, "ms": times, "median_ms": middle})
    return {"files": files, "rounds": rounds, "cells": cells}


def _round(bench, package, url, cafile):
    # How many seconds each command takes, once.
    found = {}
    for name in PEERS:
        target = bench.target()
        disk = bench.target()
        (disk / "lib").mkdir()
        try:
            with Plug([bench.interpreter], cwd=disk) as board:
                command = commands(bench, package, url, cafile, target, board.name).get(name)
                if command:
                    found[name] = _time(bench, name, command, cafile)
            kept = {"mpremote": disk / "lib"}.get(name, target)
            there = [
                path for path in kept.rglob("*") if path.is_file() and ".mip" not in path.parts
            ]
            if command and len(there) != len(package.files) + (name == "curl"):
                raise BenchError(f"{name}: {len(there)} files came")
        finally:
            shutil.rmtree(target)
            shutil.rmtree(disk)
    return found


def _time(bench, name, command, cafile):
    path = bench.ours.path if name == "ours" else bench.upstream.path
    trusted = {"SSL_CERT_FILE": str(cafile), "MICROPYPATH": path}
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    start = time.perf_counter()
    done = bench.run(command, PATH=search, **trusted)
    took = time.perf_counter() - start
    if done.returncode:
        raise BenchError(f"{name}: {done.stdout[-400:]}")
    return took
