#include "report/page.h"

namespace offramp::report {

// The palette is that of Okabe and Ito (2008), whose colours people with every kind of colour
// vision can tell apart. Light colours are darkened on a light background, and dark ones lightened
// on a dark background, to a contrast ratio of at least 3.
std::string_view style_sheet() {
  return R"css(:root {
  color-scheme: light dark;
  --ground: #fbfaf7; --panel: #ffffff; --line: #dedad2; --ink: #1d1f24; --soft: #5c606b;
  --link: #005a92; --good: #0072b2; --bad: #c04f00; --on-good: #ffffff; --on-bad: #ffffff;
  --e0: #0072b2; --e1: #c98200; --e2: #00845f; --e3: #b2568a; --e4: #3390c8; --e5: #c04f00;
  --e6: #857a00; --e7: #6b6b6b;
  --t0: #ffffff; --t1: #14161a; --t2: #ffffff; --t3: #ffffff; --t4: #14161a; --t5: #ffffff;
  --t6: #ffffff; --t7: #ffffff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14161a; --panel: #1c1f25; --line: #383d47; --ink: #eceae4; --soft: #a9adb8;
    --link: #7cc4f5; --good: #4aa8e4; --bad: #f2803a; --on-good: #0b0d10; --on-bad: #0b0d10;
    --e0: #4aa8e4; --e1: #e69f00; --e2: #22bb8c; --e3: #de95bd; --e4: #95d3f7; --e5: #f2803a;
    --e6: #e8dc50; --e7: #a8a8a8;
    --t0: #0b0d10; --t1: #0b0d10; --t2: #0b0d10; --t3: #0b0d10; --t4: #0b0d10; --t5: #0b0d10;
    --t6: #0b0d10; --t7: #0b0d10;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; scroll-behavior: smooth; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: break-word;
}
header, main, footer { max-width: 1000px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 36px; }
h1 { font-size: 1rem; font-weight: 600; margin: 0; letter-spacing: .01em; }
h2 { font-size: 1.45rem; line-height: 1.25; margin: 0 0 .5rem; letter-spacing: -.01em; }
h3 { font-size: 1.02rem; margin: 1.9rem 0 .3rem; }
p { margin: .4rem 0 .9rem; max-width: 44em; }
a { color: var(--link); }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  display: inline-block; max-width: 100%; overflow-wrap: anywhere; }
.of { color: var(--soft); margin: 0; }
.result { font-size: clamp(1.3rem, 3.4vw, 1.95rem); line-height: 1.32; letter-spacing: -.012em;
  margin: 1.1rem 0 1rem; max-width: 30em; text-wrap: pretty; }
.soft { color: var(--soft); }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 1.2rem 0 0;
  padding: 10px 0; border-top: 1px solid var(--line); border-bottom: 1px solid var(--line); }
nav a { text-decoration: none; display: inline-block; padding: 3px 0; }
nav a:hover { text-decoration: underline; }
section { margin: 3.2rem 0 0; scroll-margin-top: 12px; }
figure { margin: 1rem 0 0; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px;
  margin: 1.1rem 0; }
.tiles div { background: var(--panel); border: 1px solid var(--line); border-radius: 10px;
  padding: 11px 14px 12px; }
