// Requests to the service that served this page.

import { askForKey, key } from "./key";

/** A refusal (RFC 9457), with what is wrong by field. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly fields: Record<string, string[]>,
  ) {
    super(message);
  }
}

/** Sends a request with the key. Throws a `Refusal` unless the service did what was asked. */
export async function send(path: string, options: RequestInit = {}): Promise<Response> {
  const headers = new Headers(options.headers);
  if (key()) {
    headers.set("Authorization", `Bearer ${key()}`);
  }
  let response: Response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (options.signal?.aborted) {
      throw error;
    }
    throw new Error("The service does not answer.", { cause: error });
  }
  if (response.status === 401) {
    askForKey(key() ? "The service does not know this key." : "This service wants a key. It is kept until this tab is closed.");
  }
  if (!response.ok) {
    throw await refusal(response);
  }
  return response;
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await send(path, signal ? { signal } : {})).json()) as T;
}

export async function post<T>(path: string, body?: unknown, headers: Record<string, string> = {}, signal?: AbortSignal): Promise<T> {
  const response = await send(path, {
    method: "POST",
    ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json", ...headers } }),
    ...(signal ? { signal } : {}),
  });
  return (await response.json()) as T;
}

interface Problem {
  title?: string;
  detail?: string;
  errors?: Record<string, string[]>;
  error?: { message?: string };
}

async function refusal(response: Response): Promise<Refusal> {
  const problem = (await response.json().catch(() => ({}))) as Problem;
  const message = problem.detail ?? problem.error?.message ?? problem.title ?? `The service answered ${response.status}.`;
  return new Refusal(response.status, message, problem.errors ?? {});
}
