"""Signed JWTs: the keys, where they are kept, and the codec that uses them."""
