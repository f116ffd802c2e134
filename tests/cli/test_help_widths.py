"""Help fits a terminal of 80 columns."""

import importlib
from pathlib import Path

import pytest

from builders.commands import command_here

COMMANDS = {
    "evaluate": [[]],
    "compare": [[]],
    "predict": [[]],
    "robustness": [[]],
    "data": [[], ["build"], ["card"], ["split"], ["join"], ["export"], ["audit"], ["behaviour"], ["codebook"]],
    "replies": [[], ["generate"], ["measure"], ["validate"], ["compare"], ["coder"], ["tune"], ["form"], ["judge"]],
}


@pytest.mark.parametrize("command", ["train", "extract", "sweep", "vlm", "vlm score", "vlm cost"])
def test_help_of_commands_that_take_settings_is_no_wider_either(command: str, tmp_path: Path) -> None:
    name, *mode = command.split()
    done = command_here(name, *mode, "--help", folder=tmp_path)
    assert (done.code, done.err, done.written) == (0, "", [])
    assert [line for line in done.out.splitlines() if len(line) > 80] == []
    if command == "sweep":
        assert all(f"{setting}=" in done.out for setting in ("trials", "seeds", "storage"))
    if command != "vlm":
        assert "mustard_plus_plus, ravdess," in done.out
    assert ("vlm: idefics" in done.out) == (bool(mode) and name == "vlm")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_no_wider_than_a_terminal(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main = importlib.import_module(f"subtext.cli.{name}").main
    for command in COMMANDS[name]:
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        shown = capsys.readouterr().out
        assert "usage:" in shown
        # A usage line that argparse cannot fold, of options that exclude each other, is left as it is.
        assert [line for line in shown.splitlines() if len(line) > 80 and " | " not in line] == []
