"""For pyserial's protocol_handler_packages: makes emu:// a port."""
