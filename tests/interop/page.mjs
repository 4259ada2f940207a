// Tests the page in headless Chromium. A run through /mcp appears in the tree and streams its
// output. Hostile text stays text, the search works, and nothing violates the page's policy.
//
// usage: node page.mjs PATH_OF_CONTREE_MCP [DIRECTORY_FOR_SCREENSHOTS]   (node >= 22, chromium)

import { spawn } from "node:child_process";
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [program, pictures] = process.argv.slice(2);
const scratch = mkdtempSync(join(tmpdir(), "contree-page-"));
const running = [];
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const fail = (text) => { throw new Error(text); };
const same = (what, found, expected) => JSON.stringify(found) === JSON.stringify(expected) || fail(`${what}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
const said = (text) => console.log(`  ${text}`);

/** Starts a program and waits for a line on its standard error that fits. */
function start(command, args, env, pattern) {
  const child = spawn(command, args, { env, stdio: ["ignore", "ignore", "pipe"] });
  running.push(child);
  return new Promise((resolve, reject) => {
    let text = "";
    child.stderr.on("data", (data) => {
      text += data;
      const found = text.match(pattern);
      if (found) resolve(found);
    });
    child.on("exit", () => reject(new Error(`${command} ended: ${text}`)));
    setTimeout(() => reject(new Error(`${command} said only: ${text}`)), 60000).unref();
  });
}

/** A page in the browser, spoken to in the DevTools protocol. */
class Tab {
  static async open(port) {
    let target;
    for (let turn = 0; !target && turn < 100; turn += 1) {
      try {
        const targets = await (await fetch(`http://127.0.0.1:${port}/json`)).json();
        target = targets.find((one) => one.type === "page");
      } catch { /* not yet */ }
      if (!target) await sleep(100);
    }
    const tab = new Tab();
    tab.socket = new WebSocket(target.webSocketDebuggerUrl);
    await new Promise((resolve, reject) => { tab.socket.onopen = resolve; tab.socket.onerror = reject; });
    tab.next = 0;
    tab.waiting = new Map();
    tab.complaints = [];
    tab.requests = [];
    tab.socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.id) {
        const { resolve, reject } = tab.waiting.get(message.id);
        tab.waiting.delete(message.id);
        if (message.error) reject(new Error(JSON.stringify(message.error)));
        else resolve(message.result);
      } else if (message.method === "Log.entryAdded") {
        tab.complaints.push(`${message.params.entry.source}: ${message.params.entry.text}`);
      } else if (message.method === "Runtime.exceptionThrown") {
        tab.complaints.push(message.params.exceptionDetails.exception?.description ?? "an exception");
      } else if (message.method === "Page.javascriptDialogOpening") {
        tab.complaints.push(`a dialog: ${message.params.message}`);
        tab.send("Page.handleJavaScriptDialog", { accept: false });
      } else if (message.method === "Network.requestWillBeSent") {
        tab.requests.push(message.params.request.url);
      }
    };
    for (const domain of ["Page", "Runtime", "Log", "Network"]) await tab.send(`${domain}.enable`);
    return tab;
  }
  send(method, params = {}) {
    this.next += 1;
    return new Promise((resolve, reject) => {
      this.waiting.set(this.next, { resolve, reject });
      this.socket.send(JSON.stringify({ id: this.next, method, params }));
    });
  }
  async eval(expression) {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) fail(`${expression}: ${exceptionDetails.exception?.description}`);
    return result.value;
  }
  async until(what, expression, patience = 30000) {
    const end = Date.now() + patience;
    while (!(await this.eval(expression))) {
      if (Date.now() > end) fail(`${what} did not come; the page shows: ${await this.eval("document.body.innerText.slice(0, 1500)")}`);
      await sleep(50);
    }
  }
  async picture(name) {
    if (!pictures) return;
    mkdirSync(pictures, { recursive: true });
    const { data } = await this.send("Page.captureScreenshot", { format: "png" });
    writeFileSync(join(pictures, `${name}.png`), Buffer.from(data, "base64"));
  }
  async look(scheme, width, height = 1000) {
    await this.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }, { name: "prefers-reduced-motion", value: "reduce" }] });
    await this.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: width < 600 });
  }
}

