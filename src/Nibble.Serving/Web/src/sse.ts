// Server-sent events over fetch: unlike EventSource it can send a key, and a body.

import { Refusal, send } from "./api";

export interface ServerEvent {
  id: string;
  kind: string;
  data: string;
}

/** The events of one response, as they come. */
export async function* read(response: Response): AsyncGenerator<ServerEvent> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (true) {
    const { done, value } = await reader.read();
    if (done) {
      return;
    }
    rest += value;
    const blocks = rest.split(/\r?\n\r?\n/);
    rest = blocks.pop()!;
    yield* blocks.map(parse).filter((event) => event.data !== "");
  }
}

function parse(block: string): ServerEvent {
  const event = { id: "", kind: "message", data: "" };
  for (const line of block.split(/\r?\n/)) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "id") {
      event.id = value;
    } else if (name === "event") {
      event.kind = value;
    } else if (name === "data") {
      event.data += (event.data === "" ? "" : "\n") + value;
    }
  }
  return event;
}

/** Follows a stream to its end, taking it up after the last event whenever the connection breaks. */
export async function* follow(path: string, signal: AbortSignal): AsyncGenerator<ServerEvent> {
  let last = "";
  while (!signal.aborted) {
    try {
      for await (const event of read(await send(path, { signal, headers: last ? { "Last-Event-ID": last } : {} }))) {
        last = event.id || last;
        yield event;
      }
      return;
    } catch (error) {
      if (signal.aborted || (error instanceof Refusal && error.status < 500 && error.status !== 429)) {
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}