.tiles dt { font-size: .84rem; color: var(--soft); }
.tiles dd { margin: 0; }
.tiles .value { font-size: 1.42rem; font-weight: 600; letter-spacing: -.01em;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.tiles .note { font-size: .82rem; line-height: 1.4; color: var(--soft); }
.terms { margin: .6rem 0 1rem; font-size: .92rem; max-width: 48em; }
.terms div { margin: .22rem 0; }
.terms dt, .terms dd { display: inline; margin: 0; }
.terms dt { font-weight: 600; }
.terms dt::after { content: ": "; }
.terms dd { color: var(--soft); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 3px 20px; margin: .5rem 0;
  padding: 0; font-size: .88rem; }
.legend li { display: flex; align-items: center; gap: 8px; }
.swatch { flex: none; overflow: visible; }
details { margin: .6rem 0; }
summary { cursor: pointer; color: var(--link); font-size: .92rem; padding: 3px 0;
  width: fit-content; max-width: 100%; }
.scroll { overflow: auto; max-width: 100%; max-height: 540px; border: 1px solid var(--line);
  border-radius: 8px; background: var(--panel); margin: .4rem 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums;
  min-width: 100%; }
caption { text-align: left; padding: 8px 12px; color: var(--soft); }
th, td { padding: 4px 12px; text-align: right; white-space: nowrap;
  border-top: 1px solid var(--line); }
th { font-weight: 600; }
thead th { white-space: normal; vertical-align: bottom; min-width: 4.6em; }
tbody th { font-weight: 400; }
.words { text-align: left; }
.facts th, .facts td { white-space: normal; vertical-align: top; overflow-wrap: anywhere;
  text-align: left; }
.facts th { color: var(--soft); min-width: 8.5em; overflow-wrap: normal; }
.facts td { width: 78%; }
.whole { max-height: none; }
pre { margin: 0; padding: 12px 14px; font: .84rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas,
  "DejaVu Sans Mono", monospace; }
footer { color: var(--soft); font-size: .86rem; padding-top: 2.6rem; padding-bottom: 3rem; }

svg { display: block; max-width: 100%; height: auto; overflow: visible; }
svg text { font-size: 12.5px; fill: var(--ink); font-variant-numeric: tabular-nums; }
.mid { text-anchor: middle; } .end { text-anchor: end; }
svg .tick, svg .axis, svg .faint { fill: var(--soft); }
svg .small { font-size: 11px; }
svg .tiny { font-size: 9.5px; }
svg .strong { font-weight: 650; }
svg .halo { paint-order: stroke; stroke: var(--ground); stroke-width: 4px;
  stroke-linejoin: round; }
.grid { stroke: var(--line); stroke-width: 1; fill: none; shape-rendering: crispEdges; }
.rule { stroke: var(--soft); stroke-width: 1.2; fill: none; stroke-dasharray: 4 4; }
.whisker { stroke: var(--soft); stroke-width: 1.4; fill: none; }
.k { fill: var(--ink); stroke: var(--ground); stroke-width: 1.5; }
svg .on-k { fill: var(--ground); font-size: 11px; font-weight: 650; }
.pick { fill: var(--bad); stroke: var(--ground); stroke-width: 1.5; }
.hollow { fill: var(--ground); stroke: var(--ink); stroke-width: 2; }
.c0 { --c: var(--e0); --t: var(--t0); } .c1 { --c: var(--e1); --t: var(--t1); }
.c2 { --c: var(--e2); --t: var(--t2); } .c3 { --c: var(--e3); --t: var(--t3); }
.c4 { --c: var(--e4); --t: var(--t4); } .c5 { --c: var(--e5); --t: var(--t5); }
.c6 { --c: var(--e6); --t: var(--t6); } .c7 { --c: var(--e7); --t: var(--t7); }
.fill { fill: var(--c); } svg text.on { fill: var(--t); }
.line { stroke: var(--c); stroke-width: 2.2; fill: none; stroke-linejoin: round; }
.dot { fill: var(--c); stroke: var(--ground); stroke-width: 1; }
.d1 { stroke-dasharray: 8 4; } .d2 { stroke-dasharray: 2 4; stroke-linecap: round; }
.d3 { stroke-dasharray: 9 4 2 4; }
.thin { stroke-width: 1.3; opacity: .75; stroke-dasharray: 3 3; }
.good { fill: var(--good); } .bad { fill: var(--bad); } .still { fill: var(--soft); }
svg text.good { fill: var(--good); } svg text.bad { fill: var(--bad); }
.weak { opacity: .2; } .half { opacity: .55; }
.gap { fill: none; stroke: var(--bad); stroke-width: 1.2; stroke-dasharray: 3 2; }
.on-good { fill: var(--on-good) !important; } .on-bad { fill: var(--on-bad) !important; }
.spot { outline: none; }
.spot > :first-child { fill: transparent; stroke: transparent; stroke-width: 2; }
.spot:hover > :first-child, .spot:focus > :first-child { stroke: var(--ink); }
.tip { visibility: hidden; pointer-events: none; }
.spot:hover > .tip, .spot:focus > .tip { visibility: visible; }
.tip rect { fill: var(--ink); }
svg .tip text { fill: var(--ground); }
.at-wide { display: none; }
.at-narrow svg { width: 100%; max-width: 460px; }
@media (min-width: 760px) {
  .at-wide { display: block; } .at-narrow { display: none; }
}
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 286px), 1fr));
  gap: 26px 20px; }
