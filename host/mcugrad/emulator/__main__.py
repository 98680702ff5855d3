"""`python -m mcugrad.emulator`: one emulated board as a process."""

from mcugrad.emulator.server import main

if __name__ == "__main__":
    raise SystemExit(main())
