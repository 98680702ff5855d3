"""Train a network on a board: `python host/train_on_board.py --port /dev/ttyACM0`."""

from mcugrad.cli import train_on_board

if __name__ == "__main__":
    train_on_board()
