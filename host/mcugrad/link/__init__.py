"""Host <-> board: frames on a serial line, numbered questions and answers, each sample applied exactly once."""
