"""The U-Net.

The network, the estimator that trains it and predicts images of any size, weight files, the
pretrained networks, the scale at which they work, and fine-tuning on labels of your own. Loading
weights reads data only and never unpickles. It imports `datasets`, `simulation` and `structure`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "network": ["UNet"],
        "segmenter": ["UNetSegmenter"],
        "pretrained": ["load"],
        "inference": ["find_scale"],
    },
)
