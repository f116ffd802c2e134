"""Every measure of a reply: its claim, formula, source, limits and direction, in one table.

A measure gives one figure a reply, NaN where it does not apply; a session's or a system's figure is the mean over its
replies. So every measure can be averaged over sessions, and compared reply by reply. What needs trained raters (PCEPS,
MITI's globals) is no measure here: `subtext-replies form` and `therapist_rating.yaml` offer it to people.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

from subtext.core.templates import table_of
from subtext.errors import ConfigError
from subtext.replies.texts import ngrams, phrase_list, phrases, plain, sentences_of, syllables, words_of

Claim = Literal["engagement", "artificial", "person_centred"]
Need = Literal["client", "next", "codes", "peers", "similarity"]

CLAIMS: Final[Mapping[Claim, str]] = {
    "engagement": "sustains engagement",
    "artificial": "less artificial or exaggerated language",
    "person_centred": "fidelity to person-centred therapy",
}
"""E-THER's three claims about replies, in the words of the tables."""
PEERS: Final = 10
"""Other replies of the same set that one is compared with; fixed, because diversity depends on how many they are."""
COPY: Final = 4
"""Words of a run that counts as copied: shorter ones are shared by chance, and good reflections share them."""
COPIED: Final = 0.5
"""Share of copied runs from which on a reply is a copy, and similarity to the client's words says nothing."""
NAN: Final = math.nan


@dataclass(frozen=True)
class Codes:
    """What kind of utterance a reply is, by people or by `BehaviourCoder`.

    Attributes:
        behaviour: reflection, question, therapist_input or other; None where nobody coded it.
        question: open or closed.
        reflection: simple or complex.
    """

    behaviour: str | None = None
    question: str | None = None
    reflection: str | None = None


@dataclass(frozen=True)
class Exchange:
    """A reply and what stands around it.

    Attributes:
        reply: the counsellor's words.
        client: the client's turn before it, None where there is none.
        next: the client's turn after it, where the dialogue goes on.
        codes: of the reply.
        next_talk: the next turn's code: change, neutral or sustain.
        peers: `PEERS` other replies of the same set; fewer: the set is too small.
        similarity: cosine of the reply's and the client's embeddings.
    """

    reply: str
    client: str | None = None
    next: str | None = None
    codes: Codes = field(default_factory=Codes)
    next_talk: str | None = None
    peers: tuple[str, ...] = ()
    similarity: float = NAN

    @cached_property
    def words(self) -> list[str]:
        """The reply's words."""
        return words_of(self.reply)

    @cached_property
    def client_words(self) -> list[str]:
        """The client's words."""
        return words_of(self.client or "")

    @cached_property
    def plain(self) -> str:
        """The reply, to look for phrases in."""
        return plain(self.reply)

    @cached_property
    def sentences(self) -> list[str]:
        """The reply's sentences, as `plain`."""
        return sentences_of(self.plain)


@dataclass(frozen=True)
class Measure:
    """One figure a reply.

    Attributes:
        name: the column.
        claim: which of E-THER's claims it speaks to.
        direction: 1 where more of it is better for the claim, -1 where less is.
        unit: of a reply's figure.
        formula: in words.
        source: paper of the measure or the idea; "own definition" where there is none.
        limits: what it does not mean.
        compute: of a reply.
        needs: what it is NaN without.
    """

    name: str
    claim: Claim
    direction: Literal[1, -1]
    unit: str
    formula: str
    source: str
    limits: str
    compute: Callable[[Exchange], float]
    needs: tuple[Need, ...] = ()


def _rate(group: str) -> Callable[[Exchange], float]:
    """Phrases of a group per 100 words."""

    def compute(exchange: Exchange) -> float:
        return _per_100(len(phrases(group).findall(exchange.plain)), exchange)

    return compute


def _per_100(count: int, exchange: Exchange) -> float:
    return 100 * count / len(exchange.words) if exchange.words else NAN


def _is(value: str, kind: Literal["behaviour", "question", "reflection"] = "behaviour") -> Callable[[Exchange], float]:
    """Whether a code is that; NaN where there is none."""

    def compute(exchange: Exchange) -> float:
        code = getattr(exchange.codes, kind)
        return NAN if code is None else float(code == value)

    return compute


