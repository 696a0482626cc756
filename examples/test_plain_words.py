import asyncio

from plain_words import PlainWords

from rayjob.testing import ScriptedEngine, sample_video


def test_flowery_words_are_asked_for_again() -> None:
    recipe = PlainWords()
    engine = ScriptedEngine(["A tapestry of light.", "A white square moves right, and it hums."])
    (row,) = asyncio.run(recipe.caption(sample_video(recipe.plan), engine))
    assert (row.caption, row.attempts) == ("A white square moves right, and it hums.", 2)
    first, second = engine.requests
    assert first.prompt == second.prompt == "Describe the clip."
    assert first.clip is not None and first.clip.num_frames == 8 and first.clip.audio is not None
