# ruff: noqa: F821  (the names used here are given by the build)
metadata(
    version="0.3.0",
    description="Packets over a serial line: COBS framing with a CRC-16.",
    license="MIT",
    author="the authors of mip",
)
require("crc")
module("frame.py")
