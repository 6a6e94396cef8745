"""The colours of the project, the same on every page and in every file it writes."""

# Okabe and Ito's palette, which readers with colour-vision deficiency can tell apart.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000",
)  # fmt: skip

# The four classes, as in Fig. 1 of the paper.
CLASS_COLOURS = {
    "lattice": "#FFFFFF",
    "boundary": "#D62728",
    "vacuum": "#009E73",
    "contamination": "#0072B2",
}
# Fig. 4 of the paper.
ERROR_COLOURS = {
    "true positive": "#FFFFFF",
    "true negative": "#000000",
    "false positive": "#FF0000",
    "false negative": "#0000FF",
}
LABEL_COLOUR = ORANGE  # outline of a label, or of the simulated truth: visible on any grey
MASK_COLOUR = VERMILION  # tint of what a method calls contamination
MARK_COLOUR = SKY  # outline of an area that a caption names, neither label nor mask
