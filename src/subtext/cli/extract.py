"""subtext-extract: make a corpus's manifest and extract its streams into the feature cache."""

from pathlib import Path
from typing import NoReturn

from omegaconf import DictConfig

from subtext.cli.hydra_app import run
from subtext.cli.outcome import OK, SOME_FAILED


def main() -> NoReturn:
    """Run the command."""
    run(extract_corpus, "subtext-extract")


def extract_corpus(config: DictConfig) -> int:
    """Extract what is not in the cache yet; 1 if something failed."""
    from hydra.utils import instantiate

    from subtext.features.cache import FeatureCache
    from subtext.features.extract import extract
    from subtext.features.summary import summarise

    manifest = instantiate(config.corpus, _convert_="all").build()
    extractors = {
        modality: instantiate(node.extractor, _convert_="all")
        for modality, node in config.encoder.items()
        if node is not None and node.get("extractor") is not None
    }
    index = extract(manifest, extractors, FeatureCache(config.paths.features), workers=config.workers)
    folder = Path(config.paths.features) / manifest.name
    index.save(folder)
    print(summarise(index, manifest.name))
    print(f"Every row's result: {folder / 'extraction.csv'}")
    return SOME_FAILED if index.n_failed else OK


if __name__ == "__main__":
    main()
