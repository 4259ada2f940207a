// Tests the page in headless Chromium: live lists and output, every action, the keyboard alone, the
// search, hostile text, accessibility, and the page without scripts.
//
// usage: node page.mjs PATH_OF_CONTREE_MCP NODE_DIRECTORY [DIRECTORY_FOR_SCREENSHOTS]
// (node >= 22, chromium; NODE_DIRECTORY has node_modules/axe-core)

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tab, fail, said, same, sleep } from "./browser.mjs";

const [program, nodeDirectory, pictures] = process.argv.slice(2);
const scratch = mkdtempSync(join(tmpdir(), "contree-page-"));
const running = [];

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

const entryOf = (text) => `[...document.querySelectorAll("#operations .operation")].find((one) => one.textContent.includes(${JSON.stringify(text)}))`;
const nodeOf = (uuid) => `[...document.querySelectorAll("#tree .node")].find((one) => one.dataset.uuid === ${JSON.stringify(uuid)})`;
const isOpen = `document.getElementById("drawer").open`;
const facts = `document.getElementById("drawer-facts").textContent`;
const quoted = (text) => JSON.stringify(text);

/** Leaves the drawer with Escape. */
async function leave(tab) {
  await tab.press("Escape");
  await tab.until("the closed drawer", `!${isOpen} && !location.hash`);
}

async function live(tab, url) {
  const base = await call(url, "run", { image: "tag:host", command: "mkdir -p /srv/app && echo one > /srv/app/file", disposable: false });
  await call(url, "set_tag", { image_uuid: base.result_image_uuid, tag: "common/app/base" });
  await tab.look("light", 1280);
  await tab.send("Page.navigate", { url });
  await tab.until("the tagged image", `[...document.querySelectorAll("#tree .tag")].some((tag) => tag.textContent === "common/app/base")`);
  await tab.until("the title", `document.title === "Contree: sandboxes that branch like git"`);
  said("the tree shows the images with their tags");

  // Another client starts a run now.
  const slow = call(url, "run", { image: "tag:common/app/base", command: "for n in 1 2 3 4 5 6; do echo line $n; echo warning $n >&2; sleep 3; done; echo made > /new", disposable: false });
  const entry = entryOf("line $n");
  await tab.until("the running operation", `${entry}?.querySelector(".dot.EXECUTING")`);
  await tab.until("the number of running operations in the title", `document.title.startsWith("(1) ")`);
  same("the first operation", await tab.eval(`document.querySelector("#operations .operation") === ${entry} && Boolean(${entry}.closest("#running"))`), true);
  await tab.until("the running operation in the tree", `[...document.querySelectorAll("#tree .node.running")].some((one) => one.textContent.includes("line $n"))`);
  for (const scheme of ["light", "dark"]) {
    await tab.look(scheme, 1280);
    await tab.accessible(`a running operation, ${scheme}`);
    await tab.picture(`running-${scheme}`);
  }
  await tab.look("light", 1280);
  await tab.eval(`${entry}.click()`);
  await tab.until("its first lines", `document.getElementById("output").textContent.includes("line 1")`);
  const early = await tab.eval(`document.getElementById("output").textContent`);
  if (early.includes("line 6")) fail("the output came at once, not as it was written");
  const made = await slow;
  await tab.until("its last line", `document.getElementById("output").textContent.includes("line 6\\n")`);
  await tab.until("its end", `document.getElementById("drawer-kind").textContent === "Operation" && document.getElementById("cancel-actions").hidden`);
  same("standard error", await tab.eval(`document.querySelector("#output .err").textContent`), "warning 1\n");
  await leave(tab);
  await tab.until("its image in the tree, below the one it ran on", `(() => {
    const node = ${nodeOf(made.result_image_uuid)};
    return node?.parentElement.parentElement.closest("li")?.querySelector(".node").dataset.uuid === ${quoted(base.result_image_uuid)};
  })()`);
  said("a run through /mcp appears first in the list and in the tree, and streams its output");
  return base.result_image_uuid;
}

