"""Weights that their authors publish: where they lie, how to know them, what they score.

None of them was fetched by this project's tests or authors: address and AP are what the authors' own list (`source`)
states. Where it states no more of the hash than the file's name does, those eight digits are checked.
"""

from __future__ import annotations

from dataclasses import dataclass

from cornernet.engine.errors import ModelError

_FOLDER = "https://download.openmmlab.com/mmdetection/v2.0/cornernet"
_LIST = "https://github.com/open-mmlab/mmdetection/blob/main/configs/cornernet/metafile.yml"


@dataclass(frozen=True)
class Published:
    """A file of weights.

    sha256: of the file, 64 hexadecimal digits, or the first eight: enough to see damage, not to stop a forger.
    bytes: its length; None: not known. ap: COCO AP that `source` states, with the project's own test (mirrored view).
    """

    url: str
    sha256: str
    bytes: int | None
    ap: float
    licence: str
    source: str

    @property
    def whole_hash(self) -> bool:
        return len(self.sha256) == 64


def _mmdetection(run: str, date: str, sha256: str, ap: float, size: int | None = None) -> Published:
    name = f"cornernet_hourglass104_mstest_{run}_210e_coco"
    url = f"{_FOLDER}/{name}/{name}_{date}-{sha256[:8]}.pth"
    return Published(url, sha256, size, ap, "Apache-2.0", _LIST)


PUBLISHED = {
    "mmdetection/hourglass-104": _mmdetection(
        "8x6",
        "20200825_150618",
        "79b44c30d4bec042743b4d393ec0d9c2a078719829a89985b1cd2f7a01e7c9cb",
        ap=41.2,
        size=804_865_194,
    ),
    "mmdetection/hourglass-104-10x5": _mmdetection("10x5", "20200824_185720", "5fefbf1c", ap=41.2),
    "mmdetection/hourglass-104-32x3": _mmdetection("32x3", "20200819_203110", "1efaea91", ap=40.4),
}
"""Name -> file. 8x6, 10x5 and 32x3 are GPUs x images of the training runs."""


def published(name: str) -> Published:
    """Raises ModelError, with the names there are, if `name` is none of them."""
    found = PUBLISHED.get(name)
    if found is None:
        raise ModelError(
            f"{name!r} is neither a file here nor the name of published weights, which are: {', '.join(PUBLISHED)}. "
            "Weights elsewhere: `cornernet import --url URL --sha256 HASH -o model.safetensors`"
        )
    return found
