"""Good inputs of every reader, with a mark in each id, name, word and column of the user's own that they hold."""

import json
from pathlib import Path

import pandas as pd

from builders.spoilt import MARK

NUMBER = "7712"
"""The mark of ids that are numbers officially."""
WORDS = f"{MARK} left us."


def write_tables(folder: Path) -> list[Path]:
    """One manifest as CSV, TSV, Parquet and JSON Lines."""
    rows = [
        {
            "id": f"{MARK}-{number}",
            "session": f"{MARK}-s{number}",
            "speaker": f"{MARK} {name}",
            "role": "client",
            "start": "0:01",
            "end": "2.5",
            "video": f"{MARK}{number}.mp4",
            "transcript": WORDS,
            "context": f"Who, {MARK}?",
            "split": split,
            "fold": str(number),
            "visual_emotion": "sadness",
            "verbal_polarity": "-1",
            "incongruent": "1",
            "engagement": "0.5",
            f"{MARK}_own": MARK,
        }
        for number, (name, split) in enumerate([("Ann", "train"), ("Ben", "test")])
    ]
    for row in rows:
        (folder / row["video"]).touch()
    table = pd.DataFrame(rows)
    paths = [folder / f"{kind}.{kind}" for kind in ("csv", "tsv", "parquet", "jsonl")]
    table.to_csv(paths[0], index=False)
    table.to_csv(paths[1], index=False, sep="\t")
    table.to_parquet(paths[2])
    paths[3].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return paths


def write_replies(folder: Path) -> list[Path]:
    """Two systems' replies to three turns, a rating form's key for them, and a rater's answers."""
    names = ("one", "two")
    for name in names:
        rows = [
            {
                "id": f"{MARK}-{turn}",
                "session": f"{MARK}-s{turn // 2}",
                "system": f"{MARK}-{name}",
                "seed": "0",
                "client": f"{WORDS} {turn}",
                "reply": f"{MARK}, {name} {turn}.",
                "next": f"Yes, {MARK}.",
                f"{MARK}_own": MARK,
            }
            for turn in range(3)
        ]
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    items = [
        {
            "item": f"000{turn}",
            "id": f"{MARK}-{turn}",
            "session": f"{MARK}-s{turn // 2}",
            **{f"system_{side}": f"{MARK}-{name}" for side, name in zip("ab", names, strict=True)},
            "seed_a": "0",
            "seed_b": "0",
        }
        for turn in range(2)
    ]
    (folder / "key.json").write_text(json.dumps({"items": items}))
    lines = [f"replies,000{turn},{MARK} Rita,engaging,A" for turn in range(2)]
    (folder / "answers.csv").write_text("\n".join(["session,turn,rater,label,value", *lines]) + "\n")
    return [folder / name for name in ("one.csv", "two.csv", "key.json", "answers.csv")]


CODEBOOK = f"""name: own
title: {MARK} study
version: "1"
labels:
  mood:
    scale: nominal
    unit: turn
    rated: client
    column: mood
    required: true
    definition: How {MARK} is.
    values: {{low: sad, high: glad}}
    unratable: {{unclear: cannot be told}}
    rules: [Take {MARK} as it is.]
  effort:
    scale: ordinal
    unit: turn
    rated: client
    column: effort
    definition: Work.
    values: ["1", "2", "3"]
"""


def write_ratings(folder: Path) -> list[Path]:
    """A codebook, a table of turns, and two raters' files."""
    (folder / "codebook.yaml").write_text(CODEBOOK)
    (folder / "turns.csv").write_text(
        f"session,turn,start,end,role,transcript\n{MARK}-s,{MARK}-1,0,1,client,{WORDS}\n{MARK}-s,{MARK}-2,1.5,3,client,No.\n"
    )
    for rater in ("Rita", "Rob"):
        (folder / f"{rater}.csv").write_text(
            f"session,turn,rater,mood,effort\n{MARK}-s,{MARK}-1,{MARK} {rater},low,1\n"
            f"{MARK}-s,{MARK}-2,{MARK} {rater},high,3\n"
        )
    (folder / "export.json").write_text(
        json.dumps(
            [
                {
                    "id": 1,
                    "data": {"session": f"{MARK}-s", "turn": f"{MARK}-1", "start": 0, "end": 1},
                    "annotations": [
                        {
                            "completed_by": {"email": f"{MARK}@x.org"},
                            "result": [
                                {"from_name": "mood", "type": "choices", "value": {"choices": ["low"]}},
                                {"from_name": "effort", "type": "choices", "value": {"choices": ["2"]}},
                            ],
                        }
                    ],
                }
            ]
        )
    )
    return [folder / name for name in ("codebook.yaml", "turns.csv", "Rita.csv", "Rob.csv", "export.json")]