async function hostileText(tab, url, base) {
  const hostile = `<img src=x onerror="alert(1)"><script>alert(2)</script>`;
  const shell = `echo '${hostile}'; printf '\\033]0;title\\007\\033[31mred \\342\\200\\256\\n\\033[0m\\033[2J\\033[1;1Hplain\\rover\\n\\033[38;5;21;1mdeep\\033[m\\033[30;8mhidden\\033[0m \\033]8;;http://evil.example\\033\\\\link\\n'; printf '\\033[3' >&2; sleep 0.5; printf '4mblue\\n' >&2; mkdir -p '/srv/${hostile.replaceAll("/", "")}'; echo '${hostile}' > '/srv/a "b" #?%.txt'; ls /srv`;
  const attacked = await call(url, "run", { image: base, command: shell, disposable: false });
  const image = attacked.result_image_uuid;
  await call(url, "set_tag", { image_uuid: image, tag: "common/onerror_alert/1" });
  await tab.until("the hostile command", `[...document.querySelectorAll("#operations .what")].some((one) => one.textContent.includes("<img src=x"))`);
  await tab.until("the hostile command in the tree", `[...document.querySelectorAll("#tree .what")].some((one) => one.textContent.includes("<img src=x"))`);
  await tab.eval(`${entryOf("<img src=x")}.click()`);
  await tab.until("the hostile output", `document.getElementById("output").textContent.includes("<script>alert(2)") && document.getElementById("output").textContent.includes("blue")`);
  const elements = () => tab.eval(`document.querySelectorAll("main img, main script, main iframe, main [onerror], dialog img, dialog script, dialog [onerror], #output a").length`);
  same("elements from text", await elements(), 0);
  const shown = await tab.eval(`document.getElementById("output").textContent`);
  if (/[\u0000-\u0008\u001b\u202e\r]/.test(shown)) fail("controls of a terminal or of the direction of text are shown");
  for (const text of ["plain\nover\n", "deephidden link\n"]) if (!shown.includes(text)) fail(`${JSON.stringify(text)} is not in ${JSON.stringify(shown)}`);
  for (const text of ["title", "[2J", "evil.example", "[31m"]) if (shown.includes(text)) fail(`${text} is shown`);
  const colour = (text) => tab.eval(`(() => { const part = [...document.querySelectorAll("#output span")].filter((one) => one.textContent.startsWith(${JSON.stringify(text)})).pop(); return part && [part.style.color, part.className]; })()`);
  same("red", await colour("red"), ["rgb(255, 122, 110)", ""]);
  same("a class of bold text", (await colour("deep"))[1], "ansi-bold");
  same("blue, of a sequence in two pieces", await colour("blue"), ["rgb(122, 176, 255)", ""]);
  await tab.accessible("colours of output");
  await tab.picture("colours-light");
  // File names and their text stay text too, and may have any character.
  await tab.send("Page.navigate", { url: "about:blank" });
  await tab.send("Page.navigate", { url: `${url}/#image/${image}/files/srv/` });
  await tab.until("the hostile directory", `[...document.querySelectorAll("#files-view .name")].some((one) => one.textContent.startsWith("<img src=x"))`);
  await tab.eval(`[...document.querySelectorAll("#files-view .name")].find((one) => one.textContent.startsWith("a \\"b")).click()`);
  await tab.until("the hostile file", `document.querySelector("#files-view .file-text")?.textContent.includes("<script>alert(2)")`);
  await tab.eval(`history.back()`);
  await tab.until("the directory again", `[...document.querySelectorAll("#files-view .name")].some((one) => one.textContent.startsWith("<img src=x"))`);
  await tab.eval(`document.getElementById("tab-changes").click()`);
  await tab.until("the hostile change", `[...document.querySelectorAll("#changes-view .name")].some((one) => one.textContent.includes("<img src=x"))`);
  same("elements from names", await elements(), 0);
  // This address was the first, so that closing leads to the page without one.
  await tab.press("Escape");
  await tab.until("the closed drawer", `!${isOpen} && !location.hash`);
  said("hostile text in commands, file names, files and output stays text; only colours have an effect");
}

