"""Detect objects in pictures and videos: annotated copies, JSON lines, COCO, CSV, YOLO labels, crops."""

from collections import deque
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cornernet.engine.printable import printable
from cornernet.options import (
    BatchSize,
    CanvasSize,
    DecodeMode,
    Device,
    MaxCrops,
    Merge,
    Mirror,
    Model,
    Plugins,
    PrecisionName,
    ProtocolName,
    ResizeRule,
    RuntimeName,
    Scales,
    Threads,
    Threshold,
    detector_settings,
    one_of,
    parse_names,
    parse_threshold,
    parse_words,
    progress_bars,
    say_what_runs,
)

if TYPE_CHECKING:
    from cornernet.engine.detector import Detector
    from cornernet.sinks.choose import Plan

EXAMPLES = """
cornernet predict model.onnx photos/ -o found
cornernet predict model.onnx a.jpg b.png 'more/*.jpg' -o found --threshold 0.5
# some classes, each with its own threshold; tables and labels beside the pictures
cornernet predict model.onnx photos/ -o found --classes cat,dog --threshold cat=.35 --save coco,csv,yolo,crops
# a video, a folder of them, a camera in a window
cornernet predict model.onnx clip.mp4 -o clip_found.mp4
cornernet predict model.onnx clips/ -o found
cornernet predict model.onnx 0 --show
# ten thousand pictures: go on after Ctrl-C; or four machines, each a quarter
cornernet predict model.onnx archive/ -o found --recursive --resume
cornernet predict model.onnx archive/ -o found --recursive --shard 1/4
# JSON lines to a pipe, no pictures
cornernet predict model.onnx photos/ --json - | head -1
# the paper's multi-scale test, mirrored views included
cornernet predict model.onnx photos/ -o found --mirror --scales 0.5,1,1.5
# a CornerNet-Saccade: fewer crops are faster
cornernet predict saccade.onnx photos/ -o found --max-crops 10
# whichever runtime and precision is fastest on this machine
cornernet predict model.onnx photos/ -o found --runtime auto --precision auto
"""

LISTED_ERRORS = 20

FORMS = ("coco", "csv", "yolo", "crops")

WEAK = 0.05
"""A score that says hardly anything."""

FAR = 1.5
"""A canvas this much larger or smaller than that of training, in either direction, shows objects of another size."""


def run(
    model: Model,
    images: Annotated[
        list[str],
        typer.Argument(help="Pictures, videos, folders, globs, img_%04d.png, rtsp://..., a camera's number."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for annotated pictures and videos; a .mp4 or .avi for one video."),
    ] = None,
    json: Annotated[
        str | None, typer.Option("--json", help="File for JSON lines, - for stdout; default OUTPUT/detections.jsonl.")
    ] = None,
    save: Annotated[
        str | None, typer.Option(help="Also into OUTPUT: coco (coco.json), csv, yolo (labels/), crops (crops/).")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="In a window, where there is a display; q ends.")] = False,
    batch_size: BatchSize = 8,
    threshold: Threshold = None,
    classes: Annotated[str | None, typer.Option(help="Look for these only: cat,dog. Default: all.")] = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="The folders in folders too.")] = False,
    urls: Annotated[bool, typer.Option("--urls", help="Fetch http and https addresses.")] = False,
    every: Annotated[int, typer.Option(min=1, help="Of a video file: one frame of so many.")] = 1,
    video_reader: Annotated[
        str,
        typer.Option(callback=one_of("opencv", "pyav"), help="Of videos and streams. pyav: more codecs (extra video)."),
    ] = "opencv",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on behind the JSON lines that are there; what failed is tried again.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(help="i/n: the i-th of n parts, by a hash of each path; files get -iofn as ending."),
    ] = None,
    resize: ResizeRule = None,
    size: CanvasSize = None,
    mirror: Mirror = None,
    scales: Scales = "1",
    merge: Merge = False,
    max_crops: MaxCrops = None,
    protocol: ProtocolName = "default",
    runtime: RuntimeName = None,
    precision: PrecisionName = None,
    threads: Threads = None,
    decode: DecodeMode = "exact",
    device: Device = None,
    plugins: Plugins = None,
) -> None:
    """Detect in every picture. One that cannot be read is reported at the end and stops nothing.

    A JSON line holds path, index, width, height, error, and the detections best first: box x1 y1 x2 y2 in pixels,
    score, label, name; of a video also the number of the frame. Exit code 1 if no picture could be used.
    """
    if output is None and json is None and not show:
        raise typer.BadParameter("nothing to write: give --output FOLDER, --json FILE, --show, or several")
    if "" in images:
        raise typer.BadParameter("an empty path among the pictures; the current folder is .")
    from cornernet.engine.reading.video import Video
    from cornernet.inputs import in_shard, list_sources, name_of, parse_shard, pictures_of
    from cornernet.outputs import check_outputs
    from cornernet.sinks.choose import Plan
    from cornernet.sinks.json_lines import read_lines
    from cornernet.trainer.deploy.open_model import open_detector

    kept: dict[str, Any] = {
        "score_threshold": parse_threshold(threshold),
        "classes": parse_names(classes),
        "allow_urls": urls,
    }
    settings = detector_settings(
        protocol=protocol,
        resize=resize,
        size=size,
        mirror=mirror,
        scales=scales,
        merge=merge,
        max_crops=max_crops,
        runtime=runtime,
        precision=precision,
        threads=threads,
        device=device,
        plugins=plugins,
        decode=decode,
    )
    forms = [] if save is None else [str(form) for form in parse_words(save, FORMS, "save")]
    part = "" if shard is None else "-{}of{}".format(*parse_shard(shard))
    sources = list_sources(images, recursive=recursive, every=every, reader=video_reader)
    plan = Plan(sources, output, json, forms, show, part, more=resume)
    videos = [source for source in sources if isinstance(source, Video)]
    live = any(video.live for video in videos)
    _check_usage(plan, len(videos), resume, live)
    if json is None and output is not None and not plan.one_video:
        plan.lines = str(output / f"detections{part}.jsonl")
    files = [source if isinstance(source, Path) else Path(name_of(source)) for source in sources]
    check_outputs(plan.files, [model, *files])
    before = read_lines(Path(plan.lines)) if resume and plan.lines is not None else []
    done = {found.path for found in before}
    parts = parse_shard(shard)
    names = [name_of(source) for source in sources]
    chosen = [number for number, name in enumerate(names) if in_shard(name, parts) and name not in done]
    seen = boxes = 0
    errors: list[str] = []
    with ExitStack() as stack:
        detector = stack.enter_context(open_detector(model, **kept, **settings))
        say_what_runs(detector.backend)
        sinks = plan.open(detector, before)
        for sink in sinks:
            stack.callback(sink.close)
        bars = stack.enter_context(progress_bars())
        task = bars.add_task("detecting", total=None if videos else len(chosen))
        owners: deque[int] = deque()
        for found in detector.stream(
            pictures_of(sources, chosen, owners),
            batch_size=1 if live else batch_size,
            prefetch=1 if live else None,
            keep_images=plan.needs_pictures,
        ):
            found = replace(found, index=owners.popleft())
            for sink in sinks:
                sink.write(found)
            bars.advance(task)
            seen += 1
            boxes += len(found)
            if found.error is not None:
                errors.append(found.error)
    if resume:
        typer.echo(f"{len(before)} pictures were done before", err=True)
    _summarise(seen, boxes, errors, plan)
    if not boxes and len(errors) < seen:
        hint = unusual_canvas(detector) or unreached_threshold(detector)
        typer.secho(f"  {hint}", fg=typer.colors.YELLOW, err=True)
    if seen and len(errors) == seen and not before:
        raise typer.Exit(1)