_ELAN = f"""<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="{MARK}" FORMAT="3.0" VERSION="3.0"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="EAFv3.0.xsd">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL="file:///{MARK}.mp4" MIME_TYPE="video/mp4"/>
</HEADER>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="0"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="1000"/></TIME_ORDER>
<TIER LINGUISTIC_TYPE_REF="turn" TIER_ID="client" PARTICIPANT="{MARK}">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE>{WORDS}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="turn" TIME_ALIGNABLE="true"/>
</ANNOTATION_DOCUMENT>
"""


def write_turns(folder: Path) -> list[Path]:
    """The same turns in every format that turns are read from."""
    said = [(0.0, 0.4, "client", WORDS), (0.5, 0.9, "counsellor", f"Oh, {MARK}.")]
    segments = [
        {
            "start": start,
            "end": end,
            "speaker": f"{MARK} {who}",
            "text": words,
            "words": [{"word": word, "start": start, "end": end} for word in words.split()],
        }
        for start, end, who, words in said
    ]
    written = {
        "turns.csv": f"start,end,speaker,role,transcript,{MARK}_own\n"
        + "".join(f'{start},{end},{MARK} {who},{who},"{words}",{MARK}\n' for start, end, who, words in said),
        "turns.srt": "".join(
            f"{n}\n00:00:0{start:.3f} --> 00:00:0{end:.3f}\n{MARK} {who}: {words}\n\n".replace(".", ",", 2)
            for n, (start, end, who, words) in enumerate(said, 1)
        ),
        "turns.vtt": "WEBVTT\n\n"
        + "".join(f"00:0{start:.3f} --> 00:0{end:.3f}\n<v {MARK} {who}>{words}\n\n" for start, end, who, words in said),
        "turns.rttm": "".join(
            f"SPEAKER {MARK} 1 {start} {end - start:.1f} <NA> <NA> {MARK}_{who} <NA> <NA>\n"
            for start, end, who, _ in said
        ),
        "turns.eaf": _ELAN,
        "whisperx.json": json.dumps({"segments": segments}),
        "pyannote.json": json.dumps(
            {"output": {"diarization": [{k: s[k] for k in ("start", "end", "speaker")} for s in segments]}}
        ),
        "turns.jsonl": "".join(
            json.dumps({"start": s["start"], "end": s["end"], "speaker": s["speaker"], "transcript": s["text"]}) + "\n"
            for s in segments
        ),
        "studio.json": json.dumps(
            [
                {
                    "annotations": [
                        {
                            "result": [
                                {"id": "r1", "type": "labels", "value": {"start": 0, "end": 0.4, "labels": [MARK]}},
                                {"id": "r1", "type": "textarea", "value": {"start": 0, "end": 0.4, "text": [WORDS]}},
                            ]
                        }
                    ]
                }
            ]
        ),
        "turns.tsv": f"start\tend\tspeaker\ttranscript\n0\t0.4\t{MARK}\t{WORDS}\n",
    }
    for name, content in written.items():
        (folder / name).write_text(content, encoding="utf-8")
    return [folder / name for name in written]


def write_sessions(folder: Path) -> list[Path]:
    """Sessions of the corpus `ether`: settings, turns, words and a rater's file; recordings are to come."""
    paths = []
    for name, split in (("S01", "train"), ("S02", "test")):
        session = folder / name
        (session / "ratings").mkdir(parents=True)
        (session / "session.yaml").write_text(
            f"session: {MARK}-{name}\nspeakers: {{client: {MARK} {name}, counsellor: {MARK} T{name}}}\nsplit: {split}\n"
            f"roles: {{{MARK}_Ann: client, {MARK}_Bob: counsellor}}\noffsets: {{client.wav: 0.1}}\n"
        )
        (session / "turns.rttm").write_text(
            f"SPEAKER {MARK} 1 0.0 0.4 <NA> <NA> {MARK}_Ann <NA> <NA>\n"
            f"SPEAKER {MARK} 1 0.5 0.3 <NA> <NA> {MARK}_Bob <NA> <NA>\n"
        )
        (session / "words.ctm").write_text(f"{MARK} 1 0.0 0.2 {MARK} 0.9\n{MARK} 1 0.2 0.1 left 0.9\n")
        (session / "ratings" / "r1.csv").write_text(
            f"turn,rater,verbal_emotion,visual_emotion,incongruent,engagement\n1,{MARK} Rita,sadness,happiness,1,3\n"
        )
        paths = paths or [session / f for f in ("session.yaml", "turns.rttm", "words.ctm", "ratings/r1.csv")]
    (folder.parent / "splits.csv").write_text(f"session,split\n{MARK}-S01,train\n{MARK}-S02,test\n")
    return [*paths, folder.parent / "splits.csv"]