/** Addresses, the back button, and the position of the lists. */
async function addresses(tab, url, image) {
  await tab.send("Page.navigate", { url: "about:blank" });
  await tab.send("Page.navigate", { url });
  await tab.until("the image", nodeOf(image));
  await tab.look("light", 1280, 420);
  await tab.eval(`document.documentElement.style.scrollBehavior = "auto"; scrollTo(0, 60); document.getElementById("tree").scrollTop = 20`);
  const where = `JSON.stringify([scrollY, document.getElementById("tree").scrollTop, document.getElementById("operations").scrollTop])`;
  const before = await tab.eval(where);
  await tab.eval(`${nodeOf(image)}.focus({ preventScroll: true }); ${nodeOf(image)}.click()`);
  await tab.until("the drawer", isOpen);
  same("the address", await tab.eval("location.hash"), `#image/${image}`);
  same("the position with the drawer", await tab.eval(where), before);
  await tab.eval(`document.getElementById("tab-history").click()`);
  await tab.until("the history", `document.querySelector("#history-view .commit.chosen")`);
  same("the address of the history", await tab.eval("location.hash"), `#image/${image}/history`);
  await tab.eval(`history.back()`);
  await tab.until("the facts again", `${isOpen} && !document.getElementById("overview-view").hidden`);
  await tab.eval(`history.back()`);
  await tab.until("the closed drawer", `!${isOpen}`);
  same("the position after going back", await tab.eval(where), before);
  same("the focus after going back", await tab.focus(), image);
  await tab.eval(`history.forward()`);
  await tab.until("the drawer again", isOpen);
  await tab.eval(`document.getElementById("tab-files").click()`);
  await tab.until("the files", `document.querySelector("#files-view .files")`);
  const entries = await tab.eval("history.length");
  await tab.eval(`document.getElementById("drawer-close").click()`);
  await tab.until("the page without a drawer", `!${isOpen} && !location.hash`);
  same("the position after closing", await tab.eval(where), before);
  same("entries of the history after closing", await tab.eval("history.length"), entries);
  await tab.look("light", 1280);
  // A link to an old image or operation needs no list.
  await tab.send("Page.navigate", { url: "about:blank" });
  await tab.send("Page.navigate", { url: `${url}/#image/${image}/changes/srv/app/file` });
  await tab.until("the patch", `document.querySelector("#changes-view .patch .added")?.textContent === "+one"`);
  await tab.picture("patch-light");
  await leave(tab);
  await tab.send("Page.navigate", { url: "about:blank" });
  await tab.send("Page.navigate", { url: `${url}/#image/99999999-9999-4999-8999-999999999999` });
  await tab.until("the error", `!document.getElementById("drawer-error").hidden && document.getElementById("drawer-error").textContent.includes("99999999")`);
  await leave(tab);
  said("details have addresses of their own, and the lists stay where they are");
}

