"""The run of the comparison: peers take turns with each model, so that what the machine does otherwise falls on all."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bench.peers import in_process, measures
from bench.peers.environments import package_version, peer_python, peer_version, tensorflow_python
from bench.peers.findings import Finding, Findings
from bench.peers.level import best_within
from bench.peers.peer import Peer, Row
from bench.peers.peer_model import PeerModel
from bench.peers.peer_server import PeerServer
from bench.server_processes import proportional_memory
from bench.topology import SkippedError

_INTERRUPTED_SECONDS: Final = 10.0  # of a run in which something is done
_LARGE: Final = 6.0  # times as long, for models whose runs are


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is to be compared, and how. `seconds`: of one run under load; `repeat`: rounds of all peers, for each model."""

    peers: Sequence[Peer]
    models: Sequence[PeerModel]
    seconds: float
    repeat: int
    with_process: bool  # TensorFlow without a server
    interrupt: bool  # versions are switched and processes killed
    output: Path
    say: Callable[[str], None]

    def run(self, findings: Findings) -> None:
        """Writes the findings as they come."""
        pythons = self._environments(findings)
        for model in self.models:
            findings.models[model.name] = {**_plain(model), "seconds": self._seconds(model)}
            self.say(f"{model.name}: {model.what}; p99 within {model.limit:g} ms")
            with self._guarded(model.name, findings):
                model.made()
            if model.name not in findings.failures:
                for _ in range(self.repeat):
                    self._round(model, pythons, findings)
        if self.interrupt and self.models[0].name not in findings.failures:
            self._interruptions(pythons, findings)
        findings.complete = True
        findings.write(self.output)

    def _environments(self, findings: Findings) -> dict[str, Path]:
        """The interpreter of each peer that can be had."""
        pythons = {}
        for peer in self.peers:
            self.say(f"{peer.name}: its environment")
            try:
                pythons[peer.name] = python = peer_python(peer)
                found = peer_version(peer, python)
            except SkippedError as error:
                findings.skipped[peer.name] = str(error)
                self.say(f"  skipped: {error}")
                continue
            settings = [asdict(setting) for setting in peer.settings]
            findings.peers[peer.name] = {"version": found, "settings": settings, "switch": peer.switch_words}
        if self.with_process:
            try:
                found = package_version("tensorflow", tensorflow_python())
                findings.peers[in_process.NAME] = {"version": found, "settings": [], "switch": ""}
            except SkippedError as error:
                findings.skipped[in_process.NAME] = str(error)
        findings.about["python"] = platform.python_version()
        return pythons

    def _round(self, model: PeerModel, pythons: dict[str, Path], findings: Findings) -> None:
        for peer in self.peers:
            if peer.name in pythons:
                with self._guarded(f"{peer.name}, {model.name}", findings):
                    self._serve(peer, model, pythons[peer.name], findings)
        if self.with_process and in_process.NAME not in findings.skipped:
            with self._guarded(f"{in_process.NAME}, {model.name}", findings):
                self._in_process(model, findings)

    @contextmanager
    def _guarded(self, what: str, findings: Findings) -> Iterator[None]:
        """One that fails leaves the others alone."""
        try:
            yield
        except Exception as error:
            findings.failures[what] = f"{type(error).__name__}: {error}"
            self.say(f"  {what}: failed: {error}")
        findings.write(self.output)

    def _serve(self, peer: Peer, model: PeerModel, python: Path, findings: Findings) -> None:
        with PeerServer(peer, model, python) as server:
            start = server.until_answered()
            for row in peer.rows:
                if row.models and model.name not in row.models:
                    continue
                finding = self._load(server, peer, row, model, start)
                findings.found.append(finding)
                self.say(f"  {row.name}: {_words(finding, model)}")

    def _load(self, server: PeerServer, peer: Peer, row: Row, model: PeerModel, start: float) -> Finding:
        form = row.form(model)
        finding = Finding(peer.name, row.name, model.name, form.name, row.beside, start)
        requests = form.requests(row.url(server.place), model)
        for clients in model.clients:
            finding.levels.append(measures.load(requests, clients, self._seconds(model)))
        memory = proportional_memory(server.pid)
        finding.megabytes, finding.processes = memory.megabytes, memory.processes
        return finding

    def _in_process(self, model: PeerModel, findings: Findings) -> None:
        finding = in_process.in_process(model, self._seconds(model))
        findings.found.append(finding)
        self.say(f"  {finding.row}: {_words(finding, model)}")

    def _interruptions(self, pythons: dict[str, Path], findings: Findings) -> None:
        """With the first of the models."""
        model = self.models[0]
        self.say(f"{model.name} is asked while its version is switched, and while a process that runs it is killed")
        for peer in self.peers:
            if peer.name in pythons:
                with self._guarded(f"{peer.name}, interrupted", findings):
                    self._interrupt(peer, model, pythons[peer.name], findings)

    def _interrupt(self, peer: Peer, model: PeerModel, python: Path, findings: Findings) -> None:
        with PeerServer(peer, model, python) as server:
            server.until_answered()
            requests = peer.rows[0].form(model).requests(server.place.url, model)
            found = findings.interruptions.setdefault(peer.name, {})
            found["switch"] = switched = measures.switch(server, requests, _INTERRUPTED_SECONDS)
            self.say(f"  {peer.name}: switched: {switched.failed} failed, p99 {switched.p99_during:.3g} ms")
            found["kill"] = killed = measures.kill(server, requests, _INTERRUPTED_SECONDS)
            words = "has no process for it" if killed is None else f"{killed.failed} failed, back after {killed.back} s"
            self.say(f"  {peer.name}: killed: {words}")

    def _seconds(self, model: PeerModel) -> float:
        return self.seconds * (_LARGE if model.is_large else 1.0)


def _plain(model: PeerModel) -> dict[str, Any]:
    names = ("what", "limit", "clients", "batch", "wait")
    return {name: getattr(model, name) for name in names}


def _words(finding: Finding, model: PeerModel) -> str:
    best = best_within(finding.levels, model.limit)
    rate = f"{best.rate:,.1f}/s with {best.clients} clients" if best else "never within the limit"
    errors = sum(level.errors for level in finding.levels)
    p50 = finding.levels[0].p50
    failed = f", {errors} errors" if errors else ""
    return f"{rate}, p50 alone {p50:.3g} ms, {finding.megabytes:,.0f} MB, started in {finding.start:.1f} s{failed}"
