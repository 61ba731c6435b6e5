"""Drives the official Python client against a gateway and prints what it saw.

Prints one JSON object: the protocol version, the tools that were listed, and
for each call its result or its error. Arguments are one JSON object, so that
the test says everything in one place:

    {"url": ..., "ca": ..., "cert": ..., "key": ..., "issuer": ..., "clientId": ...,
     "clientSecret": ..., "scope": ..., "mode": "auto" | "legacy",
     "calls": [{"tool": ..., "arguments": {...}}]}
"""

import asyncio
import json
import ssl
import sys

import httpx2
from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client


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


class CountedTransport(httpx2.AsyncHTTPTransport):
    """Notes every request, so that a test can see that a client stops."""

    def __init__(self, seen, **options):
        super().__init__(**options)
        self.seen = seen

    async def handle_async_request(self, request):
        response = await super().handle_async_request(request)
        self.seen.append([request.method, str(request.url), response.status_code])
        return response


def leaves(error):
    """The errors in a group of groups."""
    inner = getattr(error, "exceptions", None)
    if inner is None:
        return [error]
    return [leaf for one in inner for leaf in leaves(one)]


def describe(error):
    return {"type": type(error).__name__, "message": str(error), "code": getattr(error, "code", None)}


async def run(asked):
    seen = []
    context = ssl.create_default_context(cafile=asked["ca"])
    context.load_cert_chain(asked["cert"], asked["key"])
    storage = MemoryStorage()
    provider = ClientCredentialsOAuthProvider(
        server_url=asked["url"],
        storage=storage,
        client_id=asked["clientId"],
        client_secret=asked["clientSecret"],
        token_endpoint_auth_method="client_secret_post",
        scope=asked.get("scope"),
        issuer=asked["issuer"],
    )
    report = {"listed": [], "calls": [], "requests": seen}
    http = httpx2.AsyncClient(transport=CountedTransport(seen, verify=context), auth=provider, timeout=20)
    async with http:
        transport = streamable_http_client(asked["url"], http_client=http)
        async with Client(transport, mode=asked["mode"]) as client:
            report["version"] = client.protocol_version
            tools = await client.list_tools()
            report["listed"] = sorted(tool.name for tool in tools.tools)
            for call in asked["calls"]:
                report["calls"].append(await one_call(client, call))
    report["scope"] = storage.tokens.scope if storage.tokens else None
    return report


async def one_call(client, call):
    try:
        result = await client.call_tool(call["tool"], call["arguments"])
        text = "".join(getattr(part, "text", "") for part in result.content)
        return {"tool": call["tool"], "isError": bool(result.is_error), "text": text}
    except Exception as error:  # noqa: BLE001 - what the client raises is what the test looks at
        return {"tool": call["tool"], "error": [describe(leaf) for leaf in leaves(error)]}


def main():
    try:
        report = asyncio.run(run(json.loads(sys.argv[1])))
    except BaseException as error:  # noqa: BLE001
        report = {"failed": [describe(leaf) for leaf in leaves(error)]}
    print(json.dumps(report))


main()
