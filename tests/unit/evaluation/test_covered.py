"""A mask that covers nearly everything is suspect."""

import numpy as np

from graphseg.evaluation.quality import covered


def test_a_mask_that_covers_nearly_everything_is_suspect():
    mask = np.ones((100, 100), bool)
    assert "100.0% of the image is called contaminated" in covered(mask)
    mask.flat[:501] = False
    assert covered(mask) == "" and covered(~mask) == ""
