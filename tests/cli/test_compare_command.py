"""`subtext-compare`: what it writes, says and refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from builders.compared_runs import write_run, write_system
from subtext.cli.compare import main
from subtext.report.compare_page import write_comparison_page

QUICK = ["--no-cost", "--bootstrap", "20"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compared")
    constructed = {"corpus": "subtext.corpora.collage.Collage"}
    for place, (strategy, skill) in enumerate({"posterior": 0.6, "late": 0.6, "gated": 4.0}.items()):
        more = {"readings": 0.6} if strategy == "gated" else {}
        write_system(root / strategy, strategy, skill, noise=place, **constructed, **more)
    audit = root / "gated" / "seed-1" / "audit"
    audit.mkdir()
    finding = {"subject": "duration", "label": "incongruent", "text": "told from duration alone", "alarm": True}
    (audit / "audit.json").write_text(json.dumps({"alarms": [finding], "notes": []}))
    return root


@pytest.fixture(scope="module")
def out(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "comparison"
    arguments = [str(runs / name) for name in ("late", "gated", "posterior")]
    assert main([*arguments, "--out", str(folder), "--within", "speaker", *QUICK]) == 0
    return folder


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of the time, and are drawn once for the fixture."""
    monkeypatch.setattr("subtext.report.compare_figures.comparison_figures", lambda folder, comparison: [])


def test_everything_is_written(out: Path) -> None:
    names = {path.name for path in out.iterdir()}
    tables = {"systems", "differences", "per_type", "per_speaker", "per_unit", "per_seed", "calibration"}
    assert names == {"comparison.json", "comparison.md", "figures", *(f"{table}.csv" for table in tables)}
    figures = {path.name for path in (out / "figures").iterdir()}
    kinds = ("auroc", "differences", "pairs", "within", "reliability", "types")
    assert {f"{kind}_incongruent.png" for kind in kinds} <= figures
    page = (out / "comparison.md").read_text()
    assert all(f"(figures/{name})" in page for name in figures)
    found = json.loads((out / "comparison.json").read_text())
    assert found["reference"] == "fusion=posterior"
    assert str(out.parent) not in page + json.dumps(found)


def test_tables_agree_with_the_json(out: Path) -> None:
    found = json.loads((out / "comparison.json").read_text())
    entry = found["heads"]["incongruent"]["subsets"]["all"]
    systems = pd.read_csv(out / "systems.csv").fillna({"control": ""})
    keys = ["head", "subset", "system", "control", "metric"]
    row = systems.set_index(keys).loc[("incongruent", "all", "fusion=late", "", "auroc")]
    assert row["value"] == pytest.approx(entry["systems"]["fusion=late"]["metrics"]["auroc"]["value"], abs=1e-5)
    assert not systems.duplicated(keys).any()
    assert {"majority", "visual", "shuffled", "posterior_product"} <= set(systems["control"])
    differences = pd.read_csv(out / "differences.csv")
    assert set(differences["family"]) == {"reference", "all_pairs"}
    assert set(differences["inside"].dropna()) == {"speaker"}
    seeds = pd.read_csv(out / "per_seed.csv")
    assert set(seeds["seed"]) == {0, 1}
    speakers = pd.read_csv(out / "per_speaker.csv")
    assert speakers.groupby(["head", "system"])["worst"].sum().eq(1).all()


def test_above_its_own_readings_on_constructed_clips_sounds_an_alarm_with_the_audit(out: Path) -> None:
    page = (out / "comparison.md").read_text()
    assert "**ALARM: fusion=gated is significantly above the product of its own readings on constructed clips**" in page
    assert "`subtext-data audit collage --media`" in page
    assert "duration, incongruent: told from duration alone" in page
    assert "fusion=late is significantly" not in page


def test_what_is_not_distinguished_stands_with_what_could_have_been_found(out: Path) -> None:
    page = (out / "comparison.md").read_text()
    assert "not distinguished: fusion=late (" in page
    assert "minimum detectable difference 0." in page
    assert "margin of a tie 0.02" in page
    assert json.loads((out / "comparison.json").read_text())["settings"]["margin"] == 0.02


