"""Another service's public keys, fetched over HTTP and kept fresh."""
