"""From a naive generator to the final one, one kind of realism after the other.

`ABLATION` maps the name of each step to its configuration, in order; each contains what the
steps before it contain, and the last is `GRAPHENE`.
"""

from dataclasses import replace

from graphseg.simulation.configuration import (
    GRAPHENE,
    Configuration,
    ContaminantRanges,
    CrystalRanges,
    DetectorRanges,
    OpticsRanges,
)
from graphseg.simulation.defectranges import NO_DEFECTS, DefectRanges

# A perfect crystal under evenly thick patches of random carbon, one good microscope setting, and
# nothing but shot noise: what one would write down without having seen the images.
NAIVE = replace(
    GRAPHENE,
    name="naive",
    pixel_size=(0.4, 0.4),
    crystal=CrystalRanges(
        grain_shares=(1.0,),
        wobble=(0.0, 0.0),
        vacancies=(0.0, 0.0),
        stone_wales=(0.0, 0.0),
        hole_share=0.0,
        strain=0.0,
        ripple=(0.0, 0.0),
    ),
    defects=NO_DEFECTS,
    contaminant=ContaminantRanges(
        edge_share=0.0,
        triangle_share=0.0,
        roughness=(0.02, 0.02),
        fine_roughness=0.0,
        sheet_share=0.0,
        core=(10.0, 10.0),
        wall=(0.5, 0.5),
        rim_share=0.0,
        clumping=(0.0, 0.0),
        chains=0.0,
        adatoms=0,
        heavy_share=0.0,
        island_share=0.0,
        label_growth=(0.0, 0.0),
    ),
    optics=OpticsRanges(
        defocus=(50.0, 70.0),
        far_share=0.0,
        spherical=0.0,
        astigmatism=0.0,
        coma=0.0,
        threefold=0.0,
        focal_spread=(8.0, 8.0),
        divergence=(0.0, 0.0),
        vibration=(0.006, 0.006),
        mobility=(0.0, 0.0),
        blur=(0.1, 0.1),
        drift=0.0,
        absorption=(0.0, 0.0),
    ),
    detector=DetectorRanges(
        dose=(8e3, 8e3),
        noise_share=1.0,
        modulation=(0.5, 0.5),
        gradient=0.0,
        blotches=(0.0, 0.0),
        seam_share=0.0,
    ),
)


def _steps() -> dict[str, Configuration]:
    """Return the configurations in which one part after the other is that of `GRAPHENE`."""
    steps = {"naive": NAIVE}
    for name, parts in (
        ("crystal", ("crystal", "defects", "pixel_size")),
        ("optics", ("optics",)),
        ("detector", ("detector",)),
        ("contaminant", ("contaminant",)),
    ):
        previous = list(steps.values())[-1]
        changes = {part: getattr(GRAPHENE, part) for part in parts}
        steps[name] = replace(previous, name=name, **changes)
    steps["contaminant"] = GRAPHENE
    return steps


ABLATION = _steps()

# Frames full of structure that no mask may cover, half of them without any contamination: to mix
# into a training, and to see whether a network leaves defects alone.
DEFECTS = replace(
    GRAPHENE,
    name="defects",
    crystal=CrystalRanges(
        grain_shares=(0.45, 0.4, 0.15), vacancies=(0.0, 6.0), stone_wales=(0.0, 6.0), hole_share=0.3
    ),
    defects=DefectRanges(
        loop_share=0.6,
        loops=(1, 5),
        chain_share=0.25,
        divacancies=(0.0, 5.0),
        adatom_share=0.4,
        islands_share=0.25,
    ),
    contaminant=ContaminantRanges(clean_share=0.5),
    detector=DetectorRanges(dose=(3e3, 3e4), noise_share=0.9),
)
