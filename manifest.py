# ruff: noqa: F821  (the names used here are given by MicroPython's build)
# Option cmdline: whether `micropython -m mip` is frozen, too; True if it is not given.
# Option without: what this firmware can do without, such as "search native": the switches at the
# top of mip/__init__.py in lower case, or "all" of them. docs/sizes.md says what each costs.
options.defaults(cmdline=True, without="")
metadata(
    version="2.0.0",
    description="Installs packages on the device: whole files, verified, recorded.",
    license="MIT",
    author="the mip authors",
)
# From here on require("mip") and require("mip-cmdline"), also those of a bundle, find nothing more
# to freeze: a module that is frozen twice does not build. What evaluates a manifest for another
# end than firmware may not know libraries.
if "add_library" in globals():
    add_library("mip", "manifests", prepend=True)


def library(without):
    """A directory that has mip/__init__.py with these switches off; None: as it is here.

    without: words in one string, or a list of them. Raises ValueError for one that is no switch.
    """
    import atexit
    import os
    import re
    import shutil
    import tempfile

    words = without.split() if isinstance(without, str) else without
    if not words and "freeze" not in globals():
        return None  # it is published, not built
    with open("mip/__init__.py", encoding="utf-8") as file:
        text = file.read()
    known = [name.lower() for name in re.findall(r"^_([A-Z]+) = const\(1\)  #", text, re.M)]
    for word in known if "all" in words else words:
        if word not in known:
            raise ValueError(f"without={word!r}: mip knows all, or some of {' '.join(known)}")
        text = text.replace(f"\n_{word.upper()} = const(1)", f"\n_{word.upper()} = const(0)")
    # A manifest does not know where the build is. What is here is new, so it is compiled anew,
    # whatever an earlier build had left out, and upstream's mip if that had it.
    directory = tempfile.mkdtemp(prefix="mip-")
    atexit.register(shutil.rmtree, directory)
    os.mkdir(os.path.join(directory, "mip"))
    with open(os.path.join(directory, "mip", "__init__.py"), "w", encoding="utf-8") as file:
        file.write(text)
    return directory


package("mip", files=["__init__.py"], base_path=library(options.without) or ".", opt=3)
if options.cmdline:
    package("mip", files=["__main__.py"], opt=3)
