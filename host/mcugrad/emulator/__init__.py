"""An STM32 board in its own process, running the chip's very ELF behind a serial port and a JSON channel."""
