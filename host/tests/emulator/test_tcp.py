"""A board's UART on a TCP port: clients come and go, the board stays."""

from __future__ import annotations

import os
import socket
import time

from mcugrad.emulator import tcp


def read(descriptor: int, count: int) -> bytes:
    data, end = b"", time.monotonic() + 10
    while len(data) < count and time.monotonic() < end:
        try:
            data += os.read(descriptor, count - len(data))
        except BlockingIOError:
            time.sleep(0.01)
    return data


def test_one_client_after_another() -> None:
    board, address = tcp.serve("127.0.0.1", 0)
    place = address.removeprefix("socket://").split(":")
    for words in (b"first", b"second"):
        with socket.create_connection((place[0], int(place[1])), timeout=10) as client:
            client.sendall(words)
            assert read(board, len(words)) == words
            os.write(board, b"answer")
            assert client.recv(6) == b"answer"
    os.close(board)