/** Every action, by the keyboard alone. */
async function keyboard(tab, url, image) {
  await tab.send("Page.navigate", { url: "about:blank" });
  await tab.send("Page.navigate", { url });
  await tab.until("the image", nodeOf(image));
  const service = await call(url, "run", { image: "tag:host", command: "echo ready; exec sleep 600", wait: false });
  const id = service.operation_id;
  const entry = `[...document.querySelectorAll("#running .operation")].find((one) => one.dataset.uuid === ${quoted(id)})`;
  await tab.until("the running operation", entry);
  await tab.tabTo("the operation", `one.dataset.uuid === ${quoted(id)}`);
  await tab.press("Enter");
  await tab.until("its output", `${isOpen} && document.getElementById("output").textContent.includes("ready")`);
  same("the focus in the drawer", await tab.focus(), "drawer-title");
  for (const key of [...Array(14).fill("Tab"), ...Array(14).fill("Shift+Tab")]) {
    await tab.press(key);
    same(`the focus stays in the drawer after ${key}`, await tab.eval(`document.getElementById("drawer").contains(document.activeElement)`), true);
  }
  await tab.tabTo("the button", `one.getAttribute("aria-label") === "Copy the id of the operation"`);
  await tab.press("Enter");
  await tab.until("the copied id", `document.getElementById("drawer-said").textContent.includes("Copied the id")`);
  same("the clipboard", await tab.eval("navigator.clipboard.readText()"), id);
  // Over HTTP from another machine, the browser has no clipboard for scripts.
  await tab.eval(`Object.defineProperty(navigator, "clipboard", { value: undefined, configurable: true }); document.getElementById("drawer-said").textContent = ""`);
  await tab.tabTo("the button", `one.getAttribute("aria-label") === "Copy the command"`);
  await tab.press("Enter");
  await tab.until("the copied command", `document.getElementById("drawer-said").textContent.includes("Copied the command")`);
  same("the focus after copying", await tab.focus(), "Copy the command");
  await tab.eval("delete navigator.clipboard");
  same("the clipboard", await tab.eval("navigator.clipboard.readText()"), "echo ready; exec sleep 600");
  await tab.tabTo("the button", `one.id === "cancel"`);
  await tab.press("Enter");
  same("the question", await tab.focus(), "cancel-yes");
  await tab.picture("cancel-light");
  await tab.accessible("the question");
  await tab.tabTo("the other answer", `one.id === "cancel-no"`);
  await tab.press("Enter");
  same("the focus after the other answer", await tab.focus(), "cancel");
  await tab.press("Enter", "Enter");
  await tab.until("the end", `${facts}.includes("cancelled")`);
  same("the focus after the end", await tab.eval(`document.getElementById("drawer").contains(document.activeElement)`), true);
  await leave(tab);
  same("the focus after closing", await tab.focus(), id);

  // Tags.
  await tab.tabTo("the image", `one.classList.contains("node") && one.dataset.uuid === ${quoted(image)}`);
  await tab.press("Enter");
  await tab.until("the image", `${isOpen} && !document.getElementById("overview-view").hidden`);
  const tags = `[...document.querySelectorAll("#tags .tag")].map((one) => one.textContent)`;
  await tab.tabTo("the field", `one.id === "tag"`);
  await tab.type("team/by-keyboard");
  await tab.press("Enter");
  await tab.until("the new tag", `${tags}.includes("team/by-keyboard")`);
  await tab.until("the tag in the tree", `[...document.querySelectorAll("#tree .tag")].some((one) => one.textContent === "team/by-keyboard")`);
  await tab.picture("image-light");
  await tab.type("<b>no</b>");
  await tab.press("Enter");
  await tab.until("the refusal", `document.getElementById("drawer-said").classList.contains("failed")`);
  await tab.picture("refusal-light");
  await tab.eval(`document.getElementById("tag").value = ""`);
  await tab.tabTo("the button", `one.getAttribute("aria-label") === "Remove the tag team/by-keyboard"`, "Shift+Tab");
  await tab.press("Enter");
  await tab.until("the removed tag", `!${tags}.includes("team/by-keyboard")`);
  await tab.until("the focus at the field", `document.activeElement.id === "tag"`);

  // Files, changes and history.
  await tab.tabTo("the tab", `one.id === "tab-files"`, "Shift+Tab");
  await tab.press("Enter");
  for (const name of ["srv/", "app/"]) {
    await tab.until(name, `[...document.querySelectorAll("#files-view .name")].some((one) => one.textContent === ${quoted(name)})`);
    if (name === "srv/") await tab.picture("files-light");
    await tab.tabTo(name, `one.matches("#files-view .name") && one.textContent === ${quoted(name)}`);
    await tab.press("Enter");
  }
  await tab.until("the file", `[...document.querySelectorAll("#files-view .name")].some((one) => one.textContent === "file")`);
  await tab.tabTo("the file", `one.matches("#files-view .name") && one.textContent === "file"`);
  await tab.press("Enter");
  await tab.until("its text", `document.querySelector("#files-view .file-text")?.textContent === "one\\n"`);
  await tab.accessible("a file");
  await tab.picture("file-light");
  await tab.tabTo("the tab", `one.id === "tab-changes"`, "Shift+Tab");
  await tab.press("Enter");
  await tab.until("the changes", `[...document.querySelectorAll("#changes-view .change.added .name")].some((one) => one.textContent === "/srv/app/file")`);
  await tab.accessible("changes");
  await tab.picture("changes-light");
  await tab.tabTo("the tab", `one.id === "tab-history"`, "Shift+Tab");
  await tab.press("Enter");
  await tab.until("the graph", `document.querySelectorAll("#history-view .commit.child").length >= 2 && document.querySelector("#history-view .commit.chosen svg path")`);
  await tab.accessible("the history");
  for (const [scheme, width] of [["light", 1280], ["dark", 1280], ["dark", 390]]) {
    await tab.look(scheme, width, width < 600 ? 844 : 1000);
    await tab.picture(`history-${scheme}-${width}`);
  }
  await tab.look("light", 1280);
  await leave(tab);

  // The search, and the disk usage.
  await tab.press("/");
  same("the focus after the key of the search", await tab.focus(), "search");
  await tab.type("app/base");
  await tab.until("the found image", `document.getElementById("image-count").textContent.startsWith("1 of ")`);
  await tab.press("Escape");
  await tab.until("all images", `!document.getElementById("image-count").textContent.includes("of")`);
  await tab.tabTo("the disk usage", `one.matches("#disk > summary")`);
  await tab.press("Enter");
  await tab.until("the disk usage", `document.querySelectorAll("#disk-body .files li").length > 0`);
  await tab.eval(`document.getElementById("disk").scrollIntoView()`);
  await tab.accessible("the disk usage");
  await tab.picture("disk-light");
  await tab.eval("scrollTo(0, 0)");
  said("the keyboard alone opens details, copies, cancels, tags, browses and closes");
}

