"""Contract kits and stand-ins for tests; nothing that runs as a service imports them."""
