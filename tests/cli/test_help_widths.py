"""Help fits a terminal of 80 columns."""

import importlib

import pytest

COMMANDS = {
    "evaluate": [[]],
    "compare": [[]],
    "predict": [[]],
    "robustness": [[]],
    "data": [[], ["build"], ["card"], ["split"], ["join"], ["export"], ["audit"], ["behaviour"], ["codebook"]],
    "replies": [[], ["generate"], ["measure"], ["validate"], ["compare"], ["coder"], ["tune"], ["form"], ["judge"]],
}


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
