"""`ringserve tune`: servers with other flags each, under load, and which of them are worth having."""
