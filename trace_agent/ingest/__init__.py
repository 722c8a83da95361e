"""Receive packets from sockets and hand their events on; receive first, think later."""