/** A larger tree, at several widths and in both colour schemes. */
async function looks(tab, url) {
  const tools = await call(url, "run", { image: "tag:common/app/base", command: "pip install -r requirements.txt 2>/dev/null; mkdir -p /opt/venv && echo ok > /opt/venv/done", disposable: false });
  await call(url, "set_tag", { image_uuid: tools.result_image_uuid, tag: "common/python-ml/base" });
  for (const command of ["pytest -q > /report 2>&1 || true; date +%N >> /report", "make lint > /lint 2>&1 || true; date +%N >> /lint"]) {
    await call(url, "run", { image: tools.result_image_uuid, command, disposable: false });
  }
  await call(url, "run", { image: tools.result_image_uuid, command: "exit 3" });
  await tab.until("the last of them", `document.querySelectorAll("#operations .operation").length >= 7`);
  await tab.until("its image", nodeOf(tools.result_image_uuid));
  const fits = async (width) => same(`what sticks out of the page at ${width}`, await tab.eval(`(() => {
    const most = document.documentElement.clientWidth;
    return document.documentElement.scrollWidth > most && [...document.querySelectorAll("main *, dialog[open] *")].filter((one) => one.getBoundingClientRect().right > most + 1).map((one) => one.outerHTML.slice(0, 80)).slice(0, 5);
  })()`), false);
  const running = await call(url, "run", { image: tools.result_image_uuid, command: "echo training; exec sleep 600", wait: false });
  await tab.until("a running operation", `document.querySelector("#running .operation")`);
  for (const [scheme, width] of [["light", 1280], ["dark", 1280], ["light", 390], ["dark", 390]]) {
    await tab.look(scheme, width, width < 600 ? 844 : 1000);
    await tab.send("Page.navigate", { url: "about:blank" });
    await tab.send("Page.navigate", { url });
    await tab.until("the image", nodeOf(tools.result_image_uuid));
    await tab.accessible(`live, ${scheme}, ${width}`);
    await fits(width);
    for (const place of ["live", "set-up"]) {
      await tab.eval(`document.documentElement.style.scrollBehavior = "auto"; document.getElementById("${place}").scrollIntoView()`);
      await sleep(100);
      await tab.picture(`${place}-${scheme}-${width}`);
    }
    for (const [name, open] of [["operation", entryOf("training")], ["image", nodeOf(tools.result_image_uuid)]]) {
      await tab.eval(`${open}.click()`);
      await tab.until("the drawer", `${isOpen} && ${facts}.length > 40`);
      await sleep(150);
      await fits(width);
      await tab.accessible(`${name}, ${scheme}, ${width}`);
      await tab.picture(`${name}-${scheme}-${width}`);
      await leave(tab);
    }
    await tab.send("Page.navigate", { url: `${url}/docs` });
    await tab.until("the reference", `location.pathname === "/docs" && document.readyState === "complete"`);
    await tab.eval(`document.getElementById("tool-run").open = document.getElementById("guide-workflow").open = true`);
    await tab.accessible(`docs, ${scheme}, ${width}`);
    await fits(width);
    for (const place of ["tools", "guides"]) {
      await tab.eval(`document.documentElement.style.scrollBehavior = "auto"; document.getElementById("${place}").scrollIntoView()`);
      await sleep(100);
      await tab.picture(`${place}-${scheme}-${width}`);
    }
  }
  await call(url, "cancel_operation", { operation_id: running.operation_id });
  await tab.look("light", 1280);
  said("axe finds nothing serious, light and dark, wide and narrow");
}

