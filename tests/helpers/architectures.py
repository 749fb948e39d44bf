"""The architectures of native code, and which of them a board runs."""

# By their numbers; see the format of .mpy files. The interpreter of the tests is x64, and its
# bytecode is version 6.3.
ARCHS = (
    None,
    "x86",
    "x64",
    "armv6",
    "armv6m",
    "armv7m",
    "armv7em",
    "armv7emsp",
    "armv7emdp",
    "xtensa",
    "xtensawin",
    "rv32imc",
    "rv64imc",
)

# A board's architecture, and those whose native code it runs.
RUNS = {
    None: [],
    "x86": ["x86"],
    "x64": ["x64"],
    "armv6": ["armv6"],
    "armv6m": ["armv6m"],
    "armv7m": ["armv6m", "armv7m"],
    "armv7em": ["armv6m", "armv7m", "armv7em"],
    "armv7emsp": ["armv6m", "armv7m", "armv7em", "armv7emsp"],
    "armv7emdp": ["armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp"],
    "xtensa": ["xtensa"],
    "xtensawin": ["xtensawin"],
    "rv32imc": ["rv32imc"],
    "rv64imc": ["rv64imc"],
}
