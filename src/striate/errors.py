"""Every error that Striate raises on purpose.

::

    StriateError
    ├── ArgumentError (ValueError)      an argument has a value that cannot be used
    │   ├── UnknownNameError            a name is in no registry; the nearest names are suggested
    │   └── NotApplicableError          a method has nothing to work with in this network
    ├── ShapeError (ValueError)         a shape does not fit the layer or the model
    ├── NotBuiltError (RuntimeError)    a layer or model is used before its input shape is known
    ├── NotCompiledError (RuntimeError) a model is trained or evaluated before `compile`
    ├── MissingExtraError (ImportError)  an optional package is not installed; the extra that brings it is named
    ├── DownloadError (OSError)         a file was not downloaded: what to fetch, and where to put it
    ├── TrainingError (RuntimeError)    training cannot go on
    │   ├── NonFiniteError              a loss or a gradient is infinite or no number
    │   └── LostProcessError            another of the processes that train together has ended
    ├── SelfCheckError (ArithmeticError) what was worked out by hand differs from what torch computed
    ├── DataError (ValueError)          data is missing, empty, broken or does not fit its labels
    └── SavedModelError (ValueError)    a saved model cannot be read or written
        ├── NotAModelFileError          the file is no safetensors file of Striate
        ├── TruncatedFileError          the file ends before its header says it does
        ├── UnknownLayerError           the file names a layer that is not registered
        ├── WeightsFileError            a file of weights is broken, or is none
        ├── WeightKeysError             the file has too few or too many weights
        └── WeightShapeError            a weight in the file has another shape than in the model

Each message says what was received, what was expected, and what to do.
"""


class StriateError(Exception):
    """The root of all errors that Striate raises on purpose."""


class ArgumentError(StriateError, ValueError):
    """An argument has a value that cannot be used."""


class UnknownNameError(ArgumentError):
    """A name is in no registry; the message suggests the nearest names."""


class NotApplicableError(ArgumentError):
    """A method has nothing to work with in this network."""


class ShapeError(StriateError, ValueError):
    """A shape does not fit the layer or the model."""


class NotBuiltError(StriateError, RuntimeError):
    """A layer or model is used before its input shape is known."""


class NotCompiledError(StriateError, RuntimeError):
    """A model is trained or evaluated before `compile` chose its loss."""


class MissingExtraError(StriateError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class DownloadError(StriateError, OSError):
    """A file is not here and was not downloaded; the message says what to fetch, and where to put it."""


class TrainingError(StriateError, RuntimeError):
    """Training cannot go on."""


class NonFiniteError(TrainingError):
    """A loss or a gradient is infinite or no number; the message names where it came from."""


class LostProcessError(TrainingError):
    """Another of the processes that train together has ended."""


class SelfCheckError(StriateError, ArithmeticError):
    """What was worked out by hand differs from what torch computed, so that it would explain something else."""


class DataError(StriateError, ValueError):
    """Data is missing, empty, broken or does not fit its labels."""


class SavedModelError(StriateError, ValueError):
    """A saved model cannot be read or written."""


class NotAModelFileError(SavedModelError):
    """The file is no safetensors file that Striate wrote."""


class TruncatedFileError(SavedModelError):
    """The file ends before its header says it does."""


class UnknownLayerError(SavedModelError):
    """The file names a layer that is not registered."""


class WeightsFileError(SavedModelError):
    """A file of weights is broken, holds more than weights, or is none."""


class WeightKeysError(SavedModelError):
    """The file has too few or too many weights."""


class WeightShapeError(SavedModelError):
    """A weight in the file has another shape than in the model."""
