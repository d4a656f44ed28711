"""How a plugin with PG3's names ends otherwise than by STOP."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
from conftest import Installed
from test_blocking import until

import cloudlink
from cloudlink import pg3
from cloudlink.pg3.topics import Topics, finish


class Started:
    """A plugin of this process, and what its `runForever` raised."""

    def __init__(self, installed: Installed, key: cloudlink.DeviceKey | None = None) -> None:
        credential = cloudlink.KeyCredential(installed.credential().server, installed.device, key or installed.key)
        cloudlink.Places().keep(credential, here=True)
        self.raised: BaseException | None = None
        self.polyglot = pg3.Interface([], {"slot": installed.slot})
        self.polyglot.start("1.0")

    def runs(self) -> None:
        def run() -> None:
            try:
                self.polyglot.runForever()
            except BaseException as error:
                self.raised = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        self.polyglot.ready()

    def ends(self) -> Any:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.raised


def test_sys_exit_in_a_handler_ends_the_plugin_and_acknowledges_nothing(installed: Installed) -> None:
    plugin = Started(installed)
    plugin.polyglot.subscribe(plugin.polyglot.OAUTH, lambda token: sys.exit(3))
    installed.link_now()
    plugin.runs()
    end = plugin.ends()
    assert isinstance(end, SystemExit) and end.code == 3
    assert installed.state()["acked_version"] < installed.state()["version"]


def test_a_handler_that_stops_and_exits_has_the_code_it_gives(installed: Installed) -> None:
    plugin = Started(installed)

    def stop() -> None:
        sys.exit(0)

    plugin.polyglot.subscribe(plugin.polyglot.STOP, stop)
    plugin.polyglot.subscribe(plugin.polyglot.CONFIGDONE, plugin.polyglot._begin_stop)
    plugin.runs()
    end = plugin.ends()
    assert isinstance(end, SystemExit) and end.code == 0


def test_whatever_a_handler_raises_is_no_success(caplog: pytest.LogCaptureFixture) -> None:
    class GivesUp(BaseException):
        pass

    def gives_up() -> None:
        raise GivesUp

    topics = Topics()
    topics.subscribe(pg3.Interface.OAUTH, gives_up)
    (call,) = topics.publish(pg3.Interface.OAUTH)
    assert finish([call], 5) and isinstance(call.error, GivesUp) and "gives_up failed" in caplog.text


def test_a_slot_that_is_not_there_ends_the_start(installed: Installed) -> None:
    installed.slot = "nonesuch"
    with pytest.raises(cloudlink.NotFound, match="cloudlink slot install nonesuch"):
        Started(installed)


def test_a_failed_start_ends_run_forever(installed: Installed, caplog: pytest.LogCaptureFixture) -> None:
    plugin = Started(installed)
    installed.broker.owner("DELETE", f"/api/devices/{installed.device}/slots/{installed.slot}")
    plugin.runs()
    assert isinstance(plugin.ends(), cloudlink.NotFound)
    assert "could not be started: device" in caplog.text and "no slot heating" in caplog.text


def test_a_key_that_is_removed_ends_run_forever(installed: Installed) -> None:
    other = cloudlink.DeviceKey.make()
    key_hash = installed.hub().add_trust("other", other)
    plugin = Started(installed, other)
    plugin.runs()
    until(plugin.polyglot.isConnected)
    installed.hub().remove_trust(key_hash)
    assert isinstance(plugin.ends(), cloudlink.NotSignedIn)
    assert not plugin.polyglot.isConnected()
