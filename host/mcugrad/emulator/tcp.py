"""A TCP port in front of an emulated board's UART, for one client after another: socket://host:port."""

from __future__ import annotations

import select
import socket
import threading


def serve(host: str, port: int) -> tuple[int, str]:
    """(descriptor of the board's side, address). The board stays powered while clients come and go."""
    ours, theirs = socket.socketpair()
    listener = socket.create_server((host, port))
    threading.Thread(target=_forward, args=(listener, theirs), daemon=True).start()
    ours.setblocking(False)
    address = listener.getsockname()
    return ours.detach(), f"socket://{address[0]}:{address[1]}"


def _forward(listener: socket.socket, board: socket.socket) -> None:
    while True:
        client, _ = listener.accept()
        with client:
            while all(_pass(client, board)):
                pass


def _pass(client: socket.socket, board: socket.socket) -> list[bytes]:
    """What has come from either side goes to the other; an empty one has gone away."""
    try:
        ready, _, _ = select.select([client, board], [], [])
        moved = [(side, side.recv(4096)) for side in ready]
        for side, data in moved:
            (board if side is client else client).sendall(data)
        return [data for _, data in moved]
    except OSError:
        return [b""]
