"""Decide without touching the world: no clock, socket, file, database or random source in here."""
