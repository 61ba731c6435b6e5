// Drives the official TypeScript client against a gateway and prints what it
// saw. Takes and prints the same JSON as client.py.

import { readFileSync } from 'node:fs';

import { Client, ClientCredentialsProvider, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Agent, fetch as fetchWithAgent } from 'undici';

// A client that never stops shall not keep the test waiting.
const PATIENCE_MS = 45_000;

const asked = JSON.parse(process.argv[2]);
const report = { version: null, listed: [], calls: [], scope: null, requests: [] };
const agent = new Agent({
  connect: {
    ca: readFileSync(asked.ca),
    cert: readFileSync(asked.cert),
    key: readFileSync(asked.key),
  },
});

// Shows the client certificate and notes every request. The client tells
// responses by the global class, which is not the one of the package.
async function noting(url, options) {
  const { status, statusText, headers, body } = await fetchWithAgent(url, { ...options, dispatcher: agent });
  report.requests.push([options?.method ?? 'GET', String(url), status]);
  return new Response(body, { status, statusText, headers: [...headers] });
}

function describe(error) {
  return [`${error.constructor.name}: ${error.message}`];
}

async function oneCall(client, call) {
  try {
    const result = await client.callTool({ name: call.tool, arguments: call.arguments });
    const text = result.content.map((part) => part.text ?? '').join('');
    return { tool: call.tool, isError: Boolean(result.isError), text };
  } catch (error) {
    return { tool: call.tool, error: describe(error) };
  }
}

async function run() {
  const provider = new ClientCredentialsProvider({
    clientId: asked.clientId,
    clientSecret: asked.clientSecret,
    expectedIssuer: asked.issuer,
  });
  const transport = new StreamableHTTPClientTransport(new URL(asked.url), {
    authProvider: provider,
    fetch: noting,
  });
  const client = new Client(
    { name: 'sidegate-tests', version: '1.0.0' },
    { versionNegotiation: { mode: asked.mode } },
  );
  try {
    await client.connect(transport);
    report.version = client.getNegotiatedProtocolVersion() ?? null;
    const listed = await client.listTools();
    report.listed = listed.tools.map((tool) => tool.name).sort();
    for (const call of asked.calls) {
      report.calls.push(await oneCall(client, call));
    }
  } finally {
    report.scope = provider.tokens()?.scope ?? null;
    await client.close();
  }
}

function end() {
  console.log(JSON.stringify(report));
  process.exit(0);
}

setTimeout(() => {
  report.failed = [`still busy after ${PATIENCE_MS} ms`];
  end();
}, PATIENCE_MS);
try {
  await run();
} catch (error) {
  report.failed = describe(error);
}
end();
