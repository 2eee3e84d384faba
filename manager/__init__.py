"""The supervisor: finds versions, has workers load them, tells front ends, and keeps every process alive."""
