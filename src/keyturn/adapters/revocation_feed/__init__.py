"""Another service's revocation list, read over HTTP."""
