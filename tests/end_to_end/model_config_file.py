"""Model config files, as their users write them."""

from __future__ import annotations

from pathlib import Path


def entry(name: str, base_path: Path | str, fields: str = "", platform: str = "tensorflow") -> str:
    """One model of a config file."""
    return f'  config {{ name: "{name}" base_path: "{base_path}" model_platform: "{platform}" {fields} }}\n'


class ModelConfigFile:
    """A file that a server reads, perhaps just now: what is written to it appears whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, *entries: str) -> str:
        """The flag that names the file."""
        return self.write_text(f"model_config_list {{\n{''.join(entries)}}}\n")

    def write_text(self, text: str) -> str:
        hidden = self.path.with_name(f".{self.path.name}")
        hidden.write_text(text, encoding="utf-8")
        hidden.rename(self.path)
        return f"--model_config_file={self.path}"
