"""Front-end processes: decode → resolve → submit → await → encode. Each protocol is a thin layer over this package."""
