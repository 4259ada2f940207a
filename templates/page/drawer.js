// The drawer: details of one operation or image, at an address of its own. `#operation/ID` and
// `#image/ID`, the latter also with `/files/PATH`, `/changes` or `/history`.
"use strict";
const MAX_CHARACTERS = 400000; // of output that the page keeps
const drawer = byId("drawer");
let ports = []; // of the selected operation, {port, host_port}
let pending = null; // aborts the requests of the drawer
let opener = null; // the list with the entry that opened the drawer
let drawn = ""; // what the facts show, so that they are drawn again only after a change
let leaving = false; // while the address goes back to that of the page
let known = {}; // the record of a target that the lists lack

function parseAddress(hash) {
  const found = /^#(operation|image)\/([0-9a-fA-F-]{36})(?:\/(files|changes|history)(\/[^]*)?)?$/.exec(hash);
  if (!found || (found[1] === "operation" && found[3])) return null;
  let path = "";
  try {
    path = (found[4] || "").split("/").map(decodeURIComponent).join("/");
  } catch { /* not a valid encoding */ }
  return { kind: found[1], uuid: found[2].toLowerCase(), view: found[3] || "", path };
}
function addressOf(kind, uuid, view, path) {
  const encoded = (path || "").split("/").map(encodeURIComponent).join("/");
  return "#" + kind + "/" + uuid + (view ? "/" + view : "") + encoded;
}
const sameTarget = (one, other) => Boolean(one && other && one.kind === other.kind && one.uuid === other.uuid);

