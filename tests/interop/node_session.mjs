// Runs a whole session with the official TypeScript SDK, over stdio and over HTTP.
//
// usage: node node_session.mjs PATH_OF_CONTREE_MCP DIRECTORY_WITH_NODE_MODULES [PACKAGE_OF_THE_SDK]

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [program, modules, sdk = "@modelcontextprotocol/sdk"] = process.argv.slice(2);
const require = createRequire(join(modules, "index.js"));
const load = (name) => import(pathToFileURL(require.resolve(`${sdk}/${name}`)));
const { Client } = await load("client/index.js");
const { StdioClientTransport } = await load("client/stdio.js");
const { StreamableHTTPClientTransport } = await load("client/streamableHttp.js");

const same = (what, found, expected) => {
  if (JSON.stringify(found) !== JSON.stringify(expected)) throw new Error(`${what}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
};
const that = (what, condition, found) => { if (!condition) throw new Error(`${what}: ${JSON.stringify(found)}`); };
const said = (text) => console.log(`  ${text}`);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function session(name, transport, scratch, near) {
  console.log(`TypeScript SDK (${sdk}) over ${name}`);
  const client = new Client({ name: "interop", version: "1" });
  await client.connect(transport);
  same("name of the server", client.getServerVersion().name, "contree-mcp");
  that("there are no instructions", client.getInstructions()?.length > 100, client.getInstructions());
  const { tools } = await client.listTools();
  that("tools are missing", tools.length >= 13 && tools.every((tool) => tool.annotations && tool.inputSchema.type === "object"), tools.map((tool) => tool.name));
  const { prompts } = await client.listPrompts();
  that("prompts are missing", prompts.length >= 10, prompts.length);
  const { resources } = await client.listResources();
  const { resourceTemplates } = await client.listResourceTemplates();
  that("resources are missing", resources.length >= 7 && resourceTemplates.length >= 4, [resources.length, resourceTemplates.length]);
  const guide = await client.readResource({ uri: "contree://guide/workflow" });
  that("the guide is empty", guide.contents[0].text.length > 100, guide);
  const prompt = await client.getPrompt({ name: "run-shell", arguments: { command: "make test" } });
  that("the prompt does not name its argument", JSON.stringify(prompt.messages).includes("make test"), prompt);
  said(`${tools.length} tools, ${prompts.length} prompts, ${resources.length} guides`);

  // The SDK compares structured content with the output schema.
  const call = async (tool, args, options) => {
    const result = await client.callTool({ name: tool, arguments: args }, undefined, options);
    if (result.isError) throw new Error(`${tool}: ${result.content[0].text}`);
    return result.structuredContent;
  };
  const first = await call("run", { image: "tag:host", command: "echo one > /first; echo out; echo err >&2; exit 3", disposable: false });
  same("what the command did", [first.stdout, first.stderr, first.exit_code], ["out\n", "err\n", 3]);
  const read = await call("read_file", { image: first.result_image_uuid, path: "/first" });
  same("the file", read.content, "one\n");
  const listed = await client.readResource({ uri: `contree://image/${first.result_image_uuid}/read/first` });
  same("the file as a resource", listed.contents[0].text, "one\n");
  await call("set_tag", { image_uuid: first.result_image_uuid, tag: "interop/node" });
  const sent = await call("upload", { content: "from here\n" });
  const placed = await call("run", { image: "tag:interop/node", command: "cat /in/text /first", files: { "/in/text": sent.uuid } });
  same("files inside", placed.stdout, "from here\none\n");
  said("run, read_file, a resource, set_tag, upload");

  const progress = [];
  await call("run", { image: "tag:host", command: "for n in 1 2 3; do echo line $n; sleep 0.5; done" }, { onprogress: ({ message }) => progress.push(message) });
  that("no progress names a line", progress.some((message) => message?.includes("line")), progress);
  said("progress while a command runs");

  // If the client abandons a call, the server cancels its sandbox.
  const before = new Set((await call("list_operations", { limit: 100 })).operations.map((operation) => operation.uuid));
  const abort = new AbortController();
  const given = call("run", { image: "tag:host", command: "echo begun; sleep 600", timeout: 600 }, { signal: abort.signal, onprogress: ({ message }) => { if (message?.includes("begun")) abort.abort(); } });
  that("a call that was given up is answered", await given.then(() => false, () => true), "answered");
  for (let turn = 0; ; turn += 1) {
    const { operations } = await call("list_operations", { limit: 100 });
    const mine = operations.find((operation) => !before.has(operation.uuid));
    if (mine?.status === "CANCELLED") break;
    that("the sandbox of a call that was given up goes on", turn < 100, mine);
    await sleep(100);
  }
  said("a call that is given up cancels its sandbox");

  const wrong = await client.callTool({ name: "run", arguments: { image: "tag:host", comand: "true" } });
  that("a mistake is no error that says what to do", wrong.isError && wrong.content[0].text.includes("`command`"), wrong);
  const destination = join(scratch, `copy-${name}`);
  const copied = await client.callTool({ name: "download", arguments: { image: first.result_image_uuid, path: "/first", destination } });
  if (near) same("the file here", readFileSync(destination, "utf8"), "one\n");
  else that("a client over HTTP can write files of the server's machine", copied.isError, copied);
  said(near ? "download writes here" : "over HTTP nothing on the server's machine is touched");
  await client.close();
}

// The SDK only warns about a schema that it cannot use.
const complaints = [];
for (const kind of ["warn", "error"]) console[kind] = (...words) => { complaints.push(words.join(" ")); };

const scratch = mkdtempSync(join(tmpdir(), "contree-node-"));
let server;
try {
  const env = { PATH: process.env.PATH, HOME: scratch, CONTREE_DATA_DIR: join(scratch, "data"), CONTREE_STATE_DIR: join(scratch, "state") };
  await session("stdio", new StdioClientTransport({ command: program, env, stderr: "ignore" }), scratch, true);
  writeFileSync(join(scratch, "token"), "0123456789-abcdefgh");
  server = spawn(program, ["--mode", "http", "--http-port", "0", "--http-token-file", join(scratch, "token")], { env, stdio: ["ignore", "ignore", "pipe"] });
  const url = await new Promise((resolve, reject) => {
    let text = "";
    server.stderr.on("data", (data) => {
      text += data;
      const found = text.match(/MCP at (http:[^,]*),/);
      if (found) resolve(found[1]);
    });
    server.on("exit", () => reject(new Error(`the server ended: ${text}`)));
  });
  const requestInit = { headers: { authorization: "Bearer 0123456789-abcdefgh" } };
  await session("HTTP", new StreamableHTTPClientTransport(new URL(url), { requestInit }), scratch, false);
  same("warnings of the SDK", complaints, []);
} catch (error) {
  process.stderr.write(`node_session.mjs: ${error.message}\n`);
  process.exitCode = 1;
} finally {
  if (server) {
    server.kill("SIGTERM");
    await new Promise((resolve) => server.on("exit", resolve));
  }
  rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
  process.exit();
}
