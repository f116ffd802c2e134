"""Each measure on replies whose figure can be said beforehand."""

import math

import pandas as pd
import pytest

from subtext.errors import ManifestError
from subtext.replies.measured import measure_replies, read_measured, status_lines, status_of
from subtext.replies.measures import BY_NAME, CLAIMS, MEASURES, PEERS, Codes, Exchange, measures_markdown
from subtext.replies.texts import language, phrase_list, sentences_of, syllables, words_of


def figure(name: str, reply: str, **around: object) -> float:
    return BY_NAME[name].compute(Exchange(reply, **around))  # type: ignore[arg-type]


def test_every_measure_says_what_it_is() -> None:
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)
    assert {measure.claim for measure in MEASURES} == set(CLAIMS)
    for measure in MEASURES:
        assert measure.direction in (1, -1), measure.name
        assert all((measure.formula, measure.source, measure.limits, measure.unit)), measure.name
    text = measures_markdown()
    assert text.count("\n") == len(MEASURES) + 1
    bars = {line.replace(r"\|", "").count("|") for line in text.splitlines()}
    assert bars == {8}, "a bar inside a cell would end it"


@pytest.mark.parametrize(
    ("name", "higher", "lower"),
    [
        ("invitation", "Tell me more about that.", "That is enough for today."),
        ("intensifiers", "That is absolutely amazing.", "That is a start."),
        ("intensifiers", "It was the hardest week.", "It was a hard week."),
        ("exclamations", "Great! You did it!", "Great. You did it."),
        ("stock_phrases", "I’m sorry to hear that.", "That was sad for you."),
        ("ai_self_reference", "As an AI, I cannot feel that.", "I cannot feel that."),
        ("advice", "You should talk to your boss.", "You talked to your boss."),
        ("instruction", "Try to sleep more.", "You try to sleep more."),
        ("instruction", "You have to stop.", "You would like to stop."),
        ("judgement", "That was irresponsible of you.", "That was new to you."),
        ("names_mismatch_tentatively", "I wonder: you say it is fine, but you look down.", "You say it is fine."),
        ("confronts", "You're not being honest with me.", "I wonder whether you're being honest with yourself."),
    ],
)
def test_phrases_are_told(name: str, higher: str, lower: str) -> None:
    assert figure(name, higher) > figure(name, lower) == 0


def test_a_mismatch_that_is_asserted_is_not_named_tentatively() -> None:
    assert figure("names_mismatch_tentatively", "You say it is fine, but you look down.") == 0


def test_instruction_does_not_count_questions() -> None:
    assert figure("instruction", "Do you sleep well?") == 0


def test_copying_of_all_of_none_and_of_too_few_words() -> None:
    client = "I'm fine, really. It's just work."
    assert figure("copying", client, client=client) == 1
    assert figure("copying", "What is it like at work for you?", client=client) == 0
    # Two of three runs: "you said it is just work" in "it is just work".
    assert figure("copying", "So it is just work", client="Well, it is just work, you know") == pytest.approx(1 / 2)
    assert math.isnan(figure("copying", "It's work.", client=client))
    assert math.isnan(figure("copying", "It's just work.", client=None))


def test_similarity_says_nothing_of_a_copy() -> None:
    client = "I'm fine, really. It's just work."
    assert math.isnan(figure("similarity", client, client=client, similarity=1.0))
    assert figure("similarity", "You say you are fine.", client=client, similarity=0.7) == 0.7


def test_over_matched_intensity_is_of_the_reply_beyond_the_client() -> None:
    assert figure("over_matched", "That is SO AMAZING, wonderful!!!", client="I went to work.") > 0.5
    assert figure("over_matched", "You went.", client="I am so terribly sad and afraid.") == 0


def test_codes_decide() -> None:
    open_question = Codes("question", "open")
    assert figure("open_question", "How?", codes=open_question) == 1
    assert figure("open_question", "How?", codes=Codes("question", "closed")) == 0
    assert figure("reflections_to_questions", "How?", codes=open_question) == 0
    assert figure("reflections_to_questions", "So.", codes=Codes("reflection", None, "complex")) == 1
    assert math.isnan(figure("reflections_to_questions", "Okay.", codes=Codes("other")))
    assert figure("complex_reflection", "So.", codes=Codes("reflection", None, "complex")) == 1
    assert math.isnan(figure("complex_reflection", "Okay.", codes=Codes("other")))
    assert all(math.isnan(m.compute(Exchange("How?"))) for m in MEASURES if "codes" in m.needs)


