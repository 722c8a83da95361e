"""See what nobody sends: the host, its processes, and trace-agent itself."""
