"""Runs the measurements of bench/README.md and prints their table."""
