# ruff: noqa: F821  (the names used here are given by the build)
metadata(
    version="0.2.1",
    description="Reads and writes settings as lines of key = value, in sections.",
    license="MIT",
    author="the authors of mip",
)
module("keyvalue.py")
