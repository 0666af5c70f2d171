"""What has which colour, in figures, animations, the window and files for ChimeraX: the same thing the same wherever it is seen.

The colours are made for white ground. `on_dark` gives the same hue for a dark one.
"""

from __future__ import annotations

from matplotlib.colors import LinearSegmentedColormap, hsv_to_rgb, rgb_to_hsv, to_hex, to_rgb

_LEAST_VALUE_ON_DARK = 0.88  # of hue, saturation and value: nothing is dark but what lies in the shadow


def on_dark(colour: str) -> str:
    """Give a colour the brightness that it needs on dark ground, as #rrggbb."""
    hue, saturation, value = rgb_to_hsv(to_rgb(colour))
    red, green, blue = hsv_to_rgb((hue, saturation, max(value, _LEAST_VALUE_ON_DARK)))
    return to_hex((red, green, blue))


DISPLACEMENT_STOPS = ("#d4d4d4", "#f5c27a", "#e2603a", "#7d0a23")  # grey at rest, so that what moves stands out
DISPLACEMENT_COLOURS = LinearSegmentedColormap.from_list("displacement", DISPLACEMENT_STOPS)
DISPLACEMENT_COLOURS_ON_DARK = LinearSegmentedColormap.from_list("displacement on dark", [on_dark(c) for c in DISPLACEMENT_STOPS])
DENSITY_COLOURS = "viridis"  # matplotlib's name
GAIN_COLOURS = "RdBu"  # matplotlib's name; blue: better

HALF_COLOURS = {1: "#1f5fa8", 2: "#c8561b"}
DEFORMED_COLOUR, RIGID_COLOUR = "#1f5fa8", "#8a8a8a"
STATE_COLOUR = "#b3173a"  # marks: state of least motion, chosen states
OUTSIDE_COLOUR = "0.5"  # of a state outside the data
SURFACE_COLOUR = "#b8c4d6"  # of a map that no value colours
CONSENSUS_COLOUR = "#8fb8e8"  # of the map that states are compared with
ARROW_COLOUR = "#c72938"  # from one end of a motion to the other
