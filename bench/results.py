"""Measured figures as JSON. The page is generated from this file, so all its figures come from one run."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class Results:
    """A file of results. Running a benchmark again replaces its figures."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.noted: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def note(self, benchmark: str, figures: Any) -> None:
        """Store the figures, with the machine and the time."""
        self.noted["machine"] = {
            "processors": os.cpu_count(),
            "model": _processor(),
            "python": platform.python_version(),
            "load": round(os.getloadavg()[0], 1),
        }
        self.noted[benchmark] = {"at": datetime.now(UTC).isoformat(timespec="minutes"), "figures": figures}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self.noted, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), "")
