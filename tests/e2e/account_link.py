"""Home Assistant's side of an account link, told what to do by the test that starts it.

account_link.py certificate FOLDER
account_link.py CLIENT SERVER CERTIFICATE services
account_link.py CLIENT SERVER CERTIFICATE link SERVICE APPENDED
account_link.py CLIENT SERVER CERTIFICATE refresh SERVICE      (the refresh token on standard input)

CLIENT is `nabucasa`, the client that Home Assistant ships, or `contrib`, the one of this repository's integration. Prints
a line of JSON for each thing that happens.
"""

import asyncio
import datetime
import ipaddress
import json
import ssl
import sys
from pathlib import Path
from types import SimpleNamespace

import aiohttp
from yarl import URL

CONTRIB = Path(__file__).parents[2] / "contrib/home-assistant/custom_components/cloudlink"


def tell(**members):
    print(json.dumps(members), flush=True)


class Nabucasa:
    """The client module of PyPI's hass-nabucasa, with what it uses of a cloud."""

    def __init__(self, session, server):
        from hass_nabucasa import account_link

        self._module = account_link
        self._cloud = SimpleNamespace(client=SimpleNamespace(websession=session), account_link_server=server)

    def services(self):
        return self._module.async_fetch_available_services(self._cloud)

    def refresh(self, service, token):
        return self._module.async_fetch_access_token(self._cloud, service, token)

    def attempt(self, service):
        helper = self._module.AuthorizeAccountHelper(self._cloud, service)
        return helper.async_get_authorize_url, helper.async_get_tokens


class Contrib:
    """`client.py` of contrib/home-assistant, without Home Assistant."""

    def __init__(self, session, server):
        sys.path.insert(0, str(CONTRIB))
        import client

        self._module, self._session, self._server = client, session, f"https://{server}"

    def services(self):
        return self._module.services(self._session, self._server)

    def refresh(self, service, token):
        return self._module.refresh(self._session, self._server, service, token)

    def attempt(self, service):
        attempt = self._module.Attempt(self._session, self._server, service)
        return attempt.open, attempt.tokens


async def link(client, service, appended):
    authorize_url, tokens = client.attempt(service)
    try:
        url = await authorize_url()
        # As Home Assistant appends an integration's extra_authorize_data.
        tell(authorize_url=str(URL(url).update_query(json.loads(appended))))
        tell(tokens=await tokens())
    except TimeoutError:
        tell(raised="TimeoutError")
    except Exception as error:
        tell(raised=type(error).__name__, code=getattr(error, "code", None))


async def refresh(client, service):
    try:
        tell(tokens=await client.refresh(service, sys.stdin.read()))
    except aiohttp.ClientResponseError as error:
        tell(status=error.status, retry_after=(error.headers or {}).get("retry-after"))


async def run(client, server, certificate, verb, *arguments):
    trust = ssl.create_default_context(cafile=certificate)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:
        client = {"nabucasa": Nabucasa, "contrib": Contrib}[client](session, server)
        if verb == "services":
            tell(services=await client.services())
        elif verb == "link":
            await link(client, *arguments)
        else:
            await refresh(client, *arguments)


def certificate(folder):
    """A key and a certificate of its own for localhost, for an hour."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    Path(folder, "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    Path(folder, "key.pem").write_bytes(pem)


if __name__ == "__main__":
    if sys.argv[1] == "certificate":
        certificate(sys.argv[2])
    else:
        asyncio.run(run(*sys.argv[1:]))
