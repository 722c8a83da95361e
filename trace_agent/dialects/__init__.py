"""Turn what agents say, in each of their languages, into events; pure like core."""
