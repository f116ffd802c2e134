"""What holds of every corpus under `conf/corpus` or of an installed plug-in, whoever adds it."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import OmegaConf

from builders.configured import configured
from subtext.core.composition import CONFIG_NAME, conf_folder
from subtext.core.plugins import search_plugins
from subtext.corpora.corpus import Corpus
from subtext.errors import DatasetNotFound, SubtextError

CORPORA = sorted(configured("corpus"))
MADE = {"studio", "manifest"}
"""Corpora that read no official files: one is generated, the other is a user's own table."""


def composed(name: str, *overrides: str) -> dict[str, Any]:
    search_plugins()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose(CONFIG_NAME, overrides=[f"corpus={name}", *overrides])
    node = OmegaConf.to_container(config.corpus, resolve=True)
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}


def test_there_are_the_promised_corpora() -> None:
    promised = {"annomi", "bah", "ch_sims", "collage", "manifest", "meld", "mustard", "mustard_plus_plus", "ravdess"}
    assert promised <= set(CORPORA)


@pytest.mark.parametrize("name", CORPORA)
def test_its_config_names_a_corpus_that_says_what_it_is(name: str) -> None:
    corpus = get_class(composed(name)["_target_"])
    assert issubclass(corpus, Corpus)
    said = corpus.description
    for field in ("title", "licence", "citation", "source", "labels", "layout"):
        assert getattr(said, field).strip(), f"{name}: the card would not say its {field}"
    assert said.nature in ("natural", "acted", "constructed", "your own")
    assert isinstance(said.cautions, tuple)
    assert all(caution.endswith(".") for caution in said.cautions), "a sentence each"


@pytest.mark.parametrize("name", sorted(set(CORPORA) - MADE))
def test_without_its_files_it_says_what_is_missing_and_the_remedy(name: str, tmp_path: Path) -> None:
    node = composed(name, f"paths.data={tmp_path / 'none'}", f"paths.corpora={tmp_path / 'made'}")
    corpus = get_class(node.pop("_target_"))
    with pytest.raises(SubtextError) as caught:
        corpus(**node).build()
    assert isinstance(caught.value, DatasetNotFound)
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / "none") in message
    assert "paths.data" in message
