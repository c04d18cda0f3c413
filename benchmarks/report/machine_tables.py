"""The tables of a report about speed, files and machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cornernet.benchmarks.latency.latency_report import Report as Latency
from cornernet.benchmarks.latency.stage_times import PERCENTILES, STAGES
from cornernet.benchmarks.report.report_tables import DASH, Cell, Table, count_of, milliseconds, number, some
from cornernet.engine.model_card import ModelCard


def latency_table(report: Latency) -> Table:
    """Milliseconds per image by stage and end to end."""
    rows = tuple(
        (
            Cell(row.model),
            Cell(str(row.batch)),
            *(milliseconds(row.stages[stage]["p50"]) for stage in STAGES),
            *(milliseconds(row.end_to_end[f"p{q}"]) for q in PERCENTILES),
            Cell(f"{row.images_per_s:.0f}"),
            Cell(f"{row.speed:.2f}x"),
        )
        for row in report.rows
    )
    percentiles = tuple(f"p{q}" for q in PERCENTILES)
    groups = (("", 2), ("stage, p50", len(STAGES)), ("end to end", len(PERCENTILES)), ("", 2))
    return Table(("model", "batch", *STAGES, *percentiles, "images/s", "speed"), rows, groups=groups)


def cold_start_table(report: Latency) -> Table | None:
    """Seconds from nothing to the first boxes; None where it was not measured."""
    keys = ("import", "open", "first", "process")
    rows = []
    for model in report.models:
        times = model.get("cold_start_s")
        if isinstance(times, dict):
            numbers = [number(times.get(key)) for key in keys]
            cells = (Cell(DASH if value is None else f"{value:.2f}") for value in numbers)
            what = ", ".join(str(model[key]) for key in ("runtime", "precision") if key in model)
            rows.append((Cell(str(model.get("name", ""))), Cell(what), *cells))
    if not rows:
        return None
    heads = ("import", "open", "first image", "whole process")
    return Table(("cold start, seconds", "runtime", *heads), tuple(rows), words=(1,))


def model_table(models: Mapping[str, tuple[Path, ModelCard]]) -> Table:
    """What the files say of themselves, a column a model."""
    cards = [card for _, card in models.values()]

    def line(head: str, texts: Iterable[str]) -> tuple[Cell, ...]:
        return (Cell(head), *map(Cell, texts))

    rows = (
        line("network", (card.name for card in cards)),
        line("precision", (card.precision for card in cards)),
        line("size", (f"{path.stat().st_size / 1e6:.1f} MB" for path, _ in models.values())),
        line("parameters", (count_of(card.parameters) for card in cards)),
        line("multiply-accumulates", (", ".join(f"{g:.1f} G at {s}" for s, g in card.gmacs.items()) for card in cards)),
        line(
            "trained at", (DASH if card.train_size is None else "{}x{} px".format(*card.train_size) for card in cards)
        ),
        line("classes", (f"{len(card.class_names)}: {some(card.class_names)}" for card in cards)),
        line(
            "shown from", (some([f"{value:.2f}" for value in card.score_thresholds or ()]) or "0.30" for card in cards)
        ),
        line("made by", (", ".join(f"{name} {version}" for name, version in card.versions.items()) for card in cards)),
    )
    return Table(("", *models), rows, words=tuple(range(1, 1 + len(models))))


def machine_tables(machines: Mapping[str, dict[str, Any]]) -> list[Table]:
    """Where it was measured and with which packages, a column a benchmark; none without benchmarks."""
    facts = {name: _facts_of(machine) for name, machine in machines.items()}
    versions = {name: _versions_of(machine) for name, machine in machines.items()}
    return [_by_name("machine", facts), _by_name("package", versions)] if machines else []


def _by_name(head: str, columns: Mapping[str, dict[str, str]]) -> Table:
    heads = dict.fromkeys(name for found in columns.values() for name in found)
    rows = tuple((Cell(name), *(Cell(found.get(name, DASH)) for found in columns.values())) for name in heads)
    return Table((head, *columns), rows, words=tuple(range(1, 1 + len(columns))))


def _facts_of(machine: dict[str, Any]) -> dict[str, str]:
    cpu, gpus = machine.get("cpu"), machine.get("gpus")
    cpu = cpu if isinstance(cpu, dict) else {}
    named = [
        ", ".join(map(str, gpu.values())) for gpu in (gpus if isinstance(gpus, list) else []) if isinstance(gpu, dict)
    ]
    found = {
        "processor": f"{cpu.get('model', 'unknown')}, {cpu.get('usable_cores', '?')} cores",
        "memory": f"{cpu['memory_gib']} GiB" if "memory_gib" in cpu else "",
        "load": str(cpu.get("load_1min", "")),
        "GPU": "; ".join(named) or "none",
        "system": str(machine.get("os", "")),
        "measured": str(machine.get("date", "")).replace("T", " ").replace("+00:00", " UTC"),
    }
    return {head: text for head, text in found.items() if text}


def _versions_of(machine: dict[str, Any]) -> dict[str, str]:
    packages = machine.get("packages")
    found = {"Python": machine.get("python", DASH), **(packages if isinstance(packages, dict) else {})}
    return {str(name): str(version) for name, version in found.items()}