def test_diversity_of_equal_and_of_different_replies() -> None:
    same, other = "you are really tired of work", "what was the best of it then"
    peers = {"peers": (same,) * PEERS}
    assert figure("self_bleu", same, **peers) == pytest.approx(1)
    assert figure("self_bleu", other, **peers) < 0.3
    assert figure("distinct_2", same, **peers) == pytest.approx(5 / 55)
    assert math.isnan(figure("self_bleu", same, peers=(same,) * (PEERS - 1)))


def test_reading_ease_is_flesch_s() -> None:
    # 6 words, 2 sentences, 7 syllables.
    expected = 206.835 - 1.015 * 6 / 2 - 84.6 * 7 / 6
    assert figure("reading_ease", "You are tired. It was a work.") != expected
    assert figure("reading_ease", "You sleep. Your mother was there.") == pytest.approx(expected)
    assert [syllables(word) for word in ("sleep", "mother", "there", "table", "free", "a")] == [1, 2, 1, 2, 1, 1]


def test_next_turn_and_lengths() -> None:
    assert figure("next_words", "Okay.", next="one two three") == pytest.approx(math.log(4))
    assert math.isnan(figure("next_words", "Okay."))
    assert figure("next_change_talk", "Okay.", next_talk="change") == 1
    assert figure("length_ratio", "one two three", client="one") == pytest.approx(math.log(4 / 2))


def test_words_and_sentences() -> None:
    assert words_of("It’s just work—don't ask, well-meant 2nd!") == [
        "it's",
        "just",
        "work",
        "don't",
        "ask",
        "well-meant",
        "2nd",
    ]
    assert sentences_of("Yes. “No!” ... Why? ") == ["Yes.", "“No!” ...", "Why?"]
    assert all(
        phrase == phrase.lower() for group in ("advice", "tentative", "contrast") for phrase in phrase_list(group)
    )


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (None, "empty"),
        ("", "empty"),
        (" \n...!? ", "empty"),
        ("x " * 50_000, "too long"),
        ("Das klingt wirklich schwer, wie lange geht das schon so bei Ihnen?", "language: de"),
        ("Это очень тяжело", "language: ru"),
        ("Mm-hmm.", "scored"),
        ("Cuénteme.", "scored"),
        ("No, " + "no, " * 40 + "no.", "scored"),
    ],
)
def test_what_is_not_scored_is_said(reply: str | None, status: str) -> None:
    assert status_of(reply) == status


def table(*replies: str | None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [str(n) for n in range(len(replies))],
            "session": "s",
            "system": "m",
            "seed": "0",
            "client": "I am tired of it all.",
            "reply": pd.Series(replies, dtype=object),
        }
    )


def test_one_bad_reply_leaves_the_others_alone(embed: object) -> None:
    good = ["You are tired.", "What is it?", "Tell me more about it."]
    alone = measure_replies(table(*good), embed=embed)  # type: ignore[arg-type]
    mixed = measure_replies(table(*good, None, "x " * 50_000), embed=embed)  # type: ignore[arg-type]
    names = [measure.name for measure in MEASURES]
    pd.testing.assert_frame_equal(alone[names], mixed[names].iloc[:3])
    assert mixed[names].iloc[3:].isna().all().all()
    assert status_lines(mixed) == [
        "1 of 5 replies are not scored (empty), the first of m: '3'",
        "1 of 5 replies are not scored (too long), the first of m: '4'",
    ]
    assert not {"reply", "client"} & set(mixed.columns), "figures leave, words stay"


def test_a_set_is_a_system_and_not_all_of_them() -> None:
    same = ["you are really tired of work"] * (PEERS + 1)
    others = [f"what of {n} and then {n + 1} for you" for n in range(PEERS + 1)]
    both = pd.concat([table(*same), table(*others).assign(system="n", id=[f"n{i}" for i in range(PEERS + 1)])])
    measured = measure_replies(both.reset_index(drop=True))
    assert measured["self_bleu"][: PEERS + 1].min() == pytest.approx(1)
    assert measured["self_bleu"][PEERS + 1 :].max() < 0.9


def test_measured_tables_are_checked(tmp_path: object) -> None:
    path = tmp_path / "m.parquet"  # type: ignore[operator]
    measured = measure_replies(table("You are tired.", "What is it?"))
    measured.to_parquet(path)
    assert len(read_measured([path])) == 2
    with pytest.raises(
        ManifestError, match=r"m.parquet: row 1: its system has another reply to this turn; name each table once"
    ):
        read_measured([path, path])
    measured.drop(columns="copying").to_parquet(path)
    with pytest.raises(ManifestError, match="no column 'copying'"):
        read_measured([path])


def test_language_of_other_scripts_in_few_words() -> None:
    assert language("难") == "zh"
    assert language("Okay") == "en"
