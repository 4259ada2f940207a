// A tab of Chromium, spoken to in the DevTools protocol, for tests of the page.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const fail = (text) => { throw new Error(text); };
export const same = (what, found, expected) => JSON.stringify(found) === JSON.stringify(expected) || fail(`${what}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
export const said = (text) => console.log(`  ${text}`);

/** A page in the browser, spoken to in the DevTools protocol. */
export class Tab {
  static async open(port, { axe, pictures }) {
    let target;
    for (let turn = 0; !target && turn < 100; turn += 1) {
      try {
        const targets = await (await fetch(`http://127.0.0.1:${port}/json`)).json();
        target = targets.find((one) => one.type === "page");
      } catch { /* not yet */ }
      if (!target) await sleep(100);
    }
    const tab = new Tab();
    tab.axe = axe;
    tab.pictures = pictures;
    tab.socket = new WebSocket(target.webSocketDebuggerUrl);
    await new Promise((resolve, reject) => { tab.socket.onopen = resolve; tab.socket.onerror = reject; });
    tab.next = 0;
    tab.waiting = new Map();
    tab.complaints = [];
    tab.requests = [];
    tab.problems = [];
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
    let error = "";
    // A page that is not loaded yet lacks elements.
    while (!(await this.eval(expression).catch((thrown) => { error = thrown.message; return false; }))) {
      if (Date.now() > end) fail(`${what} did not come ${error}; the page shows: ${await this.eval("document.body.innerText.slice(0, 1500)")}`);
      await sleep(50);
    }
  }
  /** Presses a key, as `Enter` or `Shift+Tab`, or types a character. */
  async press(...keys) {
    const codes = { Enter: 13, Tab: 9, Escape: 27, "/": 191 };
    for (const name of keys) {
      const key = name.replace("Shift+", "");
      const text = key === "Enter" ? "\r" : key.length === 1 ? key : undefined;
      const event = { key, code: key, windowsVirtualKeyCode: codes[key] ?? 0, modifiers: name === key ? 0 : 8 };
      await this.send("Input.dispatchKeyEvent", { type: text ? "keyDown" : "rawKeyDown", text, ...event });
      await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...event });
    }
  }
  async type(text) { await this.send("Input.insertText", { text }); }
  focus() { return this.eval(`(() => { const one = document.activeElement; return one.id || one.dataset.uuid || one.getAttribute("aria-label") || one.textContent; })()`); }
  /** Presses Tab until an element has the focus. */
  async tabTo(what, test, key = "Tab") {
    for (let turn = 0; turn < 120; turn += 1) {
      if (await this.eval(`(() => { const one = document.activeElement; return Boolean(${test}); })()`)) return;
      await this.press(key);
    }
    fail(`the keyboard does not reach ${what}; the focus is at ${await this.focus()}`);
  }
  /** Checks accessibility, and that no level of headings is left out. */
  async accessible(where) {
    if (!(await this.eval(`typeof axe === "object"`))) await this.eval(`${this.axe}; undefined`);
    const found = await this.eval(`axe.run({ resultTypes: ["violations"] }).then(({ violations }) => violations.filter((one) => ["serious", "critical"].includes(one.impact))
      .map((one) => one.id + ": " + one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160) + " " + node.failureSummary).join(" | ")))`);
    this.problems.push(...found.map((one) => `${where}: ${one}`));
    const levels = await this.eval(`[...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter((one) => one.closest("dialog") || !document.querySelector("dialog[open]")).filter((one) => one.offsetParent || one.closest("dialog[open]")).map((one) => Number(one.tagName[1]))`);
    levels.forEach((level, at) => { if (at && level > levels[at - 1] + 1) fail(`a heading of level ${level} follows one of level ${levels[at - 1]}: ${where}`); });
  }
  async picture(name) {
    if (!this.pictures) return;
    mkdirSync(this.pictures, { recursive: true });
    const { data } = await this.send("Page.captureScreenshot", { format: "png" });
    writeFileSync(join(this.pictures, `${name}.png`), Buffer.from(data, "base64"));
  }
  async look(scheme, width, height = 1000) {
    await this.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }, { name: "prefers-reduced-motion", value: "reduce" }] });
    await this.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: width < 600 });
  }
}
