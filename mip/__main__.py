# micropython -m mip ...: parses words, calls the library, sets the exit status.
# MIT license; Copyright (c) 2026 the mip authors

import os
import sys

import mip

_USAGE = """\
usage: micropython -m mip install|uninstall PACKAGE... [OPTION...]
       micropython -m mip upgrade|list|verify|recover [OPTION...]

PACKAGE: name[@version], URL, path, github:org/repo[/path][@ref]; gitlab:, codeberg: likewise
  -t, --target PATH  where to install; else the first entry of sys.path that ends in /lib
  -i, --index URL    where names are looked up, a URL or a path
  --no-mpy, --mpy    source; bytecode where there is some (the default)
  --cafile FILE      certificates that vouch for servers; else the system's
  --insecure         takes any server for the one that it says it is
  --header HOST:NAME:VALUE  is sent to this host alone; may be given again
  -h, --help         this text
"""

_ROOTS = "/etc/ssl/certs/ca-certificates.crt"

# The options of each verb.
_FETCHING = ("target", "index", "mpy", "cafile", "insecure", "header")
_VERBS = {
    "install": _FETCHING,
    "upgrade": _FETCHING,
    "uninstall": ("target",),
    "list": ("target",),
    "verify": ("target",),
    "recover": ("target",),
}


def _parse(words):
    # Returns verb, packages and keyword arguments; ValueError: a wrong command line.
    names = []
    options = {}
    headers = {}
    words = iter(words)
    for word in words:
        if word[:1] != "-":
            names.append(word)
            continue
        word, *value = word.split("=", 1)
        key = {"-t": "target", "-i": "index"}.get(word, word[2:])
        if key in ("mpy", "no-mpy", "insecure"):
            if value:
                raise ValueError(word + " takes no value")
            value = [key != "no-mpy"]
            key = key[-3:] if key[-3:] == "mpy" else key
        elif key not in _FETCHING:
            raise ValueError("unknown option " + word)
        else:
            value = value or [next(words, "")]
            if value[0][:1] in ("", "-"):
                raise ValueError(word + " needs a value")
        if key == "header":
            host, name, *text = value[0].split(":", 2) + [""]
            if len(text) < 2 or not host or not name:
                raise ValueError("--header takes HOST:NAME:VALUE")
            headers.setdefault(host, {})[name] = text[0].strip()
        options[key] = value[0]
    verb = names.pop(0) if names else ""
    if verb not in _VERBS:
        raise ValueError("unknown verb " + verb if verb else "a verb is needed")
    if bool(names) != ("install" in verb):
        raise ValueError("%s takes %s package" % (verb, "no" if names else "a"))
    for key in options:
        if key not in _VERBS[verb]:
            raise ValueError("%s takes no --%s" % (verb, key))
    cafile = options.pop("cafile", None)
    if options.pop("insecure", False):
        cafile = None
    elif not cafile:
        cafile = os.getenv("SSL_CERT_FILE") or _roots()
    if _VERBS[verb] == _FETCHING:
        options.pop("header", None)
        options["session"] = mip.Session(headers, cafile)
    return verb, (names,) if names else (), options


def _roots():
    # The system's certificates, None where they are kept elsewhere.
    try:
        os.stat(_ROOTS)
        return _ROOTS
    except OSError:
        return None


def _run(words):
    # Returns the exit status.
    if "-h" in words or "--help" in words:
        print(_USAGE)
        return 0
    try:
        verb, names, options = _parse(words)
    except ValueError as e:
        sys.stderr.write("mip: %s\n%s" % (e, _USAGE))
        return 2
    try:
        wrong = getattr(mip, verb)(*names, **options)
        return 1 if wrong else 0  # verify() returns what is wrong
    except mip.InstallError as e:
        sys.stderr.write("mip: %s\n" % " ".join(str(e).split()))
        return 1


sys.exit(_run(sys.argv[1:]))