def write_corpora(folder: Path) -> list[Path]:
    """The official files of every corpus that has some, each in a folder of its name; a few rows each."""
    codes = "False,n/a,False,n/a,True,open,question,n/a"
    told = f"high,{NUMBER}1,{MARK} title,https://{MARK}.org,{MARK} topic"
    annomi = (
        "mi_quality,transcript_id,video_title,video_url,topic,utterance_id,interlocutor,timestamp,utterance_text,"
        "annotator_id,therapist_input_exists,therapist_input_subtype,reflection_exists,reflection_subtype,"
        "question_exists,question_subtype,main_therapist_behaviour,client_talk_type\n"
        f"{told},0,therapist,00:00:02,{WORDS},{NUMBER}3,{codes}\n"
        f"{told},0,therapist,00:00:02,{WORDS},{NUMBER}4,{codes}\n"
        f"{told},1,client,00:00:09,Oh {MARK}.,{NUMBER}3,n/a,n/a,n/a,n/a,n/a,n/a,n/a,change\n"
    )
    bah = f"Videos/{NUMBER}5/Visite_1/{NUMBER}5_Question_1_2024_{MARK}.mp4"
    ch_sims = (
        "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode\n"
        f"{MARK}1,0001,{WORDS},-1.0,-1.0,-0.8,-1.0,Negative,train\n{MARK}2,0001,{WORDS},0.6,0.6,-0.2,0.2,Positive,test\n"
    )
    votes = "A,D,F,H,N,S"
    names = [f"{NUMBER}_DFA_ANG_XX", f"{NUMBER}_IEO_HAP_LO"]
    crema = f",{votes},fileName,numResponses,agreement,emoVote\n" + "".join(
        f"{channel}0000{number},5,0,0,0,4,0,{name},9,0.5,A\n"
        for number, name in enumerate(names, 1)
        for channel in (1, 2, 3)
    )
    meld = (
        "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
        f'1,{WORDS},{MARK} Ann,joy,positive,{NUMBER}0,0,8,21,"00:16:16,059","00:16:21,731"\n'
        f'2,Oh {MARK}.,{MARK} Ben,neutral,neutral,{NUMBER}0,1,8,21,"0:16:21,940","0:16:23,442"\n'
    )
    plus = (
        "SCENE,KEY,SENTENCE,END_TIME,SPEAKER,SHOW,Sarcasm,Sarcasm_Type,Implicit_Emotion,Explicit_Emotion,Valence,"
        "Arousal\n"
    )
    mustard = {}
    for number in range(12):
        show, scene = ("FRIENDS", "BBT")[number % 2], f"{MARK}_{number}"
        coded = "1,PRO,Ridicule,Happiness,3,8" if number % 4 < 2 else "0,NONE,Neutral,Neutral,5,5"
        plus += f"{scene},{scene}_c_00,{WORDS},0:2,{MARK} A{number},{show},,,,,,\n"
        plus += f"{scene},{scene}_u,Fine {MARK}.,0:06,{MARK} B{number},{show},{coded}\n"
        mustard[f"{MARK}_{number}"] = {
            "utterance": WORDS,
            "speaker": f"{MARK} B{number}",
            "context": [f"Oh {MARK}."],
            "context_speakers": [f"{MARK} C"],
            "show": show,
            "sarcasm": number % 4 < 2,
        }
    folds = [
        {"train": [row for row in range(12) if row % 3 != fold], "test": list(range(fold, 12, 3))} for fold in range(3)
    ]
    written = {
        "annomi/AnnoMI-full.csv": annomi,
        **{f"bah/split/{split}.txt": f"{bah.replace('Question_1', f'Question_{n}')},{n % 2},{WORDS}\n"
           for n, split in enumerate(("train", "val", "test"), 1)},
        "ch_sims/label.csv": ch_sims,
        "crema_d/processedResults/tabulatedVotes.csv": crema,
        "crema_d/VideoDemographics.csv": f'ActorID,Age,Sex,Race,Ethnicity\n{NUMBER},51,Male,{MARK},{MARK}\n',
        **{f"meld/{part}_sent_emo.csv": meld for part in ("train", "dev", "test")},
        "mustard_plus_plus/mustard++_text.csv": plus,
        "mustard/sarcasm_data.json": json.dumps(mustard),
        "mustard/speaker_dependent_folds.json": json.dumps(folds),
    }  # fmt: skip
    for name, content in written.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return [folder / name for name in written]
