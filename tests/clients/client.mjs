// Drives the official TypeScript client against a gateway and prints what it
// saw. Takes and prints the same JSON as client.py.

import { readFileSync } from 'node:fs';

import { Client, ClientCredentialsProvider, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Agent, fetch } from 'undici';

const asked = JSON.parse(process.argv[2]);
const seen = [];
const agent = new Agent({
  connect: {
    ca: readFileSync(asked.ca),
    cert: readFileSync(asked.cert),
    key: readFileSync(asked.key),
  },
});

async function counted(url, options) {
  const response = await fetch(url, { ...options, dispatcher: agent });
  seen.push([options?.method ?? 'GET', String(url), response.status]);
  return response;
}

function describe(error) {
  return { type: error.constructor.name, message: String(error.message), code: error.code ?? null };
}

async function oneCall(client, call) {
  try {
    const result = await client.callTool({ name: call.tool, arguments: call.arguments });
    const text = result.content.map((part) => part.text ?? '').join('');
    return { tool: call.tool, isError: Boolean(result.isError), text };
  } catch (error) {
    return { tool: call.tool, error: [describe(error)] };
  }
}

async function run() {
  const provider = new ClientCredentialsProvider({
    clientId: asked.clientId,
    clientSecret: asked.clientSecret,
    scope: asked.scope,
    expectedIssuer: asked.issuer,
  });
  const transport = new StreamableHTTPClientTransport(new URL(asked.url), {
    authProvider: provider,
    fetch: counted,
  });
  const client = new Client(
    { name: 'sidegate-tests', version: '1.0.0' },
    { versionNegotiation: { mode: asked.mode } },
  );
  await client.connect(transport);
  const tools = await client.listTools();
  const report = {
    version: client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion ?? null,
    listed: tools.tools.map((tool) => tool.name).sort(),
    calls: [],
    requests: seen,
  };
  for (const call of asked.calls) {
    report.calls.push(await oneCall(client, call));
  }
  report.scope = provider.tokens()?.scope ?? null;
  await client.close();
  return report;
}

try {
  console.log(JSON.stringify(await run()));
} catch (error) {
  console.log(JSON.stringify({ failed: [describe(error)], requests: seen }));
}
await agent.close();
