"""`python -m graphseg.simulation FOLDER` writes the bundled sample."""

import sys

from graphseg.simulation.samples import write_sample_set

write_sample_set(sys.argv[1])
