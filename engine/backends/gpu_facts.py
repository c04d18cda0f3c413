"""What makes one GPU another for an engine that was tuned on it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class GpuFacts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    compute_capability: str = Field(description="e.g. 8.9")
    multiprocessors: int
