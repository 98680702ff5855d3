"""When each node runs and where each buffer lies, decided and proved before any C is written."""