/** The search covers the live lists and the reference, without a request. */
async function searching(tab, url) {
  await tab.send("Page.navigate", { url });
  await tab.until("the lists", `document.querySelectorAll("#operations .operation").length >= 7`);
  const look = (text) => tab.eval(`scrollTo(0, 0); document.getElementById("search").value = ${quoted(text)}; document.getElementById("search").dispatchEvent(new Event("input"))`);
  await look("checksum-of-nothing");
  same("nothing is found", await tab.eval(`!document.getElementById("nothing-found").hidden`), true);
  await look("disposable");
  same("run is found", await tab.eval(`!document.getElementById("tool-run").hidden && document.getElementById("tool-whoami").hidden && document.getElementById("tool-run").offsetParent !== null`), true);
  await tab.picture("search-reference-light-1280");
  await look("pytest");
  same("operations that are found", await tab.eval(`[...document.querySelectorAll("#operations .operation")].map((one) => one.textContent.includes("pytest"))`), [true]);
  same("images that are found, with those above them", await tab.eval(`[...document.querySelectorAll("#tree .node")].map((one) => one.classList.contains("context") || one.textContent.includes("pytest")).every(Boolean) && document.querySelectorAll("#tree .node:not(.context)").length`), 1);
  await tab.accessible("search");
  await tab.picture("search-live-light-1280");
  await look("");
  same("the reference is elsewhere", await tab.eval(`document.getElementById("tool-run").offsetParent`), null);
  await tab.send("Page.navigate", { url: "about:blank" });
  await tab.send("Page.navigate", { url: `${url}/#tool-run` });
  await tab.until("the reference", `location.pathname === "/docs" && document.getElementById("tool-run").open`);
  await look("disposable");
  same("run is found in the reference", await tab.eval(`!document.getElementById("tool-run").hidden && document.getElementById("tool-whoami").hidden`), true);
  said("the search finds operations, images, and what speaks of a word");
}

async function publishedPort(tab, url) {
  await tab.send("Page.navigate", { url });
  const server = "mkdir /tmp/www && cd /tmp/www && echo from-inside > index.html && exec python3 -u -m http.server 8080";
  const served = await call(url, "run", { image: "tag:host", command: server, wait: false, ports: [8080], timeout: 600 });
  const service = entryOf("http.server 8080");
  await tab.until("the server in the list", `${service}?.querySelector(".dot.EXECUTING")`);
  await tab.eval(`${service}.click()`);
  await tab.until("the link to its port", `document.querySelector("#drawer-facts a[target]")`);
  const address = await tab.eval(`document.querySelector("#drawer-facts a[target]").href`);
  same("the address of the port", address, `${served.ports[0].url}/`);
  await tab.picture("port-light");
  for (let turn = 0; turn < 100 && !(await fetch(address).then((answer) => answer.ok, () => false)); turn += 1) await sleep(100);
  await tab.send("Page.navigate", { url: address });
  await tab.until("the page of the server inside", `document.body?.innerText.includes("from-inside")`);
  await call(url, "cancel_operation", { operation_id: served.operation_id });
  for (let turn = 0; turn < 100 && (await fetch(address).then(() => true, () => false)); turn += 1) await sleep(100);
  same("the port after the end", await fetch(address).then(() => "open", () => "closed"), "closed");
  said("the page links to a published port, which ends with its sandbox");
}

