"""How the page of a ledger looks beside what all pages have in common."""

CSS = """
:root { --parameters: var(--accent); --macs: var(--orange); --activations: var(--green); }
body { max-width: 76rem; }
h1 { margin-bottom: .25rem; }
p { margin: 0 0 .75rem; max-width: 48rem; }
section { margin-top: 3.5rem; }
ul { margin: 0; padding: 0; list-style: none; }
a { color: var(--accent); }
small { color: var(--quiet); }
.totals { display: grid; grid-template-columns: repeat(6, auto); gap: 1.5rem 1.25rem; margin: 2rem 0 0; }
.totals dt { color: var(--quiet); font-size: .875rem; }
.totals dd { margin: 0; font-variant-numeric: tabular-nums; }
.totals strong { display: block; font-size: 1.35rem; line-height: 1.35; font-weight: 650; letter-spacing: -.02em; }
.totals small { display: block; line-height: 1.4; }

/* The tree: each row is a grid with the same columns; only names are indented. */
.tree { margin-top: 1.25rem; font-size: .875rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
.head, .tree summary {
  display: grid; grid-template-columns: minmax(12rem, 1fr) 10rem repeat(3, 10rem); column-gap: 1.1rem;
  padding: .45rem .5rem .45rem 0; border-bottom: 1px solid var(--line);
}
.head { position: sticky; top: 0; z-index: 1; background: var(--page); color: var(--quiet); font-weight: 500; }
.head :nth-child(n + 3) { text-align: right; }
.tree summary { position: relative; cursor: pointer; }
.tree summary::-webkit-details-marker { display: none; }
.tree summary:hover, .tree summary:focus-visible { background: var(--soft); }
.tree summary:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; }
.name { padding-left: calc(var(--level) * 1.1rem + 1.1rem); }
.name b { font-weight: 600; }
.name em { color: var(--quiet); font-style: normal; }
.holds > summary > .name::before {
  content: ""; float: left; width: .4rem; height: .4rem; margin: .4rem 0 0 -.95rem; border: solid var(--quiet);
  border-width: 0 1.5px 1.5px 0; transform: rotate(-45deg);
}
.holds[open] > summary > .name::before { transform: rotate(45deg) translate(-.1rem, -.1rem); }
.value {
  display: flex; flex-wrap: wrap; justify-content: space-between; align-content: start; padding-bottom: 6px;
  background: linear-gradient(var(--bar) 0 0) left bottom / calc(var(--share) * 1%) 4px no-repeat,
    linear-gradient(var(--line) 0 0) left bottom / 100% 4px no-repeat;
}
.value::before { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.value i { color: var(--quiet); font-size: .75rem; font-style: normal; line-height: 1.6; }
.value b { margin-left: auto; font-weight: 400; }
.none { background: none; color: var(--quiet); }
.parameters { --bar: var(--parameters); } .parameters::before { content: "Parameters"; }
.macs { --bar: var(--macs); } .macs::before { content: "MACs"; }
.activations { --bar: var(--activations); } .activations::before { content: "Activations"; }

/* What is behind a row: beside the pointer and under the focus; in the row itself where it was opened. */
.more { display: none; grid-column: 1 / -1; color: var(--quiet); cursor: auto; }
.more b { display: block; color: var(--ink); font-weight: 500; }
summary:hover > .more, summary:focus-visible > .more {
  display: block; position: absolute; z-index: 2; top: calc(100% - 1px); left: calc(var(--level) * 1.1rem + .6rem);
  width: max-content; max-width: min(46rem, 90%); padding: .55rem .8rem; background: var(--page); pointer-events: none;
  border: 1px solid var(--line); border-radius: 6px; box-shadow: 0 4px 16px rgb(0 0 0 / .16);
}
details:not(.holds)[open] > summary > .more {
  display: block; position: static; width: auto; max-width: none; margin-top: .35rem; border: 0; box-shadow: none;
  padding: .1rem 0 .35rem calc(var(--level) * 1.1rem + 1.1rem); background: none; pointer-events: auto;
}

.scroll { margin-top: 1.25rem; overflow: auto; }
.scroll svg { display: block; margin: 0 auto; }
.tall { max-height: 48rem; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem 0 .4rem 1rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th:first-child, td:first-child, .words { padding-left: 0; text-align: left; }
td + .words, th + .words { padding-left: 1.5rem; }
th { font-weight: 500; }
thead th { color: var(--quiet); }
.pairs td { width: 30%; min-width: 9rem; }
.pairs small { display: block; }
.same { color: var(--quiet); } .same b { font-weight: 400; }
.squares { display: block; margin-bottom: .5rem; }
.dense { fill: color-mix(in srgb, var(--macs) 18%, transparent); stroke: var(--macs); color: var(--macs); }
.shared { fill: var(--parameters); color: var(--parameters); }
figure { margin: 1.25rem 0 0; }
code { font: .9em ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
@media (hover: none) {
  summary:hover > .more { display: none; }
}
@media (max-width: 70rem) {
  .totals { grid-template-columns: repeat(3, 1fr); }
}
@media (max-width: 58rem) {
  body { padding: 2rem 1rem 3rem; }
  h1 { font-size: 1.6rem; }
  .head { display: none; }
  .totals { grid-template-columns: repeat(2, 1fr); gap: 1rem; }
  .totals strong { font-size: 1.25rem; }
  .tree summary { grid-template-columns: repeat(3, 1fr); column-gap: .75rem; row-gap: .3rem; padding-right: 0; }
  .name { grid-column: 1 / -1; padding-left: calc(var(--level) * .7rem + 1rem); }
  .shape { grid-column: 1 / -1; padding-left: calc(var(--level) * .7rem + 1rem); color: var(--quiet); }
  .tree .value { font-size: .8125rem; }
  .tree .value::before { position: static; width: auto; height: auto; clip-path: none; color: var(--quiet); }
  .tree .value::before, .tree .value i { font-size: .6875rem; white-space: nowrap; }
  .pairs td { min-width: 6.5rem; }
  .tree .value b { flex: 1 0 100%; }
}
@media print {
  body { max-width: none; }
  .tall { max-height: none; }
  .head { position: static; }
}
"""
