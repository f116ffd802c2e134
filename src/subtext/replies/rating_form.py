"""A blinded form on pairs of replies: one HTML page that sends nothing anywhere, and the same for Label Studio.

Items bear numbers drawn by chance, and sides are drawn by chance; which system wrote what stands in a key that raters
don't get. What a reply says of its writer ("as an AI") cannot be blinded.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from subtext.annotation.codebook import Codebook
from subtext.annotation.codebook_file import read_codebook
from subtext.annotation.label_studio import labelling_interface
from subtext.core.templates import render
from subtext.core.writing import write_text
from subtext.errors import AnnotationError, ManifestError
from subtext.replies.measured import SCORED, status_of
from subtext.replies.texts import plain
from subtext.sessions.transcripts import parse_json, read_text

SIDES: Final = ("A", "B", "none")
SESSION: Final = "replies"
"""What the ratings' column `session` says: dialogues are in the key only."""
PAGE: Final = "form.html"


@dataclass(frozen=True)
class Pair:
    """Two replies to one turn.

    Attributes:
        item: what raters see of it: a number.
        id: of the client's turn.
        session: the dialogue.
        client: the client's turn.
        a: the first reply.
        b: the second.
        system_a: who wrote the first.
        system_b: who wrote the second.
        seed_a: which training of it.
        seed_b: likewise.
    """

    item: str
    id: str
    session: str
    client: str
    a: str
    b: str
    system_a: str
    system_b: str
    seed_a: str
    seed_b: str


def pairwise_codebook() -> Codebook:
    """The questions of the form."""
    return read_codebook(Path(__file__).with_name("pairwise.yaml"))


def draw_pairs(table: pd.DataFrame, most: int, seed: int) -> list[Pair]:
    """Pairs of different systems' replies to the same turn, as many of each two systems.

    Left out are replies that are not scored (empty, another language, too long) and pairs that say the same.

    Args:
        table: as `read_replies` gives it.
        most: pairs in all.
        seed: draws turns, trainings, sides and the order.

    Raises:
        ManifestError: there is no such pair.
    """
    rng = np.random.default_rng(seed)
    usable = table[[status_of(reply) == SCORED for reply in table["reply"]]]
    systems = sorted(usable["system"].unique())
    pools = []
    for one, other in combinations(systems, 2):
        by_turn = [dict(list(usable[usable["system"] == name].groupby("id"))) for name in (one, other)]
        pool = []
        for turn in rng.permutation(sorted(by_turn[0].keys() & by_turn[1].keys())):
            rows = [by_turn[side][turn].iloc[int(rng.integers(len(by_turn[side][turn])))] for side in (0, 1)]
            if plain(rows[0]["reply"]).split() != plain(rows[1]["reply"]).split():
                pool.append(rows)
        pools.append(pool)
    # In turn from each two systems, until there are enough.
    taken = [pool[place] for place in range(max(map(len, pools), default=0)) for pool in pools if place < len(pool)]
    if not taken:
        raise ManifestError("no turn has two different replies of two systems; name replies of two or more systems")
    taken = taken[:most]
    pairs = []
    for number, which in enumerate(rng.permutation(len(taken)), 1):
        first, second = taken[which] if rng.random() < 0.5 else taken[which][::-1]
        pairs.append(
            Pair(
                item=f"{number:04d}",
                id=str(first["id"]),
                session=str(first["session"]),
                client=str(first["client"] or ""),
                a=str(first["reply"]),
                b=str(second["reply"]),
                system_a=str(first["system"]),
                system_b=str(second["system"]),
                seed_a=str(first["seed"]),
                seed_b=str(second["seed"]),
            )
        )
    return pairs


def write_form(pairs: Sequence[Pair], folder: Path) -> list[Path]:
    """Write the page, Label Studio's interface and tasks, and the key.

    Args:
        pairs: the items.
        folder: where; may be handed to raters as it is, because the key goes beside it: FOLDER_key.json.

    Raises:
        AnnotationError: there is a key already, whose ratings could no longer be read.
    """
    key_file = folder.with_name(f"{folder.name}_key.json")
    if key_file.exists():
        raise AnnotationError(f"{key_file} is there already, and ratings may need it; name another --out")
    folder.mkdir(parents=True, exist_ok=True)
    codebook = pairwise_codebook()
    names = [*(folder / name for name in (PAGE, "label_studio.xml", "label_studio.json")), key_file]
    tasks = [
        {"data": {"session": SESSION, "turn": pair.item, "heading": f"Item {pair.item}", "transcript": _shown(pair)}}
        for pair in pairs
    ]
    key = {"codebook": f"{codebook.name} {codebook.version}", "items": [_locked(pair) for pair in pairs]}
    texts = [
        page(pairs, codebook),
        labelling_interface(codebook.of_unit("turn")),
        json.dumps(tasks, ensure_ascii=False, indent=1) + "\n",
        json.dumps(key, ensure_ascii=False, indent=1) + "\n",
    ]
    for path, text in zip(names, texts, strict=True):
        write_text(path, text)
    return names


def read_key(path: Path) -> pd.DataFrame:
    """Who wrote what: `item`, `id`, `session`, `system_a`, `system_b`, `seed_a`, `seed_b`.

    Raises:
        AnnotationError: it is no key.
    """
    content = parse_json(path, read_text(path))
    items = content.get("items") if isinstance(content, dict) else None
    wanted = ["item", "id", "session", "system_a", "system_b", "seed_a", "seed_b"]
    if (
        not isinstance(items, list)
        or not items
        or not all(isinstance(i, dict) and set(wanted) <= i.keys() for i in items)
    ):
        raise AnnotationError(f"{path} is no key of a form; name the _key.json that subtext-replies form wrote")
    return pd.DataFrame(items)[wanted].astype(str)


def _locked(pair: Pair) -> dict[str, Any]:
    """Without the words."""
    return {name: value for name, value in asdict(pair).items() if name not in ("client", "a", "b")}


def _shown(pair: Pair) -> str:
    return f"Client: {pair.client}\n\nReply A: {pair.a}\n\nReply B: {pair.b}"


def page(pairs: Sequence[Pair], codebook: Codebook) -> str:
    """The form as one HTML page: everything escaped, nothing loaded, nothing sent; ratings are saved as a CSV file.

    Args:
        pairs: the items.
        codebook: its questions.
    """
    return render("replies/templates/form.html.j2", pairs=pairs, codebook=codebook, session=SESSION, sha256=_sha256)


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
