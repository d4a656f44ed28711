"""`client.py` against servers that are away, silent or wrong. Needs aiohttp: `python -m unittest` in this folder."""

import asyncio
import importlib.util
import unittest
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import patch

import aiohttp
from aiohttp import web

CLIENT = Path(__file__).parents[1] / "custom_components/cloudlink/client.py"
specification = importlib.util.spec_from_file_location("cloudlink_client", CLIENT)
client = importlib.util.module_from_spec(specification)
specification.loader.exec_module(client)

# Where nothing listens: the port of a protocol that needs root.
AWAY = "http://127.0.0.1:1"
URL = {"authorize_url": "https://link.example.org/account-link/x"}
# What a test waits at most; nothing takes so long that works.
LIMIT = 20


@asynccontextmanager
async def server(talk, **socket_options):
    """A server that talks like this on each WebSocket, and an attempt there. Ends what the test leaves waiting."""
    over = asyncio.Event()

    async def answer(request):
        socket = web.WebSocketResponse(**socket_options)
        await socket.prepare(request)
        assert await socket.receive_json() == {"service": "ecobee"}
        await talk(socket)
        await over.wait()
        return socket

    application = web.Application()
    application.router.add_get("/v1", answer)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession() as session:
        try:
            yield client.Attempt(session, f"http://127.0.0.1:{runner.addresses[0][1]}", "ecobee")
        finally:
            over.set()
            await runner.cleanup()


class Attempts(unittest.IsolatedAsyncioTestCase):
    """Whatever happens comes as `LinkError`: the callers know no other."""

    async def ends_with(self, code, work):
        with self.assertRaises(client.LinkError) as raised:
            await asyncio.wait_for(work, LIMIT)
        self.assertEqual(raised.exception.code, code)

    async def test_a_server_that_is_away(self):
        async with aiohttp.ClientSession() as session:
            await self.ends_with("cannot_connect", client.Attempt(session, AWAY, "ecobee").open())

    async def test_a_server_that_does_not_say_where_to_go(self):
        async def talk(socket):
            await socket.receive()

        with patch.object(client, "URL_TIMEOUT", 0.1):
            async with server(talk) as attempt:
                await self.ends_with("timeout", attempt.open())

    async def test_a_server_that_answers_no_ping_is_gone(self):
        async def talk(socket):
            await socket.send_json(URL)

        async def link(attempt):
            await attempt.open()
            await attempt.tokens()

        with patch.object(client, "HEARTBEAT", 0.1):
            async with server(talk, autoping=False) as attempt:
                await self.ends_with("connection_lost", link(attempt))

    async def test_a_server_that_only_answers_pings_is_left_in_the_end(self):
        async def talk(socket):
            await socket.send_json(URL)
            await socket.receive()

        with patch.object(client, "TOKENS_TIMEOUT", 0.1):
            async with server(talk) as attempt:
                self.assertEqual(await attempt.open(), URL["authorize_url"])
                await self.ends_with("timeout", attempt.tokens())

    async def test_a_connection_that_breaks(self):
        async def talk(socket):
            await socket.send_json(URL)
            socket._req.transport.abort()

        async with server(talk) as attempt:
            await attempt.open()
            await self.ends_with("connection_lost", attempt.tokens())

    async def test_an_answer_that_is_none(self):
        for text in ("", "[]", "7", '{"other":1}'):

            async def talk(socket, text=text):
                await socket.send_str(text)
                await socket.receive()

            async with server(talk) as attempt:
                await self.ends_with("invalid_answer", attempt.open())


