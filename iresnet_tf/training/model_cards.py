"""Defines the card of a trained model: what trained it, on which data, and what it reaches."""

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from iresnet_tf.analysis import Evaluation
from iresnet_tf.training import presets
from iresnet_tf.training.configuration import Run
from iresnet_tf.training.continuation import as_override, differences
from iresnet_tf.training.layer_configuration import Config


class ModelCard(Config):
    """The card of a trained model that ships with the package."""

    name: str
    run: Run = Field(description="preset and seed of the training, which may be another preset")
    parameters: PositiveInt = Field(description="number of trained weights")
    wall_seconds: NonNegativeFloat = Field(description="of the whole run, evaluation included")
    cpu_seconds: NonNegativeFloat = Field(description="of the whole run, evaluation included")
    curve: tuple[dict[str, float], ...] = Field(
        description="step and metrics of every epoch, of held-out examples if there are any"
    )
    data_origin: str = Field(description="a sentence on the source and the license of the data")
    versions: dict[str, str] = Field(description="versions of what measured the figures")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file of the model")
    figures: Evaluation = Field(description="what the model in the file reaches on test data")
    unrounded: Evaluation | None = Field(
        None, description="the figures before the weights were rounded to float16"
    )
    left_out: tuple[NonNegativeInt, ...] = Field(
        (), description="positions of test examples that the figures leave out"
    )
    note: str = Field("", description="what else a user should know")

    def command(self) -> str:
        """Returns the command that trains the model anew, with every change of its preset.

        Raises:
            ValueError: if no preset has the name of the run's.
        """
        preset, seed = self.run.preset, self.run.seed
        catalogued = presets.get(preset.name).model_dump(exclude={"source"})
        words = [
            f"{field}={as_override(value)}"
            for field, _, value in differences(catalogued, preset.model_dump(exclude={"source"}))
        ]
        words += [f"--seed {seed}"] if seed else []
        return " ".join(["iresnet train", preset.name, "--out RUN", *words])
