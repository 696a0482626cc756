"""A caption in plain words about picture and sound."""

from rayjob.recipes.base import BaseRecipe
from rayjob.recipes.rules import complete, non_empty, without_words
from schemas.media import SamplingPlan


class PlainWords(BaseRecipe):
    name = "plain-words"
    model = "openinterx/UGC-VideoCaptioner"
    prompt = "Describe the clip."
    plan = SamplingPlan(num_frames=8, max_pixels=12_544, audio_rate=16_000)
    rules = (non_empty, complete, without_words(["aesthetic", "tapestry"]))
