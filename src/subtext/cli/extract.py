"""subtext-extract: make a corpus's manifest and extract its streams into the feature cache."""

from pathlib import Path
from typing import Any, NoReturn, cast

from omegaconf import DictConfig, OmegaConf

from subtext.cli.hydra_app import run
from subtext.cli.outcome import OK, SOME_FAILED


def main() -> NoReturn:
    """Run the command."""
    run(extract_corpus, "subtext-extract", has_run_folder=False)


def extract_corpus(config: DictConfig) -> int:
    """Extract what is not in the cache yet; 1 if something failed."""
    from subtext.core.building import build
    from subtext.corpora.corpus import Corpus
    from subtext.features.cache import FeatureCache
    from subtext.features.extract import extract
    from subtext.features.extractor import Extractor
    from subtext.features.index import summarise
    from subtext.manifest import Manifest
    from subtext.manifest.table import write_rejects

    manifest: Manifest = build(_plain(config.corpus), Corpus).build()
    extractors: dict[str, Extractor] = {
        str(modality): build(_plain(node.extractor), Extractor)
        for modality, node in config.encoder.items()
        if node is not None
    }
    index = extract(manifest, extractors, FeatureCache(config.paths.features), workers=config.workers)
    folder = Path(config.paths.features) / manifest.name
    index.save(folder)
    write_rejects(manifest, folder / "rejects.csv")
    print(summarise(index, manifest.name))
    print(f"Every row's result: {folder / 'extraction.csv'}")
    return SOME_FAILED if index.n_failed else OK


def _plain(node: DictConfig) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))


if __name__ == "__main__":
    main()
