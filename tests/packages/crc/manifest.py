# ruff: noqa: F821  (the names used here are given by the build)
metadata(
    version="1.0.0",
    description="Checksums of sensors, serial protocols and files: CRC-8, CRC-16, CRC-32.",
    license="MIT",
    author="the authors of mip",
)
module("crc.py")
