"""LightGBM models in LightGBM's own text: checked, loaded and scored without code from the artifact."""

from holdfast.adapters.lightgbm.model import LightGBMPredictor, LightGBMText

__all__ = ["LightGBMPredictor", "LightGBMText"]
