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


def small(text):
    """The text of the small mip: manifests/small.py, behind what it uses of mip/__init__.py.

    text: that of mip/__init__.py with all switches off.
    """
    import ast

    with open("manifests/small.py", encoding="utf-8") as file:
        own = ast.parse(file.read())
    kept = ast.parse(text).body
    switched = {}
    defined = {}  # name: what defines it in mip/__init__.py
    for node in kept:  # what a switch decides on follows behind
        if isinstance(node, ast.If):
            test = compile(ast.Expression(node.test), "manifest.py", "eval")
            kept += node.body if eval(test, switched) else node.orelse
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            defined.update((alias.asname or alias.name, node) for alias in node.names)
        elif isinstance(node, ast.Assign):
            name = node.targets[0].id
            defined[name] = node
            if ast.unparse(node.value) == "const(0)":
                switched[name] = 0
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined[node.name] = node
    del defined["const"]  # it is the compiler's
    methods = [node for node in defined["_Store"].body if hasattr(node, "name")]
    store = {f"_Store.{node.name}": node for node in methods}
    for node in own.body:
        if isinstance(node, ast.ClassDef):  # it may have methods of the store
            node.body = [
                store.get(ast.unparse(line.value), line) if isinstance(line, ast.Assign) else line
                for line in node.body
            ]
        defined.pop(getattr(node, "name", None), None)
    # What is only looked for by name, and then all that is named by what is kept.
    used = [defined["__version__"], defined["__getattr__"], defined["cafile"], own]
    for node in used:
        for name in ast.walk(node):
            found = isinstance(name, ast.Name) and defined.get(name.id)
            if found and found not in used:
                used.append(found)
    own.body = [node for node in kept if node in used] + own.body
    return ast.unparse(own)


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
    if "all" in words:
        text = small(text)
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
