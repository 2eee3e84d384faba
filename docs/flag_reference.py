"""Writes docs/flags.md from the table of flags: `python -m docs.flag_reference`."""

from __future__ import annotations

from pathlib import Path

from ringserve.flags import FLAGS

PAGE = Path(__file__).with_name("flags.md")


def page() -> str:
    """The page's text."""
    lines = ["# Flags", "", "Made from the flag table by `make docs`. Flags marked * are accepted and have no effect yet."]
    group = ""
    for flag in FLAGS.values():
        if flag.group != group:
            group = flag.group
            lines += ["", f"## {group}", "", "| flag | type | default | meaning |", "|---|---|---|---|"]
        mark = "" if flag.effective else " *"
        default = "" if flag.default in ("", False) else f"`{str(flag.default).lower()}`"
        if "threads" in flag.name and flag.default and flag.group in ("REST", "gRPC"):
            default = "4 a CPU"
        if flag.name == "num_tflite_pools":
            default = "1 a CPU"
        lines.append(f"| `--{flag.name}`{mark} | {flag.type} | {default} | {flag.help} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