class Redirects(unittest.IsolatedAsyncioTestCase):
    """What is meant for the server goes nowhere else, wherever that points."""

    async def asyncSetUp(self):
        self.reached = []

        async def elsewhere(request):
            self.reached.append((request.path, await request.text()))
            return web.json_response({"access_token": "x"})

        self.elsewhere = await self.serve(elsewhere)
        self.status = 307

        async def redirects(request):
            return web.Response(status=self.status, headers={"Location": f"{self.elsewhere}{request.path}"})

        self.server = await self.serve(redirects)
        self.session = await self.enterAsyncContext(aiohttp.ClientSession())

    async def serve(self, answer):
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(application, shutdown_timeout=0)
        await runner.setup()
        self.addAsyncCleanup(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def test_no_refresh_token_is_carried_on(self):
        for self.status in (301, 302, 303, 307, 308):
            with self.assertRaises(aiohttp.ClientResponseError) as raised:
                await asyncio.wait_for(client.refresh(self.session, self.server, "ecobee", "canary"), LIMIT)
            # Home Assistant asks for a new link at 400 alone, and tries again later at this.
            self.assertEqual(raised.exception.status, self.status)
            self.assertIn("not followed", str(raised.exception))
        self.assertEqual(self.reached, [])

    async def test_no_attempt_and_no_list_comes_from_elsewhere(self):
        attempt = client.Attempt(self.session, self.server, "ecobee")
        for work in (attempt.open(), client.services(self.session, self.server)):
            with self.assertRaises(client.LinkError) as raised:
                await asyncio.wait_for(work, LIMIT)
            self.assertEqual(raised.exception.code, "cannot_connect")
            self.assertIn("not followed", str(raised.exception.__cause__))
        self.assertEqual(self.reached, [])
        self.assertFalse(self.session.closed)


class Urls(unittest.TestCase):
    def test_tokens_go_over_tls_or_stay_on_this_machine(self):
        over_tls, here = ["https://link.example.org", "https://10.0.0.7"], ["http://127.0.0.1:8080", "http://[::1]"]
        for url in (*over_tls, *here, "http://localhost"):
            self.assertEqual(client.server_url(url), url)
        for url in (
            "http://link.example.org",
            "http://192.168.1.7:8080",
            "http://cloudlink.local",
            "http://cloudlink",
            "http://localhost.example.org",
            "http://127.0.0.1@link.example.org",
            "ftp://127.0.0.1",
            "",
        ):
            with self.assertRaisesRegex(ValueError, "must begin with https"):
                client.server_url(url)


class Listed(unittest.IsolatedAsyncioTestCase):
    """What is offered is asked for seldom, whatever comes back."""

    async def asyncSetUp(self):
        self.now, self.asked, self.answer = 0.0, 0, client.LinkError("cannot_connect")
        self.enterContext(patch.object(client, "_LOGGER"))
        self.services = client.Services(self.ask, lambda: self.now)

    async def ask(self):
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def get(self):
        try:
            return await self.services.get()
        except client.LinkError as error:
            return error.code

    async def test_a_failure_is_remembered_for_a_minute(self):
        self.assertEqual(await asyncio.gather(*(self.get() for _ in range(5))), ["cannot_connect"] * 5)
        self.assertEqual(self.asked, 1)
        self.now = 59
        self.assertEqual((await self.get(), self.asked), ("cannot_connect", 1))
        self.now, self.answer = 60, [{"service": "ecobee"}]
        self.assertEqual((await self.get(), self.asked), (self.answer, 2))

    async def test_what_was_known_goes_on_while_the_server_is_away(self):
        known = self.answer = [{"service": "ecobee"}]
        self.assertEqual((await self.get(), self.asked), (known, 1))
        self.now, self.answer = 3599, client.LinkError("timeout")
        self.assertEqual((await self.get(), self.asked), (known, 1))
        self.now = 3600
        self.assertEqual((await self.get(), self.asked), (known, 2))
        self.now = 3659
        self.assertEqual((await self.get(), self.asked), (known, 2))

    async def test_a_server_that_is_away_offers_nothing(self):
        async with aiohttp.ClientSession() as session:
            with self.assertRaises(client.LinkError):
                await client.services(session, AWAY)


if __name__ == "__main__":
    unittest.main()
