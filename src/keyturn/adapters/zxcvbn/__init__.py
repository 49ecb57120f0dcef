"""The list of common passwords that comes with zxcvbn."""