.panels h3 { margin-top: 0; }
.panels svg { width: 100%; max-width: 400px; }
.large { grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); }
.large svg { max-width: 450px; }
.panels .swatch { width: auto; }
.pair { display: grid; gap: 0 20px; }
@media (min-width: 760px) {
  .pair { grid-template-columns: 1fr 1fr; }
  .tiles:has(> :nth-child(6)) { grid-template-columns: repeat(3, 1fr); }
}

.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(142px, 1fr)); gap: 10px;
  margin: .5rem 0 0; padding: 0; list-style: none; }
.card { background: var(--panel); border: 1px solid var(--line); border-radius: 10px;
  padding: 10px 5px; font-size: .78rem; line-height: 1.3; min-width: 0; }
.card p { margin: 6px 0 4px; font-weight: 600; overflow-wrap: anywhere; }
.px { width: 100%; max-width: 128px; aspect-ratio: 1; margin: 0 auto; background-size: contain;
  background-repeat: no-repeat; background-position: center; print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }
.crisp { image-rendering: pixelated; }
.card ol { list-style: none; margin: 0; padding: 0; }
.card li { display: flex; gap: 3px; align-items: baseline; margin-top: 2px; padding: 1px 3px;
  border-radius: 4px; position: relative; isolation: isolate; }
.card li::before { content: ""; position: absolute; inset: 0 auto 0 0; width: var(--p);
  border-radius: 4px; z-index: -1; opacity: .26; background: var(--q); }
.card .y { --q: var(--good); } .card .n { --q: var(--bad); }
.card i { font-style: normal; font-weight: 700; color: var(--q); }
.card b { font-weight: 500; color: var(--soft); }
.card .left b { color: var(--ground); background: var(--ink); border-radius: 3px;
  padding: 0 3px; margin: 0 -1px; }
.card span { overflow-wrap: anywhere; flex: 1; }
.card em { font-style: normal; font-variant-numeric: tabular-nums; }
@media (max-width: 759px) {
  body { font-size: 15.5px; }
  header, main, footer { padding-left: 16px; padding-right: 16px; }
  header { padding-top: 22px; }
  section { margin-top: 2.6rem; }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .tiles div:last-child:nth-child(odd) { grid-column: 1 / -1; }
  .gallery { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .tiles .value { font-size: 1.15rem; }
  table, tbody, tr, caption { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tr { border-top: 1px solid var(--line); padding: 6px 12px; }
  th, td { border: 0; padding: 1px 0; white-space: normal; overflow-wrap: anywhere; }
  tbody th { display: block; text-align: left; font-weight: 600; }
  td[data-l] { display: flex; justify-content: space-between; gap: 14px; }
  td[data-l]::before { content: attr(data-l); color: var(--soft); text-align: left; }
  .facts th, .facts td { display: block; width: auto; min-width: 0; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
}
@media print {
  .gallery { grid-template-columns: repeat(auto-fill, minmax(142px, 1fr)); grid-auto-flow: row; }
  .card, .tiles div, svg { break-inside: avoid; }
}
@media (forced-colors: active) {
  svg, .px, .card li::before { forced-color-adjust: none; }
}
)css";
}

}  // namespace offramp::report
