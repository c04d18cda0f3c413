"""`python -m attack --seed 1 --cases 4000`: attack, print a table, write JSON; exit code 1 if anything was found.

make attack SEED=1 CASES=4000
PYTHONPATH=tests .venv/bin/python -m attack --seed 1 --only images:17   # one case again
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from attack.children import MOST_MEGABYTES, MOST_SECONDS, Outcome, run_cases
from attack.families import SHARES


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="attack", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=3000, help="in all families together")
    parser.add_argument("--only", metavar="FAMILY[:NUMBER]", help="one family, or one case")
    parser.add_argument("--lanes", type=int, default=os.cpu_count() or 1, help="processes side by side")
    parser.add_argument("--output", type=Path, default=Path("build/attack"), help="folder for attack.json and findings")
    settings = parser.parse_args(arguments)
    output = settings.output.resolve()
    start = time.monotonic()
    cases = plan(settings.cases, settings.only)
    outcomes = list(run_cases(settings.seed, cases, settings.lanes, output / f"seed-{settings.seed}"))
    print(table(outcomes))
    findings = [outcome for outcome in outcomes if outcome.finding is not None]
    for outcome in findings:
        print(f"\n{outcome.finding}: --seed {settings.seed} --only {outcome.family}:{outcome.number} ({outcome.kind})")
        print(outcome.details)
    output.mkdir(parents=True, exist_ok=True)
    content = {
        "seed": settings.seed,
        "cases": len(outcomes),
        "most_seconds": MOST_SECONDS,
        "most_megabytes": MOST_MEGABYTES,
        "families": rows(outcomes),
        "findings": [asdict(outcome) for outcome in findings],
    }
    (output / "attack.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    took = time.monotonic() - start
    print(
        f"\nseed {settings.seed}: {len(outcomes)} cases, {len(findings)} findings, {took:.0f} s -> {output}/attack.json"
    )
    return 1 if findings else 0


def plan(cases: int, only: str | None = None) -> list[tuple[str, int]]:
    """(family, number) of every case."""
    family, _, number = (only or "").partition(":")
    if family and family not in SHARES:
        raise SystemExit(f"--only {family}: expected one of {', '.join(SHARES)}")
    if number:
        return [(family, int(number))]
    shares = {family: 1.0} if family else SHARES
    return [(name, place) for name, share in shares.items() for place in range(max(1, round(cases * share)))]


def rows(outcomes: list[Outcome]) -> dict[str, dict[str, float]]:
    """Counts and costs by family."""
    return {
        family: {
            **Counter(outcome.finding or outcome.answer for outcome in those),
            "cases": len(those),
            "kinds": len({outcome.kind for outcome in those}),
            "most seconds": round(max(outcome.seconds for outcome in those), 2),
            "most MB": round(max(outcome.megabytes for outcome in those)),
            "findings": sum(outcome.finding is not None for outcome in those),
        }
        for family in SHARES
        if (those := [outcome for outcome in outcomes if outcome.family == family])
    }


def table(outcomes: list[Outcome]) -> str:
    """The counts as text."""
    columns = ("cases", "kinds", "used", "refused", "most seconds", "most MB", "findings")
    lines = ["family       " + "".join(f"{name:>14}" for name in columns)]
    for family, counts in rows(outcomes).items():
        lines.append(f"{family:<13}" + "".join(f"{counts.get(name, 0):>14}" for name in columns))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
