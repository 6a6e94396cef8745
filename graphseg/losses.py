"""Losses of a segmentation network: what the training makes small."""

import torch
from torch.nn.functional import cross_entropy

IGNORED = -100  # the label of pixels that padding added; every loss leaves them out


class CrossEntropy(torch.nn.CrossEntropyLoss):
    """Cross-entropy of every pixel, the paper's loss; ignored pixels do not count."""

    def __init__(self):
        super().__init__(ignore_index=IGNORED)


class CrossEntropyJaccard(torch.nn.Module):
    r"""Mean of the cross-entropy and one minus a soft Jaccard index of every image.

    .. math:: L = \tfrac12 \mathrm{CE} + \tfrac12 \Big(1 - \tfrac1n \sum_i
        \frac{1 + \sum_x p_i y_i}{1 + \sum_x (p_i + y_i - p_i y_i)}\Big)

    Cross-entropy weighs pixels alike, so that an image with little contamination hardly counts;
    the Jaccard index of each image weighs images alike, as the score per image does (Rahman & Wang
    2016, doi 10.1007/978-3-319-50835-1_22). One pixel is added above and below, which makes an
    empty answer to an empty label perfect. Of more than two classes, all but class 0 are averaged.
    """

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar.

        Parameters
        ----------
        logits : tensor of float, shape (n, classes, H, W)
        labels : tensor of int64, shape (n, H, W)
        """
        counted = (labels != IGNORED)[:, None]
        chosen = torch.nn.functional.one_hot(labels.clamp(min=0), logits.shape[1])
        true = (chosen.permute(0, 3, 1, 2) * counted)[:, 1:].to(logits.dtype)
        probable = (logits.softmax(1) * counted)[:, 1:]
        both = (true * probable).sum((2, 3))
        either = (true + probable).sum((2, 3)) - both
        jaccard = ((1 + both) / (1 + either)).mean()
        return (cross_entropy(logits, labels, ignore_index=IGNORED) + 1 - jaccard) / 2


LOSSES = {"cross-entropy": CrossEntropy, "cross-entropy + jaccard": CrossEntropyJaccard}
