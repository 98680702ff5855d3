"""Host <-> board: frames on a serial line, numbered questions, each sample applied exactly once."""
