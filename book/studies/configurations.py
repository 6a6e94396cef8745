"""Configurations of the simulation that only studies use: steps of realism, defects off, layers.

`ABLATION` maps the name of each step from a naive generator to the final one, one kind of realism
after the other, to its configuration, in order; each contains what the steps before it contain,
and the last is `GRAPHENE`.
"""

from dataclasses import replace

from graphseg.simulation.configuration import (
    DEFECTS,
    GRAPHENE,
    Configuration,
    ContaminantRanges,
    CrystalRanges,
    DefectRanges,
    DetectorRanges,
    OpticsRanges,
)


def _without(ranges, names: str, **changes):
    """Return ranges in which what is named is always 0, of the type that it has otherwise."""
    zero = {tuple: (0.0, 0.0), float: 0.0, int: 0}
    return replace(ranges, **{n: zero[type(getattr(ranges, n))] for n in names.split()}, **changes)


NO_DEFECTS = _without(
    DefectRanges(), "loop_fraction chain_fraction divacancies adatom_fraction islands_fraction"
)

# A perfect crystal under evenly thick patches of random carbon, one good microscope setting, and
# nothing but shot noise: what one would write down without having seen the images.
NAIVE = replace(
    GRAPHENE,
    name="naive",
    pixel_size=(0.4, 0.4),
    crystal=_without(
        CrystalRanges(),
        "wobble vacancies stone_wales hole_fraction strain ripple",
        grain_fractions=(1.0,),
    ),
    defects=NO_DEFECTS,
    contaminant=_without(
        ContaminantRanges(),
        "edge_fraction triangle_fraction fine_roughness sheet_fraction rim_fraction clumping "
        "chains adatoms heavy_fraction island_fraction label_growth",
        roughness=(0.02, 0.02),
        core=(10.0, 10.0),
        wall=(0.5, 0.5),
    ),
    optics=_without(
        OpticsRanges(),
        "far_fraction spherical astigmatism coma threefold divergence mobility drift absorption",
        defocus=(50.0, 70.0),
        focal_spread=(8.0, 8.0),
        vibration=(0.006, 0.006),
        blur=(0.1, 0.1),
    ),
    detector=_without(
        DetectorRanges(),
        "gradient blotches seam_fraction",
        dose=(8e3, 8e3),
        noise_fraction=1.0,
        modulation=(0.5, 0.5),
    ),
)


def _steps() -> dict[str, Configuration]:
    """Return the configurations in which one part after the other is that of `GRAPHENE`."""
    steps = {"naive": NAIVE}
    for name in ("crystal", "optics", "detector"):
        parts = ("crystal", "defects", "pixel_size") if name == "crystal" else (name,)
        previous = list(steps.values())[-1]
        changes = {part: getattr(GRAPHENE, part) for part in parts}
        steps[name] = replace(previous, name=name, **changes)
    return steps | {"contaminant": GRAPHENE}


ABLATION = _steps()

# Besides what `DEFECTS` has: wrinkles, and flakes of a second layer that fill up to half of the
# frame, a third of them far out of focus. A person who labels amorphous carbon leaves the crystal
# out, however many sheets of it there are.
LAYERS = replace(
    DEFECTS,
    name="layers",
    defects=replace(
        DEFECTS.defects, islands_fraction=0.4, island_radius=(6.0, 60.0), wrinkle_fraction=0.25
    ),
    contaminant=replace(DEFECTS.contaminant, island_fraction=0.0),
    optics=OpticsRanges(far_fraction=0.35),
)
