// A new job: a form that says what is wrong, what the job would need and what it would learn, before it starts.

import { get, post, Refusal } from "../api";
import { announce, button, complaint, h } from "../dom";
import { fields, groups, request, type Field } from "../fields";
import type { Job, JobPage } from "../job";
import { previewView, type Preview } from "../preview";

export async function newPage(place: HTMLElement, signal: AbortSignal): Promise<void> {
  const inputs = new Map<string, HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement>();
  const preview = h("section", { class: "preview", "aria-label": "Preview", "aria-live": "polite" }, h("p", { class: "empty" }, "Name a model, examples and an output folder to see what the job would need and learn."));
  const trouble = h("div");
  let looking = 0;
  let sent = { body: "", key: "" }; // The same form sent twice makes one job.
  const start = h("button", { class: "main" }, "Start the job");
  const form = h(
    "form",
    { novalidate: true, "aria-label": "New job" },
    ...groups.map((group) => h("fieldset", {}, h("legend", {}, group), ...fields.filter((field) => field.group === group).map((field) => row(field)))),
    trouble,
    h("div", { class: "actions" }, start, button("Preview", () => look(true))),
  );
  place.append(h("h1", {}, "New job"), h("div", { class: "two" }, form, preview));
  form.addEventListener("change", () => void look(false));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void create();
  });
  await suggest();

  function row(field: Field): HTMLElement {
    const id = `field-${field.name.replaceAll(".", "-")}`;
    const shared = { id, name: field.name, "aria-describedby": `${id}-help ${id}-error` };
    const input =
      field.kind === "choice"
        ? h("select", shared, ...field.choices!.map((choice) => h("option", { value: choice }, choice)))
        : field.kind === "long"
          ? h("textarea", { ...shared, rows: 4, spellcheck: "false" })
          : h("input", { ...shared, type: "text", inputmode: field.kind === "number" ? "decimal" : "text", required: field.required ?? false, autocomplete: "off", ...(field.suggest ? { list: `${id}-list` } : {}) });
    input.value = field.value ?? "";
    inputs.set(field.name, input);
    return h(
      "div",
      { class: "field" },
      h("label", { for: id }, field.label),
      input,
      field.suggest ? h("datalist", { id: `${id}-list` }) : null,
      h("p", { class: "small", id: `${id}-help` }, field.help),
      h("p", { class: "wrong", id: `${id}-error` }),
    );
  }

  function values(): Map<string, string> {
    return new Map([...inputs].map(([name, input]) => [name, input.value.trim()]));
  }

  /** Shows what is wrong by field, the rest above the buttons. Says whether all is well. */
  function mark(wrong: Record<string, string>, focus: boolean): boolean {
    const rest = Object.entries(wrong).filter(([name]) => !inputs.has(name));
    for (const [name, input] of inputs) {
      const problem = wrong[name] ?? "";
      input.setAttribute("aria-invalid", String(problem !== ""));
      document.getElementById(`${input.id}-error`)!.textContent = problem;
    }
    trouble.replaceChildren(...rest.map(([name, problem]) => complaint(`${name}: ${problem}`)));
    if (focus) {
      inputs.get(Object.keys(wrong).find((name) => inputs.has(name)) ?? "")?.focus();
    }
    return Object.keys(wrong).length === 0;
  }

  function refused(error: unknown, focus: boolean): void {
    if (error instanceof Refusal && Object.keys(error.fields).length > 0) {
      mark(Object.fromEntries(Object.entries(error.fields).map(([name, problems]) => [name, problems.join(" ")])), focus);
    } else if (!signal.aborted) {
      trouble.replaceChildren(complaint(error));
    }
  }

  async function look(whole: boolean): Promise<void> {
    const turn = ++looking; // An answer to an earlier question says nothing any more.
    const { body, wrong, missing } = request(values());
    if (!whole && missing) {
      mark(Object.fromEntries(Object.entries(wrong).filter(([name]) => inputs.get(name)?.value)), false);
      return; // Who is not done yet need not hear what is missing.
    }
    if (!mark(wrong, whole)) {
      return;
    }
    preview.setAttribute("aria-busy", "true");
    try {
      const found = await post<Preview>("/v1/jobs/preview", body, {}, signal);
      if (turn === looking) {
        preview.replaceChildren(...previewView(found));
      }
    } catch (error) {
      if (turn === looking) {
        preview.replaceChildren(h("p", { class: "empty" }, "As it stands the job would be refused."));
        refused(error, whole);
      }
    } finally {
      preview.removeAttribute("aria-busy");
    }
  }

  async function create(): Promise<void> {
    looking++;
    const { body, wrong } = request(values());
    if (!mark(wrong, true)) {
      return;
    }
    const text = JSON.stringify(body);
    sent = sent.body === text ? sent : { body: text, key: `page-${Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("")}` };
    start.disabled = true;
    try {
      const job = await post<Job>("/v1/jobs", body, { "Idempotency-Key": sent.key }, signal);
      announce(`${job.output_dir} is created.`);
      location.hash = `#/jobs/${job.job_id}`;
    } catch (error) {
      refused(error, true);
    } finally {
      start.disabled = false;
    }
  }

  /** What other jobs named, and the models that the service knows. */
  async function suggest(): Promise<void> {
    const jobs = await get<JobPage>("/v1/jobs?limit=100", signal).then((page) => page.data, () => []);
    const models = await get<{ data: { id: string }[] }>("/v1/models", signal).then((list) => list.data.map((model) => model.id).filter((id) => !id.startsWith("ft:")), () => []);
    offer("model_name", [...models, ...jobs.map((job) => job.model_name)]);
    offer("training_data_path", jobs.map((job) => job.training_data_path));
  }

  function offer(name: string, found: string[]): void {
    document.getElementById(`${inputs.get(name)!.id}-list`)?.replaceChildren(...[...new Set(found)].map((value) => h("option", { value })));
  }
}
