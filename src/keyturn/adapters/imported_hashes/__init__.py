"""Hashes of bcrypt and PBKDF2, as Django and passlib write them."""