def _open_question(exchange: Exchange) -> float:
    codes = exchange.codes
    return NAN if codes.behaviour is None else float(codes.behaviour == "question" and codes.question == "open")


def _reflections_to_questions(exchange: Exchange) -> float:
    return {"reflection": 1.0, "question": 0.0}.get(exchange.codes.behaviour or "", NAN)


def _length_ratio(exchange: Exchange) -> float:
    if not exchange.client_words:
        return NAN
    return math.log((len(exchange.words) + 1) / (len(exchange.client_words) + 1))


def _next_words(exchange: Exchange) -> float:
    return NAN if exchange.next is None else math.log1p(len(words_of(exchange.next)))


def _next_change(exchange: Exchange) -> float:
    return NAN if exchange.next_talk is None else float(exchange.next_talk == "change")


def _exclamations(exchange: Exchange) -> float:
    said = exchange.sentences
    return sum(sentence.rstrip("\"')\u201d").endswith("!") for sentence in said) / len(said) if said else NAN


def _over_matched(exchange: Exchange) -> float:
    if exchange.client is None:
        return NAN
    return max(0.0, abs(_sentiment(exchange.reply)) - abs(_sentiment(exchange.client)))


def _sentiment(text: str) -> float:
    return float(_vader().polarity_scores(text)["compound"])


@functools.cache
def _vader() -> Any:
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise ConfigError("vaderSentiment is missing; run: pip install 'subtext[replies]'") from error
    return SentimentIntensityAnalyzer()


def _copying(exchange: Exchange) -> float:
    size = min(COPY, len(exchange.words))
    if exchange.client is None or size == 0:
        return NAN
    theirs = set(ngrams(exchange.client_words, size))
    runs = ngrams(exchange.words, size)
    # One or two words ("Yes.", "Okay.") repeat nothing worth the name.
    return NAN if size < 3 else sum(run in theirs for run in runs) / len(runs)


def _similarity(exchange: Exchange) -> float:
    copied = _copying(exchange)
    return exchange.similarity if math.isnan(copied) or copied < COPIED else NAN


def _self_bleu(exchange: Exchange) -> float:
    if len(exchange.peers) < PEERS or len(exchange.words) < COPY:
        return NAN
    from torchmetrics.functional.text import bleu_score

    peers = [" ".join(words_of(peer)) for peer in exchange.peers]
    return float(bleu_score([" ".join(exchange.words)], [peers], n_gram=4, smooth=True))


def _distinct_2(exchange: Exchange) -> float:
    if len(exchange.peers) < PEERS:
        return NAN
    pairs = [pair for words in (exchange.words, *map(words_of, exchange.peers)) for pair in ngrams(words, 2)]
    return len(set(pairs)) / len(pairs) if pairs else NAN


def _reading_ease(exchange: Exchange) -> float:
    words, said = exchange.words, exchange.sentences
    if not words or not said:
        return NAN
    return 206.835 - 1.015 * len(words) / len(said) - 84.6 * sum(map(syllables, words)) / len(words)


def _instruction(exchange: Exchange) -> float:
    begins = frozenset(phrase_list("imperatives"))
    firsts = sum(words_of(sentence)[0] in begins and not sentence.endswith("?") for sentence in exchange.sentences)
    return _per_100(firsts + len(phrases("obligation").findall(exchange.plain)), exchange)


def _mismatch(exchange: Exchange, tentative: bool) -> float:
    """Whether a sentence puts two sides against each other, with or without a word that leaves it open."""
    if not exchange.words:
        return NAN
    opened = phrases("tentative").search(exchange.plain) is not None
    contrasts = any(
        phrases("contrast").search(sentence) and {"you", "you're", "your", "you've"} & set(words_of(sentence))
        for sentence in exchange.sentences
        if not sentence.endswith("?") or phrases("tentative").search(sentence)
    )
    if tentative:
        return float(contrasts and opened)
    return float(phrases("confronting").search(exchange.plain) is not None and not opened)


_MITI: Final = "MITI 4.2 (Moyers, Manuel & Ernst 2014)"
_AS_CODED: Final = "the main act of the whole reply only; predicted codes cost much, see `validate`"
_LISTED: Final = "only the phrases of lexicon.yaml, English; rare in one reply, so read means"

