// Requests to this server.
"use strict";
const TOKEN_KEY = "contree-token";
let token = sessionStorage.getItem(TOKEN_KEY) || "";
class Unauthorized extends Error {}

async function request(path, options = {}) {
  const headers = token ? { authorization: "Bearer " + token } : {};
  const init = { headers, signal: options.signal, cache: "no-store", credentials: "omit" };
  if (options.body !== undefined) {
    init.method = "POST";
    // The server refuses other types: a form of another site cannot send this one.
    headers["content-type"] = "application/json";
    init.body = JSON.stringify(options.body);
  }
  const answer = await fetch(path, init);
  if (answer.status === 401) throw new Unauthorized("the token is wrong");
  if (!answer.ok) {
    let why = answer.statusText;
    try {
      const text = (await answer.text()).trim();
      why = text || why;
      why = JSON.parse(text).error || why;
    } catch { /* no JSON */ }
    throw new Error(why);
  }
  return answer;
}
const fetchJson = async (path, signal) => (await request(path, { signal })).json();
const act = async (path, body) => (await request(path, { body })).json();

// Reads server-sent events without EventSource, which cannot send a token.
async function readEvents(path, signal, handle) {
  const answer = await request(path, { signal });
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
