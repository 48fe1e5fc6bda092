// A chat box: one prompt, answered by the base model and by what the job made of it, at its end or by one of its checkpoints.

import { get, Refusal, send } from "./api";
import { announce, complaint, h } from "./dom";
import type { Job } from "./job";
import { read } from "./sse";

interface ModelList {
  data: { id: string }[];
}

interface CheckpointList {
  data: { fine_tuned_model_checkpoint: string; step_number: number }[];
}

interface Chunk {
  choices?: { delta?: { content?: string | null } }[];
  error?: { message: string };
}

/** What can be chatted with: the base, and what the job has made of it, by name for requests and for people. */
interface Models {
  base: string | undefined;
  tuned: { id: string; label: string }[];
}

/** Fills the section, and shows it, where the service can chat with what the job has made so far. Later calls find what has come since. */
export async function chat(place: HTMLElement, job: Job, signal: AbortSignal): Promise<void> {
  let models: Models;
  try {
    models = await find(job, signal);
  } catch (error) {
    if (error instanceof Refusal || signal.aborted) {
      return; // This service does not chat.
    }
    throw error;
  }
  const found = models.tuned.map((one) => one.id).join(" ");
  if (models.tuned.length === 0 || found === place.dataset["models"] || place.querySelector("[aria-busy]")) {
    return;
  }
  place.dataset["models"] = found;
  show(place, models, signal);
}

async function find(job: Job, signal: AbortSignal): Promise<Models> {
  const names = (await get<ModelList>("/v1/models", signal)).data.map((model) => model.id);
  const tuned = names.filter((name) => name.startsWith("ft:") && name.endsWith(`:${job.job_id}`)).map((id) => ({ id, label: "At the end" }));
  const checkpoints = (await get<CheckpointList>(`/v1/fine_tuning/jobs/${encodeURIComponent(job.job_id)}/checkpoints`, signal)).data.map((one) => ({
    id: one.fine_tuned_model_checkpoint,
    label: `Step ${one.step_number}`,
  }));
  const first = checkpoints[0];
  const usable = first !== undefined && (await isModel(first.id, signal)) ? checkpoints : []; // Those of whole models are not.
  return { base: names.find((name) => name === job.model_name), tuned: [...tuned, ...usable] };
}

async function isModel(name: string, signal: AbortSignal): Promise<boolean> {
  try {
    await get(`/v1/models/${encodeURIComponent(name)}`, signal);
    return true;
  } catch (error) {
    if (error instanceof Refusal) {
      return false;
    }
    throw error;
  }
}

function show(place: HTMLElement, models: Models, signal: AbortSignal): void {
  const asked = place.querySelector("textarea")?.value ?? "";
  const prompt = h("textarea", { id: "prompt", rows: 3, required: true });
  prompt.value = asked;
  const length = h("input", { type: "number", min: 1, max: 1024, value: 64, required: true });
  const ask = h("button", { class: "main" }, "Ask");
  const weights = h("select", {}, ...models.tuned.map((one) => h("option", { value: one.id }, one.label)));
  const { base } = models;
  const sides = [...(base ? [answer("Base", () => base)] : []), answer("Fine-tuned", () => weights.value)];
  const form = h(
    "form",
    { class: "chat" },
    h("label", { for: "prompt" }, "Prompt"),
    prompt,
    h("div", { class: "bar" }, h("label", {}, "Weights", weights), h("label", {}, "Tokens at most", length), ask),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    ask.disabled = true;
    announce("Asked.");
    try {
      // One after the other: they share the processor.
      for (const one of sides) {
        await one.write(prompt.value, length.valueAsNumber, signal);
      }
      announce("All have answered.");
    } finally {
      ask.disabled = false;
    }
  });
  place.replaceChildren(h("h2", {}, "Try it"), form, h("div", { class: "answers" }, ...sides.map((one) => one.element)));
  place.hidden = false;
}

interface Answer {
  element: HTMLElement;
  write(prompt: string, tokens: number, signal: AbortSignal): Promise<void>;
}

function answer(name: string, modelNow: () => string): Answer {
  const text = h("p", { class: "text" });
  const asked = h("span", { class: "small" }, modelNow());
  const element = h("section", { class: "answer", "aria-label": name }, h("h3", {}, name), text, asked);
  const write = async (prompt: string, tokens: number, signal: AbortSignal): Promise<void> => {
    const model = modelNow();
    text.textContent = "";
    asked.textContent = model;
    element.querySelector(".problem")?.remove();
    element.setAttribute("aria-busy", "true");
    try {
      const response = await send("/v1/chat/completions", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ model, messages: [{ role: "user", content: prompt }], max_tokens: tokens, temperature: 0, stream: true }),
        signal,
      });
      for await (const event of read(response)) {
        if (event.data === "[DONE]") {
          break;
        }
        const chunk = JSON.parse(event.data) as Chunk;
        if (chunk.error) {
          throw new Error(chunk.error.message);
        }
        text.textContent += chunk.choices?.[0]?.delta?.content ?? "";
      }
    } catch (error) {
      if (!signal.aborted) {
        element.append(complaint(error));
      }
    } finally {
      element.removeAttribute("aria-busy");
    }
  };
  return { element, write };
}
