"""Parts of every family, thawed one after the other, each at its own learning rate."""

import pytest
import torch

from striate import zoo
from striate.callbacks import Callback
from striate.errors import ArgumentError
from striate.train import Checkpoint, Trainer
from striate.transfer import GradualUnfreezing, parts, rate_scales

BY_SIZE = sorted(zoo.names(), key=lambda name: zoo.card(name).parameters, reverse=True)
SMALLEST = {zoo.card(name).family: name for name in BY_SIZE}


@pytest.mark.parametrize("name", SMALLEST.values())
def test_every_parameter_is_in_one_part(name):
    with torch.device("meta"):
        network = zoo.create(name)
    groups = parts(network)
    for parameter, _ in network.named_parameters():
        holding = [group for group in groups if any(f"{parameter}.".startswith(f"{path}.") for path in group)]
        assert len(holding) == 1, parameter
    assert any(network.classifier_name.startswith(path) for path in groups[0])
    assert len(groups) >= 3


def test_rates_fall_with_depth():
    network = zoo.create("resnet18")
    assert rate_scales(parts(network), 0.1, "backbone.") == pytest.approx(
        {
            "backbone.fc": 1,
            "backbone.layer4": 0.1,
            "backbone.layer3": 0.01,
            "backbone.layer2": 1e-3,
            "backbone.layer1": 1e-4,
            "backbone.conv1": 1e-5,
            "backbone.bn1": 1e-5,
        }
    )
    with pytest.raises(ArgumentError, match="decay=0"):
        rate_scales(parts(network), 0)


class Watch(Callback):
    """What has changed since the epoch before, after each epoch."""

    def __init__(self):
        self.changed = []

    def on_train_begin(self, logs):
        self.before = {key: tensor.clone() for key, tensor in self.model.state_dict().items()}

    def on_epoch_end(self, epoch, logs):
        now = {key: tensor.clone() for key, tensor in self.model.state_dict().items()}
        self.changed.append({key.split(".")[0] for key in now if not torch.equal(now[key], self.before[key])})
        self.before = now


def train(network, epochs, *callbacks, **options):
    torch.manual_seed(0)
    x, y = torch.randn(8, 3, 32, 32), torch.arange(8) % 2
    trainer = Trainer(network, "adam", "cross_entropy", device="cpu", precision="float32", **options)
    return trainer.fit(x, y, batch_size=4, epochs=epochs, callbacks=callbacks, verbose=0, seed=0)


def test_parts_thaw_one_after_the_other():
    """Weights and the statistics of batch normalisations: nothing of a frozen part changes."""
    network = zoo.create("resnet18", num_classes=2)
    watch = Watch()
    train(network, 4, GradualUnfreezing(network, [0, 1, 2, 3, 3, None]), watch)
    layers = [f"layer{number}" for number in (4, 3, 2, 1)]
    assert watch.changed == [{"fc"}, {"fc", layers[0]}, {"fc", *layers[:2]}, {"fc", *layers}]


def test_evenly():
    network = zoo.create("resnet18")
    assert GradualUnfreezing.evenly(network, 10).thawed_at == [0, 0, 1, 2, 3, 5]
    assert GradualUnfreezing.evenly(network, 1).thawed_at == [0] * 6


def test_a_wrong_number_of_epochs():
    with pytest.raises(ArgumentError, match="3 epochs for 6 parts: fc; layer4"):
        GradualUnfreezing(zoo.create("resnet18"), [0, 1, 2])


class Stop(Exception):
    pass


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, batch, logs):
        if self.trainer.steps == self.step:
            raise Stop


def test_a_stopped_training_ends_in_the_same_bits(tmp_path):
    """Stopped within an epoch in which parts are still frozen."""
    scales = {"layer1": 0.1, "layer2": 0.5}

    def begin():
        torch.manual_seed(1)
        network = zoo.create("resnet18", num_classes=2)
        return network, GradualUnfreezing(network, [0, 0, 1, 2, 2, None])

    whole, thaw = begin()
    train(whole, 4, thaw, rate_scales=scales)
    stopped, thaw = begin()
    torch.manual_seed(0)
    x, y = torch.randn(8, 3, 32, 32), torch.arange(8) % 2
    options = {"batch_size": 4, "epochs": 4, "verbose": 0, "seed": 0}
    trainer = Trainer(stopped, "adam", "cross_entropy", device="cpu", precision="float32", rate_scales=scales)
    with pytest.raises(Stop):
        trainer.fit(x, y, callbacks=[thaw, StopAt(3)], checkpoint=Checkpoint(tmp_path, every_steps=1), **options)
    again, thaw = begin()
    trainer = Trainer(again, "adam", "cross_entropy", device="cpu", precision="float32", rate_scales=scales)
    trainer.fit(x, y, callbacks=[thaw], checkpoint=Checkpoint(tmp_path), resume=True, **options)
    for key, tensor in whole.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key
