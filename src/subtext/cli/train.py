"""subtext-train: train and evaluate one run, or go on with an interrupted one."""

from typing import NoReturn

from omegaconf import DictConfig, OmegaConf

from subtext.cli.hydra_app import run


def main() -> NoReturn:
    """Run the command."""
    run(train_run, "subtext-train")


def train_run(config: DictConfig) -> None:
    """Train as configured; with `resume`, as the interrupted run was configured."""
    from hydra.core.hydra_config import HydraConfig

    from subtext.errors import ConfigError
    from subtext.model.fit import is_main_process
    from subtext.runs.folder import RunFolder
    from subtext.runs.train import train

    if config.resume is not None:
        others = [o for o in HydraConfig.get().overrides.task if o.split("=")[0] not in ("resume", "trust", "debug")]
        if others:
            raise ConfigError(f"resume= goes on with the run as it was configured; leave out {', '.join(others)}")
        folder = RunFolder(config.resume)
        train(folder.settings(), folder.path, resume=True, trust=config.trust)
    else:
        folder = RunFolder(HydraConfig.get().runtime.output_dir)
        settings = OmegaConf.to_container(config, resolve=True)
        train(settings, folder.path)
    if is_main_process():
        print(f"Run folder: {folder.path}")


if __name__ == "__main__":
    main()
