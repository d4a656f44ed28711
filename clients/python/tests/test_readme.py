"""The plugins in the README and on the page for authors, word for word."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Installed
from person import Person
from provider import THERMOSTATS

import cloudlink

PACKAGE = Path(__file__).resolve().parents[1]


def program_on(page: Path) -> str:
    """The first one."""
    return page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]


def started(program: str) -> subprocess.Popen[str]:
    package = str(Path(cloudlink.__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": package, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)


def test_the_plugin_of_the_readme_runs(installed: Installed, person: Person) -> None:
    cloudlink.Places().keep(installed.credential(), here=True)
    with started(program_on(PACKAGE / "README.md")) as plugin:
        assert plugin.stdout is not None
        found = re.match(r"Open (\S+) or type", plugin.stdout.readline())
        assert found
        person.links(found.group(1))
        assert "calling the API" in plugin.stdout.readline()
        assert plugin.wait(20) == 0


def test_the_plugin_of_the_page_for_authors_hears_all_that_the_page_says(installed: Installed, person: Person) -> None:
    cloudlink.Places().keep(installed.credential(), here=True)
    hub = installed.hub()
    hub.install("thermostat", installed.plugin)
    program = program_on(PACKAGE.parents[1] / "docs" / "plugin-authors.md")
    assert "http://localhost:8082" in program
    with started(program.replace("http://localhost:8082", installed.provider.url)) as plugin:
        assert plugin.stdout is not None
        told = iter(plugin.stdout.readline, "")

        def links(kind: str) -> None:
            assert next(told).startswith(f"{kind} version ")
            found = re.match(r"Authenticate: (\S+)$", next(told))
            assert found
            person.links(found.group(1))
            assert next(told).startswith("consent version ")
            assert next(told) == f"{THERMOSTATS}\n"

        try:
            links("configuration")
            with installed.connect_blocking(slot="thermostat") as link:
                link.refresh()
                assert next(told).startswith("tokens version ")
                assert next(told) == f"{THERMOSTATS}\n"
                installed.provider.refuses_refresh = True
                with pytest.raises(cloudlink.AuthorizationRequired):
                    link.refresh()
                links("reauthorize")
                link.unlink()
                links("unlinked")
        finally:
            plugin.kill()
