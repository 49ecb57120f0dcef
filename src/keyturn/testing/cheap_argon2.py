"""A profile that makes Argon2 nearly free: for tests that hash often, never for a service."""

from keyturn.adapters.argon2.hasher import Argon2Parameters


def cheap_argon2_parameters() -> Argon2Parameters:
    """Return one pass over 8 KiB, which `Argon2Parameters` itself refuses."""
    parameters = object.__new__(Argon2Parameters)
    object.__setattr__(parameters, "time_cost", 1)
    object.__setattr__(parameters, "memory_kib", 8)
    object.__setattr__(parameters, "parallelism", 1)
    return parameters