MEASURES: Final[tuple[Measure, ...]] = (
    Measure(
        "open_question",
        "engagement",
        1,
        "0 or 1",
        "1 where the main act is a question and it is open",
        _MITI,
        _AS_CODED,
        _open_question,
        ("codes",),
    ),
    Measure(
        "invitation",
        "engagement",
        1,
        "per 100 words",
        "phrases that invite to say more",
        "Miller & Rollnick 2013, Motivational Interviewing, ch. 5; own list",
        _LISTED,
        _rate("invitations"),
    ),
    Measure(
        "reflection",
        "engagement",
        1,
        "0 or 1",
        "1 where the main act is a reflection",
        _MITI,
        _AS_CODED,
        _is("reflection"),
        ("codes",),
    ),
    Measure(
        "length_ratio",
        "engagement",
        -1,
        "log ratio",
        "ln((words of the reply + 1) / (words of the client's turn + 1))",
        "talk time: Moyers et al. 2014; own definition",
        "one long turn of the client makes any reply short",
        _length_ratio,
        ("client",),
    ),
    Measure(
        "similarity",
        "engagement",
        1,
        "cosine",
        f"cosine of the sentence embeddings of reply and client's turn; none where copying is {COPIED} or more",
        "responsiveness as in Reimers & Gurevych 2019 (SBERT); own use",
        "high for an echo, and for any reply on the topic, good or bad",
        _similarity,
        ("client", "similarity"),
    ),
    Measure(
        "next_words",
        "engagement",
        1,
        "log words",
        "ln(1 + words of the client's next turn)",
        "own definition",
        "dialogues only; people differ in how much they say",
        _next_words,
        ("next",),
    ),
    Measure(
        "next_change_talk",
        "engagement",
        1,
        "0 or 1",
        "1 where people coded the client's next turn as talk for change",
        "Miller & Rose 2009, Am. Psychol. 64(6)",
        "human codes only; talk about change, not engagement as such",
        _next_change,
        ("next",),
    ),
    Measure(
        "intensifiers",
        "artificial",
        -1,
        "per 100 words",
        "boosters and superlatives",
        "Quirk et al. 1985, ch. 8; VADER's boosters (Hutto & Gilbert 2014); own list",
        _LISTED,
        _rate("intensifiers"),
    ),
    Measure(
        "exclamations",
        "artificial",
        -1,
        "share",
        "sentences that end with an exclamation mark",
        "own definition",
        "a matter of the transcriber's taste in transcripts of speech",
        _exclamations,
    ),
    Measure(
        "over_matched",
        "artificial",
        -1,
        "0 to 1",
        "max(0, |VADER compound of the reply| - |VADER compound of the client's turn|)",
        "Hutto & Gilbert 2014, VADER; own use",
        "VADER grows with length; a client who understates feels more than the words say",
        _over_matched,
        ("client",),
    ),
    Measure(
        "stock_phrases",
        "artificial",
        -1,
        "per 100 words",
        "phrases that assistants write often",
        "ELEPHANT (arXiv 2505.13995) for validation; own list",
        _LISTED,
        _rate("stock_phrases"),
    ),
    Measure(
        "ai_self_reference",
        "artificial",
        -1,
        "0 or 1",
        "1 where the reply speaks of itself as a machine",
        "own definition",
        "no counsellor of AnnoMI does, so it cannot be validated there",
        lambda e: float(phrases("ai_self_reference").search(e.plain) is not None) if e.words else NAN,
    ),
    Measure(
        "copying",
        "artificial",
        -1,
        "share",
        f"runs of {COPY} words of the reply that stand in the client's turn; of 3 where it has no more; none below",
        "containment: Broder 1997, On the resemblance and containment of documents",
        "a reflection may rightly repeat a phrase",
        _copying,
        ("client",),
    ),
    Measure(
        "self_bleu",
        "artificial",
        -1,
        "0 to 1",
        f"smoothed BLEU-4 against {PEERS} other replies of the same set (torchmetrics)",
        "Zhu et al. 2018, Texygen",
        "short replies score low; depends on the number of others, which is therefore fixed",
        _self_bleu,
        ("peers",),
    ),
    Measure(
        "distinct_2",
        "artificial",
        1,
        "share",
        f"different pairs of words among all pairs of the reply and {PEERS} others",
        "Li et al. 2016, A diversity-promoting objective (distinct-n)",
        "falls with length, whatever is said",
        _distinct_2,
        ("peers",),
    ),
    Measure(
        "reading_ease",
        "artificial",
        -1,
        "points",
        "206.835 - 1.015 words per sentence - 84.6 syllables per word; syllables by groups of vowels",
        "Flesch 1948, J. Appl. Psychol. 32; as a mark of models' replies: arXiv 2504.09271",
        "a mark of artificiality, no quality; unreliable on a few words",
        _reading_ease,
    ),
    Measure(
        "length",
        "artificial",
        -1,
        "log words",
        "ln(1 + words)",
        "arXiv 2504.09271: models' replies are longer than people's",
        "a mark of artificiality, no quality",
        lambda e: math.log1p(len(e.words)) if e.words else NAN,
    ),
    Measure(
        "reflections_to_questions",
        "person_centred",
        1,
        "share",
        "1 for a reflection, 0 for a question, none else: the mean is R / (R + Q), a monotone function of R:Q",
        _MITI,
        _AS_CODED,
        _reflections_to_questions,
        ("codes",),
    ),
    Measure(
        "complex_reflection",
        "person_centred",
        1,
        "0 or 1",
        "among reflections: 1 where it is complex",
        _MITI,
        "people agree poorly on it: MITI's own paper excepts it from good reliability",
        lambda e: _is("complex", "reflection")(e) if e.codes.behaviour == "reflection" else NAN,
        ("codes",),
    ),
    Measure(
        "input",
        "person_centred",
        -1,
        "0 or 1",
        "1 where the main act is input: information, advice, options, negotiation",
        "AnnoMI (Wu et al. 2022)",
        "information that was asked for is no fault; " + _AS_CODED,
        _is("therapist_input"),
        ("codes",),
    ),
    Measure(
        "advice",
        "person_centred",
        -1,
        "per 100 words",
        "phrases of advice",
        _MITI + ", persuade; own list",
        _LISTED + "; with permission it is no fault, which is not seen",
        _rate("advice"),
    ),
    Measure(
        "instruction",
        "person_centred",
        -1,
        "per 100 words",
        "sentences that begin with an imperative, and phrases of obligation",
        "PCEPS, content directiveness (Freire, Elliott & Westwell 2014); own list",
        _LISTED,
        _instruction,
    ),
    Measure(
        "judgement",
        "person_centred",
        -1,
        "per 100 words",
        "phrases that blame, moralise or belittle",
        _MITI + ", confront; Rogers 1957, unconditional positive regard; own list",
        _LISTED,
        _rate("judgement"),
    ),
    Measure(
        "names_mismatch_tentatively",
        "person_centred",
        1,
        "0 or 1",
        "1 where a sentence on 'you' sets two sides against each other and the reply has a hedge",
        "MITI's double-sided reflection; Rogers 1957; hedges after Hyland 2005; own list",
        _LISTED + "; whether there is a mismatch, and the right one, is not seen",
        lambda e: _mismatch(e, tentative=True),
    ),
    Measure(
        "confronts",
        "person_centred",
        -1,
        "0 or 1",
        "1 where a phrase calls the client's words untrue, without a hedge",
        _MITI + ", confront; own list",
        _LISTED,
        lambda e: _mismatch(e, tentative=False),
    ),
)
"""All of them, in the order of tables."""

BY_NAME: Final[Mapping[str, Measure]] = {measure.name: measure for measure in MEASURES}


def measures_markdown(measures: Sequence[Measure] = MEASURES) -> str:
    """The table of measures as Markdown."""
    rows = [
        {
            "measure": measure.name,
            "claim": CLAIMS[measure.claim],
            "better": "more" if measure.direction > 0 else "less",
            "unit": measure.unit,
            "formula": measure.formula,
            "source": measure.source,
            "limits": measure.limits,
        }
        for measure in measures
    ]
    return table_of(rows[0], [row.values() for row in rows])
