"""The password hash that everybody uses here."""

import os

from django.contrib.auth.hashers import Argon2PasswordHasher


class SameArgon2(Argon2PasswordHasher):
    """Django's own, with the parameters that everybody uses here."""

    time_cost, memory_cost, parallelism = map(int, os.environ["BENCH_ARGON2"].split(","))
