"""Draws the pictures of docs/see.md by running its code: `python docs/see/draw.py`."""

import os
import re
from pathlib import Path

FOLDER = Path(__file__).parent
CODE = re.findall(r"```python\n(.*?)```", (FOLDER.parent / "see.md").read_text(encoding="utf-8"), re.DOTALL)

os.chdir(FOLDER)
exec("\n".join(CODE))
