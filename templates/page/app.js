// The live view and the search. Text from the server is always inserted as text, never as HTML.
"use strict";
(() => {
  const PAGE_SIZE = 100;
  const MAX_CHARACTERS = 400000; // of output that the page keeps
  const RUNNING = new Set(["PENDING", "ASSIGNED", "EXECUTING"]);
  const byId = (id) => document.getElementById(id);
  document.body.classList.add("scripted");

  function element(name, className, text) {
    const node = document.createElement(name);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = plain(text);
    return node;
  }

  // Replaces control characters, invisible characters and marks that reverse the order of text: they
  // could disguise a text. `src/tools/invisible.rs` has the same characters. Emoji keep their form.
  const HIDDEN = new RegExp(
    "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f" +
    "\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0d\\ufeff\\uffa0\\ufff0-\\ufffb" +
    "\\u{13430}-\\u{1343f}\\u{1bca0}-\\u{1bca3}\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e0fff}]", "gu");
  function plain(text) {
    return String(text).replace(HIDDEN, "\ufffd");
  }

  // ---- search

  const search = byId("search");
  const entries = [...document.querySelectorAll(".entry, .clients .card, .wide, #resources tbody tr")];
  const texts = new Map(entries.map((entry) => [entry, entry.textContent.toLowerCase()]));
  function applySearch() {
    const terms = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const searching = terms.length > 0;
    let count = 0;
    for (const entry of entries) {
      const matches = terms.every((term) => texts.get(entry).includes(term));
      entry.hidden = !matches;
      if (matches) count += 1;
    }
    for (const family of document.querySelectorAll(".family")) {
      let next = family.nextElementSibling;
      let any = false;
      while (next && !next.classList.contains("family")) {
        any = any || !next.hidden;
        next = next.nextElementSibling;
      }
      family.hidden = !any;
    }
    for (const section of document.querySelectorAll("section.doc")) {
      section.hidden = searching && !entries.some((entry) => section.contains(entry) && !entry.hidden);
    }
    byId("live").hidden = searching;
    byId("nothing-found").hidden = !searching || count > 0;
  }
  search.addEventListener("input", applySearch);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape" && document.activeElement === search) {
      search.value = "";
      applySearch();
    }
  });
  // A link to an entry opens it.
  function openLinkedEntry() {
    let target = null;
    try {
      target = byId(decodeURIComponent(location.hash.slice(1)));
    } catch { /* not a valid encoding */ }
    if (target instanceof HTMLDetailsElement) target.open = true;
  }
  addEventListener("hashchange", openLinkedEntry);
  openLinkedEntry();

  // ---- the server

  const TOKEN_KEY = "contree-token";
  let token = sessionStorage.getItem(TOKEN_KEY) || "";
  class Unauthorized extends Error {}

  async function request(path, signal) {
    const headers = token ? { authorization: "Bearer " + token } : {};
    const answer = await fetch(path, { headers, signal, cache: "no-store", credentials: "omit" });
    if (answer.status === 401) throw new Unauthorized("the token is wrong");
    if (!answer.ok) {
      let why = answer.statusText;
      try { why = (await answer.json()).error || why; } catch { /* no JSON */ }
      throw new Error(why);
    }
    return answer;
  }
  const fetchJson = async (path) => (await request(path)).json();

  // Reads server-sent events without EventSource, which cannot send a token.
  async function readEvents(path, signal, handle) {
    const answer = await request(path, signal);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffered = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      buffered += value;
      let end;
      while ((end = buffered.indexOf("\n\n")) >= 0) {
        const frame = buffered.slice(0, end);
        buffered = buffered.slice(end + 2);
        let name = "message";
        const data = [];
        for (const line of frame.split("\n")) {
          if (line.startsWith("event:")) name = line.slice(6).trim();
          else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        }
        if (data.length) handle(name, JSON.parse(data.join("\n")));
      }
    }
  }

  function setStatus(text, state) {
    byId("status").className = "status " + state;
    byId("status-text").textContent = plain(text);
  }

  // ---- lists

  let images = [];
  let operations = [];
  let imageLimit = PAGE_SIZE;
  let operationLimit = PAGE_SIZE;
  let selected = null; // {kind, uuid}
  let ports = []; // of the selected operation, {port, host_port}
  let outputRequest = null; // aborts the request for the output on the page

  const shortId = (uuid) => String(uuid).slice(0, 8);
  const firstLine = (text) => {
    const lines = String(text || "").trim().split("\n");
    return lines.length > 1 ? lines[0] + " …" : lines[0];
  };
  function formatAge(time) {
    const seconds = (Date.now() - Date.parse(time)) / 1000;
    if (!Number.isFinite(seconds)) return "";
    if (seconds < 5) return "now";
    for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
      if (seconds >= size) return Math.floor(seconds / size) + " " + name;
    }
    return "now";
  }
  function formatDuration(seconds) {
    if (typeof seconds !== "number") return "";
    return seconds < 1 ? Math.round(seconds * 1000) + " ms" : seconds < 120 ? seconds.toFixed(1) + " s" : Math.round(seconds / 60) + " min";
  }
  function statusClass(operation) {
    if (operation.status === "SUCCESS" && (operation.timed_out || (operation.exit_code !== undefined && operation.exit_code !== 0))) return "BAD";
    return /^[A-Z]+$/.test(operation.status) ? operation.status : "";
  }
  function statusText(operation) {
    if (RUNNING.has(operation.status)) return "running";
    if (operation.status !== "SUCCESS") return String(operation.status).toLowerCase();
    if (operation.timed_out) return "timed out";
    if (operation.exit_code) return "exit " + operation.exit_code;
    if (operation.signal) return "signal " + operation.signal;
    return formatDuration(operation.duration);
  }
  const summary = (operation) => operation.command || (operation.kind === "image_import" ? "import " + (operation.registry || "") : operation.kind || "");

  function select(kind, uuid) {
    selected = { kind, uuid };
    draw();
    showDetail();
    byId("detail").scrollIntoView({ block: "nearest" });
  }
  function entryButton(className, kind, uuid) {
    const node = element("button", className);
    node.type = "button";
    node.dataset.uuid = uuid;
    if (selected && selected.kind === kind && selected.uuid === uuid) {
      node.classList.add("chosen");
      node.setAttribute("aria-current", "true");
    }
    node.addEventListener("click", () => select(kind, uuid));
    return node;
  }

  function drawOperations() {
    const list = document.createDocumentFragment();
    for (const operation of operations) {
      const line = entryButton("operation", "operation", operation.uuid);
      line.append(element("span", "dot " + statusClass(operation)));
      const command = element("span", "what", firstLine(summary(operation)));
      command.title = plain(summary(operation)).slice(0, 2000);
      line.append(command, element("span", "aside", statusText(operation)), element("span", "aside", formatAge(operation.created_at)));
      list.append(line);
    }
    if (!operations.length) list.append(element("p", "empty", "Nothing has run yet. Each run of any client of this server appears here at once."));
    byId("operations").replaceChildren(list);
    const running = operations.filter((operation) => RUNNING.has(operation.status)).length;
    byId("operation-count").textContent = running ? running + " running" : String(operations.length);
  }

  function drawTree() {
    const known = new Map(images.map((image) => [image.uuid, image]));
    const children = new Map();
    const roots = [];
    const add = (parent, child) => {
      if (!children.has(parent)) children.set(parent, []);
      children.get(parent).push(child);
    };
    for (const image of images) {
      if (image.parent && image.parent !== image.uuid) {
        add(image.parent, { image });
        if (!known.has(image.parent)) {
          known.set(image.parent, null);
          roots.push({ uuid: image.parent });
        }
      } else {
        roots.push({ image });
      }
    }
    for (const operation of operations) {
      if (RUNNING.has(operation.status) && operation.image_uuid) {
        add(operation.image_uuid, { operation });
        if (!known.has(operation.image_uuid)) {
          known.set(operation.image_uuid, null);
          roots.push({ uuid: operation.image_uuid });
        }
      }
    }
    // Depth first without recursion: a chain of images can be longer than the call stack.
    const top = element("ul");
    const stack = roots.map((entry) => [top, entry, 0]).reverse();
    const seen = new Set();
    while (stack.length) {
      const [container, entry, depth] = stack.pop();
      const item = element("li");
      container.append(item);
      if (entry.operation) {
        const line = entryButton("node running", "operation", entry.operation.uuid);
        line.append(element("span", "dot " + statusClass(entry.operation)), element("span", "what", firstLine(summary(entry.operation))), element("span", "aside", "running"));
        item.append(line);
        continue;
      }
      const uuid = entry.image ? entry.image.uuid : entry.uuid;
      if (seen.has(uuid)) { item.remove(); continue; }
      seen.add(uuid);
      const line = entryButton("node", "image", uuid);
      for (const tag of (entry.image && entry.image.tags) || []) {
        const chip = element("span", "tag", tag);
        chip.title = plain(tag);
        line.append(chip);
      }
      line.append(element("span", "id", shortId(uuid)));
      const origin = entry.image ? entry.image.command || (entry.image.registry ? "import " + entry.image.registry : "") : "older image";
      line.append(element("span", "what", firstLine(origin)));
      if (entry.image) line.append(element("span", "aside", formatAge(entry.image.created_at)));
      item.append(line);
      const below = children.get(uuid) || [];
      if (below.length) {
        // Below this depth, a chain is drawn straight down.
        const straight = depth > 24 && below.length === 1;
        const inner = straight ? container : element("ul");
        if (!straight) item.append(inner);
        for (const child of [...below].reverse()) stack.push([inner, child, depth + 1]);
      }
    }
    const tree = byId("tree");
    tree.classList.add("tree");
    tree.replaceChildren(images.length || roots.length ? top : element("p", "empty", "There are no images yet."));
    byId("image-count").textContent = String(images.length);
  }

  function draw() {
    const scrolled = [byId("tree"), byId("operations")].map((pane) => [pane, pane.scrollTop]);
    const focused = document.activeElement && document.activeElement.dataset.uuid;
    const pane = focused && document.activeElement.closest(".scroll");
    drawTree();
    drawOperations();
    for (const [pane, top] of scrolled) pane.scrollTop = top;
    if (focused && pane) {
      const button = [...pane.querySelectorAll("button")].find((one) => one.dataset.uuid === focused);
      if (button) button.focus({ preventScroll: true });
    }
  }

  // ---- details of one image or operation

  function addFact(list, name, value, code) {
    if (value === undefined || value === null || value === "") return;
    list.append(element("dt", "", name));
    const body = element("dd");
    body.append(code === "pre" ? element("pre", "", value) : element(code || "span", "", value));
    list.append(body);
  }
  function addLink(list, name, kind, uuid) {
    if (!uuid) return;
    list.append(element("dt", "", name));
    const body = element("dd");
    const target = element("button", "quiet mono", uuid);
    target.type = "button";
    target.addEventListener("click", () => select(kind, uuid));
    body.append(target);
    list.append(body);
  }
  // The address is made of a number, so that no text of a sandbox becomes a link.
  function addPort(list, port) {
    list.append(element("dt", "", "Port " + Number(port.port)));
    const body = element("dd");
    const target = element("a", "mono", "http://127.0.0.1:" + Number(port.host_port));
    target.href = "http://127.0.0.1:" + Number(port.host_port) + "/";
    target.target = "_blank";
    target.rel = "noopener noreferrer";
    target.title = "On the machine of the engine, until the sandbox ends";
    body.append(target);
    list.append(body);
  }
  function drawDetail() {
    if (!selected) return;
    const list = document.createDocumentFragment();
    if (selected.kind === "image") {
      const image = images.find((one) => one.uuid === selected.uuid) || { uuid: selected.uuid };
      byId("detail-title").textContent = plain((image.tags && image.tags[0]) || "Image " + shortId(image.uuid));
      addFact(list, "Image", image.uuid, "code");
      addFact(list, "Tags", (image.tags || []).join(", "));
      addLink(list, "Made from", "image", image.parent);
      addFact(list, "Made by", image.command, "pre");
      addFact(list, "Imported from", image.registry, "code");
      addLink(list, "Operation", "operation", image.operation);
      addFact(list, "Made", image.created_at && new Date(image.created_at).toLocaleString());
      const below = images.filter((one) => one.parent === image.uuid).length;
      addFact(list, "Branches", below || undefined);
      addFact(list, "Next", "run(image=\"" + image.uuid + "\", command=\"…\")", "code");
    } else {
      const operation = operations.find((one) => one.uuid === selected.uuid) || { uuid: selected.uuid, status: "" };
      byId("detail-title").textContent = plain(firstLine(summary(operation)) || "Operation " + shortId(operation.uuid));
      addFact(list, "Operation", operation.uuid, "code");
      addFact(list, "Status", [operation.status, RUNNING.has(operation.status) ? "" : statusText(operation)].filter(Boolean).join(", "));
      addFact(list, "Command", operation.command, "pre");
      addFact(list, "Error", operation.error);
      addLink(list, "Ran on", "image", operation.image_uuid);
      if (operation.result_image_uuid !== operation.image_uuid) addLink(list, "Made", "image", operation.result_image_uuid);
      if (RUNNING.has(operation.status)) for (const port of ports) addPort(list, port);
      addFact(list, "Started", operation.created_at && new Date(operation.created_at).toLocaleString());
    }
    byId("detail-facts").replaceChildren(list);
  }

  function showDetail() {
    if (outputRequest) outputRequest.abort();
    outputRequest = null;
    ports = [];
    const output = byId("output");
    const note = byId("output-note");
    output.replaceChildren();
    output.hidden = note.hidden = true;
    byId("detail").hidden = !selected;
    if (!selected) return;
    drawDetail();
    if (selected.kind === "operation") streamOutput(selected.uuid, output, note);
  }
  async function streamOutput(uuid, output, note) {
    const controller = new AbortController();
    outputRequest = controller;
    let length = 0;
    try {
      await readEvents("/api/operations/" + encodeURIComponent(uuid) + "/output", controller.signal, (name, data) => {
        if (controller.signal.aborted) return;
        if (name === "output") {
          const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
          output.hidden = false;
          output.append(element("span", data.stream === "stderr" ? "err" : "", data.text));
          length += data.text.length;
          while (length > MAX_CHARACTERS && output.childNodes.length > 1) {
            length -= output.firstChild.textContent.length;
            output.firstChild.remove();
          }
          if (atEnd) output.scrollTop = output.scrollHeight;
        } else if (name === "port") {
          ports.push(data);
          drawDetail();
        } else if (name === "cut" || name === "failed") {
          note.hidden = false;
          note.textContent = plain(name === "cut" ? "The output is longer than what is shown here." : data.error);
        } else if (name === "end" && output.hidden && note.hidden) {
          note.hidden = false;
          note.textContent = "No output.";
        }
      });
    } catch (error) {
      if (controller.signal.aborted) return;
      note.hidden = false;
      note.textContent = plain(error.message);
    }
  }
  byId("detail-close").addEventListener("click", () => { selected = null; showDetail(); draw(); });

  // ---- refresh

  async function loadPages(path, key, wanted) {
    // An image with several tags has one row for each. The rows may be on several pages.
    const all = new Map();
    let more = true;
    let offset = 0;
    while (more && all.size < wanted) {
      const page = await fetchJson(path + "?limit=" + PAGE_SIZE + "&offset=" + offset);
      for (const one of page[key]) {
        const before = all.get(one.uuid);
        if (!before) all.set(one.uuid, one);
        else if (one.tags) before.tags = [...new Set([...before.tags, ...one.tags])];
      }
      offset += page.rows;
      more = page.more;
    }
    return [[...all.values()], more];
  }
  let refreshing = null;
  let again = false;
  async function refresh() {
    if (refreshing) { again = true; return refreshing; }
    refreshing = (async () => {
      do {
        again = false;
        const [[newImages, moreImages], [newOperations, moreOperations]] =
          await Promise.all([loadPages("/api/images", "images", imageLimit), loadPages("/api/operations", "operations", operationLimit)]);
        images = newImages;
        operations = newOperations;
        byId("more-images").hidden = !moreImages;
        byId("more-operations").hidden = !moreOperations;
        draw();
        drawDetail();
      } while (again);
    })();
    try { await refreshing; } finally { refreshing = null; }
  }
  byId("more-images").addEventListener("click", () => { imageLimit += PAGE_SIZE; refresh().catch(showError); });
  byId("more-operations").addEventListener("click", () => { operationLimit += PAGE_SIZE; refresh().catch(showError); });
  const showError = (error) => setStatus(error.message, "is-off");

  const form = byId("token-form");
  const panels = byId("live-panels");
  function askForToken() {
    setStatus("locked", "");
    byId("token-wrong").hidden = !token;
    token = "";
    sessionStorage.removeItem(TOKEN_KEY);
    form.hidden = false;
    panels.hidden = true;
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    token = byId("token").value.trim();
    byId("token").value = "";
    sessionStorage.setItem(TOKEN_KEY, token);
    connect();
  });

  let connection = null;
  async function connect() {
    if (connection) connection.abort();
    const controller = new AbortController();
    connection = controller;
    for (let delay = 500; !controller.signal.aborted; delay = Math.min(delay * 2, 15000)) {
      try {
        const about = await fetchJson("/api/about");
        form.hidden = true;
        panels.hidden = false;
        await refresh();
        setStatus(about.backend + " backend", "is-live");
        delay = 500;
        await readEvents("/api/changes", controller.signal, () => {
          refresh().then(() => setStatus(about.backend + " backend", "is-live"), showError);
        });
      } catch (error) {
        if (controller.signal.aborted) return;
        if (error instanceof Unauthorized) { askForToken(); return; }
        setStatus(error instanceof TypeError ? "the server does not answer; trying again" : error.message, "is-off");
      }
      await new Promise((resolve) => setTimeout(resolve, delay));
    }
  }
  setInterval(() => { if (!document.hidden && images.length + operations.length) draw(); }, 20000);
  if (document.body.dataset.token === "yes" && !token) askForToken();
  else connect();
})();
