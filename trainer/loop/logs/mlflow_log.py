"""MLflow: a run at the server or folder that MLFLOW_TRACKING_URI names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow

from cornernet.trainer.loop.logs.open_log import OnMetrics, numbers


@contextmanager
def log(output: Path, settings: Mapping[str, Any], first_step: int) -> Iterator[OnMetrics]:
    """One run each time training starts, named as its directory."""
    with mlflow.start_run(run_name=output.name):
        mlflow.log_params(dict(settings))

        def on_metrics(row: Mapping[str, Any]) -> None:
            mlflow.log_metrics(numbers(row), step=row["step"])

        yield on_metrics
