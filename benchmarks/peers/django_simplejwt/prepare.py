"""Makes the tables and the users."""

import os

import django
from django.core.management import call_command

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
    django.setup()
    from django.contrib.auth.hashers import make_password
    from django.contrib.auth.models import User

    call_command("migrate", verbosity=0)
    password = make_password(os.environ["BENCH_PASSWORD"])
    User.objects.bulk_create(
        User(username=f"user{number}@example.com", password=password)
        for number in range(int(os.environ["BENCH_USERS"]))
    )
