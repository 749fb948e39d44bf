# ruff: noqa: F821  (the names used here are given by MicroPython's build)
# Option cmdline: whether `micropython -m mip` is frozen, too; True if it is not given.
options.defaults(cmdline=True)
metadata(
    version="0.1.0",
    description="Installs packages on the device: whole files, verified, recorded.",
    license="MIT",
    author="the mip authors",
)
# From here on require("mip") and require("mip-cmdline"), also those of a bundle, find nothing more
# to freeze: a module that is frozen twice does not build. What evaluates a manifest for another
# end than firmware may not know libraries.
if "add_library" in globals():
    add_library("mip", "manifests", prepend=True)
package("mip", files=["__init__.py"], opt=3)
if options.cmdline:
    package("mip", files=["__main__.py"], opt=3)
