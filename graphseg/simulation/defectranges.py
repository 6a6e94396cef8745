"""Parameters of structure that is easily taken for contamination, with the reason for each."""

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class DefectRanges:
    """Structure of the sheet and on it that no mask may cover: none of it is labelled.

    A range ``(low, high)`` is drawn from uniformly unless said otherwise; lengths in Å.

    Attributes
    ----------
    loop_share, loops, loop_radius
        Share of frames with closed boundary loops, their smallest and largest number, and their
        radius (log-uniform). The smallest is the flower defect, seven rings turned by 30°
        (Cockayne et al., Phys. Rev. B 83, 195425, 2011).
    flower_share
        Share of the loops that are turned by 30° about a ring of the surrounding grain, as the
        loops of lowest energy are; the others have any angle and any centre.
    chain_share, chain_length
        Share of frames with a straight chain of five- and seven-membered rings, and the turned
        bonds (Stone-Wales) that it consists of.
    divacancies
        Pairs of missing neighbours per 10⁴ Å² (Poisson mean, drawn from the range), closed to
        rings of 5, 8 and 5.
    adatom_share, adatoms, adatom_numbers
        Share of frames with single heavy atoms, their number and elements: silicon, iron, copper,
        molybdenum, tungsten, gold, from substrates, etchants, pumps and markers.
    islands_share, islands, island_radius
        Share of frames with flakes of a second layer without any carbon on them, their number,
        and their radius.
    aligned_share
        Share of these flakes that lie as in graphite; the others are turned by any angle.
    """

    loop_share: float = 0.15
    loops: tuple[int, int] = (1, 3)
    loop_radius: Range = (2.6, 18.0)
    flower_share: float = 0.6
    chain_share: float = 0.05
    chain_length: tuple[int, int] = (2, 6)
    divacancies: Range = (0.0, 1.0)
    adatom_share: float = 0.15
    adatoms: tuple[int, int] = (1, 6)
    adatom_numbers: tuple[int, ...] = (14, 26, 29, 42, 74, 79)
    islands_share: float = 0.06
    islands: tuple[int, int] = (1, 2)
    island_radius: Range = (6.0, 30.0)
    aligned_share: float = 0.5


NO_DEFECTS = DefectRanges(
    loop_share=0.0,
    chain_share=0.0,
    divacancies=(0.0, 0.0),
    adatom_share=0.0,
    islands_share=0.0,
)
