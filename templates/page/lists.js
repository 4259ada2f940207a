// The lists: running and ended operations, and images, each below its parent.
"use strict";
const RUNNING = new Set(["PENDING", "ASSIGNED", "EXECUTING"]);
let images = [];
let operations = [];
let selected = null; // the target that the drawer shows

const isRunning = (operation) => RUNNING.has(operation.status);
function statusClass(operation) {
  if (operation.status === "SUCCESS" && (operation.timed_out || (operation.exit_code !== undefined && operation.exit_code !== 0))) return "BAD";
  return /^[A-Z]+$/.test(operation.status) ? operation.status : "";
}
function statusText(operation) {
  if (isRunning(operation)) return operation.status === "EXECUTING" ? "running" : "waiting";
  if (operation.status !== "SUCCESS") return String(operation.status).toLowerCase();
  if (operation.timed_out) return "timed out";
  if (operation.exit_code) return "exit " + operation.exit_code;
  if (operation.signal) return "signal " + operation.signal;
  return formatDuration(operation.duration) || "ended";
}
const summary = (operation) => operation.command || (operation.kind === "image_import" ? "import " + (operation.registry || "") : operation.kind || "");
const madeBy = (image) => image.command || (image.registry ? "import " + image.registry : "");
const operationText = (operation) => [summary(operation), operation.uuid, statusText(operation), operation.status, operation.error].join("\n");
const imageText = (image) => [...(image.tags || []), image.uuid, madeBy(image)].join("\n");

function entryLink(className, kind, uuid) {
  const node = link(className, undefined, "#" + kind + "/" + encodeURIComponent(uuid));
  node.dataset.uuid = uuid;
  if (selected && selected.kind === kind && selected.uuid === uuid) {
    node.classList.add("chosen");
    node.setAttribute("aria-current", "true");
  }
  return node;
}
function dot(operation) {
  const node = element("span", "dot " + statusClass(operation));
  node.setAttribute("aria-hidden", "true");
  return node;
}

function operationItem(operation) {
  const item = element("li");
  const running = isRunning(operation);
  const line = entryLink(running ? "operation active" : "operation", "operation", operation.uuid);
  const command = element("span", "what", firstLine(summary(operation)));
  command.title = plain(summary(operation)).slice(0, 2000);
  line.append(dot(operation), command, element("span", "aside state", statusText(operation)), element("span", "aside", formatAge(operation.created_at)));
  item.append(line);
  return item;
}

// Returns how many operations match the search.
function drawOperations() {
  const found = operations.filter((operation) => matches(operationText(operation)));
  const running = found.filter(isRunning);
  const ended = found.filter((operation) => !isRunning(operation));
  for (const [id, group] of [["running", running], ["ended", ended]]) {
    byId(id).replaceChildren(...group.map(operationItem));
    byId(id).hidden = byId(id + "-title").hidden = !group.length;
  }
  byId("no-operations").hidden = found.length > 0;
  byId("no-operations").textContent = operations.length
    ? "No operation of this list matches the search."
    : "Nothing has run yet. Each run of any client of this server appears here at once.";
  byId("operation-count").textContent = searchTerms.length ? found.length + " of " + operations.length : String(operations.length);
  return found.length;
}

// Returns the images and running operations below each image, and the images at the top.
function arrange() {
  const known = new Map(images.map((image) => [image.uuid, image]));
  const children = new Map();
  const roots = [];
  const add = (parent, child) => {
    if (!children.has(parent)) children.set(parent, []);
    children.get(parent).push(child);
    if (!known.has(parent)) {
      known.set(parent, null);
      roots.push({ uuid: parent });
    }
  };
  for (const operation of operations) {
    if (isRunning(operation) && operation.image_uuid) add(operation.image_uuid, { operation });
  }
  for (const image of images) {
    if (image.parent && image.parent !== image.uuid) add(image.parent, { image });
    else roots.push({ image });
  }
  return { children, roots };
}

// Images that match the search, with those above them.
function foundImages() {
  const parents = new Map(images.map((image) => [image.uuid, image.parent]));
  const shown = new Set();
  let count = 0;
  const show = (uuid) => {
    for (let at = uuid; at && !shown.has(at); at = parents.get(at)) shown.add(at);
  };
  for (const image of images) {
    if (matches(imageText(image))) {
      count += 1;
      show(image.uuid);
    }
  }
  for (const operation of operations) {
    if (isRunning(operation) && operation.image_uuid && matches(operationText(operation))) show(operation.image_uuid);
  }
  return { shown, count };
}

function imageLine(uuid, image) {
  const line = entryLink("node", "image", uuid);
  for (const tag of (image && image.tags) || []) {
    const chip = element("span", "tag", tag);
    chip.title = plain(tag);
    line.append(chip);
  }
  line.append(element("span", "id", shortId(uuid)));
  line.append(element("span", "what", firstLine(image ? madeBy(image) : "older image")));
  if (image) line.append(element("span", "aside", formatAge(image.created_at)));
  if (searchTerms.length && !(image && matches(imageText(image)))) line.classList.add("context");
  return line;
}

// Returns how many images match the search.
function drawTree() {
  const { children, roots } = arrange();
  const { shown, count } = foundImages();
  // Depth first without recursion: a chain of images can be longer than the call stack.
  const top = element("ul");
  const stack = roots.map((entry) => [top, entry, 0]).reverse();
  const seen = new Set();
  while (stack.length) {
    const [container, entry, depth] = stack.pop();
    const item = element("li");
    if (entry.operation) {
      if (!matches(operationText(entry.operation))) continue;
      const line = entryLink("node running", "operation", entry.operation.uuid);
      line.append(dot(entry.operation), element("span", "what", firstLine(summary(entry.operation))), element("span", "aside", statusText(entry.operation)));
      item.append(line);
      container.append(item);
      continue;
    }
    const uuid = entry.image ? entry.image.uuid : entry.uuid;
    if (seen.has(uuid) || !shown.has(uuid)) continue;
    seen.add(uuid);
    item.append(imageLine(uuid, entry.image));
    container.append(item);
    const below = children.get(uuid) || [];
    if (below.length) {
      // Below this depth, a chain is drawn straight down.
      const straight = depth > 24 && below.length === 1;
      const inner = straight ? container : element("ul");
      if (!straight) item.append(inner);
      for (const child of [...below].reverse()) stack.push([inner, child, depth + 1]);
    }
  }
  for (const list of top.querySelectorAll("ul")) if (!list.children.length) list.remove();
  const empty = images.length ? "No image of this list matches the search." : "There are no images yet.";
  byId("tree").replaceChildren(top.children.length ? top : element("p", "empty", empty));
  byId("image-count").textContent = searchTerms.length ? count + " of " + images.length : String(images.length);
  return count;
}

const pageTitle = document.title;

// Draws both lists, and keeps their positions and the focus. Returns how many entries match.
function draw() {
  const scrolled = [byId("tree"), byId("operations")].map((pane) => [pane, pane.scrollTop]);
  const focused = document.activeElement && document.activeElement.dataset.uuid;
  const pane = focused && document.activeElement.closest(".scroll");
  const count = drawTree() + drawOperations();
  for (const [pane, top] of scrolled) pane.scrollTop = top;
  if (pane) focusEntry(focused, pane);
  const running = operations.filter(isRunning).length;
  document.title = running ? "(" + running + ") " + pageTitle : pageTitle;
  return count;
}
function focusEntry(uuid, pane) {
  const entry = [...pane.querySelectorAll("a[data-uuid]")].find((one) => one.dataset.uuid === uuid);
  if (entry) entry.focus({ preventScroll: true });
  return Boolean(entry);
}
