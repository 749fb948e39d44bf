# ruff: noqa: F821  (the names used here are given by MicroPython's build)
metadata(
    version="0.1.0",
    description="Installs packages on the device: whole files, verified, recorded.",
    license="MIT",
    author="the mip authors",
)
package("mip", opt=3)