/** Without scripts, the pages show the reference but no live data. */
async function withoutScript(tab, url) {
  await tab.send("Emulation.setScriptExecutionDisabled", { value: true });
  for (const path of ["", "/docs"]) {
    await tab.send("Page.navigate", { url: "about:blank" });
    await tab.send("Page.navigate", { url: `${url}${path}` });
    const count = async (selector) => {
      const { root } = await tab.send("DOM.getDocument", { depth: 0 });
      const { nodeIds } = await tab.send("DOM.querySelectorAll", { nodeId: root.nodeId, selector });
      return nodeIds.length;
    };
    // Without scripts, the browser has no promise to wait for.
    let listed = 0;
    for (const until = Date.now() + 30_000; listed < 13 && Date.now() < until; await sleep(50)) listed = await count("#tools .entry").catch(() => 0);
    if (listed < 13) fail(`only ${listed} tools without scripts at ${path}/`);
    same("links to the reference", (await count(`nav a[href="/docs#tools"]`)) > 0, true);
    await tab.picture(`no-script${path.replace("/", "-")}-light-1280`);
  }
  await tab.send("Emulation.setScriptExecutionDisabled", { value: false });
  said("the reference needs no script");
}

async function main() {
  const env = { PATH: process.env.PATH, HOME: scratch, CONTREE_DATA_DIR: join(scratch, "data"), CONTREE_STATE_DIR: join(scratch, "state"), CONTREE_PUBLISH: "allow" };
  const serve = (...more) => start(program, ["--mode", "http", "--http-port", "0", ...more], env, /MCP at (http:\S+)\/mcp/);
  const [, url] = await serve();
  const [, port] = await start("chromium", ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--remote-debugging-port=0", `--user-data-dir=${join(scratch, "browser")}`, "about:blank"],
    { ...process.env, HOME: scratch }, /DevTools listening on ws:\/\/127\.0\.0\.1:(\d+)\//);
  const axe = readFileSync(join(nodeDirectory, "node_modules/axe-core/axe.min.js"), "utf8");
  const tab = await Tab.open(port, { axe, pictures });
  await tab.send("Browser.grantPermissions", { permissions: ["clipboardReadWrite", "clipboardSanitizedWrite"] });
  console.log("the page, in headless Chromium");
  const base = await live(tab, url);
  await hostileText(tab, url, base);
  await addresses(tab, url, base);
  await keyboard(tab, url, base);
  await looks(tab, url);
  await searching(tab, url);
  const strange = tab.requests.filter((one) => !one.startsWith(url) && !one.startsWith("data:") && one !== "about:blank");
  same("requests to elsewhere", strange, []);
  same("what axe finds", tab.problems, []);
  // The browser notes the answers to the requests that this test means to fail.
  const complaints = tab.complaints.filter((one) => !/status of 40[04]/.test(one));
  same("complaints of the browser", complaints, []);
  await publishedPort(tab, url);
  await withoutScript(tab, url);

  // If a token is required, the page asks for it before it shows live data.
  const secret = "0123456789-abcdefgh";
  writeFileSync(join(scratch, "token"), secret);
  const [, locked] = await serve("--http-token-file", join(scratch, "token"));
  await tab.send("Page.navigate", { url: `${locked}/#image/${base}` });
  await tab.until("the question for the token", `document.getElementById("token-form") && !document.getElementById("token-form").hidden`);
  await tab.accessible("the question for the token");
  same("what axe finds", tab.problems, []);
  await tab.picture("token-light-1280");
  const type = (text) => tab.eval(`document.getElementById("token").value = ${JSON.stringify(text)}; document.getElementById("token-form").requestSubmit()`);
  await type("wrong");
  await tab.until("the refusal", `!document.getElementById("token-wrong").hidden`);
  await type(secret);
  await tab.until("the tree of the same store", `[...document.querySelectorAll("#tree .tag")].some((tag) => tag.textContent === "common/app/base")`);
  await tab.until("the linked image", `${isOpen} && ${facts}.includes(${quoted(base)})`);
  await tab.eval(`document.getElementById("tag").value = "with/token"; document.getElementById("tag-form").requestSubmit()`);
  await tab.until("the tag", `[...document.querySelectorAll("#tags .tag")].some((one) => one.textContent === "with/token")`);
  said("a token is asked for, and taken; with it, the page acts");
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
