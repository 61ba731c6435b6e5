"""Drives the official Python client against a gateway and prints what it saw.

Takes and prints one JSON object, so that the test says everything in one place:

    {"url": …, "ca": …, "cert": …, "key": …, "issuer": …, "clientId": …,
     "clientSecret": …, "mode": "auto" | "legacy",
     "calls": [{"tool": …, "arguments": {…}}]}

Printed are the protocol `version`, the tools that were `listed`, for each of the
`calls` its text or its `error`, the `scope` of the last token, and every request
as `[method, url, status]`. What ended the run early is in `failed`.
"""

import asyncio
import json
import ssl
import sys

import httpx2
from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client

# A client that never stops shall not keep the test waiting.
PATIENCE_SECONDS = 45


class MemoryStorage:
    """Keeps the token for the length of one run."""

    def __init__(self):
        self.tokens = None
        self.client_info = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client_info

    async def set_client_info(self, client_info):
        self.client_info = client_info


class NotingTransport(httpx2.AsyncHTTPTransport):
    """Notes every request, so that a test can see that a client stops."""

    def __init__(self, seen, **options):
        super().__init__(**options)
        self.seen = seen

    async def handle_async_request(self, request):
        response = await super().handle_async_request(request)
        self.seen.append([request.method, str(request.url), response.status_code])
        return response


def describe(error):
    """The errors in a group of groups, as text."""
    inner = getattr(error, "exceptions", None)
    if inner is None:
        return [f"{type(error).__name__}: {error}"]
    return [text for one in inner for text in describe(one)]


async def run(asked, report):
    context = ssl.create_default_context(cafile=asked["ca"])
    context.load_cert_chain(asked["cert"], asked["key"])
    storage = MemoryStorage()
    provider = ClientCredentialsOAuthProvider(
        server_url=asked["url"],
        storage=storage,
        client_id=asked["clientId"],
        client_secret=asked["clientSecret"],
        token_endpoint_auth_method="client_secret_post",
        issuer=asked["issuer"],
    )
    noting = NotingTransport(report["requests"], verify=context)
    try:
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            httpx2.AsyncClient(transport=noting, auth=provider, timeout=20) as http,
            Client(streamable_http_client(asked["url"], http_client=http), mode=asked["mode"]) as client,
        ):
            report["version"] = client.protocol_version
            listed = await client.list_tools()
            report["listed"] = sorted(tool.name for tool in listed.tools)
            for call in asked["calls"]:
                report["calls"].append(await one_call(client, call))
    finally:
        report["scope"] = storage.tokens.scope if storage.tokens else None


async def one_call(client, call):
    try:
        result = await client.call_tool(call["tool"], call["arguments"])
    except Exception as error:  # noqa: BLE001 - what it raises is what the test looks at
        return {"tool": call["tool"], "error": describe(error)}
    text = "".join(getattr(part, "text", "") for part in result.content)
    return {"tool": call["tool"], "isError": bool(result.is_error), "text": text}


def main():
    report = {"version": None, "listed": [], "calls": [], "scope": None, "requests": []}
    try:
        asyncio.run(run(json.loads(sys.argv[1]), report))
    except Exception as error:  # noqa: BLE001 - as above
        report["failed"] = describe(error)
    print(json.dumps(report))


main()
