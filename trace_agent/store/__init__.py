"""Keep events in one SQLite file that survives kills, full disks and damage."""
