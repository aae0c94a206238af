"""The server of a run: one port for the scanner's and the subject's host, and for whoever looks on."""
