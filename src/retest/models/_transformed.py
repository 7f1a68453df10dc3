"""What classifiers that run one network after one transform have in common."""

from __future__ import annotations

from retest.models.engines import Transform
from retest.models.transforms import Preprocessing


class TransformedClassifier:
    """Base of the classifiers of torch modules and ONNX files: what they say of themselves. Subclasses set the attributes."""

    _name: str
    _num_classes: int
    transform: Transform

    @property
    def name(self) -> str:
        """The name under which results are reported."""
        return self._name

    @property
    def num_classes(self) -> int:
        """How many classes it scores."""
        return self._num_classes

    @property
    def preprocessing(self) -> str:
        """Text that pins the preprocessing."""
        return self.transform.description

    @property
    def shared_input(self) -> str:
        """Pins what ``preprocess`` gives; models with the same geometry share it whatever their normalisation."""
        return self.transform.geometry.description if isinstance(self.transform, Preprocessing) else self.transform.description
