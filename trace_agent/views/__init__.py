"""Show what is stored, to people and to programs; nothing in here writes to the store."""
