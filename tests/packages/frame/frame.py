"""Packets over a serial line.

A frame is the payload and its CRC-16 (high byte first), in consistent overhead byte stuffing
(Cheshire and Baker, 1999), ended by a zero byte. A zero byte is found nowhere else, so that a
receiver that joins late or lost a byte is back in step at the next frame.
"""

from crc import crc16


def encode(payload):
    """Return the frame of `payload` (bytes), ready to be written to a UART."""
    check = crc16(payload)
    frame = bytearray()
    block = bytearray()
    for byte in payload + bytes((check >> 8, check & 0xFF)):
        if byte:
            block.append(byte)
        if not byte or len(block) == 254:
            frame.append(len(block) + 1)
            frame.extend(block)
            block = bytearray()
    frame.append(len(block) + 1)
    frame.extend(block)
    frame.append(0)
    return bytes(frame)


def decode(frame):
    """Return the payload of a frame without its final zero, or None if it is damaged."""
    data = bytearray()
    at = 0
    while at < len(frame):
        length = frame[at]
        block = frame[at + 1 : at + length]
        if length == 0 or len(block) != length - 1:
            return None
        data.extend(block)
        at += length
        if length < 255 and at < len(frame):
            data.append(0)
    payload = bytes(data[:-2])
    if len(data) < 2 or crc16(payload) != (data[-2] << 8 | data[-1]):
        return None
    return payload


class Receiver:
    """Takes bytes as they come from the line; `damaged` counts the frames that were dropped."""

    def __init__(self, limit=256):
        """limit: the longest frame, in bytes; a longer one is dropped as damaged."""
        self.limit = limit
        self.damaged = 0
        self._frame = bytearray()

    def feed(self, data):
        """Take `data` (bytes), and return the list of payloads that are complete now."""
        payloads = []
        for byte in data:
            if byte:
                if len(self._frame) <= self.limit:
                    self._frame.append(byte)
            elif self._frame:
                payload = decode(self._frame) if len(self._frame) <= self.limit else None
                if payload is None:
                    self.damaged += 1
                else:
                    payloads.append(payload)
                self._frame = bytearray()
        return payloads
