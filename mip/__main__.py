# micropython -m mip ...: parses words, calls the library, sets the exit status.
# MIT license; Copyright (c) 2026 the mip authors

import sys

import mip

_USAGE = """\
usage: micropython -m mip install [option...] package...
       micropython -m mip list [option...]

package: name[@version], URL, path, github:org/repo[/path][@ref]; gitlab:, codeberg: likewise
  -t, --target path  where to install; else the first entry of sys.path that ends in /lib
  -i, --index url    where names are looked up, a URL or a path
  --no-mpy, --mpy    source; bytecode where there is some (the default)
  -h, --help         this text
"""

# The keyword of each option, and its value where no word follows that has it.
_OPTIONS = {
    "-t": ("target",),
    "--target": ("target",),
    "-i": ("index",),
    "--index": ("index",),
    "--mpy": ("mpy", True),
    "--no-mpy": ("mpy", False),
}

# The verbs, whether they take packages, and their keywords.
_VERBS = {
    "install": (True, ("target", "index", "mpy")),
    "list": (False, ("target",)),
}


def _parse(words):
    # Returns verb, packages and keyword arguments; ValueError is a wrong command line.
    names = []
    options = {}
    words = iter(words)
    for word in words:
        if word[:1] != "-":
            names.append(word)
            continue
        word, *rest = word.split("=", 1)
        if word not in _OPTIONS:
            raise ValueError("unknown option " + word)
        key, *fixed = _OPTIONS[word]
        if fixed and rest:
            raise ValueError(word + " takes no value")
        value = (fixed or rest or [next(words, "")])[0]
        if value == "" or str(value)[:1] == "-":
            raise ValueError(word + " needs a value")
        options[key] = value
    verb = names.pop(0) if names else "no verb"
    if verb not in _VERBS:
        raise ValueError("what is to be done? " + verb)
    named, keys = _VERBS[verb]
    if named != bool(names):
        raise ValueError("%s takes %s package" % (verb, "a" if named else "no"))
    for key in options:
        if key not in keys:
            raise ValueError("%s takes no %s" % (verb, key))
    return verb, (names,) if named else (), options


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
        getattr(mip, verb)(*names, **options)
        return 0
    except mip.InstallError as e:
        sys.stderr.write("mip: %s\n" % " ".join(str(e).split()))
        return 1


sys.exit(_run(sys.argv[1:]))
