"""The style sheet of pages of results: by day and by night, on paper, narrow and wide."""

from __future__ import annotations

from typing import Final

CSS: Final = """
:root { color-scheme: light dark;
  --ground: #fbfbfa; --card: #ffffff; --text: #1c1e21; --dim: #5c636b; --line: #dfe2e5; --grid: #e8eaec;
  --warn-ground: #fff4df; --warn: #7a4a00; --event: #b3261e;
  --c0: #1f66d1; --c1: #c8501a; --c2: #23804f; --c3: #7d4fc4; --c4: #a8710a; --c5: #b8306f; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #15171a; --card: #1d2024; --text: #e6e8ea; --dim: #a2a9b1; --line: #343a40; --grid: #2b3035;
  --warn-ground: #3a2c10; --warn: #ffd58a; --event: #ff8a80;
  --c0: #6ea8ff; --c1: #ff9763; --c2: #5fcf95; --c3: #bb98ff; --c4: #e3b341; --c5: #ff86b8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main, header, footer { max-width: 1180px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 28px; } footer { padding-bottom: 40px; color: var(--dim); }
h1 { font-size: 25px; line-height: 1.25; margin: 0 0 4px; } h2 { font-size: 19px; margin: 34px 0 10px; }
h3 { font-size: 16px; margin: 22px 0 8px; } p { margin: 6px 0; } .dim { color: var(--dim); }
h1, h2, h3, dd, td, th, li, code { overflow-wrap: anywhere; }
code, pre { font: 13px/1.45 ui-monospace, monospace; } pre { white-space: pre-wrap; background: var(--card);
  border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; margin: 8px 0; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--card); }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 8px 9px; color: var(--dim); }
th, td { text-align: left; padding: 5px 9px; border-top: 1px solid var(--line); font-weight: 400; vertical-align: top; }
thead th { color: var(--dim); font-weight: 600; white-space: nowrap; } tbody th, td:not(.number) { min-width: 8em; }
.number { text-align: right; white-space: nowrap; }
.plots { display: grid; gap: 16px; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); }
figure { margin: 0; padding: 12px 14px; min-width: 0; border: 1px solid var(--line); border-radius: 10px;
  background: var(--card); }
figcaption { font-weight: 600; margin-bottom: 4px; } figure .scroll { margin-top: 8px; max-height: 320px; overflow-y: auto; }
.plot { display: block; width: 100%; height: auto; } .plot text { font-size: 12px; fill: var(--dim); }
.plot .axis { fill: var(--text); } .grid { stroke: var(--grid); } .event { stroke: var(--event); stroke-dasharray: 4 3; }
.plot text.event { stroke: none; fill: var(--event); font-weight: 600; }
path, .legend line { stroke-width: 2; stroke-linejoin: round; } .bar { fill: var(--c0); }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); } .s3 { stroke: var(--c3); }
.s4 { stroke: var(--c4); } .s5 { stroke: var(--c5); } circle { fill: var(--card); stroke-width: 2; }
path.d1, line.d1 { stroke-dasharray: 7 4; } path.d2, line.d2 { stroke-dasharray: 2 4; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 4px 0; padding: 0; font-size: 13px; }
.legend li { display: flex; align-items: center; gap: 6px; } .events { font-size: 13px; margin: 6px 0; padding-left: 24px; }
.events li::marker { color: var(--event); font-weight: 600; }
.warnings { background: var(--warn-ground); color: var(--warn); border-radius: 8px; margin: 12px 0;
  padding: 10px 14px 10px 32px; }
.share { display: inline-block; height: 10px; border-radius: 2px; background: var(--c0); vertical-align: middle; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 260px), 1fr)); gap: 8px 24px; margin: 8px 0; }
dt { color: var(--dim); font-size: 12.5px; } dd { margin: 0; }
summary { cursor: pointer; color: var(--dim); font-size: 13px; padding: 4px 0; }
.run { border-top: 1px solid var(--line); padding: 4px 0; }
.run > summary { font-size: 16px; color: var(--text); padding: 8px 0; }
summary:focus-visible, .scroll:focus-visible { outline: 2px solid var(--c0); outline-offset: 2px; }
@media print { .plots { grid-template-columns: 1fr 1fr; } figure, .run { break-inside: avoid; } }
"""
