"""Figures for Prometheus, of one app or of all the workers of one machine."""
