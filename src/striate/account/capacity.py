"""Capacity against data: whether a network has so many parameters that it can learn its examples by heart.

The thresholds are rules of thumb, from two results on networks in general:

- Baum and Haussler ("What size net gives valid generalization?", 1989): to be right on all but a share ε of new
  examples, a network of W weights needs about W / ε training examples. With ε = 0.1, ten examples for each parameter.
- Zhang, Bengio, Hardt, Recht and Vinyals ("Understanding deep learning requires rethinking generalization", 2017):
  two layers with 2n + d weights can give n examples of d numbers any labels whatever, random ones too. So from about as
  many parameters as examples on, the network can learn all by heart.

That it can does not mean it will: convolutions, early stopping and augmentation let networks far beyond both
generalise. What tells is the accuracy on examples that were held out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from striate.account.ledger import Ledger
from striate.errors import ArgumentError

Risk = Literal["low", "medium", "high"]
EXAMPLES_PER_PARAMETER = 10
FEW_PER_CLASS = 100
"""Examples of a class below which a backbone that was trained on other images usually pays."""


@dataclass(frozen=True)
class Capacity:
    """A network's size against the size of its training data.

    Attributes:
        parameters: those that are trained.
        neurons: see `striate.layers.layer`.
        num_examples: training examples.
        num_classes: `None` for regression.
    """

    parameters: int
    neurons: int
    num_examples: int
    num_classes: int | None = None

    @property
    def parameters_per_example(self) -> float:
        return self.parameters / self.num_examples

    @property
    def neurons_per_example(self) -> float:
        return self.neurons / self.num_examples

    @property
    def risk(self) -> Risk:
        """Of learning by heart: "high" from as many parameters as examples on, "low" up to a tenth of that."""
        if self.parameters >= self.num_examples:
            return "high"
        return "medium" if EXAMPLES_PER_PARAMETER * self.parameters > self.num_examples else "low"

    @property
    def meaning(self) -> str:
        """What the risk means, and where the rule is from."""
        if self.risk == "high":
            return (
                "With as many parameters as examples or more, a network can learn every label by heart (Zhang et al., "
                "2017). Whether it did shows in how far the test falls behind the training."
            )
        if self.risk == "medium":
            return (
                f"There are more examples than parameters, but fewer than the {EXAMPLES_PER_PARAMETER} for each of the "
                "rule for 10 % of error on new examples (Baum and Haussler, 1989), so the network may learn by heart."
            )
        return (
            f"There are {EXAMPLES_PER_PARAMETER} examples or more for each parameter, so little can be learned by "
            "heart (Baum and Haussler, 1989). If the training accuracy is low too, try a larger network."
        )

    @property
    def advice(self) -> tuple[str, ...]:
        """What to try where there is a risk, what costs least first."""
        if self.risk == "low":
            return ()
        few = self.num_classes is not None and self.num_examples < FEW_PER_CLASS * self.num_classes
        pretrained = ("a pretrained backbone",) if few else ()
        return ("augmentation", "dropout", *pretrained, "fewer parameters", "more data")

    def sentence(self) -> str:
        """The meaning and the advice."""
        if not self.advice:
            return self.meaning
        *most, last = self.advice
        return f"{self.meaning} If it did, try {', '.join(most)} or {last}."

    def text(self) -> str:
        """The account for people.

        >>> print(Capacity(242_218, 44_000, 1_437, 10).text())
        168.6 parameters and 30.6 neurons for each of 1,437 training examples: a high risk of learning by heart.
        With as many parameters as examples or more, a network can learn every label by heart (Zhang et al., 2017).
        Whether it did shows in how far the test falls behind the training. If it did, try augmentation, dropout, fewer
        parameters or more data.
        A rule of thumb: the accuracy on held-out examples decides.
        """
        parameters, neurons = per_example(self.parameters_per_example), per_example(self.neurons_per_example)
        return (
            f"{parameters} parameters and {neurons} neurons for each of {self.num_examples:,} training "
            f"examples: a {self.risk} risk of learning by heart.\n"
            f"{self.sentence()}\nA rule of thumb: the accuracy on held-out examples decides."
        )

    def __str__(self) -> str:
        return self.text()


def capacity(counts: Ledger | tuple[int, int], num_examples: int, num_classes: int | None = None) -> Capacity:
    """Set a network's parameters and neurons against its training examples.

    Args:
        counts: what `striate.count` gave, of which the trained parameters count; or parameters and neurons.
        num_examples: training examples, without those held out.
        num_classes: how many classes they have, if they have.

    Raises:
        ArgumentError: there are no examples.

    Example:
        >>> capacity((650, 10), 60_000, 10).risk, capacity((101_770, 138), 60_000, 10).risk
        ('low', 'high')
    """
    if num_examples < 1:
        raise ArgumentError(f"num_examples={num_examples!r}: expected a positive integer.")
    parameters, neurons = (counts.total.trainable, counts.neurons) if isinstance(counts, Ledger) else counts
    return Capacity(parameters, neurons, num_examples, num_classes)


def per_example(ratio: float) -> str:
    """A ratio with three digits or a decimal.

    >>> per_example(168.56), per_example(1234.5), per_example(0.01234)
    ('168.6', '1,234', '0.0123')
    """
    if ratio >= 1000:
        return f"{ratio:,.0f}"
    return f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.3g}"
