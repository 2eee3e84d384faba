"""Tables of `ringserve models`: what a server says of its models and processes, for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Entry = Mapping[str, Any]

_GONE: Final = "END"
_AGES: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SIZES: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))


def list_table(models: Sequence[Entry]) -> str:
    """One line a model."""
    if not models:
        return "no models"
    rows = [("MODEL", "VERSIONS", "LABELS", "POLICY", "PATH", "TROUBLE")]
    for model in models:
        labels = ", ".join(f"{label}={_split(versions)}" for label, versions in sorted(model["labels"].items()))
        facts = (model["name"], versions_text(model), labels, model["policy"], model["base_path"], model["trouble"] or "")
        rows.append(facts)
    return table(rows)


def versions_text(model: Entry) -> str:
    """The versions that have not ended, with their states: `2 AVAILABLE, 1 UNLOADING`."""
    alive = [f"{entry['version']} {entry['state']}" for entry in model["versions"] if entry["state"] != _GONE]
    return ", ".join(alive) or "none"


def status_text(status: Entry, now: float) -> str:
    """Everything: each model with its versions, then the processes and the memory. `now` in Unix seconds."""
    blocks = [_model_text(model, now) for model in status["models"]] or ["no models"]
    return "\n\n".join([*blocks, _processes(status), _memory(status["memory"])])


def label_text(model: Entry, label: str) -> str:
    """What a label points at now."""
    versions = model["labels"].get(label)
    return f"label {label} is {_split(versions)}" if versions else f"no label {label}"


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Aligned columns under the first row's titles; `right`: columns aligned at their right. Empty columns are left out."""
    plain = [[printable(cell) for cell in row] for row in rows]
    kept = [index for index in range(len(plain[0])) if any(row[index] for row in plain[1:])]
    widths = {index: max(len(row[index]) for row in plain) for index in kept}
    return "\n".join(
        "  ".join(f"{row[index]:{'>' if index in right else '<'}{widths[index]}}" for index in kept).rstrip()
        for row in plain
    )


def printable(text: str) -> str:
    """On one line, and without what would steer a terminal."""
    line = " ".join(text.split())
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


def age(seconds: float) -> str:
    """In the largest unit that fits: `3 h`."""
    for unit, name in _AGES:
        if seconds >= unit:
            return f"{int(seconds // unit)} {name}"
    return "0 s"


def size(count: int | None) -> str:
    """Bytes in the largest unit that fits: `1.5 GiB`; empty for what is not known."""
    if count is None:
        return ""
    for unit, name in _SIZES:
        if count >= unit:
            return f"{count / unit:.0f} {name}" if unit == 1 or count >= 10 * unit else f"{count / unit:.1f} {name}"
    return "0 B"


def percent(share: float) -> str:
    """`5%`, `0.1%`."""
    return f"{100 * share:.4g}%"


def _split(versions: Sequence[Sequence[float]]) -> str:
    total = sum(weight for _, weight in versions)
    if len(versions) == 1 or not total:
        return "/".join(str(version) for version, _ in versions)
    return "/".join(f"{version}:{percent(weight / total)}" for version, weight in versions)


def _model_text(model: Entry, now: float) -> str:
    facts = [model["platform"], model["base_path"]]
    if model["policy"]:  # not so of a model of the past
        facts += [f"policy {model['policy']}", f"on {' '.join(model['devices'])}"]
    lines = [f"trouble: {model['trouble']}"] if model["trouble"] else []
    lines += [label_text(model, label) for label in sorted(model["labels"])]
    lines += [shadow_text(*shadow) for shadow in model["shadows"]]
    lines = [*map(printable, lines), *_versions(model["versions"], now).splitlines()]
    title = ": ".join(filter(None, (model["name"], ", ".join(filter(None, facts)))))
    return "\n".join([printable(title), *(f"  {line}" for line in lines)])


def shadow_text(version: int, rate: float, counts: Entry) -> str:
    """What a shadow gets and how its answers compared."""
    compared = ", ".join(f"{counts.get(name, 0)} {name}" for name in ("compared", "differed", "failed", "dropped"))
    return f"shadow {version} gets {percent(rate)} of the requests: {compared}"


def _versions(versions: Sequence[Entry], now: float) -> str:
    """A line a version, its workers one below the other; then what the warm-ups left out."""
    if not versions:
        return "no versions"
    rows = [("VERSION", "STATE", "FOR", "MEMORY", "LOADED IN", "WARM-UP", "WORKERS", "ERROR")]
    for entry in versions:
        workers = [f"{device} {state}" for device, state in sorted(entry["workers"].items())] or [""]
        rows.append(
            (
                str(entry["version"]),
                entry["state"],
                age(now - entry["since"]),
                size(entry["estimate_bytes"]) if entry["estimate_bytes"] else "",
                f"{entry['load_seconds']:.2f} s" if entry["load_seconds"] else "",
                _warm_up(entry["warm_up"]),
                workers[0],
                f"{entry['error_code']}: {entry['error_message']}" if entry["error_message"] else "",
            )
        )
        rows += [("", "", "", "", "", "", worker, "") for worker in workers[1:]]
    notes = [
        printable(f"warm-up of {entry['version']}: {note}")
        for entry in versions
        for note in (entry["warm_up"] or {}).get("notes", ())
    ]
    return "\n".join([table(rows, right=(0, 2, 3, 4)), *notes])


def _warm_up(facts: Entry | None) -> str:
    if not facts or not facts.get("source"):
        return ""
    if facts["source"] == "off":
        return "off"
    return f"{facts['source']}: {facts['requests']} in {facts['seconds']:.2f} s"


def _processes(status: Entry) -> str:
    rows = [("PROCESS", "PID", "STATE", "RESTARTS", "MEMORY")]
    for process in (*status["workers"], *status["frontends"]):
        pid = str(process["pid"] or "")
        rows.append((process["title"], pid, process["state"], str(process["restarts"]), size(process["rss_bytes"])))
    return table(rows, right=(1, 3, 4)) if len(rows) > 1 else "no processes"


def _memory(memory: Entry) -> str:
    limit = f" of {size(memory['limit_bytes'])}" if memory["limit_bytes"] else ", without a limit"
    return f"memory reserved for models: {size(memory['reserved_bytes'])}{limit}"
