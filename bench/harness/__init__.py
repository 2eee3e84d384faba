"""The load harness: `ringserve bench load` and what else measures any server through it."""
