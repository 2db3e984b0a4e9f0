"""The whole system on one machine: real processes on free loopback ports, nothing left behind."""
