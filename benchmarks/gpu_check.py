"""What a visit of minutes to a machine with a GPU runs: checks, times and counters, with a report after every part.

    python -m cornernet.benchmarks.gpu_check [kernels|network|counters|tensorrt] [--output DIR --minutes N --rehearse]

Four commands, meant for a visit of minutes: --minutes bounds each. They need a checkout, nvcc, torch and numpy, and for
whole networks OpenCV and pydantic with its three small wheels (gpu_parts.SMALL_WHEELS: `pip download pydantic`
elsewhere, `pip install --no-index --find-links FOLDER pydantic` there). `tensorrt` needs TensorRT too. What is missing
is named.

Writes DIR/<gpu>-<date>-<command>.json and .md after every part, and what each part said into DIR/logs.
--minutes drops parts, the least valuable first. --rehearse runs everything without a GPU: the kernels' source on the
CPU, tiny networks. Exit code 0 if all that ran passed, 1 if something failed, 2 without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cornernet.benchmarks.gpu_parts import COMMANDS, LIBRARY, ROOT, Part, missing, parts
from cornernet.plugins.driver import Driver, DriverError

NO_GPU = 2
MINUTES = 7.0


@dataclass(frozen=True)
class Outcome:
    """status: passed | failed | not run. `why` names what is missing; `output` is the end of what the command said."""

    name: str
    status: str
    command: str
    seconds: float = 0.0
    why: str = ""
    output: str = ""


def run_part(part: Part, log: Path, *, seconds_left: float, rehearse: bool = False) -> Outcome:
    """Run it, or say why not. `log` gets all it says, while it says it."""
    command = part.command if rehearse else [*part.tool, *part.command]
    line = " ".join(command)
    absent = [need for need in missing(part.needs) if not (rehearse and need in part.tool)]
    if absent:
        return Outcome(part.name, "not run", line, why="needs " + ", ".join(absent))
    if seconds_left < part.seconds / 4:
        return Outcome(part.name, "not run", line, why=f"no time: {seconds_left:.0f} s left")
    limit = min(part.seconds, seconds_left)
    started = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        try:
            code = subprocess.run(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, timeout=limit).returncode
            status, why = ("passed", "") if code == 0 else ("failed", f"exit code {code}")
        except subprocess.TimeoutExpired:
            status, why = "failed", f"stopped after {limit:.0f} s"
    output = log.read_text(encoding="utf-8", errors="replace")[-6000:]
    return Outcome(part.name, status, line, time.monotonic() - started, why, output)


def verdict(outcome: Outcome) -> str:
    """The line of a command's output that says it all, or why there is none."""
    if outcome.status == "not run":
        return outcome.why
    found = re.findall(r"^.*(?:passed|failed|ERROR SUMMARY|RACECHECK SUMMARY).*$", outcome.output, re.MULTILINE)
    return "; ".join(filter(None, (outcome.why, found[-1].strip("= ") if found else "")))


def markdown(title: str, outcomes: list[Outcome], rows: dict[str, Any]) -> str:
    """The report to read: the parts, then a table of every measurement."""
    lines = [f"# {title}", "", "| part | status | seconds | |", "|---|---|---:|---|"]
    lines += [f"| {each.name} | {each.status} | {each.seconds:.0f} | {verdict(each)} |" for each in outcomes]
    for name, measured in rows.items():
        listed = measured["kernels"] if isinstance(measured, dict) else measured
        if not listed:
            continue
        heads = list(dict.fromkeys(key for row in listed for key in row))
        lines += ["", f"## {name}", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        lines += ["| " + " | ".join(_cell(row.get(head)) for head in heads) + " |" for row in listed]
    return "\n".join([*lines, ""])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(each)}" for key, each in value.items())
    return "" if value is None else str(value).replace("|", "/").replace("\n", " ")


def run_command(command: str, title: str, folder: Path, listed: list[Part], minutes: float, *, rehearse: bool) -> bool:
    """Run the parts in order, with the report written anew after each. True if none failed."""
    stem = f"{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')}-{time.strftime('%Y-%m-%d')}-{command}"
    outcomes: list[Outcome] = []
    began = time.monotonic()
    for part in listed:
        left = minutes * 60 - (time.monotonic() - began)
        log = folder / "logs" / f"{command}-{part.name.replace(' ', '-')}.log"
        print(f"{part.name} ...", flush=True)
        outcomes.append(run_part(part, log, seconds_left=left, rehearse=rehearse))
        print(f"{part.name}: {outcomes[-1].status}  {verdict(outcomes[-1])}", flush=True)
        rows = {
            each.name: json.loads(each.rows.read_text(encoding="utf-8"))
            for each in listed
            if each.rows is not None and each.rows.is_file()
        }
        report = {"title": title, "command": command, "parts": [asdict(each) for each in outcomes], "rows": rows}
        (folder / f"{stem}.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
        (folder / f"{stem}.md").write_text(markdown(f"{title}: {command}", outcomes, rows), encoding="utf-8")
    print(f"written: {folder / stem}.json and .md, {time.monotonic() - began:.0f} s")
    return all(outcome.status != "failed" for outcome in outcomes)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check and measure what needs a GPU, in minutes.")
    parser.add_argument("command", nargs="?", choices=(*COMMANDS, "all"), default="all")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "gpu_check" / "report")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for each command")
    parser.add_argument("--rehearse", action="store_true", help="without a GPU")
    options = parser.parse_args(arguments)
    title, architecture = "rehearsal", "90"
    if not options.rehearse:
        try:
            with Driver() as device:
                title, (major, minor) = device.device_name, device.compute_capability()
                architecture = f"{major}{minor}"
        except DriverError as error:
            print(f"gpu-check needs an NVIDIA GPU: {error}", file=sys.stderr)
            return NO_GPU
        LIBRARY.parent.mkdir(parents=True, exist_ok=True)
        os.environ["CORNERNET_PLUGINS_LIBRARY"] = str(LIBRARY)
    folder = options.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    passed = True
    for command in COMMANDS if options.command == "all" else (options.command,):
        listed = parts(command, folder, architecture=architecture, rehearse=options.rehearse)
        passed &= run_command(command, title, folder, listed, options.minutes, rehearse=options.rehearse)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
