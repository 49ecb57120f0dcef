"""What the use-cases need from the outside; each docstring is the contract an adapter must keep."""
