// Status, progress and the buttons of a job.

import { post, send } from "./api";
import { announce, button, complaint, h } from "./dom";
import { isOver, type Job } from "./job";

export function badge(job: Job): HTMLElement {
  return h("span", { class: `badge ${job.status}` }, job.status);
}

export function progress(job: Job): HTMLElement {
  const text = job.total_steps > 0 ? `${job.step} of ${job.total_steps} steps` : "not begun";
  const bar = h("progress", { max: 1, value: job.progress, "aria-label": `Progress of ${job.output_dir}` }, `${Math.round(100 * job.progress)}%`);
  return h("span", { class: "progress" }, bar, h("span", { class: "small" }, text));
}

/** What can be done with a job as it stands; `done` is called afterwards. */
export function actions(job: Job, done: () => void): HTMLElement {
  const place = h("div", { class: "actions" });
  const act = (label: string, does: () => Promise<unknown>): HTMLButtonElement => {
    const element = button(label, async () => {
      try {
        place.querySelector(".problem")?.remove();
        await does();
      } catch (error) {
        place.append(complaint(error));
      }
      done();
    });
    element.setAttribute("aria-label", `${label} ${job.output_dir}`);
    return element;
  };
  const path = `/v1/jobs/${job.job_id}`;
  if (job.status === "pending" || job.status === "running") {
    place.append(act("Pause", () => post(`${path}/pause`)));
  }
  if (job.status === "paused") {
    place.append(act("Resume", () => post(`${path}/resume`)));
  }
  if (!isOver(job)) {
    place.append(
      act("Cancel", async () => {
        if (await confirmed(`Cancel ${job.output_dir}?`, "It stops for good; its checkpoints stay.", "Cancel the job")) {
          await send(path, { method: "DELETE" });
          announce(`${job.output_dir} is cancelled.`);
        }
      }),
    );
  }
  return place;
}

/** Asks; resolves when the dialog is closed. */
function confirmed(question: string, consequence: string, yes: string): Promise<boolean> {
  const dialog = h(
    "dialog",
    { "aria-labelledby": "question" },
    h(
      "form",
      { method: "dialog" },
      h("h2", { id: "question" }, question),
      h("p", {}, consequence),
      h("div", { class: "actions" }, h("button", { value: "yes", class: "danger" }, yes), h("button", { value: "no" }, "Keep it")),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    }),
  );
}
