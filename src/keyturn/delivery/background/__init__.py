"""What time asks for instead of a caller: each task calls one use-case, again and again."""