// Links to details change the address without moving the page.
document.addEventListener("click", (event) => {
  const target = event.target.closest && event.target.closest("a[href^='#']");
  if (!target || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  if (!parseAddress(target.getAttribute("href")) || !byId("live")) return;
  event.preventDefault();
  if (!drawer.open) opener = target.closest(".scroll");
  const depth = ((history.state && history.state.depth) || 0) + 1;
  history.pushState({ depth }, "", target.getAttribute("href"));
  applyAddress();
});

function applyAddress() {
  let target = parseAddress(location.hash);
  if (leaving && target) {
    // The first address was one of the drawer, as after following a link from elsewhere.
    history.replaceState(null, "", location.pathname);
    target = null;
  }
  leaving = false;
  if (!target || !byId("live")) {
    if (drawer && drawer.open) drawer.close();
    openLinkedEntry();
    return;
  }
  const before = selected;
  selected = target;
  if (!connected) return;
  if (!sameTarget(before, target) || !drawer.open) showTarget();
  showView();
}

// Leaves the address of the drawer: the page goes back to the address from which it was opened.
function leaveAddress() {
  if (!parseAddress(location.hash)) return;
  const depth = history.state && history.state.depth;
  leaving = Boolean(depth);
  if (depth) history.go(-depth);
  else history.replaceState(null, "", location.pathname);
}
function drawerClosed() {
  const left = selected;
  if (pending) pending.abort();
  pending = selected = null;
  leaveAddress();
  draw();
  const panes = [opener, byId("operations"), byId("tree")].filter(Boolean);
  if (!left || !panes.some((pane) => focusEntry(left.uuid, pane))) byId("live-title").focus({ preventScroll: true });
  opener = null;
}

// ---- facts

function addFact(list, name, value, code) {
  if (value === undefined || value === null || value === "") return null;
  list.append(element("dt", "", name));
  const body = element("dd");
  body.append(element(code || "span", "", value));
  list.append(body);
  return body;
}
function addCopied(list, name, value, what, code) {
  const body = addFact(list, name, value, code || "code");
  if (body) body.append(" ", copyButton(value, what));
}
function addLink(list, name, kind, uuid) {
  if (!uuid) return;
  list.append(element("dt", "", name));
  const body = element("dd");
  body.append(link("mono", uuid, addressOf(kind, uuid)));
  list.append(body);
}
// The address is made of a number, so that no text of a sandbox becomes a link.
function addPort(list, port) {
  const address = "http://127.0.0.1:" + Number(port.host_port);
  list.append(element("dt", "", "Port " + Number(port.port)));
  const body = element("dd");
  const target = link("mono", address, address + "/");
  target.target = "_blank";
  target.rel = "noopener noreferrer";
  target.title = "On the machine of the engine, until the sandbox ends";
  body.append(target);
  list.append(body);
}

function selectedOperation() {
  const listed = operations.find((one) => one.uuid === selected.uuid);
  return listed || (known.uuid === selected.uuid ? known : { uuid: selected.uuid, status: "" });
}
function selectedImage() {
  const listed = images.find((one) => one.uuid === selected.uuid);
  return listed || (known.uuid === selected.uuid ? known : { uuid: selected.uuid, tags: [] });
}

function operationFacts(operation) {
  const list = document.createDocumentFragment();
  const running = isRunning(operation);
  addCopied(list, "Operation", operation.uuid, "id of the operation");
  addFact(list, "Status", operation.status && [statusText(operation), running ? "" : formatDuration(operation.duration)].filter((part, at, all) => part && all.indexOf(part) === at).join(", "));
  addCopied(list, "Command", operation.command, "command", "pre");
  addFact(list, "Imported from", operation.registry, "code");
  addFact(list, "Error", operation.error);
  addLink(list, "Ran on", "image", operation.image_uuid);
  if (operation.result_image_uuid !== operation.image_uuid) addLink(list, "Made", "image", operation.result_image_uuid);
  if (running) for (const port of ports) addPort(list, port);
  addFact(list, "Started", formatTime(operation.created_at));
  return list;
}
function imageFacts(image) {
  const list = document.createDocumentFragment();
  addCopied(list, "Image", image.uuid, "id of the image");
  addLink(list, "Made from", "image", image.parent);
  addCopied(list, "Made by", image.command, "command", "pre");
  addFact(list, "Imported from", image.registry, "code");
  addLink(list, "Operation", "operation", image.operation);
  addFact(list, "Made", formatTime(image.created_at));
  const below = images.filter((one) => one.parent === image.uuid).length;
  addFact(list, "Branches", below || undefined);
  addCopied(list, "Run on it", "contree run " + image.uuid + " -- COMMAND", "command line");
  return list;
}
function drawTags(image) {
  const tags = (image.tags || []).map((tag) => {
    const item = element("li", "tag-item");
    const remove = button("remove", "×", () => changeTag("untag", tag));
    remove.setAttribute("aria-label", "Remove the tag " + plain(tag));
    item.append(element("span", "tag", tag), copyButton("tag:" + tag, "reference tag:" + plain(tag)), remove);
    return item;
  });
  byId("tags").replaceChildren(...tags);
  byId("no-tags").hidden = tags.length > 0;
}

// Draws the facts of the selected target. The focus stays where it is unless the facts changed.
function drawDetail() {
  if (!selected || !drawer.open) return;
  const isImage = selected.kind === "image";
  const record = isImage ? selectedImage() : selectedOperation();
  const below = isImage && images.filter((one) => one.parent === record.uuid).length;
  const now = JSON.stringify([record, ports, below]);
  if (now === drawn) return;
  drawn = now;
  const title = isImage ? (record.tags && record.tags[0]) || "Image " + shortId(record.uuid) : firstLine(summary(record)) || "Operation " + shortId(record.uuid);
  byId("drawer-title").textContent = plain(title);
  byId("drawer-kind").textContent = isImage ? "Image" : isRunning(record) ? "Running operation" : "Operation";
  const focused = document.activeElement;
  const names = (one) => one.getAttribute("aria-label") || one.getAttribute("href");
  byId("drawer-facts").replaceChildren(isImage ? imageFacts(record) : operationFacts(record));
  if (isImage) drawTags(record);
  if (focused && !focused.isConnected) {
    const same = [...drawer.querySelectorAll("a, button")].find((one) => names(one) === names(focused));
    (same || byId(isImage ? "tag" : "drawer-title")).focus({ preventScroll: true });
  }
  const cancellable = !isImage && isRunning(record);
  const held = byId("cancel-actions").contains(document.activeElement);
  byId("cancel-actions").hidden = !cancellable;
  if (!cancellable && held) byId("drawer-title").focus();
}

function showTarget() {
  if (pending) pending.abort();
  pending = new AbortController();
  ports = [];
  drawn = "";
  known = {};
  const isImage = selected.kind === "image";
  const output = byId("output");
  output.replaceChildren();
  output.hidden = byId("output-note").hidden = true;
  byId("drawer-error").hidden = true;
  byId("operation-view").hidden = isImage;
  byId("image-tabs").hidden = !isImage;
  byId("tag-form").reset();
  askToCancel(false);
  if (!drawer.open) drawer.showModal();
  byId("drawer-body").scrollTop = 0;
  drawDetail();
  byId("drawer-title").focus();
  draw();
  if (isImage) learnImage(selected.uuid, pending.signal);
  else {
    learnOperation(selected.uuid, pending.signal);
    streamOutput(selected.uuid, pending.signal);
  }
}
function failed(error, signal) {
  if (signal && signal.aborted) return;
  byId("drawer-error").textContent = plain(error.message);
  byId("drawer-error").hidden = false;
}
// The lists have the newest entries only. Older ones are asked for.
async function learnOperation(uuid, signal) {
  if (operations.some((one) => one.uuid === uuid)) return;
  try {
    known = await fetchJson("/api/operations/" + uuid, signal);
    drawDetail();
  } catch (error) { failed(error, signal); }
}
async function learnImage(uuid, signal) {
  if (images.some((one) => one.uuid === uuid)) return;
  try {
    const log = await fetchJson("/api/images/" + uuid + "/log?limit=1", signal);
    const first = log.images[0] || {};
    known = { uuid, tags: first.tags, parent: first.parent_uuid, command: first.command, operation: first.operation_uuid, created_at: first.created_at };
    drawDetail();
  } catch (error) { failed(error, signal); }
}

async function streamOutput(uuid, signal) {
  const output = byId("output");
  const note = byId("output-note");
  const terminals = { stdout: new AnsiText(), stderr: new AnsiText() };
  let length = 0;
  const tell = (text) => {
    note.hidden = false;
    note.textContent = plain(text);
  };
  try {
    await readEvents("/api/operations/" + uuid + "/output", signal, (name, data) => {
      if (signal.aborted) return;
      if (name === "output") {
        const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
        const terminal = terminals[data.stream === "stderr" ? "stderr" : "stdout"];
        const piece = element("span", data.stream === "stderr" ? "err" : "");
        piece.append(terminal.read(data.text));
        if (!piece.textContent) return;
        output.hidden = false;
        output.append(piece);
        length += piece.textContent.length;
        while (length > MAX_CHARACTERS && output.childNodes.length > 1) {
          length -= output.firstChild.textContent.length;
          output.firstChild.remove();
        }
        if (atEnd) output.scrollTop = output.scrollHeight;
      } else if (name === "port") {
        ports.push(data);
        drawDetail();
      } else if (name === "cut" || name === "failed") {
        tell(name === "cut" ? "The output is longer than what is shown here." : data.error);
      } else if (name === "end") {
        if (output.hidden && note.hidden) tell("No output.");
        if (known.uuid === uuid) learnAgain(uuid, signal);
      }
    });
  } catch (error) {
    if (!signal.aborted) tell(error.message);
  }
}
async function learnAgain(uuid, signal) {
  try {
    known = await fetchJson("/api/operations/" + uuid, signal);
    drawDetail();
  } catch { /* the old record stays */ }
}

// ---- actions

function askToCancel(asking) {
  byId("cancel").hidden = asking;
  byId("cancel-question").hidden = !asking;
}
async function perform(path, body, done) {
  const target = selected;
  try {
    const answer = await act(path, body);
    announce(done(answer));
    await refresh();
    if (sameTarget(selected, target) && known.uuid === target.uuid) {
      if (target.kind === "image") {
        const log = await fetchJson("/api/images/" + target.uuid + "/log?limit=1");
        known = { ...known, tags: log.images[0].tags };
      } else known = await fetchJson("/api/operations/" + target.uuid);
      drawDetail();
    }
    return true;
  } catch (error) {
    announce(error.message, true);
    if (error instanceof Unauthorized) askForToken();
    return false;
  }
}
function cancelOperation() {
  askToCancel(false);
  byId("drawer-title").focus();
  return perform("/api/operations/" + selected.uuid + "/cancel", {}, (answer) => (answer.cancelled ? "The operation is being cancelled." : "The operation had already ended."));
}
async function changeTag(action, tag) {
  const done = action === "tag" ? "Set the tag " : "Removed the tag ";
  const worked = await perform("/api/images/" + selected.uuid + "/" + action, { tag }, () => done + tag + ".");
  if (worked) byId("tag").focus();
  return worked;
}

function startDrawer() {
  byId("drawer-close").addEventListener("click", () => drawer.close());
  drawer.addEventListener("close", drawerClosed);
  drawer.addEventListener("click", (event) => { if (event.target === drawer) drawer.close(); });
  // The rest of the page is inert. This keeps the focus from leaving for the browser's own controls.
  drawer.addEventListener("keydown", (event) => {
    if (event.key !== "Tab") return;
    const reached = [...drawer.querySelectorAll("a[href], button, input, [tabindex='0']")].filter((one) => !one.disabled && one.offsetParent !== null);
    const [first, last] = [reached[0], reached[reached.length - 1]];
    const at = document.activeElement;
    if (event.shiftKey && (at === first || !reached.includes(at))) {
      event.preventDefault();
      last.focus();
    } else if (!event.shiftKey && at === last) {
      event.preventDefault();
      first.focus();
    }
  });
  byId("cancel").addEventListener("click", () => { askToCancel(true); byId("cancel-yes").focus(); });
  byId("cancel-no").addEventListener("click", () => { askToCancel(false); byId("cancel").focus(); });
  byId("cancel-yes").addEventListener("click", cancelOperation);
  byId("tag-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const tag = byId("tag").value.trim();
    if (tag && (await changeTag("tag", tag))) byId("tag").value = "";
  });
  addEventListener("popstate", applyAddress);
  addEventListener("hashchange", applyAddress);
}
