"""subtext-extract: make a corpus's manifest and extract its streams into the feature cache."""

from typing import NoReturn

from omegaconf import DictConfig

from subtext.cli.hydra_app import run
from subtext.cli.outcome import OK, SOME_FAILED
from subtext.core.composition import resolved


def main() -> NoReturn:
    """Run the command."""
    run(
        extract_corpus,
        "subtext-extract",
        form="subtext.runs.settings.TrainingSettings",
        has_run_folder=False,
    )


def extract_corpus(config: DictConfig) -> int:
    """Extract what is not in the cache yet; 1 if something failed."""
    from subtext.features.index import summarise
    from subtext.runs.front_door import extract_composed

    index, folder = extract_composed(resolved(config))
    print(summarise(index, folder.name))
    print(f"Every row's result: {folder / 'extraction.csv'}")
    return SOME_FAILED if index.n_failed else OK


if __name__ == "__main__":
    main()
