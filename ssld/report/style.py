"""This module holds the style sheet of a run's page, light and dark.

Its colours differ for every kind of colour vision.
"""

COLOURS = """
:root { color-scheme: light dark; --page: #f6f6f3; --card: #ffffff; --ink: #1d2126; --muted: #5d656e; --rule: #dcdfe2;
  --teacher: #6b7580; --baseline: #c35a00; --student: #0a66b0; --more1: #00835f; --more2: #a8448b; --more3: #8a6d00;
  --more4: #3c3f91; --more5: #b3243f; --more6: #0a8a94; --tint: #e8f0f8; --warn: #fff1dc; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --card: #1c2024; --ink: #e7e9eb; --muted: #a2abb4;
  --rule: #363c43; --teacher: #a7b0ba; --baseline: #f09a45; --student: #62b2f0; --more1: #3fc79a; --more2: #df8cc4;
  --more3: #d8bd4a; --more4: #a3a6f5; --more5: #ff8095; --more6: #5cd0d6; --tint: #1d3246; --warn: #45320f; } }
"""
CSS = (
    COLOURS
    + """* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", "Noto Sans", "DejaVu Sans", Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 36px 20px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 44px 0 4px; }
p { margin: 0 0 12px; max-width: 100ch; }
.sub, figcaption, .note, h2 + p { color: var(--muted); }
.sub { margin-bottom: 20px; }
.warn { background: var(--warn); border-radius: 8px; padding: 8px 14px; display: inline-block; }
.grid { display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, var(--least, 320px)), 1fr)); }
.tiles { --least: 155px; }
.first { margin-top: 14px; }
.wide { --least: 440px; }
.short { align-items: start; }
.terms { font-size: 13px; margin: 12px 0 0; }
.card, .tile, figure { background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  padding: 14px 16px; margin: 0; min-width: 0; }
.tile b { display: block; font-size: 25px; line-height: 1.25; font-weight: 650; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
.tile span { display: block; color: var(--muted); font-size: 13px; overflow-wrap: anywhere; }
.tile.main { background: var(--tint); border-color: transparent; }
figure h3, .card h3 { margin: 0 0 2px; font-size: 15px; }
figure .dot { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 7px; }
figcaption { font-size: 13px; margin: 0 0 8px; }
svg { display: block; width: 100%; height: auto; max-width: 620px; margin: 0 auto; font-family: inherit;
  overflow: visible; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { text-align: right; padding: 6px 10px; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { color: var(--muted); font-weight: 550; font-size: 13px; }
tr:last-child td { border-bottom: 0; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td:last-child, th:last-child { padding-right: 0; }
.square { display: grid; grid-template-columns: auto 1fr 1fr; gap: 6px; align-items: center; font-size: 13px;
  color: var(--muted); }
.square div { padding: 4px; text-align: center; }
.square .cell { position: relative; padding: 16px 8px; border-radius: 8px; color: var(--ink);
  border: 1px solid var(--rule); overflow: hidden; }
.square .cell i { position: absolute; inset: 0; background: var(--student); }
.square .cell b { position: relative; display: block; font-size: 20px; font-variant-numeric: tabular-nums; }
.square .cell span { position: relative; }
.sample { display: flex; gap: 14px; }
.sample img { width: 88px; height: 88px; object-fit: contain; border-radius: 6px; image-rendering: pixelated;
  background: #888; flex: none; }
.sample > div { flex: 1; min-width: 0; font-size: 12.5px; line-height: 1.4; }
.sample h3 { font-size: 13.5px; }
.said { display: grid; grid-template-columns: 66px 1fr; column-gap: 8px; margin-top: 5px; }
.said > b { font-weight: 600; }
.guess { position: relative; display: flex; justify-content: space-between; padding: 0 5px; gap: 8px; }
.guess i { position: absolute; inset: 1px auto 1px 0; background: currentColor; opacity: 0.2; border-radius: 3px; }
.guess span { position: relative; color: var(--ink); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.right span:first-child { font-weight: 650; }
.teacher { color: var(--teacher); } .baseline { color: var(--baseline); } .student { color: var(--student); }
.strip { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 8px; }
.strip img { width: 100%; aspect-ratio: 1; object-fit: contain; border-radius: 6px; image-rendering: pixelated;
  background: #888; display: block; }
.strip span { display: block; font-size: 12px; line-height: 1.3; color: var(--muted); white-space: nowrap;
  overflow: hidden; text-overflow: ellipsis; }
details summary { cursor: pointer; color: var(--student); }
pre { overflow-x: auto;
  font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; margin: 12px 0 0; }
code { font: 0.9em ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  overflow-wrap: anywhere; }
@media (max-width: 560px) { main { padding: 20px 12px 40px; } h1 { font-size: 23px; } .card, figure { padding: 12px;
  } }
@media print { body { background: #fff; } .card, figure { break-inside: avoid; } }
"""
)
