"""The plot of a row: a panel for each measure, a bar for each competitor's median, a dot for each round."""
import math

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "sluice"  # the same figures make the same file
from matplotlib import pyplot  # noqa: E402  (after its backend is chosen)

from report import competitors_of, in_order, number  # noqa: E402

COLOURS = {"direct": "#9aa0a6", "sluice": "#1a73e8", "sluice whole": "#174ea6"}
OTHER_COLOURS = ("#e8b04b", "#c26b6b", "#7fa650", "#9b7fb5", "#5f9ea0")
COLUMNS = 3


def draw(told, path):
    measured = told["measured"]
    names = in_order(competitors_of(measured))
    others = (name for name in names if name not in COLOURS)
    colours = COLOURS | {name: OTHER_COLOURS[i % len(OTHER_COLOURS)] for i, name in enumerate(others)}
    rows = math.ceil(len(measured) / COLUMNS)
    height = (0.9 + 0.28 * len(names)) * rows
    figure, panels = pyplot.subplots(rows, COLUMNS, figsize=(13, height + 0.8), squeeze=False)
    for panel in panels.flat[len(measured) :]:
        panel.set_visible(False)
    for panel, (title, facts) in zip(panels.flat, measured.items()):
        _draw_panel(panel, title, facts, names, colours)
    o = told["options"]
    figure.suptitle(
        f"{told['row']}: medians of {o['rounds']} rounds of {o['seconds']} s, {o['threads']} thread(s) each, "
        f"{told['cores']} cores, Linux {told['kernel']}",
        fontsize=11,
    )
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def _draw_panel(panel, title, facts, names, colours):
    for place, name in enumerate(names):
        median = facts["median"].get(name)
        if median is None:
            continue
        panel.barh(place, median, color=colours[name], height=0.7)
        panel.annotate(f" {number(median)}", (max(median, 0), place), va="center", fontsize=8)
        dots = [value for value in facts["rounds"][name] if value is not None]
        panel.plot(dots, [place] * len(dots), ".", color="#202124", markersize=3, alpha=0.6)
    panel.set_yticks(range(len(names)), names, fontsize=8)
    panel.invert_yaxis()
    panel.margins(x=0.15)
    panel.tick_params(axis="x", labelsize=7)
    better = "higher" if facts["higher_is_better"] else "lower"
    panel.set_title(f"{title}, {facts['unit']} ({better} is better)", fontsize=9)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
