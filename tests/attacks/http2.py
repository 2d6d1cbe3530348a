"""Hand-written HTTP/2 frames that no gRPC library would send."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
CANCEL = 8
GET = "/recalld.v1.MemoryService/GetMemory"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def header(name: bytes, value: bytes) -> bytes:
    """A header in HPACK, literally and kept in no table. Name and value have at most 126 bytes."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def headers(path: str = GET, further: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """The header block of a call."""
    common = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        *further,
    )
    return b"".join(header(name, value) for name, value in common)


def connect(port: int) -> socket.socket:
    """A connection with the preface and empty settings sent."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0))
    return connection


def call(stream: int, block: bytes, message: bytes = b"") -> bytes:
    """A whole unary call."""
    length = struct.pack(">I", len(message))
    return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, b"\0" + length + message)


def begun_and_cancelled(stream: int, block: bytes) -> bytes:
    """A call that its caller cancels at once."""
    return frame(HEADERS, END_HEADERS, stream, block) + frame(RESET, 0, stream, struct.pack(">I", CANCEL))
