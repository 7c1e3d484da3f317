"""The style sheet of all charts: bqplot's own looks are for a white page with nothing behind."""

from lrwidget.ui.parts.loss_lines import STYLE as LOSS_LINES

# No chart has a legend, and bqplot makes one anew with every change of a line: what is not there costs nothing.
CHARTS = f"""<style>
.lrw-chart.bqplot > svg.svg-figure, .lrw-chart.bqplot > svg.svg-background {{ background: transparent; }}
.lrw-chart .plotarea_background {{ fill: transparent; }}
{LOSS_LINES}
.lrw-chart .g_legend {{ display: none; }}
.lrw-chart .stick, .lrw-chart .curve, .lrw-chart text {{ pointer-events: none; }}
.lrw-chart text.label, .lrw-chart text.dot_text {{
  paint-order: stroke; stroke: var(--jp-layout-color0, white); stroke-width: 3px; stroke-linejoin: round;
}}
.lrw-chart .axis text {{ paint-order: normal; stroke: none; }}
.lrw-chart .axis[text-anchor=middle] > .domain {{ clip-path: inset(-1px -1px 4px -1px); }}
.lrw-chart .axis[text-anchor=end] > .domain {{ clip-path: inset(-1px -1px -1px 4px); }}
.lrw-chart .axis[text-anchor=start] > .domain {{ clip-path: inset(-1px 4px -1px -1px); }}
</style>"""
