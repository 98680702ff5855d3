"""Where the instructions of one step go: node by node, and against an earlier build."""

from mcugrad.profile.command import profile

__all__ = ["profile"]
