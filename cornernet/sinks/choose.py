"""The forms of the results that were asked for, and the files they would write, before any work is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cornernet.engine.detector import Detector
from cornernet.engine.reading.video import Video
from cornernet.engine.results.detections import Detections
from cornernet.inputs import Source, file_of
from cornernet.outputs import Ours, check_folder, json_starting_with, marked_picture, picture_names
from cornernet.sinks.annotated_copies import AnnotatedCopies
from cornernet.sinks.coco_file import CocoFile
from cornernet.sinks.crops import Crops
from cornernet.sinks.csv_table import CsvTable, our_table
from cornernet.sinks.json_lines import JsonLines
from cornernet.sinks.sink import Sink
from cornernet.sinks.video_file import CODES, Videos, marked_video
from cornernet.sinks.window import Window
from cornernet.sinks.yolo_labels import YoloLabels


@dataclass
class Plan:
    """What is to be written. output: a folder, or one video file; lines: of JSON, '-' for stdout, None for none."""

    sources: Sequence[Source]
    output: Path | None
    lines: str | None
    forms: Sequence[str]
    show: bool
    part: str = ""
    more: bool = False
    pictures: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Raises OutputError: the folder holds one of the sources, or cannot be written."""
        if self.output is not None and not self.one_video:
            self.pictures = picture_names([file_of(source) for source in self.sources], self.output, marked_picture)
            for form, folder in (("yolo", "labels"), ("crops", "crops")):
                if form in self.forms:
                    check_folder(self.output / folder)

    @property
    def one_video(self) -> bool:
        return self.output is not None and self.output.suffix.lower() in CODES and not self.output.is_dir()

    @property
    def needs_pictures(self) -> bool:
        return self.output is not None or self.show

    @property
    def files(self) -> dict[Path, Ours]:
        """Each file that is not in a folder of its own, and how to know one of our own making."""
        files: dict[Path, Ours] = {path: marked_video for path, _ in self._videos().values()}
        if self.lines not in (None, "-"):
            files[Path(self.lines or "")] = json_starting_with("path")
        if "coco" in self.forms:
            files[self._named("coco", "json")] = json_starting_with("images")
        if "csv" in self.forms:
            files[self._named("detections", "csv")] = our_table
        return files

    def open(self, detector: Detector, before: Iterable[Detections] = ()) -> list[Sink]:
        """before: what an earlier run found, which tables as a whole hold too."""
        card = detector.card
        # First of all: where there is no display, nothing of an earlier run is written over.
        sinks: list[Sink] = [Window()] if self.show else []
        tables: list[Sink] = []
        if "coco" in self.forms:
            tables.append(CocoFile(self._named("coco", "json"), card.class_names, card.category_ids))
        if "csv" in self.forms:
            tables.append(CsvTable(self._named("detections", "csv")))
        for found in before:
            for table in tables:
                table.write(found)
        # A video stands in its place before a line about the source behind it: `--resume` counts on that.
        if videos := self._videos():
            sinks.append(Videos(videos))
        if self.lines is not None:
            sinks.append(JsonLines(self.lines, more=self.more))
        if self.pictures:
            assert self.output is not None
            stems = [path.stem for path in self.pictures]
            self.output.mkdir(parents=True, exist_ok=True)
            sinks.append(AnnotatedCopies(self.pictures))
            if "yolo" in self.forms:
                sinks.append(YoloLabels(check_folder(self.output / "labels", claim=True), stems, card.class_names))
            if "crops" in self.forms:
                sinks.append(Crops(check_folder(self.output / "crops", claim=True), stems))
        return [*sinks, *tables]

    def _videos(self) -> dict[int, tuple[Path, Video]]:
        """Source number -> where its annotated copy goes, and the video itself."""
        if self.output is None:
            return {}
        return {
            number: (self.output if self.one_video else self.pictures[number].with_suffix(".mp4"), source)
            for number, source in enumerate(self.sources)
            if isinstance(source, Video)
        }

    def _named(self, stem: str, suffix: str) -> Path:
        assert self.output is not None
        return self.output / f"{stem}{self.part}.{suffix}"
