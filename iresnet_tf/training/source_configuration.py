"""Defines the typed configuration of where data come from."""

import os
from typing import Literal

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from iresnet_tf.training.layer_configuration import Config

OWN_IMAGES = "images"
"""The name of the source of one's own pictures."""


class DataSource(Config):
    """The name of a data source, or one's own pictures: see `iresnet_tf.data.get`.

    With a folder or a file of arrays the name is ``"images"``.
    """

    name: str
    folder: str | None = Field(None, description="a folder of pictures, in place of a data set")
    npz: str | None = Field(None, description="an .npz or .npy file of pictures, likewise")
    channels: Literal[1, 3, 4] | None = Field(None, description="channels of a folder's pictures")
    test_fraction: float | None = Field(
        None, gt=0.0, lt=1.0, description="fraction of your own pictures in the test; none: 0.2"
    )
    split_seed: NonNegativeInt | None = Field(
        None, description="seed of the split of your own pictures; none: 0"
    )
    sha256: str | None = Field(None, description="SHA-256 of your own pictures; a run notes it")

    @model_validator(mode="before")
    @classmethod
    def _name_own_images(cls, fields):
        if isinstance(fields, dict) and (fields.get("folder") or fields.get("npz")):
            return {**fields, "name": OWN_IMAGES}
        return fields

    @field_validator("folder", "npz")
    @classmethod
    def _as_absolute(cls, path):
        return None if path is None else os.path.abspath(os.path.expanduser(path))

    @field_validator("channels", mode="before")
    @classmethod
    def _as_number(cls, channels):
        is_number = isinstance(channels, str) and channels.isdecimal()
        return int(channels) if is_number else channels

    @model_validator(mode="after")
    def _require_own_images(self):
        if self.folder is not None and self.npz is not None:
            raise ValueError("folder and npz are two sources of pictures; give one of them")
        own = ("channels", "test_fraction", "split_seed", "sha256")
        given = [field for field in own if getattr(self, field) is not None]
        if given and self.name != OWN_IMAGES:
            raise ValueError(
                f"{given[0]} is for your own pictures, folder or npz, not for {self.name}"
            )
        return self


class Table(Config):
    """The arguments of `MixedTableSource`, or of `TableSource` without ``kinds``."""

    file: str | None = Field(None, description="a CSV, Parquet or .npy file")
    kinds: dict[str, str] = Field(
        {}, description="kinds of columns that are set by hand, by their names"
    )
    sha256: str | None = Field(None, description="SHA-256 of the file; a run notes it")
    test_fraction: float = Field(0.2, gt=0.0, lt=1.0)
    split_seed: NonNegativeInt = 0
