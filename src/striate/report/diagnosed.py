"""What a diagnosis found wrong with the training: each finding with its measure, why it hurts and what to change."""

from __future__ import annotations

from striate.report.elements import figure, folded, pairs, safe, section, table
from striate.report.figures import of_network
from striate.see.diagnosis import Finding, Findings


def diagnosed(findings: Findings) -> str:
    """The section on what was found, with the picture of what was measured."""
    looks, layers = len(findings.record.looks), len(findings.record.layers)
    basis = f"Looked at {looks:,} training steps and {layers:,} layers."
    intro = basis if findings.found else f"Nothing was found to be wrong. {basis}"
    picture = folded("What was measured, by layer and step", figure(of_network(findings))) if looks and layers else ""
    return section("Diagnosis", intro, *map(_finding, findings.found), picture)


def _finding(found: Finding) -> str:
    where = f" in {found.layer}" if found.layer else ""
    rows = pairs([("Measured", found.measured), ("Why it hurts", found.why), ("What to change", found.change)])
    return (
        f'<div class="finding {found.severity}">'
        f"<h3><b>{found.severity.capitalize()}</b> {safe(found.kind + where)}</h3>"
        f"{table([], rows)}</div>"
    )
