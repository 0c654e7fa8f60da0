"""Lightning: `Trainer.fit`, without loggers, checkpoints and bars."""

import lightning
import torch
from benchmarks.train_peers import pace, torch_nets
from benchmarks.train_peers.nets import NETS
from torch import Tensor, nn
from torch.utils.data import DataLoader


class Classifier(lightning.LightningModule):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        loss = nn.functional.cross_entropy(self.model(images), labels)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Paced(lightning.Callback):
    def __init__(self, amount: int) -> None:
        self.pace = pace.Pace(amount)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.pace.begin()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.pace.end(float(trainer.callback_metrics["loss"]))


name, steps = pace.arguments()
samples = torch_nets.dataset(name, steps)
loader = DataLoader(samples, batch_size=NETS[name].batch_size, shuffle=True)
trainer = lightning.Trainer(
    accelerator="cpu",
    max_epochs=pace.EPOCHS,
    callbacks=[Paced(len(samples))],
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(Classifier(torch_nets.build(name)), loader)
