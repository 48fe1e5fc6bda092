// A chat box: one prompt, answered by the base model and by what the job made of it.

import { get, Refusal, send } from "./api";
import { announce, complaint, h } from "./dom";
import type { Job } from "./job";
import { read } from "./sse";

interface ModelList {
  data: { id: string }[];
}

interface Chunk {
  choices?: { delta?: { content?: string | null } }[];
  error?: { message: string };
}

/** Fills the section, and shows it, where the service can chat with the job's model. */
export async function chat(place: HTMLElement, job: Job, signal: AbortSignal): Promise<void> {
  let models: string[];
  try {
    models = (await get<ModelList>("/v1/models", signal)).data.map((model) => model.id);
  } catch (error) {
    if (error instanceof Refusal || signal.aborted) {
      return; // This service does not chat.
    }
    throw error;
  }
  const tuned = models.find((model) => model.startsWith("ft:") && model.endsWith(`:${job.job_id}`));
  if (!tuned) {
    return;
  }
  const base = models.find((model) => model === job.model_name);
  const prompt = h("textarea", { id: "prompt", rows: 3, required: true });
  const length = h("input", { id: "length", type: "number", min: 1, max: 1024, value: 64, required: true });
  const ask = h("button", { class: "main" }, "Ask");
  const sides = [...(base ? [answer("Base", base)] : []), answer("Fine-tuned", tuned)];
  const form = h(
    "form",
    { class: "chat" },
    h("label", { for: "prompt" }, "Prompt"),
    prompt,
    h("div", { class: "bar" }, h("label", { for: "length" }, "Tokens at most"), length, ask),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    ask.disabled = true;
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

function answer(name: string, model: string): Answer {
  const text = h("p", { class: "text" });
  const element = h("section", { class: "answer", "aria-label": name }, h("h3", {}, name), text, h("span", { class: "small" }, model));
  const write = async (prompt: string, tokens: number, signal: AbortSignal): Promise<void> => {
    text.textContent = "";
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
