"""How a report looks beside what all pages have in common."""

CSS = """
h3 { margin: 2rem 0 .35rem; font-size: 1.05rem; line-height: 1.35; }
p { margin: 0 0 1rem; max-width: 44rem; }
section { margin-top: 4rem; }
.headline { margin: 2.5rem 0 0; }
.headline strong {
  display: block; color: var(--accent); font-size: clamp(3.25rem, 12vw, 5.5rem); font-weight: 700; line-height: 1.05;
  letter-spacing: -.035em; font-variant-numeric: tabular-nums;
}
.headline span { display: block; margin-top: .4rem; font-size: 1.1rem; }
.headline + p { margin-top: .35rem; }
figure { margin: 1.5rem 0 0; }
.scroll { overflow-x: auto; }
.scroll img { display: block; max-width: 100%; height: auto; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-variant-numeric: tabular-nums; }
.tall { max-height: 36rem; overflow: auto; }
.tall thead, .tall tfoot { position: sticky; inset-block: 0; background: var(--page); }
tfoot tr:first-child > * { border-top: 1px solid var(--line); }
th, td { padding: .4rem .9rem .4rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { color: var(--quiet); font-size: .875rem; font-weight: 500; }
tbody th, tfoot th { min-width: 8rem; font-weight: 400; }
.pairs th { width: 40%; }
.numbers td, .numbers th + th { padding: .4rem 0 .4rem 1rem; text-align: right; white-space: nowrap; }
.numbers thead th { overflow-wrap: normal; white-space: normal; }
tfoot { color: var(--quiet); }
.grid {
  display: grid; gap: 1.25rem 1rem; grid-template-columns: repeat(auto-fill, minmax(var(--image), 1fr));
  margin: 1.5rem 0 0; padding: 0; list-style: none;
}
.grid img { display: block; max-width: 100%; border-radius: 3px; background: var(--soft); }
.grid li { font-size: .875rem; line-height: 1.35; }
.grid span { display: block; }
.grid .names { margin-top: .45rem; }
.looks { grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); }
.beside { display: grid; grid-template-columns: 1fr 1fr; gap: .4rem; }
.beside img { width: 100%; height: auto; }
.finding { margin-top: 1.5rem; padding-left: 1rem; border-left: 4px solid var(--line); }
.finding h3 { margin: 0 0 .35rem; }
.finding .pairs th { width: 8.5rem; }
.critical { border-color: var(--orange); }
.critical b { color: var(--orange); }
.warning { border-color: var(--accent); }
.right { color: var(--accent); }
.wrong { color: var(--orange); }
pre {
  margin: 1.25rem 0 0; padding: 1rem 1.25rem; overflow-x: auto; background: var(--soft); border-radius: 8px;
  font: .8125rem/1.3 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  overflow-wrap: normal;
}
details pre { line-height: 1.6; white-space: pre-wrap; overflow-wrap: anywhere; }
summary { margin-top: 1rem; width: fit-content; color: var(--accent); cursor: pointer; }
summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
@media (min-width: 58rem) {
  .grid { grid-template-columns: repeat(6, 1fr); }
  .looks { grid-template-columns: repeat(4, 1fr); }
}
@media (max-width: 40rem) {
  section { margin-top: 3rem; }
  th, td { font-size: .875rem; }
  tbody th, tfoot th { min-width: 6.5rem; }
  .numbers td, .numbers th + th { padding-left: .6rem; }
  .numbers tbody th { min-width: 4rem; }
  .grid { column-gap: .6rem; }
  pre { font-size: .6875rem; padding: .85rem 1rem; }
}
@media print {
  .tall { max-height: none; }
  figure, li { break-inside: avoid; }
}
"""
