"""The OAuth clients in one TOML file that an operator can read and edit."""
