// Server-sent events by fetch: EventSource cannot send a token. The same format, resumed by the same header.

import { token, askForToken } from "./api.js";

const QUIET_MS = 25_000; // the controller says something every 10 s
const RETRY_MS = 1_000;
const HIDDEN_MS = 10_000; // a page that nobody sees for so long lets go

// Browsers open six connections to one address, and a page that is left (kept for "back") or hidden in a tab would hold
// on to its own: so it lets go, and takes the stream up again where it was when it is seen.
const seen = () =>
  new Promise((done) => {
    const look = () => document.visibilityState === "visible" && (document.removeEventListener("visibilitychange", look), done());
    document.addEventListener("visibilitychange", look);
    look();
  });

/** Follows a stream for ever. `told(kind, body)` gets every event, `state("open" | "lost")` how the connection is. */
export async function follow(path, told, state) {
  let lastId = "";
  for (;;) {
    await seen();
    try {
      lastId = await readOnce(path, lastId, told, state);
    } catch {
      // what went wrong does not matter: it is tried again
    }
    state("lost");
    await new Promise((done) => setTimeout(done, RETRY_MS));
  }
}

async function readOnce(path, lastId, told, state) {
  const watchdog = new AbortController();
  const letGo = () => watchdog.abort();
  const hidden = () => document.visibilityState === "hidden" && setTimeout(() => document.visibilityState === "hidden" && letGo(), HIDDEN_MS);
  addEventListener("pagehide", letGo);
  document.addEventListener("visibilitychange", hidden);
  let timer = setTimeout(letGo, QUIET_MS);
  try {
    const headers = { Accept: "text/event-stream" };
    if (lastId) headers["Last-Event-ID"] = lastId;
    if (token()) headers.Authorization = `Bearer ${token()}`;
    const response = await fetch(path, { headers, cache: "no-store", signal: watchdog.signal });
    if (response.status === 401) {
      clearTimeout(timer);
      await askForToken();
      return lastId;
    }
    if (!response.ok) throw new Error(response.statusText);
    state("open");
    for await (const event of events(response.body.getReader())) {
      clearTimeout(timer);
      timer = setTimeout(letGo, QUIET_MS);
      if (event.kind) told(event.kind, JSON.parse(event.data));
      lastId = event.id || lastId;
    }
    return lastId;
  } catch {
    return lastId;
  } finally {
    clearTimeout(timer);
    removeEventListener("pagehide", letGo);
    document.removeEventListener("visibilitychange", hidden);
    letGo();
  }
}

/** The frames of a stream, comments included (without a kind). */
async function* events(reader) {
  const decoder = new TextDecoder();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const frames = (waiting + decoder.decode(value, { stream: true })).split("\n\n");
    waiting = frames.pop();
    for (const frame of frames) yield parsed(frame);
  }
}

function parsed(frame) {
  const event = { id: "", kind: "", data: "" };
  for (const line of frame.split("\n")) {
    if (line.startsWith("id: ")) event.id = line.slice(4);
    else if (line.startsWith("event: ")) event.kind = line.slice(7);
    else if (line.startsWith("data: ")) event.data += line.slice(6);
  }
  return event;
}