def test_controls_stand_against_their_system(runs: Path, out: Path, tmp_path: Path, no_figures: None) -> None:
    page = (out / "comparison.md").read_text()
    assert "Their difference is (control - fusion=posterior), and is not tested." in page
    row = next(line for line in page.splitlines() if line.startswith("| control: face alone |"))
    assert row.split("|")[5].strip().startswith("-0.")
    assert "the control" not in page
    assert page.count("† fewer than 20 clusters of a unit: the interval is rough.") == ("†" in page)
    lost = tmp_path / "lost"
    shutil.copytree(runs / "late" / "seed-0", lost)
    controls = pd.read_parquet(lost / "controls.parquet")
    truth = controls["incongruent"].astype(float)
    lookup = controls["control"] == "visual"
    controls.loc[lookup, "prob_incongruent"] = (0.2 + 0.6 * truth)[lookup]
    controls.to_parquet(lost / "controls.parquet")
    assert main([str(lost), "--out", str(tmp_path / "out"), "--within", "actor", *QUICK]) == 0
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert "the control face alone is better than lost" in page
    # The few actors stand in one table only, but their mark is explained all the same.
    assert "† fewer than 20 clusters" in page


def test_names_settings_and_notes_of_a_stranger_are_text_on_the_page(out: Path, tmp_path: Path) -> None:
    name = "a|b <script>x</script> ![p](http://x) `c"
    found = json.loads((out / "comparison.json").read_text().replace("fusion=gated", name))
    found |= {"labels": name, "notes": [name], "question": name}
    found["systems"][name]["settings"]["key|"] = name
    found["heads"]["incongruent"]["speakers"]["worst"][name]["speaker"] = name
    page = write_comparison_page(tmp_path / "comparison.md", found).read_text()
    assert page.count(r"a\|b &lt;script>x&lt;/script> !\[p\](http://x) \`c") > 20
    width = None
    for line in page.splitlines():
        assert "<script" not in line
        assert "![p]" not in line
        cells = line.replace(r"\|", "").count("|") if line.startswith("|") else None
        assert None in (cells, width) or cells == width
        width = cells


def test_order_of_runs_does_not_matter(
    runs: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture, no_figures: None
) -> None:
    arguments = [str(path) for path in sorted(runs.glob("*/seed-*"), reverse=True)]
    assert main([*arguments, "--out", str(tmp_path / "again"), "--within", "speaker", *QUICK]) == 0
    for name in ("comparison.json", "differences.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
    page, again = ((folder / "comparison.md").read_text() for folder in (out, tmp_path / "again"))
    assert again.split("## How")[0].strip() == page.split("## Figures")[0].strip()
    assert "ALARM" in capsys.readouterr().out


def test_written_again_over_an_earlier_comparison_but_over_nothing_else(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, no_figures: None
) -> None:
    monkeypatch.chdir(tmp_path)
    pair = [str(runs / "late" / "seed-0"), f"mine={runs / 'gated' / 'seed-0'}"]
    assert main([*pair, *QUICK, "--groups", "speaker", "--reference", "mine"]) == 0
    assert json.loads((tmp_path / "comparison" / "comparison.json").read_text())["reference"] == "mine"
    assert main([*pair, *QUICK]) == 0
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("words")
    capsys.readouterr()
    assert main([*pair, *QUICK, "--out", "full"]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_wrong_command_lines_end_in_one_line(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    late, out = str(runs / "late"), ["--out", str(tmp_path / "out"), *QUICK]
    other = write_run(tmp_path / "other", strategy="tensor", test=120)
    elsewhere = write_run(tmp_path / "elsewhere", strategy="tensor", facts={"groups": ["speaker"]})
    for arguments, words in (
        ([str(tmp_path / "nothing")], "no run folder"),
        ([late, str(other)], "different clips"),
        ([late, str(elsewhere)], "--groups"),
        ([late, "--reference", "mean"], "no system 'mean'"),
        ([late, "--within", "show"], "known are"),
        ([late, late], "given twice"),
        ([late, "--groups", "nope"], "no column 'nope' to cluster by"),
        ([f"a|b={late}"], "cannot stand in tables"),
    ):
        assert main([*arguments, *out]) == 2
        shown = capsys.readouterr().err
        assert words in shown
        assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()
    for wrong in (["--alpha", "2"], ["--bootstrap", "0"], []):
        with pytest.raises(SystemExit) as error:
            main([*([late] if wrong else []), *wrong])
        assert error.value.code == 2


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, subtext.cli.compare as c\n"
        "try:\n    c.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'sklearn', 'scipy', 'numpy', 'jinja2'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
