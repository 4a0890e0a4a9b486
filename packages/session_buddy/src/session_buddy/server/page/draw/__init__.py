"""Pictures as numbers: scales, ticks, lanes, steps. Pure; templates write the SVG.

Along the axis of time all places are percents of the width, so one picture fits a telephone and a wall; down
the page they are pixels, so letters and bars keep their size.
"""