def _check_usage(plan: "Plan", videos: int, resume: bool, live: bool) -> None:
    """Raises BadParameter (exit code 2) for options that do not go together."""
    if plan.one_video and (videos != 1 or len(plan.sources) != 1):
        raise typer.BadParameter(f"--output {plan.output} is a video; give one video as source, or a folder as output")
    if plan.forms and (plan.output is None or plan.one_video):
        raise typer.BadParameter("--save needs a folder: --output FOLDER")
    if resume and (plan.one_video or live):
        raise typer.BadParameter("--resume goes on file by file; one video is done as a whole, a camera has no end")
    if resume and plan.lines in (None, "-") and plan.output is None:
        raise typer.BadParameter("--resume needs the JSON lines of the run before: --output FOLDER or --json FILE")


def unusual_canvas(detector: "Detector") -> str:
    """Why a model may find nothing at all: a network knows objects as large as training showed them."""
    fit, trained = detector.stages.plan.fit, detector.card.train_size
    if fit is None or trained is None or max(max(a / b, b / a) for a, b in zip(fit, trained)) < FAR:
        return ""
    sizes = (f"{height}x{width}" for height, width in (trained, fit))
    return "the model was trained at {} px and ran at {} px; without --size it runs as it was trained".format(*sizes)


def unreached_threshold(detector: "Detector") -> str:
    """What to try with a model that is not sure of anything yet."""
    asked = detector.stages.suppression.score_threshold
    lowest = min(asked) if isinstance(asked, tuple) else asked
    tried = f"no box scored {lowest:.2g} or more" if lowest > 0 else "the model gave no box at all"
    advice = (
        f"; --threshold {WEAK} shows weaker ones" if lowest > WEAK else "; `cornernet evaluate` says how good it is"
    )
    return tried + advice


def _summarise(count: int, boxes: int, errors: list[str], plan: "Plan") -> None:
    places = [printable(plan.output)] if plan.output is not None else []
    places += [printable(plan.lines)] if plan.lines not in (None, "-") else []
    kept = f" -> {', '.join(places)}" if places else ""
    typer.echo(f"{boxes} objects in {count - len(errors)} of {count} pictures{kept}", err=True)
    for message in errors[:LISTED_ERRORS]:
        typer.secho(f"  {message}", fg=typer.colors.RED, err=True)
    if len(errors) > LISTED_ERRORS:
        typer.secho(f"  and {len(errors) - LISTED_ERRORS} more, see the JSON lines", fg=typer.colors.RED, err=True)
