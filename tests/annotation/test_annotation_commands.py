"""`subtext-data codebook`, `agreement` and `aggregate`, from rater files to what lies in the folder."""

import json

import pandas as pd
import pytest

from subtext.annotation.codebook_file import default_codebook_path
from subtext.cli.data import main

RATINGS = """session,turn,rater,label,value
s1,1,ann,incongruent,1
s1,1,bob,incongruent,1
s1,2,ann,incongruent,0
s1,2,bob,incongruent,1
s2,1,ann,incongruent,0
s2,1,bob,incongruent,0
s2,2,ann,incongruent,0
s2,2,bob,incongruent,
"""


@pytest.fixture
def ratings(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text(RATINGS)
    return path


def test_agreement_writes_report_figures_and_what_to_adjudicate(ratings, tmp_path, capsys):
    assert main(["agreement", str(ratings), "--out", str(tmp_path / "out"), "--bootstrap", "200"]) == 0
    assert "1 judgements differ" in capsys.readouterr().out
    figures = json.loads((tmp_path / "out" / "agreement.json").read_text())["labels"]["incongruent"]
    # Coincidences 11: 2, 01 and 10: 1 each, 00: 2; n = 6: alpha = 1 - 5 * 2 / (36 - 9 - 9) = 4 / 9.
    assert figures["coefficients"]["alpha"]["value"] == pytest.approx(4 / 9)
    assert "0.444" in (tmp_path / "out" / "agreement.md").read_text()
    differing = pd.read_csv(tmp_path / "out" / "disagreements.csv")
    assert differing[["session", "turn", "rater ann", "rater bob"]].to_numpy().tolist() == [["s1", 2, 0, 1]]


def test_the_name_of_a_codebook_is_no_markup(ratings, tmp_path, capsys):
    codebook = tmp_path / "mine.yaml"
    codebook.write_text(default_codebook_path().read_text().replace("name: ether", "name: my[/b]"))
    assert (
        main(["agreement", str(ratings), "--codebook", str(codebook), "--out", str(tmp_path), "--bootstrap", "200"])
        == 0
    )
    assert "my[/b]" in capsys.readouterr().out


def test_spreadsheet_formulas_are_escaped_in_what_is_written(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text(RATINGS.replace("s1,2,", "=1+1,2,"))
    assert main(["agreement", str(path), "--out", str(tmp_path / "out"), "--bootstrap", "200"]) == 0
    assert "'=1+1," in (tmp_path / "out" / "disagreements.csv").read_text()


def test_one_rater_is_said_on_the_terminal(tmp_path, capsys):
    path = tmp_path / "ann.csv"
    path.write_text("session,turn,incongruent\ns1,1,1\ns1,2,0\n")
    assert main(["agreement", str(path)]) == 0
    assert "with one rater agreement cannot be computed" in capsys.readouterr().out


def test_aggregate_writes_labels_and_how_they_came_about(ratings, tmp_path):
    out = tmp_path / "labels.csv"
    assert main(["aggregate", str(ratings), "--out", str(out)]) == 0
    table = pd.read_csv(out)
    assert table["incongruent"].isna().to_list() == [False, True, False, False]
    assert table["incongruent_raters"].to_list() == [2, 2, 2, 1]
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["raters"] == ["ann", "bob"]
    assert record["labels"]["incongruent"]["method"] == "majority"
    assert record["labels"]["incongruent"]["rows_undecided"] == 1


def test_rejects_go_to_a_file_and_without_skip_stop(ratings, tmp_path, capsys):
    ratings.write_text(RATINGS + "s3,1,ann,incongruent,perhaps\n")
    out = tmp_path / "labels.csv"
    assert main(["aggregate", str(ratings), "--out", str(out)]) == 2
    assert "row 9, column 'value': label 'incongruent': unknown value; use one of" in capsys.readouterr().err
    assert main(["aggregate", str(ratings), "--out", str(out), "--on-error", "skip"]) == 0
    rejects = pd.read_csv(tmp_path / "labels.rejects.csv")
    assert rejects[["row", "value"]].to_numpy().tolist() == [[9, "perhaps"]]


def test_the_same_judgement_in_two_kinds_of_file_is_refused(ratings, tmp_path, capsys):
    export = tmp_path / "export.json"
    answer = {"from_name": "incongruent", "to_name": "words", "type": "choices", "value": {"choices": ["0"]}}
    task = {"data": {"session": "s1", "turn": "1"}, "annotations": [{"completed_by": "ann", "result": [answer]}]}
    export.write_text(json.dumps([task]))
    assert main(["agreement", str(ratings), str(export)]) == 2
    assert "more than once" in capsys.readouterr().err


def test_codebook_prints_and_writes_templates_but_over_no_ratings(tmp_path, capsys):
    assert main(["codebook"]) == 0
    assert capsys.readouterr().out.startswith("# Verbal-visual incongruence")
    assert main(["codebook", "--yaml"]) == 0
    copy = tmp_path / "own.yaml"
    copy.write_text(capsys.readouterr().out)
    assert main(["codebook", str(copy)]) == 0
    turns = tmp_path / "s1.csv"
    turns.write_text("role,start,end,transcript\ncounsellor,0,1,hm\nclient,1,2,fine\n")
    command = ["codebook", "--elan", str(turns), "--label-studio", str(turns), "--rater", "ann", "--out", str(tmp_path)]
    command += ["--media", "/data/s1.mp4"]
    assert main(command) == 0
    pages = {f"{page}.{kind}" for page in ("words", "face", "voice", "together", "session") for kind in ("xml", "json")}
    assert {"s1.ann.eaf", *pages} <= {path.name for path in tmp_path.iterdir()}
    assert json.loads((tmp_path / "face.json").read_text())[0]["data"]["video"] == "/data/s1.mp4"
    assert main(command) == 2
    assert "may hold ratings" in capsys.readouterr().err


def test_nothing_rated_is_an_error_and_so_is_a_file_that_is_not_there(tmp_path, capsys):
    path = tmp_path / "ratings.csv"
    path.write_text("session,turn,rater,label,value\ns1,1,ann,incongruent,\n")
    for command in (["agreement"], ["aggregate", "--out", str(tmp_path / "out.csv")]):
        assert main([command[0], str(path), *command[1:]]) == 2
        assert "no label has a value" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()
    assert main(["agreement", str(tmp_path / "gone.csv")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("ConfigError: RATINGS ")
    assert "gone.csv: it cannot be opened (No such file or directory); name a file of ratings" in told
    assert main(["codebook", "--elan", str(tmp_path / "gone.csv"), "--rater", "a", "--out", str(tmp_path)]) == 2
    assert "gone.csv: it cannot be opened (No such file or directory); name a table of turns" in capsys.readouterr().err
