# micropython -m mip ...: parses words, calls the library, sets the exit status.
# MIT license; Copyright (c) 2026 the mip authors

import os
import sys
from micropython import const

import mip

_USAGE = """\
usage: micropython -m mip VERB [PACKAGE...] [OPTION...]

  install PACKAGE...     with all that it needs     uninstall PACKAGE...
  upgrade [PACKAGE...]   all that was asked for     search WORD...
  list                   what is installed          verify  finds damaged files
  recover                finishes what was interrupted

PACKAGE: name[@version], URL, path, github:org/repo[/path][@ref]; gitlab:, codeberg: likewise;
         #sha256=HEX behind it pins its content
  -r FILE            installs what FILE lists, as `list` prints it
  --no-deps          does not install what it needs
  -t, --target PATH  where to install; else the first entry of sys.path that ends in /lib
  -i, --index URL    where names are looked up, a URL or a path; may be given again
  --no-mpy, --mpy    install source; prefer bytecode (the default)
  --cafile FILE      certificates that vouch for servers; else the system's
  --insecure         do not check certificates
  --header HOST:NAME:VALUE  is sent to this host alone; may be given again
  -h, --help; --version
"""

_TERMINAL = const(0x2000)  # the type of a character device in os.stat()
_ROOTS = "/etc/ssl/certs/ca-certificates.crt"

# How many words each verb takes (1: one or more; 2: any number), and its options.
_FETCHES = " index cafile insecure header"
_INSTALLS = "target mpy" + _FETCHES
_VERBS = {
    "install": (1, _INSTALLS + " deps"),
    "uninstall": (1, "target"),
    "upgrade": (2, _INSTALLS),
    "search": (1, _FETCHES),
    "list": (0, "target"),
    "verify": (0, "target"),
    "recover": (0, "target"),
}


def _session(headers, cafile):
    session = mip.Session(headers, cafile)
    shown = [""]

    def show():
        # What has come of an answer, and of how much where that is known.
        answer = getattr(session, "answer", None)  # the small mip does not say
        text = ""
        if answer and answer.stream and answer.left != 0:
            text = "%d bytes" % answer.got
            if answer.left and not answer.chunked:
                text = "%d of %d bytes" % (answer.got, answer.got + answer.left)
        if text != shown[0]:
            shown[0] = text
            sys.stderr.write("\x1b[K" + text + "\r")  # what is printed next comes over it

    if _kind("/dev/stderr") == _TERMINAL:
        mip.idle = show
    return session


def _kind(path):
    # The type of what is there, 0 where nothing is.
    try:
        return os.stat(path)[0] & 0xF000
    except OSError:
        return 0


def _known(word, words):
    # A wrong word costs one more look at the list if it is said what was meant.
    if word not in words:
        near = [known for known in words if known[:3] == word[:3]]
        if word in ("remove", "rm", "delete"):
            near = ["uninstall"]
        raise ValueError("unknown " + word + (", perhaps " + near[0] if near else ""))


def _parse(words):
    # Returns verb, packages and keyword arguments; ValueError: a wrong command line.
    names = []
    listed = []
    options = {}
    headers = {}
    words = iter(words)
    for word in words:
        if word[:1] != "-":
            names.append(word)
            continue
        word, *values = word.split("=", 1)
        word = {"-t": "--target", "-i": "--index"}.get(word, word)
        key = word[2:]
        known = ["--" + option for option in _INSTALLS.split()]
        _known(word, ["-r", "--no-mpy", "--no-deps"] + known)
        if key in ("mpy", "no-mpy", "no-deps", "insecure"):
            if values:
                raise ValueError(word + " takes no value")
            options[key.replace("no-", "")] = key[:3] != "no-"
            continue
        value = ""
        for value in values or words:  # noqa: B007  (before 1.25 next() takes no default)
            break
        if value[:1] in ("", "-"):
            raise ValueError(word + " needs a value")
        if word == "-r":
            try:
                with open(value) as file:
                    for line in file.read().lstrip("\ufeff").split("\n"):
                        line = (" " + line).split(" #")[0].strip()
                        if line:
                            listed.append(line)
            except (OSError, ValueError):
                raise ValueError("cannot read " + value)
            continue
        if key == "index":
            options.setdefault(key, []).append(value)
            continue
        options[key] = value
        if key == "header":
            plain = "http://" if value[:7] == "http://" else ""
            host, name, *text = value[len(plain) :].split(":", 2) + [""]
            host = host and plain + host
            if len(text) < 2 or not host or not name:
                raise ValueError("--header takes HOST:NAME:VALUE")
            headers.setdefault(host, {})[name] = text[0].strip()
    if not names:
        raise ValueError("a verb is needed")
    verb = names.pop(0)
    _known(verb, list(_VERBS))
    takes, allowed = _VERBS[verb]
    if listed and verb != "install":
        raise ValueError(verb + " takes no -r")
    names += listed
    if takes < 2 and bool(names) != takes:
        what = "a word" if verb == "search" else "a package" if takes else "no package"
        raise ValueError("%s takes %s" % (verb, what))
    for key in options:
        if key not in allowed.split():
            raise ValueError("%s takes no --%s" % (verb, key))
    if "index" in allowed:
        options.pop("header", None)
        cafile = options.pop("cafile", None)
        if not cafile and hasattr(os, "getenv"):
            cafile = os.getenv("SSL_CERT_FILE")
        if not cafile and _kind(_ROOTS):
            cafile = _ROOTS
        if options.pop("insecure", False):
            cafile = None
        options["session"] = _session(headers, cafile)
    if verb == "search":
        names = " ".join(names)
    return verb, (names,) if takes == 1 or names else (), options


def _run(words):
    # Returns the exit status.
    if "-h" in words or "--help" in words:
        print(_USAGE)
        return 0
    if "--version" in words:
        print("mip", mip.__version__)
        return 0
    try:
        verb, names, options = _parse(words)
        call = getattr(mip, verb)
    except (ValueError, AttributeError) as e:  # a verb that was left out of the build
        sys.stderr.write("mip: %s; see --help\n" % e)
        return 2
    try:
        wrong = call(*names, **options)
        return 1 if verb == "verify" and wrong else 0
    except mip.InstallError as e:
        sys.stderr.write("mip: %s\n" % " ".join(str(e).split()))
        return 1
    except KeyboardInterrupt:
        return 130  # as a shell has it; the library has said what it means


sys.exit(_run(sys.argv[1:]))