let id = 0;
async function call(url, tool, args, more = {}) {
  id += 1;
  const version = "2026-07-28";
  const _meta = { "io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {}, "io.modelcontextprotocol/clientInfo": { name: "page", version: "1" } };
  const answer = await fetch(`${url}/mcp`, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json, text/event-stream", "mcp-protocol-version": version, "mcp-method": "tools/call", "mcp-name": tool, ...more },
    body: JSON.stringify({ jsonrpc: "2.0", id, method: "tools/call", params: { name: tool, arguments: args, _meta } }),
  });
  const { result, error } = await answer.json();
  if (error || result.isError) fail(`${tool}: ${JSON.stringify(error ?? result.content)}`);
  return result.structuredContent;
}

async function main() {
  const env = { PATH: process.env.PATH, HOME: scratch, CONTREE_DATA_DIR: join(scratch, "data"), CONTREE_STATE_DIR: join(scratch, "state"), CONTREE_PUBLISH: "allow" };
  const serve = (...more) => start(program, ["--mode", "http", "--http-port", "0", ...more], env, /MCP at (http:\S+)\/mcp/);
  const [, url] = await serve();
  const [, port] = await start("chromium", ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--remote-debugging-port=0", `--user-data-dir=${join(scratch, "browser")}`, "about:blank"],
    { ...process.env, HOME: scratch }, /DevTools listening on ws:\/\/127\.0\.0\.1:(\d+)\//);
  const tab = await Tab.open(port);
  console.log("the page, in headless Chromium");

  const base = await call(url, "run", { image: "tag:host", command: "mkdir -p /srv/app && echo one > /srv/app/file", disposable: false });
  await call(url, "set_tag", { image_uuid: base.result_image_uuid, tag: "common/app/base" });
  await tab.look("light", 1280);
  await tab.send("Page.navigate", { url });
  await tab.until("the tagged image", `[...document.querySelectorAll("#tree .tag")].some((tag) => tag.textContent === "common/app/base")`);
  same("title", await tab.eval("document.title"), "Contree: sandboxes that branch like git");
  said("the tree shows the images with their tags");

  // Another client starts a run now.
  const slow = call(url, "run", { image: "tag:common/app/base", command: "for n in 1 2 3 4 5 6; do echo line $n; echo warning $n >&2; sleep 3; done; echo made > /new", disposable: false });
  const entry = `[...document.querySelectorAll("#operations .operation")].find((one) => one.textContent.includes("line $n"))`;
  await tab.until("the running operation", `${entry}?.querySelector(".dot.EXECUTING")`);
  await tab.until("the running operation in the tree", `[...document.querySelectorAll("#tree .node.running")].some((one) => one.textContent.includes("line $n"))`);
  await tab.eval(`${entry}.click()`);
  await tab.until("its first lines", `document.getElementById("output").textContent.includes("line 1")`);
  const early = await tab.eval(`document.getElementById("output").textContent`);
  if (early.includes("line 6")) fail("the output came at once, not as it was written");
  await tab.picture("running-light");
  const made = await slow;
  await tab.until("its last line", `document.getElementById("output").textContent.includes("line 6\\n")`);
  await tab.until("its image in the tree, below the one it ran on", `(() => {
    const node = [...document.querySelectorAll("#tree .node")].find((one) => one.dataset.uuid === ${JSON.stringify(made.result_image_uuid)});
    return node?.parentElement.parentElement.closest("li")?.querySelector(".node").dataset.uuid === ${JSON.stringify(base.result_image_uuid)};
  })()`);
  same("standard error", await tab.eval(`document.querySelector("#output .err").textContent`), "warning 1\n");
  said("a run through /mcp appears in the list and in the tree, and streams its output");

  // Text of commands stays text.
  const hostile = `<img src=x onerror="alert(1)"><script>alert(2)</script>`;
  const shell = `echo '${hostile}'; printf '\\033]0;title\\007\\033[31mred \\342\\200\\256\\n'; mkdir -p '/srv/${hostile.replaceAll("/", "")}'; ls /srv`;
  const attacked = await call(url, "run", { image: base.result_image_uuid, command: shell, disposable: false });
  await call(url, "set_tag", { image_uuid: attacked.result_image_uuid, tag: "common/onerror_alert/1" });
  await tab.until("the hostile command", `[...document.querySelectorAll("#operations .what")].some((one) => one.textContent.includes("<img src=x"))`);
  await tab.until("the hostile command in the tree", `[...document.querySelectorAll("#tree .what")].some((one) => one.textContent.includes("<img src=x"))`);
  await tab.eval(`[...document.querySelectorAll("#operations .operation")].find((one) => one.textContent.includes("<img src=x")).click()`);
  await tab.until("the hostile output", `document.getElementById("output").textContent.includes("<script>alert(2)")`);
  same("elements from text", await tab.eval(`document.querySelectorAll("main img, main script, main iframe, main [onerror]").length`), 0);
  const shown = await tab.eval(`document.getElementById("output").textContent`);
  if (/[\u0000-\u0008\u001b\u202e]/.test(shown)) fail("controls of a terminal or of the direction of text are shown");
  said("hostile text in commands, file names and output stays text");

  // A larger tree, for the screenshot.
  const tools = await call(url, "run", { image: "tag:common/app/base", command: "pip install -r requirements.txt 2>/dev/null; mkdir -p /opt/venv && echo ok > /opt/venv/done", disposable: false });
  await call(url, "set_tag", { image_uuid: tools.result_image_uuid, tag: "common/python-ml/base" });
  for (const command of ["pytest -q > /report 2>&1 || true; date +%N >> /report", "make lint > /lint 2>&1 || true; date +%N >> /lint"]) {
    await call(url, "run", { image: tools.result_image_uuid, command, disposable: false });
  }
  await call(url, "run", { image: tools.result_image_uuid, command: "exit 3" });
  await tab.until("the last of them", `document.querySelectorAll("#operations .operation").length >= 7`);
  const find = (uuid) => `[...document.querySelectorAll("#tree .node")].find((one) => one.dataset.uuid === ${JSON.stringify(uuid)})`;
  await tab.until("its image", find(tools.result_image_uuid));
  await tab.eval(`${find(tools.result_image_uuid)}.click()`);
  await tab.until("what made it", `document.getElementById("detail-facts").textContent.includes("pip install")`);
  const fits = async (width) => same(`what sticks out of the page at ${width}`, await tab.eval(`(() => {
    const most = document.documentElement.clientWidth;
    return document.documentElement.scrollWidth > most && [...document.querySelectorAll("main *")].filter((one) => one.getBoundingClientRect().right > most + 1).map((one) => one.outerHTML.slice(0, 80)).slice(0, 5);
  })()`), false);
  for (const [scheme, width] of [["light", 1280], ["dark", 1280], ["light", 390], ["dark", 390]]) {
    await tab.look(scheme, width, width < 600 ? 844 : 1000);
    await fits(width);
    for (const place of ["live", "set-up", "tools", "guides"]) {
      await tab.eval(`document.documentElement.style.scrollBehavior = "auto"; document.getElementById("${place}").scrollIntoView()`);
      if (place === "tools") await tab.eval(`document.getElementById("tool-run").open = true`);
      if (place === "guides") await tab.eval(`document.getElementById("guide-workflow").open = true`);
      await sleep(100);
      await tab.picture(`${place}-${scheme}-${width}`);
    }
    await fits(width);
  }
  await tab.look("light", 1280);

  // The search needs no network.
  await tab.eval(`scrollTo(0, 0); document.getElementById("search").value = "checksum-of-nothing"; document.getElementById("search").dispatchEvent(new Event("input"))`);
  same("nothing is found", await tab.eval(`!document.getElementById("nothing-found").hidden`), true);
  await tab.eval(`document.getElementById("search").value = "disposable"; document.getElementById("search").dispatchEvent(new Event("input"))`);
  same("run is found", await tab.eval(`!document.getElementById("tool-run").hidden && document.getElementById("tool-whoami").hidden`), true);
  await tab.picture("search-light-1280");
  said("the search finds what speaks of a word");
  const strange = tab.requests.filter((one) => !one.startsWith(url) && !one.startsWith("data:"));
  same("requests to elsewhere", strange, []);
  same("complaints of the browser", tab.complaints, []);

  // A server inside, at the address that the page links to.
  await tab.eval(`document.getElementById("search").value = ""; document.getElementById("search").dispatchEvent(new Event("input"))`);
  const server = "mkdir /tmp/www && cd /tmp/www && echo from-inside > index.html && exec python3 -u -m http.server 8080";
  const served = await call(url, "run", { image: "tag:host", command: server, wait: false, ports: [8080], timeout: 600 });
  const service = `[...document.querySelectorAll("#operations .operation")].find((one) => one.textContent.includes("http.server 8080"))`;
  await tab.until("the server in the list", `${service}?.querySelector(".dot.EXECUTING")`);
  await tab.eval(`${service}.click()`);
  await tab.until("the link to its port", `document.querySelector("#detail-facts a")`);
  const link = await tab.eval(`document.querySelector("#detail-facts a").href`);
  same("the address of the port", link, `${served.ports[0].url}/`);
  for (let turn = 0; turn < 100 && !(await fetch(link).then((answer) => answer.ok, () => false)); turn += 1) await sleep(100);
  await tab.send("Page.navigate", { url: link });
  await tab.until("the page of the server inside", `document.body?.innerText.includes("from-inside")`);
  await call(url, "cancel_operation", { operation_id: served.operation_id });
  for (let turn = 0; turn < 100 && (await fetch(link).then(() => true, () => false)); turn += 1) await sleep(100);
  same("the port after the end", await fetch(link).then(() => "open", () => "closed"), "closed");
  said("the page links to a published port, which ends with its sandbox");

  // Without scripts, the page shows the documentation but no live data.
  await tab.send("Emulation.setScriptExecutionDisabled", { value: true });
  await tab.send("Page.navigate", { url });
  const entries = async () => {
    const { root } = await tab.send("DOM.getDocument", { depth: 0 });
    const { nodeIds } = await tab.send("DOM.querySelectorAll", { nodeId: root.nodeId, selector: "#tools .entry" });
    return nodeIds.length;
  };
  // Without scripts, the browser has no promise to wait for.
  let listed = 0;
  for (const until = Date.now() + 30_000; listed < 13 && Date.now() < until; await sleep(50)) listed = await entries().catch(() => 0);
  if (listed < 13) fail(`only ${listed} tools without scripts`);
  await tab.picture("no-script-light-1280");
  await tab.send("Emulation.setScriptExecutionDisabled", { value: false });
  said("the documentation needs no script");

  // If a token is required, the page asks for it before it shows live data.
  const secret = "0123456789-abcdefgh";
  writeFileSync(join(scratch, "token"), secret);
  const [, locked] = await serve("--http-token-file", join(scratch, "token"));
  await tab.send("Page.navigate", { url: locked });
  await tab.until("the question for the token", `document.getElementById("token-form") && !document.getElementById("token-form").hidden`);
  await tab.picture("token-light-1280");
  const type = (text) => tab.eval(`document.getElementById("token").value = ${JSON.stringify(text)}; document.getElementById("token-form").requestSubmit()`);
  await type("wrong");
  await tab.until("the refusal", `!document.getElementById("token-wrong").hidden`);
  await type(secret);
  await tab.until("the tree of the same store", `[...document.querySelectorAll("#tree .tag")].some((tag) => tag.textContent === "common/app/base")`);
  said("a token is asked for, and taken");
}

try {
  await main();
} catch (error) {
  console.error(`page.mjs: ${error.message}`);
  process.exitCode = 1;
} finally {
  for (const child of running) child.kill("SIGTERM");
  await Promise.all(running.map((child) => child.exitCode ?? new Promise((resolve) => child.on("exit", resolve))));
  rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
  process.exit();
}
