"""Cyclic redundancy checks, without tables: small rather than fast.

All functions take bytes and return an int. The names and the check values are those of the
catalogue of parametrised CRC algorithms by Greg Cook.
"""


def crc(data, width, polynomial, start=0, reflected=False, flip=0):
    """Return the CRC of `data`.

    width: bits of the result, 8 or more. polynomial: without its highest bit, and bit-reversed
    if `reflected`, where the lowest bit of a byte comes first. start: the register before the
    first byte. flip: is XORed with the register after the last one.
    """
    top = 1 << (width - 1)
    register = start
    for byte in data:
        register ^= byte if reflected else byte << (width - 8)
        for _ in range(8):
            if reflected:
                out = register & 1
                register >>= 1
            else:
                out = register & top
                register = (register << 1) & (2 * top - 1)
            if out:
                register ^= polynomial
    return register ^ flip


def crc8(data):
    """CRC-8/SMBUS: SMBus packets."""
    return crc(data, 8, 0x07)


def crc8_maxim(data):
    """CRC-8/MAXIM-DOW: 1-Wire addresses and the DS18B20's memory."""
    return crc(data, 8, 0x8C, reflected=True)


def crc8_sensirion(data):
    """CRC-8/NRSC-5: the words of Sensirion's SHT3x, SGP30 and SCD4x."""
    return crc(data, 8, 0x31, 0xFF)


def crc16(data):
    """CRC-16/IBM-3740, also called CCITT-FALSE: radio and serial frames."""
    return crc(data, 16, 0x1021, 0xFFFF)


def crc16_modbus(data):
    """CRC-16/MODBUS: Modbus RTU."""
    return crc(data, 16, 0xA001, 0xFFFF, reflected=True)


def crc32(data):
    """CRC-32/ISO-HDLC: Ethernet, zip and PNG."""
    return crc(data, 32, 0xEDB88320, 0xFFFFFFFF, reflected=True, flip=0xFFFFFFFF)
