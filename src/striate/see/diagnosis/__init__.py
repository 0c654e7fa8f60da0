"""What is wrong with a training: a callback that looks at some of its steps, and rules that say what they show."""

from striate.see.diagnosis.callback import Diagnosis
from striate.see.diagnosis.findings import Finding, Findings
from striate.see.diagnosis.record import FILE as RECORD_FILE
from striate.see.diagnosis.record import Record
from striate.see.diagnosis.rules import find

__all__ = ["RECORD_FILE", "Diagnosis", "Finding", "Findings", "Record", "find"]
