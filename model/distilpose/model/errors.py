"""What can go wrong with weights, configurations, data sets and arrays; knows no status codes.

The messages are written for whoever chose the file or the option:

    ModelError
    ├── WeightsError   a weights file: missing, unreadable, or of another network
    ├── ConfigError    an unknown network or an option out of range
    ├── DataError      a data set folder that cannot be read or evaluated
    └── ArrayError     an array of the wrong shape or type where data comes in from outside
"""


class ModelError(Exception):
    """Base of all errors that the model package raises on purpose."""


class WeightsError(ModelError):
    """A weights file that is missing, unreadable, of another network, or not the expected one."""


class ConfigError(ModelError):
    """An unknown network or an option out of range."""


class DataError(ModelError):
    """A data set folder that cannot be read or evaluated."""


class ArrayError(ModelError):
    """An array of the wrong shape or type where data comes in from outside."""
