"""TensorBoard: event files in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from striate._lazy import require
from striate._registry import to_config
from striate.track.run import Run
from striate.track.trackers import numbers


class TensorBoard:
    """Training and validation of a metric share a section; the settings of runs can be compared under HPARAMS."""

    def __init__(self) -> None:
        require("tensorboard", extra="track")
        self._writer_class = require("torch.utils.tensorboard", extra="track").SummaryWriter

    def start(self, run: Run, config: Mapping[str, Any], step: int = 0) -> None:
        self._config = to_config(config)
        folder = run.folder / "tensorboard"
        goes_on = folder.is_dir()
        # Readers leave aside what older files hold of this step and later ones.
        self._writer = self._writer_class(str(folder), purge_step=step if goes_on else None)
        if goes_on and step:
            return
        self._writer.add_text("config", f"```json\n{json.dumps(self._config, indent=2, ensure_ascii=False)}\n```")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            metric = name.removeprefix("val_")
            part = "training" if metric == name else "validation"
            self._writer.add_scalar(f"{metric}/{part}", value, step)
        self._writer.flush()

    def picture(self, name: str, path: Path) -> None:
        import numpy as np
        from PIL import Image

        self._writer.add_image(name, np.asarray(Image.open(path).convert("RGB")), dataformats="HWC")

    def model(self, path: Path) -> None:
        self._writer.add_text("model", str(path))  # TensorBoard keeps no files

    def finish(self, summary: Mapping[str, Any]) -> None:
        settings = {key: value for key, value in self._config.items() if isinstance(value, (bool, int, float, str))}
        results = {f"results/{name}": value for name, value in numbers(summary).items()}
        self._writer.add_hparams(settings, results, run_name=".")  # in the same folder, as the same run
        self._writer.close()
