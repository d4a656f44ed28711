"""The plugin in the README, word for word."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import Installed
from person import Person

import cloudlink


def test_the_plugin_of_the_readme_runs(installed: Installed, person: Person) -> None:
    cloudlink.Places().keep(installed.credential(), here=True)
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    program = readme.split("```python\n")[1].split("```")[0]
    package = str(Path(cloudlink.__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": package, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as plugin:
        assert plugin.stdout is not None
        found = re.match(r"Open (\S+) or type", plugin.stdout.readline())
        assert found
        person.links(found.group(1))
        assert "calling the API" in plugin.stdout.readline()
        assert plugin.wait(20) == 0
